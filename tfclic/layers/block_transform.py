"""A linear block transform beside the nonlinear path, so that training starts at a good codec."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# orthonormal opponent colours: grey, red against blue, green against both
_OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
_OPPONENT_VARIANCE = np.array([1.0, 0.08, 0.02])
_CORRELATION = 0.95


def dct_matrix(size: int) -> np.ndarray:
    """The orthonormal DCT-II, `[size, size]`, frequency by position."""
    k, n = np.mgrid[:size, :size]
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix


def block_dct(channels: int, size: int = 16) -> np.ndarray:
    """The `channels` strongest basis functions of colour image blocks.

    The blocks are modelled as separable first-order Markov fields in orthonormal opponent colours,
    whose principal components the DCT approximates.

    Returns:
      float32 `[size, size, 3, channels]`, orthonormal, by falling variance. With more than
      `3 * size**2` channels the rest is zero.
    """
    dct = dct_matrix(size)
    lags = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    variance = np.diag(dct @ _CORRELATION**lags @ dct.T)
    variances = _OPPONENT_VARIANCE[:, None, None] * np.multiply.outer(variance, variance)
    order = np.argsort(-variances, axis=None, kind="stable")[:channels]
    colour, vertical, horizontal = np.unravel_index(order, variances.shape)
    basis = np.einsum("cy,cx,cr->yxrc", dct[vertical], dct[horizontal], _OPPONENT[colour])
    return np.pad(basis, [(0, 0)] * 3 + [(0, channels - basis.shape[-1])]).astype(np.float32)


class BlockAnalysis(tf.keras.layers.Layer):
    """Linear transform of `size` x `size` blocks, starting at `scale` times `block_dct`.

    `[B, H, W, 3] -> [B, H / size, W / size, channels]`
    """

    def __init__(
        self, channels: int, scale: float, size: int = 16, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.channels, self.scale, self.size = channels, scale, size

    def build(self, _: tf.TensorShape) -> None:
        basis = self.scale * block_dct(self.channels, self.size)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.size**2 * 3, self.channels),
            initializer=tf.keras.initializers.Constant(basis.reshape(-1, self.channels)),
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        blocks = tf.nn.space_to_depth(x, self.size)
        return tf.einsum("bhwi,ic->bhwc", blocks, tf.cast(self.kernel, x.dtype))


class BlockSynthesis(tf.keras.layers.Layer):
    """The transposed transform: starts as the inverse of `BlockAnalysis` with the same `scale`.

    `[B, h, w, channels] -> [B, size * h, size * w, 3]`
    """

    def __init__(
        self, channels: int, scale: float, size: int = 16, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.channels, self.scale, self.size = channels, scale, size

    def build(self, _: tf.TensorShape) -> None:
        basis = block_dct(self.channels, self.size).reshape(-1, self.channels) / self.scale
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.channels, self.size**2 * 3),
            initializer=tf.keras.initializers.Constant(basis.T),
        )

    def call(self, y: tf.Tensor) -> tf.Tensor:
        blocks = tf.einsum("bhwc,ci->bhwi", y, tf.cast(self.kernel, y.dtype))
        return tf.nn.depth_to_space(blocks, self.size)
