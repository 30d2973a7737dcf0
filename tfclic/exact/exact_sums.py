"""Sums of products of integers that are exact in float32, and operands that fit them.

Such a sum is exact while no partial sum reaches 2**24, whatever the order of summation. So wide
operands are split into a high and a low byte, and rows are taken in groups whose worst case stays
below that bound. No operand exceeds 256, so hardware that shortens the inputs of a matrix product
to bfloat16 or TF32 computes the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

EXACT_FLOAT32 = 1 << 24
BYTE = 256


def row_groups(kernel: np.ndarray, largest: int) -> list[tuple[int, int]]:
    """Splits rows so that no sum within a group can leave float32's exact integers.

    Args:
      kernel: int `[K, M]`.
      largest: largest magnitude of an operand that meets the kernel, at most 256.

    Returns:
      A list of (first, end) covering 0..K.
    """
    groups: list[tuple[int, int]] = []
    first, sums = 0, np.zeros(kernel.shape[1], np.int64)
    for row, magnitudes in enumerate(np.abs(kernel.astype(np.int64))):
        if ((sums + magnitudes) * largest).max() >= EXACT_FLOAT32:
            groups.append((first, row))
            first, sums = row, np.zeros_like(sums)
        sums = sums + magnitudes
    return [*groups, (first, len(kernel))]


def to_bytes(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Integers of 16 bits as two within +-128, a high byte and a low one: `256 * high + low`."""
    high = tf.floor((x + BYTE // 2) * (1.0 / BYTE))
    return high, x - BYTE * high


def in_use(x: tf.Tensor) -> tf.Tensor:
    """The channels of `[..., C]` that are not zero everywhere, int32 `[n]`, ascending."""
    is_used = tf.reduce_any(tf.not_equal(x, 0), list(range(len(x.shape) - 1)))
    return tf.cast(tf.where(is_used)[:, 0], tf.int32)


def of_bytes(total: tf.Tensor) -> tf.Tensor:
    """What sums of high bytes, and below them of low bytes, `[2n, M]`, come to, `[n, M]`."""
    count, columns = tf.unstack(tf.shape(total))
    high, low = tf.unstack(tf.reshape(total, [2, count // 2, total.shape[1] or columns]))
    return high * BYTE + low


def exact_sum(products: Iterable[tf.Tensor]) -> tf.Tensor:
    """The sum of float32 integers, as float64."""
    return tf.add_n([tf.cast(product, tf.float64) for product in products])
