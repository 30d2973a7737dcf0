"""Learned centres, an importance map, and masked convolutions over channels as context.

Source: Mentzer, Agustsson, Tschannen, Timofte, Van Gool, "Conditional Probability Models for Deep
Image Compression", CVPR 2018. Unlike there, one model serves all rates, and latents have as many
values as these need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.entropy import mixture
from tfclic.layers import LearnedCentres, MaskedConv3D, Sequential, SubpixelConv2D
from tfclic.layers.residual import Residual, conv
from tfclic.models import base, transforms
from tfclic.models.transforms import TransformCodec

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Value

BLOCKS = 3  # in a group
OPEN = 4.0  # logit of the importance map at the start: nearly all channels are there


def residual_groups(filters: int, count: int) -> Residual:
    """Groups of three residual blocks, each with a skip, and a block more; a skip around all."""

    def block() -> Residual:
        return Residual([conv(filters, 3, activation="relu"), conv(filters, 3)])

    groups = [Residual([block() for _ in range(BLOCKS)]) for _ in range(count)]
    return Residual([*groups, block()])


class Encoder(Sequential):
    """Images to an importance map and latents, E: `[B, H, W, 3] -> [B, H/16, W/16, 1 + K]`."""

    def __init__(self, config: ConfigDict) -> None:
        (w1, w2, w3), k = config.widths, config.kernel_size
        last = dict(use_bias=False, kernel_initializer=transforms.last_initializer(config))
        layers = [
            conv(w1, k, 2, activation="relu"),
            conv(w2, k, 2, activation="relu"),
            residual_groups(w2, config.residual_groups),
            conv(w3, k, 2, activation="relu"),
            conv(1 + config.latent_channels, k, 2, **last),
        ]
        super().__init__(layers, name="encoder")


class Decoder(Sequential):
    """Latents to images, D: `[B, H/16, W/16, K] -> [B, H, W, 3]`, the mirror of `Encoder`."""

    def __init__(self, config: ConfigDict) -> None:
        (w1, w2, w3), k = config.widths, (config.kernel_size + 1) // 2
        last = transforms.last_initializer(config)
        layers = [
            SubpixelConv2D(w3, k, activation="relu"),
            SubpixelConv2D(w2, k, activation="relu"),
            residual_groups(w2, config.residual_groups),
            SubpixelConv2D(w1, k, activation="relu"),
            SubpixelConv2D(3, k, kernel_initializer=last),
        ]
        super().__init__(layers, name="decoder")


def importance_mask(importance: tf.Tensor, channels: int) -> tf.Tensor:
    """How much of each channel is kept, `[B, h, w, channels]`, 0..1, by a map `[B, h, w, 1]`.

    A position with importance y, 0 to `channels`, keeps its first y channels.
    """
    importance = channels * tf.sigmoid(importance + OPEN)
    return tf.clip_by_value(importance - tf.range(channels, dtype=tf.float32), 0.0, 1.0)


class ConditionalProbability(TransformCodec):
    """The codec of the paper: encoder E, quantiser Q, decoder D, and the context model P.

    Args:
      config: ConfigDict with
        latent_channels: K; 32 or 64 in the paper, at 1/8 of the size.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; 64 and 128 in the paper.
        kernel_size: of the convolutions that halve the size, 5.
        residual_groups: of three residual blocks, at 1/4 of the size; 5 in the paper.
        centres: learned ones on each side of 0; 6 in all in the paper.
        context_size: of the masked convolution over channels, rows and columns; 3 in the paper.
        context_channels, probability_channels: of what P makes of a value's context, and of its
          hidden layers; 24 in the paper.
        mixtures: of Gaussians that P makes of each value.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        synthesis_input, context_input: "noise" or "round" (paper): what the decoder and the context
          see of the latents in training.
        lmbdas: trained lambdas, ascending.
    """

    scales_latents = False  # centres lie between

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config, analysis=Encoder, synthesis=Decoder)
        self.centres = LearnedCentres(config.centres)
        self.context = MaskedConv3D(config.context_channels, config.context_size, tf.nn.relu)
        dense = tf.keras.layers.Dense
        layers = [dense(width, "relu") for width in config.probability_channels]
        self.probability = Sequential([*layers, dense(3 * config.mixtures)], name="probability")

    def analysis(self, images: tf.Tensor) -> tf.Tensor:
        """Latents `[B, H/16, W/16, K]`, as far as they are important, before the gain."""
        made = tf.cast(self.nonlinear_analysis(images), tf.float32)
        importance, latents = tf.split(made, [1, self.config.latent_channels], -1)
        if self.config.block_transform:
            latents += self.block_analysis(images)
        return latents * importance_mask(importance, self.config.latent_channels)

    def gained(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Numbers of centres, not rounded, `[B, h, w, K]`."""
        numbers = self.centres(self.gain(latents, quality))
        return base.bounded(numbers, mixture.LATENT_MIN, mixture.LATENT_MAX)

    def ungained(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """What `gained` makes numbers of centres `[B, h, w, K]` of."""
        return super().ungained(self.centres.inverse(latents), quality)

    def entropy(self, code: Runner) -> Value:
        """Value by value, channel by channel, each under mixtures that follow from those before."""

        def parameters(context: Value) -> Value:
            return code.run(self.probability, context)

        kind = dict(mixtures=self.config.mixtures, num_parameters=3, context=self.context)
        return code.conditional("latents", self.config.latent_channels, parameters, **kind)

    def synthesis_input(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Latents `[B, h, w, K]` as the decoder takes them, of numbers of centres."""
        return super().synthesis_input(self.centres.inverse(latents), quality)

    def transforms(self) -> list[tf.Module]:
        """The parts that stay in floating point when exported."""
        return [*super().transforms(), self.centres]

    def encoder(self) -> list[tf.Module]:
        """What latents are made by; the gains and centres are the decoder's, too."""
        return [*super().encoder(), self.centres]


def build(config: ConfigDict) -> ConditionalProbability:
    """Builds the codec from `config` (see `ConditionalProbability`)."""
    return ConditionalProbability(config)
