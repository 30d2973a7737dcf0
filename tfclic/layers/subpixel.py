"""Upsampling by sub-pixel convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.layers.pointwise import PointwiseConv2D

if TYPE_CHECKING:
    from tfclic.layers.parts import Axes


class SubpixelConv2D(tf.keras.layers.Layer):
    """A convolution to `factor**2` times the channels, followed by depth-to-space.

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
    Sub-Pixel Convolutional Neural Network", CVPR 2016.

    Args:
      filters: channels of the result.
      kernel_size: of the convolution.
      factor: upsampling factor.
      **kwargs: passed on to `Conv2D`.

    `[B, H, W, C] -> [B, factor * H, factor * W, filters]`
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        factor: int = 2,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name)
        self.factor = factor
        channels = filters * factor**2
        if kernel_size == 1:
            self.conv = PointwiseConv2D(channels, **kwargs)
        else:
            self.conv = tf.keras.layers.Conv2D(channels, kernel_size, padding="same", **kwargs)

    def axes(self) -> Axes:
        """How its weights are put together (see `tfclic.training.growing`): a part a phase."""
        filters = self.conv.filters // self.factor**2
        for variable in self.conv.weights:
            yield variable, {len(variable.shape) - 1: (filters,) * self.factor**2}

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = self.conv(x)
        return tf.nn.depth_to_space(x, self.factor) if self.factor > 1 else x
