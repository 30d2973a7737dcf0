"""Attention modules of Cheng et al., CVPR 2020 (section 3.3, figure 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.layers.composite import Composite
from tfclic.layers.residual import ResidualUnit, conv
from tfclic.layers.sequential import Sequential

if TYPE_CHECKING:
    from tfclic.layers.composite import Operations, Value

SATURATED = 16  # sigmoids of larger arguments are 0 or 1, as far as anyone can see


class Attention(Composite):
    """`x + trunk(x) * sigmoid(mask(x))`, trunk and mask of three residual units each.

    Args:
      filters: channels N of input and result.
      non_local: whether a non-local block leads the mask branch (figure 5a); without it this is
        the simplified module of figure 5b.

    `[B, H, W, N] -> [B, H, W, N]`
    """

    def __init__(self, filters: int, non_local: bool = False, name: str | None = None) -> None:
        super().__init__(name=name)
        units = [ResidualUnit(filters) for _ in range(3)]
        head = [NonLocal(filters)] if non_local else []
        self.trunk = Sequential([ResidualUnit(filters) for _ in range(3)])
        self.mask = Sequential([*head, *units, conv(filters, 1)])

    def compose(self, ops: Operations, x: Value) -> Value:
        gate = ops.tabulated(tf.sigmoid, ops.run(self.mask, x), SATURATED)
        return x + ops.product(ops.run(self.trunk, x), gate)


class NonLocal(tf.keras.layers.Layer):
    """Embedded-Gaussian non-local block: every position attends to all others.

    Source: Wang et al., "Non-local Neural Networks", CVPR 2018, equation 6. Time and memory grow
    with the square of the number of positions.

    `[B, H, W, N] -> [B, H, W, N]`
    """

    def __init__(self, filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.query = conv(filters // 2, 1)
        self.key = conv(filters // 2, 1)
        self.value = conv(filters // 2, 1)
        # zero at the start: the block begins as the identity, as in the source's section 4.1
        self.out = conv(filters, 1, kernel_initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(x)
        flat = [shape[0], shape[1] * shape[2], x.shape[-1] // 2]
        query, key, value = (tf.reshape(f(x), flat) for f in (self.query, self.key, self.value))
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))
        y = tf.reshape(tf.matmul(weights, value), [*tf.unstack(shape)[:3], flat[2]])
        return x + self.out(y)
