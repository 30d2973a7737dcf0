"""Transforms that several systems have, and the codec around any transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.layers import GDN, BlockAnalysis, BlockSynthesis, Sequential, SubpixelConv2D
from tfclic.models import base

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.layers.composite import Operations, Value

Layers = list[tf.keras.layers.Layer]


def no_attention(filters: int) -> Layers:
    """No layers where others have an attention module."""
    return []


def last_initializer(config: ConfigDict) -> str:
    """Of the last layer: with a linear path beside it, the nonlinear path starts at zero."""
    return "zeros" if config.block_transform else "glorot_uniform"


def plain_analysis(config: ConfigDict, attention: Callable[[int], Layers] = no_attention) -> Layers:
    """The layers of a plain analysis transform: convolutions that halve, GDN between them.

    Args:
      config: ConfigDict with `widths`, `latent_channels`, `kernel_size` and `block_transform`.
      attention: function of a number of channels to the layers of an attention module.
    """
    (w1, w2, w3), n, k = config.widths, config.latent_channels, config.kernel_size
    conv = tf.keras.layers.Conv2D
    last = dict(use_bias=False, kernel_initializer=last_initializer(config))
    return [
        *(conv(w1, k, 2, padding="same"), GDN()),
        *(conv(w2, k, 2, padding="same"), GDN(), *attention(w2)),
        *(conv(w3, k, 2, padding="same"), GDN()),
        *(conv(n, k, 2, padding="same", **last), *attention(n)),
    ]


def plain_synthesis(
    config: ConfigDict, kernel_size: int, attention: Callable[[int], Layers] = no_attention
) -> Layers:
    """The layers of a plain synthesis transform: sub-pixel convolutions, inverse GDN between them.

    Args:
      config: as `plain_analysis`.
      kernel_size: of the convolutions, at the smaller size; 3 sees what a transposed convolution of
        5 with stride 2 does.
      attention: as `plain_analysis`.
    """
    (w1, w2, w3), n, k = config.widths, config.latent_channels, kernel_size
    return [
        *attention(n),
        *(SubpixelConv2D(w3, k), GDN(inverse=True)),
        *(SubpixelConv2D(w2, k), GDN(inverse=True), *attention(w2)),
        *(SubpixelConv2D(w1, k), GDN(inverse=True)),
        SubpixelConv2D(3, k, kernel_initializer=last_initializer(config)),
    ]


class PlainAnalysis(Sequential):
    """Images to latents y, `[B, H, W, 3] -> [B, H/16, W/16, N]`: 5x5 convolutions and GDN.

    Source: Ballé, Minnen, Singh, Hwang, Johnston, "Variational Image Compression with a Scale
    Hyperprior", ICLR 2018, figure 4; the same in Minnen et al., NeurIPS 2018, table 1.
    """

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(plain_analysis(config), name="analysis")


class PlainSynthesis(Sequential):
    """Latents to images, `[B, H/16, W/16, N] -> [B, H, W, 3]`: the mirror of `PlainAnalysis`."""

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(plain_synthesis(config, (config.kernel_size + 1) // 2), name="synthesis")


class TransformCodec(base.ImageCodec):
    """A codec of nonlinear transforms and, where configured, linear ones beside them.

    Args:
      config: ConfigDict with
        latent_channels: N.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        lmbdas: trained lambdas, ascending.
      analysis, synthesis: functions of the configuration to the nonlinear transforms.
    """

    REFERENCE_STEP = 45.0  # latents of the block transform have this step on the 0..255 scale

    def __init__(
        self,
        config: ConfigDict,
        analysis: Callable[[ConfigDict], tf.keras.layers.Layer] = PlainAnalysis,
        synthesis: Callable[[ConfigDict], tf.keras.layers.Layer] = PlainSynthesis,
    ) -> None:
        super().__init__(config, self.REFERENCE_STEP)
        n = config.latent_channels
        with base.compute_dtype(config):
            self.nonlinear_analysis = analysis(config)
            self.nonlinear_synthesis = synthesis(config)
        if config.block_transform:
            scale = 255.0 / base.CENTRED_SCALE / self.REFERENCE_STEP
            self.block_analysis = BlockAnalysis(n, scale, name="block_analysis")
            self.block_synthesis = BlockSynthesis(n, scale, name="block_synthesis")

    def analysis(self, images: tf.Tensor) -> tf.Tensor:
        """Latents `[B, H/16, W/16, N]` of centred images `[B, H, W, 3]`, before the gain."""
        latents = tf.cast(self.nonlinear_analysis(images), tf.float32)
        return latents + self.block_analysis(images) if self.config.block_transform else latents

    def reconstruct(
        self,
        ops: Operations,
        latents: Value,
        side_information: Mapping[str, Value],
        stage: tf.Tensor | None = None,
    ) -> Value:
        """As `ImageCodec.reconstruct`: the nonlinear transform, and the linear one beside it."""
        images = ops.precise(ops.run(self.nonlinear_synthesis, latents))
        return self.with_blocks(ops, images, latents)

    def with_blocks(self, ops: Operations, images: Value, latents: Value) -> Value:
        """Images, and what the linear transform makes of latents added, where there is one."""
        if not self.config.block_transform:
            return images
        return images + ops.run(self.block_synthesis, latents)

    def transforms(self) -> list[tf.Module]:
        """The parts that stay in floating point when exported."""
        linear = [self.block_analysis, self.block_synthesis] if self.config.block_transform else []
        return [self.nonlinear_analysis, self.nonlinear_synthesis, *linear, self.gain]

    def encoder(self) -> list[tf.Module]:
        """What latents and hyper latents are made by; the gains are the decoder's, too."""
        linear = [self.block_analysis] if self.config.block_transform else []
        return [self.nonlinear_analysis, *linear, self.gain]
