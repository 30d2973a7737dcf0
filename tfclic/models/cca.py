"""Causal context adjustment: latents in uneven slices, which a loss makes tell of each other.

Source: Han, Jiang, Li, Deng, Xu, Zhu, Gu, "Causal Context Adjustment Loss for Learned Image
Compression", NeurIPS 2024; figure 1 is the system, table 3 its transforms. Unlike there, one model
serves all rates, and the entropy networks have blocks with an exact integer form
(`tfclic.models.slices.EntropyBottleneck`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.entropy import mixture, program
from tfclic.entropy.float_runners import Training
from tfclic.layers import FLOATS, NAFBlock, ResidualUnit, Sequential, SubpixelConv2D
from tfclic.layers.substitution import frozen
from tfclic.models import transforms
from tfclic.models.hyper import (
    HYPER_BITS,
    HyperCodec,
    hyper_analysis,
    hyper_synthesis,
    leaky_relu,
)
from tfclic.models.slices import Slice, slice_sizes

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.layers.composite import Tensors, Value
    from tfclic.layers.parts import Axes

PIXELS_PER_LATENT = 256  # of a channel


class Analysis(Sequential):
    """Images to latents y, `[B, H, W, 3] -> [B, H/16, W/16, M]`."""

    def __init__(self, config: ConfigDict) -> None:
        layers = []
        for width in config.widths:
            layers.append(tf.keras.layers.Conv2D(width, config.kernel_size, 2, padding="same"))
            layers += [ResidualUnit(width) for _ in range(config.bottleneck_blocks)]
            layers += [NAFBlock(width) for _ in range(config.naf_blocks)]
        initializer = transforms.last_initializer(config)
        last = dict(padding="same", kernel_initializer=initializer)
        layers.append(tf.keras.layers.Conv2D(config.latent_channels, config.kernel_size, 2, **last))
        super().__init__(layers, name="analysis")


class Synthesis(Sequential):
    """Latents to images, `[B, H/16, W/16, M] -> [B, H, W, 3]`: the mirror of `Analysis`.

    Sub-pixel convolutions of 3 see what the paper's transposed ones of 5 do.
    """

    def __init__(self, config: ConfigDict) -> None:
        layers, size = [], (config.kernel_size + 1) // 2
        for width in reversed(config.widths):
            layers.append(SubpixelConv2D(width, size))
            layers += [NAFBlock(width) for _ in range(config.naf_blocks)]
            layers += [ResidualUnit(width) for _ in range(config.bottleneck_blocks)]
        initializer = transforms.last_initializer(config)
        layers.append(SubpixelConv2D(3, size, kernel_initializer=initializer))
        super().__init__(layers, name="synthesis")


class Cca(HyperCodec):
    """The codec of the paper; figure 1 left to right is `analysis`, `entropy`, `synthesis`.

    In training an auxiliary entropy model predicts each slice without the one before it. The gap,
    bits by the main model minus bits by the auxiliary one, is part of the loss: latents are to
    carry early what later slices follow from. The gap changes latents, never the auxiliary model,
    which learns to take few bits of latents that it cannot change.

    Args:
      config: ConfigDict with
        latent_channels: M.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; 192, 224 and 256 in the paper.
        bottleneck_blocks, naf_blocks: how many of them at each size; 3 and 4 in the paper.
        kernel_size: of the convolutions that halve the size, 5.
        hyper_channels: channels of z, 192 in the paper.
        hyper_width: channels between latents and z, 256 in the paper.
        hyper_prior_scale: how wide the prior of z is before training.
        slices, slice_power, slice_sizes: the schedule, see `slices.slice_sizes`; 5 slices of power
          1.7 in the paper.
        support_channels, support_blocks: of the networks that work up what is known of a slice;
          224 and 4 in the paper.
        support_block: "bottleneck", or "naf" as in the paper, which cannot be exported.
        slice_widths: channels of the hidden layers that predict a slice; 224 and 128 in the paper.
        gap_weight: alpha, of the gap in the loss; 1 in the paper. Without it, 0, there is no
          auxiliary model.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        lmbdas: trained lambdas, ascending.

    Raises:
      errors.UsageError: the slices' sizes do not make M channels.
    """

    is_local = False  # channel attention takes averages

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config, analysis=Analysis, synthesis=Synthesis)
        self.sizes = slice_sizes(
            config.latent_channels, config.slices, config.slice_power, config.slice_sizes
        )
        width, z, m = config.hyper_width, config.hyper_channels, config.latent_channels
        self.hyper_analysis = hyper_analysis((width, width, z), tf.nn.gelu)
        upward = (width, width, m), leaky_relu
        self.mean_synthesis = hyper_synthesis(*upward, name="mean_synthesis")
        self.scale_synthesis = hyper_synthesis(*upward, name="scale_synthesis")
        ends = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        self.slices = [Slice(config, size, end) for size, end in zip(self.sizes, ends)]
        # of all slices but the first, which has none before it
        pairs = zip(self.sizes[1:], ends) if config.gap_weight else ()
        self.auxiliary = [Slice(config, size, end, residual=False) for size, end in pairs]

    def entropy(self, code: program.Runner) -> Value:
        """Slices of y, each under Gaussians that follow from z and from the slices before."""
        z = self.coded_hyper_latents(code)
        features = [
            code.run(network, z, hidden_bits=HYPER_BITS)
            for network in (self.mean_synthesis, self.scale_synthesis)
        ]
        decoded: list[Value] = []
        for number, (part, size) in enumerate(zip(self.slices, self.sizes), 1):
            means, log_scales, support = part.parameters(code, features, decoded)
            y = code.conditional(f"slice_{number}", size, (means, log_scales), around_mean=True)
            decoded.append(code.refined(y, part.residual, support))
        if self.auxiliary:
            code.add_losses(lambda training: self.auxiliary_losses(training, features, decoded))
        return code.concat(*decoded)

    def auxiliary_losses(
        self,
        code: Training,
        features: Sequence[tf.Tensor],
        decoded: Sequence[tf.Tensor],
    ) -> Tensors:
        """The weighted `gap` and the auxiliary model's own `rate`, float32 `[B]`, bits per pixel.

        The auxiliary model takes part twice: for the gap with its weights held, for the rate with
        the latents held. Features of hyper latents are held both times, or they would learn to
        mislead the auxiliary model, and with it the main one.

        Args:
          code: a `float_runners.Training`, which has coded all slices.
          features: as `Slice.parameters` takes them.
          decoded: list of the slices as decoded.
        """
        noisy = tf.split(code.noisy["latents"], self.sizes, -1)
        bits = tf.add_n([code.bits[f"slice_{n}"] for n in range(2, len(self.sizes) + 1)])
        features, *latents = tf.nest.map_structure(tf.stop_gradient, [features, noisy, decoded])
        rate = self.auxiliary_bits(features, *latents)
        with frozen(self.auxiliary):
            gap = bits - self.auxiliary_bits(features, noisy, decoded)
        pixels = PIXELS_PER_LATENT * tf.cast(tf.reduce_prod(tf.shape(noisy[0])[1:3]), tf.float32)
        return {"gap": self.config.gap_weight * gap / pixels, "rate": rate / pixels}

    def auxiliary_bits(
        self,
        features: Sequence[tf.Tensor],
        noisy: Sequence[tf.Tensor],
        decoded: Sequence[tf.Tensor],
    ) -> tf.Tensor:
        """Bits `[B]` of all slices but the first; slice i is predicted from those up to i - 2."""
        bits = []
        for i, part in enumerate(self.auxiliary, 1):
            means, log_scales, _ = part.parameters(FLOATS, features, decoded[: i - 1])
            likelihood = mixture.likelihood(noisy[i] - means, mixture.completed(log_scales, 1))
            bits.append(program.bits(likelihood))
        return tf.add_n(bits)

    def axes(self) -> Axes:
        """How weights of the auxiliary model are put together (see `tfclic.training.growing`)."""
        for i, part in enumerate(self.auxiliary):
            known = (self.config.latent_channels, *self.sizes[:i])
            for support in (part.mean_support, part.scale_support):
                yield support.enter.conv.kernel, {2: known}


def build(config: ConfigDict) -> Cca:
    """Builds the codec from `config` (see `Cca`)."""
    return Cca(config)
