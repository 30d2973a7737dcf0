"""Residual blocks of Cheng et al., CVPR 2020 (section 3.3 and figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.layers.composite import Composite
from tfclic.layers.gdn import GDN
from tfclic.layers.pointwise import PointwiseConv2D
from tfclic.layers.sequential import Sequential
from tfclic.layers.subpixel import SubpixelConv2D

if TYPE_CHECKING:
    from tfclic.layers.composite import Operations, Value


def conv(filters: int, kernel_size: int, strides: int = 1, **kwargs: Any) -> tf.keras.layers.Layer:
    """A zero-padded convolution."""
    if kernel_size == 1 and strides == 1:
        return PointwiseConv2D(filters, **kwargs)
    return tf.keras.layers.Conv2D(filters, kernel_size, strides, padding="same", **kwargs)


class Residual(Composite):
    """What layers make of `x` one after the other, and `x`."""

    def __init__(self, layers: Sequence[tf.keras.layers.Layer], name: str | None = None) -> None:
        super().__init__(name=name)
        self.body = Sequential(layers)

    def compose(self, ops: Operations, x: Value) -> Value:
        return x + ops.run(self.body, x)


class ResidualUnit(Composite):
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

    def compose(self, ops: Operations, x: Value) -> Value:
        return x + ops.run(self.body, x)


class ResidualBlock(Composite):
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

    def compose(self, ops: Operations, x: Value) -> Value:
        y = x
        for layer in (self.first, self.second):
            y = ops.activated(tf.nn.leaky_relu, ops.run(layer, y))
        return y + (ops.run(self.skip, x) if self.skip else x)


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


class ResidualUp(Composite):
    """Doubles height and width: sub-pixel 3x3, leaky ReLU, 3x3, inverse GDN; sub-pixel skip."""

    def __init__(self, filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.first = SubpixelConv2D(filters, 3)
        self.second = conv(filters, 3)
        self.igdn = GDN(inverse=True)
        self.skip = SubpixelConv2D(filters, 1)

    def compose(self, ops: Operations, x: Value) -> Value:
        y = ops.activated(tf.nn.leaky_relu, ops.run(self.first, x))
        return ops.in_turn([self.second, self.igdn], y) + ops.run(self.skip, x)
