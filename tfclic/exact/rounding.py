"""Kernels in integers of 8 bits, by the grids that results are to lie on."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

Array = TypeVar("Array", np.ndarray, tf.Tensor)

STEP_BITS = 8  # of what a kernel's integers count, times a power of two
KERNEL_LIMIT = 127
# from 2**-20, which leaves room for biases, to beyond what weights can be
_STEPS = np.ldexp(
    np.arange(2.0 ** (STEP_BITS - 1), 2.0**STEP_BITS),
    np.arange(1 - STEP_BITS - 20, 128)[:, None],
).ravel()


def round_kernel(kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rounds each column of a kernel to integers of 8 bits, times a step.

    The step is the smallest that keeps them within +-127. There are so many steps that the largest
    becomes 127, and a kernel that was rounded is rounded to itself.

    Args:
      kernel: float64 `[K, M]`.

    Returns:
      A tuple (integers, float64 `[K, M]`; steps, float64 `[M]`), the kernel being about
      `integers * steps`.
    """
    largest = tf.reduce_max(tf.abs(kernel), 0)
    steps = tf.constant(_STEPS)
    found = tf.searchsorted(steps, largest / (KERNEL_LIMIT + 0.49))
    chosen = tf.gather(steps, tf.minimum(found, len(_STEPS) - 1))
    return tf.round(kernel / chosen), chosen


class Grids(NamedTuple):
    """Where a layer's results y lie: at the integers `(y - lowest) * unit`.

    Attributes:
      unit, lowest: float `[M]`, or one for all.
    """

    unit: np.ndarray | float
    lowest: np.ndarray | float

    def on(self, kernel: Array, bias: Array) -> tuple[Array, Array]:
        """Kernel `[K, M]` and bias `[M]` that give results on the grids."""
        return kernel * self.unit, (bias - self.lowest) * self.unit

    def off(self, kernel: Array, bias: Array) -> tuple[Array, Array]:
        """What `on` was given."""
        return kernel / self.unit, bias / self.unit + self.lowest

    def rounded(self, kernel: tf.Tensor) -> tf.Tensor:
        """A kernel `[..., M]` as its integers will have it; of its shape and type."""
        rows = tf.reshape(tf.cast(kernel, tf.float64), [-1, kernel.shape[-1]])
        integers, steps = round_kernel(rows * self.unit)
        return tf.cast(tf.reshape(integers * steps / self.unit, kernel.shape), kernel.dtype)


PLAIN = Grids(1.0, 0.0)
