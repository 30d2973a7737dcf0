"""Residual blocks of Cheng et al., CVPR 2020 (section 3.3 and figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfclic.layers.gdn import GDN
from tfclic.layers.pointwise import PointwiseConv2D
from tfclic.layers.sequential import Sequential
from tfclic.layers.subpixel import SubpixelConv2D


def conv(filters: int, kernel_size: int, strides: int = 1, **kwargs: Any) -> tf.keras.layers.Layer:
    """A zero-padded convolution."""
    if kernel_size == 1 and strides == 1:
        return PointwiseConv2D(filters, **kwargs)
    return tf.keras.layers.Conv2D(filters, kernel_size, strides, padding="same", **kwargs)


class Residual(tf.keras.layers.Layer):
    """What layers make of `x` one after the other, and `x`."""

    def __init__(self, layers: Sequence[tf.keras.layers.Layer], name: str | None = None) -> None:
        super().__init__(name=name)
        self.body = Sequential(layers)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + self.body(x)


class ResidualUnit(tf.keras.layers.Layer):
    """The bottleneck unit inside an attention module (figure 5): 1x1 N/2, 3x3 N/2, 1x1 N."""

    def __init__(self, filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.body = Sequential(
            [
                conv(filters // 2, 1, activation="relu"),
                conv(filters // 2, 3, activation="relu"),
                conv(filters, 1),
            ]
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + self.body(x)


class ResidualBlock(tf.keras.layers.Layer):
    """Two 3x3 convolutions with leaky ReLU, and the input added (projected if widths differ)."""

    def __init__(self, filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.filters = filters
        self.first = conv(filters, 3)
        self.second = conv(filters, 3)
        self.skip = None

    def build(self, input_shape: tf.TensorShape) -> None:
        if input_shape[-1] != self.filters:
            self.skip = conv(self.filters, 1, dtype=self._dtype_policy)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = tf.nn.leaky_relu(self.second(tf.nn.leaky_relu(self.first(x))))
        return y + (self.skip(x) if self.skip else x)


class ResidualDown(tf.keras.layers.Layer):
    """Halves height and width: 3x3 with stride 2, leaky ReLU, 3x3, GDN; skip by a strided 1x1."""

    def __init__(self, filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.first = conv(filters, 3, 2)
        self.second = conv(filters, 3)
        self.gdn = GDN()
        self.skip = conv(filters, 1)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # The same as a 1x1 convolution with stride 2, whose oneDNN gradient writes out of bounds.
        # Pooling over single pixels is x[:, ::2, ::2] in a quarter of the time.
        skip = self.skip(tf.nn.avg_pool2d(x, 1, 2, "VALID"))
        return self.gdn(self.second(tf.nn.leaky_relu(self.first(x)))) + skip


class ResidualUp(tf.keras.layers.Layer):
    """Doubles height and width: sub-pixel 3x3, leaky ReLU, 3x3, inverse GDN; sub-pixel skip."""

    def __init__(self, filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.first = SubpixelConv2D(filters, 3)
        self.second = conv(filters, 3)
        self.igdn = GDN(inverse=True)
        self.skip = SubpixelConv2D(filters, 1)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.igdn(self.second(tf.nn.leaky_relu(self.first(x)))) + self.skip(x)
