"""Uneven groups of channels, each under a context in space and one of the groups before it.

Source: He, Yang, Peng, Ma, Qin, Wang, "ELIC: Efficient Learned Image Compression with Unevenly
Grouped Space-Channel Contextual Adaptive Coding", CVPR 2022; the context in space is that of He,
Zheng, Sun, Wang, Qin, "Checkerboard Context Model for Efficient Learned Image Compression", CVPR
2021. Unlike there, one model serves all rates, and latents are whole numbers, not whole differences
from their means, so that channels can be silent and contexts see integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.layers import Attention, MaskedConv2D, ResidualUnit, Sequential, SubpixelConv2D
from tfclic.models import transforms
from tfclic.models.hyper import HYPER_BITS, HyperCodec, hyper_analysis, hyper_synthesis
from tfclic.models.slices import conv, slice_sizes

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Value

CONTEXT_SIZE = 5


def stage(config: ConfigDict, width: int, attention: bool = False) -> transforms.Layers:
    """A list of layers: residual bottlenecks of a width, and attention where it is wanted."""
    layers = [ResidualUnit(width) for _ in range(config.bottleneck_blocks)]
    return layers + ([Attention(width)] if attention and config.attention else [])


class Analysis(Sequential):
    """Images to latents y, `[B, H, W, 3] -> [B, H/16, W/16, M]`."""

    def __init__(self, config: ConfigDict) -> None:
        layers = []
        for number, width in enumerate(config.widths):
            layers.append(tf.keras.layers.Conv2D(width, config.kernel_size, 2, padding="same"))
            layers += stage(config, width, attention=number == 1)
        last = dict(padding="same", kernel_initializer=transforms.last_initializer(config))
        m = config.latent_channels
        layers.append(tf.keras.layers.Conv2D(m, config.kernel_size, 2, **last))
        layers += [Attention(m)] if config.latent_attention else []
        super().__init__(layers, name="analysis")


class Synthesis(Sequential):
    """Latents to images, `[B, H/16, W/16, M] -> [B, H, W, 3]`: the mirror of `Analysis`.

    Sub-pixel convolutions of 3 see what the paper's transposed ones of 5 do.
    """

    def __init__(self, config: ConfigDict) -> None:
        layers = [Attention(config.latent_channels)] if config.latent_attention else []
        size = (config.kernel_size + 1) // 2
        for number, width in enumerate(reversed(config.widths)):
            layers += [SubpixelConv2D(width, size), *stage(config, width, attention=number == 1)]
        initializer = transforms.last_initializer(config)
        layers.append(SubpixelConv2D(3, size, kernel_initializer=initializer))
        super().__init__(layers, name="synthesis")


class Group(tf.keras.layers.Layer):
    """A group of `size` channels and its networks; the first has no groups before it."""

    def __init__(self, config: ConfigDict, size: int, is_first: bool) -> None:
        super().__init__()
        self.size, width, dense = size, config.context_channels or 2 * size, tf.keras.layers.Dense
        self.space_context = MaskedConv2D(width, CONTEXT_SIZE, mask="checkerboard")
        if not is_first:
            layers = [conv(filters, CONTEXT_SIZE, "relu") for filters in config.channel_widths]
            self.channel_context = Sequential([*layers, conv(2 * size, CONTEXT_SIZE)])
        layers = [dense(filters, "relu") for filters in config.parameter_channels]
        self.aggregation = Sequential([*layers, dense(2 * size)])

    def coded(self, code: Runner, name: str, features: Value, decoded: Sequence[Value]) -> Value:
        """The group as a program has it, under Gaussians from features and the groups before."""
        known = [features]
        if decoded:
            known.append(code.run(self.channel_context, code.concat(*decoded)))

        def parameters(context: Value) -> Value:
            return code.run(self.aggregation, code.concat(*known, context))

        return code.conditional(name, self.size, parameters, context=self.space_context)


class Elic(HyperCodec):
    """The codec of the paper; its figures left to right are `analysis`, `entropy`, `synthesis`.

    Args:
      config: ConfigDict with
        latent_channels: M; 320 in the paper.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; all 192 in the paper.
        bottleneck_blocks: residual bottlenecks at each size; 3 in the paper.
        attention, latent_attention: whether there is one at 1/4 of the size, and at the latents.
        kernel_size: of the convolutions that halve the size, 5.
        hyper_channels: channels of z; 192 in the paper.
        hyper_prior_scale: how wide the prior of z is before training.
        feature_channels: of what the hyper synthesis makes; 2M in the paper.
        group_sizes: channels of the groups, uneven; 16, 16, 32, 64 and the rest in the paper.
        channel_widths: of the hidden layers that work up the groups before; 224 and 128.
        context_channels: of the context in space; 0: twice those of its group, as in the paper.
        parameter_channels: of the hidden layers that join all three.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        synthesis_input, context_input: "noise" or "round": what the synthesis transform, and the
          context in space, see of the latents in training.
        lmbdas: trained lambdas, ascending.

    Raises:
      errors.UsageError: the groups' sizes do not make M channels.
    """

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config, analysis=Analysis, synthesis=Synthesis)
        n = config.hyper_channels
        self.hyper_analysis = hyper_analysis((n, n, n), "relu")
        self.hyper_synthesis = hyper_synthesis((n, 3 * n // 2, config.feature_channels), "relu")
        sizes = slice_sizes(config.latent_channels, 0, 0, config.group_sizes)
        self.groups = [Group(config, size, number == 0) for number, size in enumerate(sizes)]

    def entropy(self, code: Runner) -> Value:
        """Groups of y one after the other, and of each the anchors of a checkerboard first."""
        z = self.coded_hyper_latents(code)
        features = code.run(self.hyper_synthesis, z, hidden_bits=HYPER_BITS)
        decoded: list[Value] = []
        for number, group in enumerate(self.groups, 1):
            decoded.append(group.coded(code, f"group_{number}", features, decoded))
        return code.concat(*decoded)


def build(config: ConfigDict) -> Elic:
    """Builds the codec from `config` (see `Elic`)."""
    return Elic(config)
