"""Coarse-to-fine hyper priors: two levels of side information, and no autoregression.

Source: Hu, Yang, Liu, "Coarse-to-Fine Hyper-Prior Modeling for Learned Image Compression", AAAI
2020, and Hu, Yang, Ma, Liu, "Learning End-to-End Lossy Image Compression: A Benchmark", TPAMI 2021.
Unlike there, one model serves all rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.entropy import mixture, program
from tfclic.entropy.channel_gaussian import ChannelGaussian
from tfclic.entropy.float_runners import Rounding, Training
from tfclic.layers import Composite, NeighbourhoodNetwork, Sequential, SubpixelConv2D
from tfclic.models import base, transforms
from tfclic.models.hyper import HYPER_BITS, HYPER_LIMIT, leaky_relu

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.layers.composite import Operations, Tensors, Value
    from tfclic.layers.parts import Axes

relu = tf.nn.relu
# of the stages of training, from 0: the first with all levels, with aggregation, without help
ALL_LEVELS, AGGREGATED, UNAIDED = 1, 2, 3
# Of the last layer of a hyper analysis: hyper latents begin well above the noise that stands for
# rounding, or they would fall silent before anything has learnt to listen.
LOUD = tf.keras.initializers.VarianceScaling(16.0, "fan_avg", "uniform", seed=0)


class Synthesis(Sequential):
    """Latents to features at half of the image's size: `[B, H/16, W/16, N] -> [B, H/2, W/2, w]`."""

    def __init__(self, config: ConfigDict) -> None:
        layers = transforms.plain_synthesis(config, (config.kernel_size + 1) // 2)
        super().__init__(layers[:-1], name="synthesis")


class HyperAnalysis(Sequential):
    """Signal-preserving: `[B, h, w, C] -> [B, h/2, w/2, c]`, `widths` being a, b and c.

    No large kernel meets a ReLU, and where there is one, channels are many.
    """

    def __init__(self, widths: Sequence[int], name: str) -> None:
        a, b, c = widths
        conv = tf.keras.layers.Conv2D
        layers = [
            conv(a, 3, padding="same"),
            tf.keras.layers.Lambda(lambda x: tf.nn.space_to_depth(x, 2)),
            *(conv(b, 1, activation=relu), conv(b, 1, activation=relu)),
            conv(c, 1, kernel_initializer=LOUD),
        ]
        super().__init__(layers, name=name)

    def axes(self) -> Axes:
        """How weights are put together (see `tfclic.training.growing`): of space-to-depth."""
        yield self.layers[2].kernel, {2: (self.layers[0].filters,) * 4}


class HyperSynthesis(Sequential):
    """The mirror of `HyperAnalysis`: `[B, h/2, w/2, c] -> [B, h, w, outputs]`."""

    def __init__(self, widths: Sequence[int], outputs: int, name: str) -> None:
        a, b, _ = widths
        layers = [
            SubpixelConv2D(b, 1, 1),
            SubpixelConv2D(b, 1, 1, activation=relu),
            SubpixelConv2D(a, 1, 2, activation=relu),
            SubpixelConv2D(outputs, 3, 1),
        ]
        super().__init__(layers, name=name)


def compressed(latents: tf.Tensor) -> tf.Tensor:
    """Latents of all sizes with a comparable say, sign(y) log(1 + |y|)."""
    return tf.sign(latents) * tf.math.log1p(tf.abs(latents))


class Aggregation(Composite):
    """Information-aggregation reconstruction: both hyper features and the synthesis' to images.

    `[B, h, w, N], [B, h/2, w/2, G], [B, 8h, 8w, w] -> [B, 16h, 16w, 3]`
    """

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(name="aggregation")
        self.fine_features = config.latent_channels
        w1, w2, w3 = config.widths
        k = (config.kernel_size + 1) // 2
        self.up = Sequential(
            [SubpixelConv2D(n, k, activation=leaky_relu) for n in (w3, w2, w1)], name="up"
        )
        conv = tf.keras.layers.Conv2D
        same = dict(padding="same", activation=leaky_relu)
        residual = [conv(w1, 3, **same), conv(w1, 3, **same), conv(2 * w1, 3, padding="same")]
        self.residual = Sequential(residual, name="residual")
        first = transforms.last_initializer(config)
        last = [
            SubpixelConv2D(max(w1 // 3, 8), k, activation=leaky_relu),
            conv(max(w1 // 12, 4), 3, **same),
            conv(3, 1, kernel_initializer=first),
        ]
        self.last = Sequential(last, name="last")

    def axes(self) -> Axes:
        """How weights are put together (see `tfclic.training.growing`): of what is joined."""
        first = self.up.layers[0].conv.kernel
        yield first, {2: (self.fine_features, first.shape[2] - self.fine_features)}
        enter, leave = self.residual.layers[0], self.residual.layers[-1]
        halves = (leave.filters // 2,) * 2
        for kernel in (enter.kernel, self.last.layers[0].conv.kernel):
            yield kernel, {2: halves}
        for variable in leave.weights:
            yield variable, {len(variable.shape) - 1: halves}

    def call(
        self, fine_features: tf.Tensor, coarse_features: tf.Tensor, features: tf.Tensor
    ) -> tf.Tensor:
        # Keras casts the first argument alone
        coarse_features = tf.cast(coarse_features, fine_features.dtype)
        return super().call(fine_features, coarse_features, features)

    def compose(
        self, ops: Operations, fine_features: Value, coarse_features: Value, features: Value
    ) -> Value:
        hyper = ops.concat(fine_features, ops.depth_to_space(coarse_features, 2))
        joined = ops.concat(ops.run(self.up, hyper), features)
        return ops.run(self.last, joined + ops.run(self.residual, joined))


class CoarseToFine(transforms.TransformCodec):
    """The codec of the papers: y under z2 (fine) under z1 (coarse).

    ```
    z1 -> coarse_synthesis -> h1 -> fine_prediction -> Gaussians of z2
    z2 -> fine_synthesis   -> h2 -> prediction      -> Gaussians of y
    (h2, h1, synthesis(y)) -> aggregation -> image
    ```

    Training goes in four stages: y and z2 with a Gaussian for each channel of z2; all levels; with
    aggregation in the place of a plain head; all without the auxiliary losses, which make h2 and h1
    predict y and z2. Unlike in the papers, the fine hyper analysis sees y `compressed`: with gains
    for all rates, a few channels are some hundred times as large as most.

    Args:
      config: ConfigDict with
        latent_channels: N; 384 in the papers' configuration for higher rates, 192 for lower ones.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; all N in the papers.
        kernel_size: of the convolutions, 5.
        fine_widths: a, b, c of the fine hyper analysis, c channels being coded; 2N, 4N, 256.
        coarse_widths: of the coarse one; 512, 256, 128.
        coarse_features: channels of h1; 256.
        prediction_widths: of the convolutions in both predictions.
        coarse, aggregation: whether there is a coarse level (else z2 has a Gaussian for each
          channel) and an aggregation; for ablations.
        helping_weight: of the auxiliary losses, mean squared errors.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        synthesis_input: "noise" or "round" (papers): what is decoded in training.
        lmbdas: trained lambdas, ascending.
    """

    stages = 4

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config, synthesis=Synthesis)
        n = config.latent_channels
        self.fine_channels, self.coarse_channels = config.fine_widths[-1], config.coarse_widths[-1]
        with base.compute_dtype(config):
            first = transforms.last_initializer(config)
            k = (config.kernel_size + 1) // 2
            self.head = SubpixelConv2D(3, k, kernel_initializer=first, name="head")
            if config.aggregation:
                self.aggregation = Aggregation(config)
        self.fine_analysis = HyperAnalysis(config.fine_widths, "fine_analysis")
        self.fine_synthesis = HyperSynthesis(config.fine_widths, n, "fine_synthesis")
        self.coarse_analysis = HyperAnalysis(config.coarse_widths, "coarse_analysis")
        self.coarse_synthesis = HyperSynthesis(
            config.coarse_widths, config.coarse_features, "coarse_synthesis"
        )
        networks = [
            NeighbourhoodNetwork(config.prediction_widths, 2 * channels, leaky_relu, name=name)
            for name, channels in (("prediction", n), ("fine_prediction", self.fine_channels))
        ]
        self.prediction, self.fine_prediction = networks
        self.fine_prior = ChannelGaussian(self.fine_channels, name="fine_prior")
        self.coarse_prior = ChannelGaussian(self.coarse_channels, name="coarse_prior")
        project = tf.keras.layers.Conv2D
        self.projection = project(n, 3, padding="same", name="projection")
        self.fine_projection = project(
            self.fine_channels, 3, padding="same", name="fine_projection"
        )

    def sources(self, latents: tf.Tensor) -> Tensors:
        """The latents `[B, h, w, N]` and both levels, not rounded; the coarse one of the fine one.

        They are kept within what can be coded, as latents are.
        """
        fine = self.fine_analysis(compressed(latents))
        fine = base.bounded(fine, mixture.LATENT_MIN, mixture.LATENT_MAX)
        coarse = base.bounded(self.coarse_analysis(fine), -HYPER_LIMIT, HYPER_LIMIT)
        return {"latents": latents, "fine": fine, "coarse": coarse}

    def entropy(self, code: program.Runner) -> Value:
        """z1, then z2 under Gaussians that it predicts, then y under Gaussians that z2 predicts."""
        coarse_features = None
        if self.config.coarse:
            coarse = code.independent("coarse", self.coarse_prior, stride=4)
            coarse_features = code.run(self.coarse_synthesis, coarse, hidden_bits=HYPER_BITS)
            predicted = code.run(self.fine_prediction, coarse_features)
            if isinstance(code, Rounding) and code.stage is not None:
                predicted = self._without_coarse(code, code.stage < ALL_LEVELS, predicted)
            fine = code.conditional("fine", self.fine_channels, predicted, stride=2)
        else:
            fine = code.independent("fine", self.fine_prior, stride=2)
        features = code.run(self.fine_synthesis, fine, hidden_bits=HYPER_BITS)
        given = coarse_features, features
        code.add_losses(lambda training: self._auxiliary_losses(training, *given))
        parameters = code.run(self.prediction, features)
        return code.conditional("latents", self.config.latent_channels, parameters)

    def _without_coarse(
        self, code: Rounding, is_first: tf.Tensor, predicted: tf.Tensor
    ) -> tf.Tensor:
        """In the first stage fine latents have a Gaussian for each channel, coarse ones no bits."""
        code.bits["coarse"] = tf.where(is_first, 0.0, code.bits["coarse"])
        alone = self.fine_prior.parameters(tf.shape(code.sources["fine"]))
        return tf.where(is_first, alone, predicted)

    def _auxiliary_losses(
        self,
        code: Training,
        coarse_features: tf.Tensor | None,
        features: tf.Tensor,
    ) -> Tensors:
        """The auxiliary losses: how far the features are from predicting the level below."""
        if code.stage is None or not self.config.helping_weight:
            return {}

        def error(projected: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
            difference = tf.math.squared_difference(projected, tf.stop_gradient(level))
            return tf.reduce_mean(difference, [1, 2, 3])

        weight = tf.where(code.stage < UNAIDED, self.config.helping_weight, 0.0)
        fine = weight * error(self.projection(features), compressed(code.sources["latents"]))
        if not self.config.coarse:
            return {"fine": fine}
        coarse = weight * error(self.fine_projection(coarse_features), code.sources["fine"])
        return {"fine": fine, "coarse": tf.where(code.stage < ALL_LEVELS, 0.0, coarse)}

    def reconstruct(
        self,
        ops: Operations,
        latents: Value,
        side_information: Mapping[str, Value],
        stage: tf.Tensor | None = None,
    ) -> Value:
        """As `ImageCodec.reconstruct`; both levels take part, once a training is so far."""
        features = ops.run(self.nonlinear_synthesis, latents)

        def aggregated() -> Value:
            fine = side_information["fine"]
            if self.config.coarse:
                coarse = side_information["coarse"]
            else:
                coarse = ops.silence(fine, 2, self.coarse_channels)
            hyper = ops.run(self.fine_synthesis, fine), ops.run(self.coarse_synthesis, coarse)
            return ops.precise(ops.run(self.aggregation, *hyper, features))

        def plain() -> Value:
            return ops.precise(ops.run(self.head, features))

        if not self.config.aggregation:
            pixels = plain()
        elif stage is None:
            pixels = aggregated()
        else:
            pixels = tf.cond(stage >= AGGREGATED, aggregated, plain)
        return self.with_blocks(ops, pixels, latents)

    def axes(self) -> Axes:
        """How weights are put together (see `tfclic.training.growing`)."""
        if not self.config.aggregation:
            return
        # which takes the coarse features by depth-to-space
        phases = (self.config.coarse_features // 4,) * 4
        for variable in self.coarse_synthesis.layers[-1].conv.weights:
            yield variable, {len(variable.shape) - 1: phases}
        listeners = self.fine_prediction, self.fine_projection
        for layer in (layer for layer in listeners if layer.built):
            yield layer.weights[0], {2: phases}

    def transforms(self) -> list[tf.Module]:
        """The parts that stay in floating point when exported."""
        levels = [self.fine_analysis, self.coarse_analysis]
        levels += [self.fine_synthesis, self.coarse_synthesis]
        last = self.aggregation if self.config.aggregation else self.head
        return [*super().transforms(), *levels, last]

    def encoder(self) -> list[tf.Module]:
        """What latents and hyper latents are made by; the gains are the decoder's, too."""
        return [*super().encoder(), self.fine_analysis, self.coarse_analysis]


def build(config: ConfigDict) -> CoarseToFine:
    """Builds the codec from `config` (see `CoarseToFine`)."""
    return CoarseToFine(config)
