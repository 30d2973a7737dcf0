"""Codecs with hyper latents: side information about the latents, under a learned prior."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Union

import tensorflow as tf

from tfclic.entropy.factorized import ChannelPrior
from tfclic.entropy.factorized_streams import SIDE_LIMIT
from tfclic.entropy.layout import SIDE_STRIDE
from tfclic.layers import Sequential, SubpixelConv2D
from tfclic.models import base
from tfclic.models.transforms import TransformCodec

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Prior, Runner
    from tfclic.layers.composite import Value

Activation = Union[str, Callable[[tf.Tensor], tf.Tensor], None]
# nearest to the papers' 0.2 that binary fractions with few bits represent exactly
ENTROPY_SLOPE = 3 / 16
TFC_PRIOR_SCALE = 10.0  # its default
HYPER_LIMIT, HYPER_STRIDE = SIDE_LIMIT, SIDE_STRIDE
# Hidden activations of a hyper synthesis are some hundredths in size: on the grid of 1/64 that
# suits other networks they would lose 0.2 % of the rate.
HYPER_BITS = 8


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """Leaky ReLU of the entropy networks."""
    return tf.nn.leaky_relu(x, ENTROPY_SLOPE)


def hyper_analysis(
    widths: Sequence[int], activation: Activation, before: Iterable[tf.keras.layers.Layer] = ()
) -> Sequential:
    """Latents to hyper latents, `[B, h, w, M] -> [B, h/4, w/4, widths[-1]]`, by 3x3, 5x5, 5x5.

    Args:
      widths: channels of the three convolutions.
      activation: between them.
      before: layers that come first.
    """
    conv, (a, b, c) = tf.keras.layers.Conv2D, widths
    layers = [
        conv(a, 3, padding="same", activation=activation),
        conv(b, 5, 2, padding="same", activation=activation),
        conv(c, 5, 2, padding="same"),
    ]
    return Sequential([*before, *layers], name="hyper_analysis")


def hyper_synthesis(
    widths: Sequence[int], activation: Activation, name: str = "hyper_synthesis"
) -> Sequential:
    """Hyper latents to what predicts latents: `[B, h/4, w/4, Z] -> [B, h, w, widths[-1]]`.

    Sub-pixel convolutions of 3 see what the papers' transposed ones of 5 do.

    Args:
      widths: channels after each of the three convolutions.
      activation: between them.
    """
    a, b, c = widths
    layers = [
        SubpixelConv2D(a, 3, activation=activation),
        SubpixelConv2D(b, 3, activation=activation),
        SubpixelConv2D(c, 3, 1),
    ]
    return Sequential(layers, name=name)


class HyperCodec(TransformCodec):
    """Transforms, hyper latents z of the latents, and a prior of these.

    A subclass makes `hyper_analysis`.

    Args:
      config: as `TransformCodec`, and
        hyper_channels: channels of the hyper latents z.
        hyper_prior_scale: how wide the prior of z is before training; 10 if it is missing.
      hyper_prior: another prior of z than a deep factorized one.
      **transforms: as `TransformCodec`.
    """

    def __init__(
        self, config: ConfigDict, hyper_prior: Prior | None = None, **transforms: Any
    ) -> None:
        super().__init__(config, **transforms)
        scale = config.get("hyper_prior_scale", TFC_PRIOR_SCALE)
        channels = (config.hyper_channels,)
        self.hyper_prior = hyper_prior or ChannelPrior(batch_shape=channels, init_scale=scale)

    def hyper_latents(self, latents: tf.Tensor) -> tf.Tensor:
        """Hyper latents `[B, h/4, w/4, hyper_channels]`, not rounded, of latents `[B, h, w, N]`.

        They are kept within what can be coded, as latents are.
        """
        return base.bounded(self.hyper_analysis(latents), -HYPER_LIMIT, HYPER_LIMIT)

    def coded_hyper_latents(self, code: Runner) -> Value:
        """Hyper latents as a program (see `tfclic.entropy.program`) has them."""
        return code.independent("hyper_latents", self.hyper_prior, stride=HYPER_STRIDE)

    def transforms(self) -> list[tf.Module]:
        """The parts that stay in floating point when exported."""
        # fingerprints of exported models depend on this order
        analysis, synthesis, *others = super().transforms()
        return [analysis, synthesis, self.hyper_analysis, *others]

    def encoder(self) -> list[tf.Module]:
        """What latents and hyper latents are made by; the gains are the decoder's, too."""
        return [*super().encoder(), self.hyper_analysis]
