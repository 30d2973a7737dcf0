"""The NAF block: a transform without activation functions, by gates and channel attention.

Source: Chen, Chu, Zhang, Sun, "Simple Baselines for Image Restoration", ECCV 2022, figure 3c; in
codecs: Han et al., "Causal Context Adjustment Loss for Learned Image Compression", NeurIPS 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.layers.composite import FLOATS, Composite
from tfclic.layers.pointwise import PointwiseConv2D

if TYPE_CHECKING:
    from tfclic.layers.composite import Operations, Value
    from tfclic.layers.parts import Axes

EPSILON = 1e-6


class ChannelNorm(tf.keras.layers.Layer):
    """Layer normalisation over the channels of each position, with a scale and an offset for each.

    `[B, H, W, C] -> [B, H, W, C]`
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = input_shape[-1:]
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones")
        self.offset = self.add_weight(name="offset", shape=shape, initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # a variance wants more bits than bfloat16 has
        y = tf.cast(x, tf.float32)
        y -= tf.reduce_mean(y, -1, keepdims=True)
        y *= tf.math.rsqrt(tf.reduce_mean(tf.square(y), -1, keepdims=True) + EPSILON)
        scale, offset = (tf.cast(weight, x.dtype) for weight in (self.scale, self.offset))
        return tf.cast(y, x.dtype) * scale + offset


class ChannelAttention(Composite):
    """Each channel, times a linear function of the averages of all channels over the image.

    `[B, H, W, C] -> [B, H, W, C]`
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        self.project = PointwiseConv2D(input_shape[-1], dtype=self._dtype_policy)

    def compose(self, ops: Operations, x: Value) -> Value:
        return ops.product(x, ops.run(self.project, ops.average(x)))


def simple_gate(x: tf.Tensor) -> tf.Tensor:
    """The product of both halves of the channels: `[..., 2C] -> [..., C]`."""
    return FLOATS.gated(x)


class NAFBlock(Composite):
    """Normalisation, convolutions, gate and channel attention; then a gated pointwise network.

    Both parts are added to their inputs, times a factor for each channel, beta and gamma, that
    starts at 0: the block begins as the identity.

    Args:
      filters: channels C of input and result.

    `[B, H, W, C] -> [B, H, W, C]`
    """

    def __init__(self, filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        # lists, as which they stand in the checkpoints that there are
        self.mixing: list[Any] = [
            ChannelNorm(),
            PointwiseConv2D(2 * filters),
            tf.keras.layers.DepthwiseConv2D(3, padding="same"),
            simple_gate,
            ChannelAttention(),
            PointwiseConv2D(filters),
        ]
        self.pointwise: list[Any] = [
            ChannelNorm(),
            PointwiseConv2D(2 * filters),
            simple_gate,
            PointwiseConv2D(filters),
        ]

    def axes(self) -> Axes:
        """How weights are put together (see `tfclic.training.growing`): a part for each half."""
        expand, depthwise, gated = self.mixing[1], self.mixing[2], self.pointwise[1]
        halves = (expand.filters // 2,) * 2
        yield depthwise.depthwise_kernel, {2: halves}
        for variable in (*expand.weights, *gated.weights, depthwise.bias):
            yield variable, {len(variable.shape) - 1: halves}

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = input_shape[-1:]
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="zeros")

    def compose(self, ops: Operations, x: Value) -> Value:
        for layers, weight in ((self.mixing, self.beta), (self.pointwise, self.gamma)):
            y = x
            for layer in layers:
                y = ops.gated(y) if layer is simple_gate else ops.run(layer, y)
            x = x + ops.scaled(y, weight)
        return x
