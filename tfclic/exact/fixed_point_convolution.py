"""Convolutions whose results are integers, as products of matrices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfclic.exact import compilation
from tfclic.exact.exact_sums import exact_sum, row_groups
from tfclic.exact.fixed_point import FixedPointDense
from tfclic.layers import neighbourhood


class FixedPointConv2D(FixedPointDense):
    """A `FixedPointDense` of the neighbourhoods of all positions, zero outside of the array.

    It consists of products of matrices, which no library replaces by transformed convolutions.
    Neighbours are put together before the product, or, where that is less, what comes of each
    after it.

    Args:
      kernel: float `[size, size, C, M]`, size being odd.
      bias: float `[M]`.
      grids: as for `FixedPointDense`.
    """

    def __init__(self, kernel: tf.Variable, bias: tf.Variable, **grids: Any) -> None:
        self.size, _, self.channels, self.results = kernel.shape
        super().__init__(kernel, bias, **grids)

    @property
    def _is_product_first(self) -> bool:
        return 2 * self.results <= self.channels

    @property
    def _matrix(self) -> tf.Tensor:
        if not self._is_product_first:
            return self.kernel
        shape = [self.size, self.size, self.channels, self.results]
        return neighbourhood.taps_side_by_side(tf.reshape(self.kernel, shape))

    def regroup(self) -> None:
        if self._is_product_first:
            columns = np.abs(self.kernel.numpy().astype(np.int64))
            columns = columns.reshape(-1, self.channels, self.results).sum(0)
            self.groups = row_groups(columns, self._largest_operand)
        else:
            super().regroup()

    def convolve(self, x: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Applies the layer.

        Args:
          x: float32 `[height * width, C]`, positions in raster order, integers within the input
            limit.
          height, width: int32.

        Returns:
          float32 `[height * width, M]`, integers within the output limit.
        """

        def sums(x: tf.Tensor, channels: tf.Tensor | None) -> tf.Tensor:
            if self._is_product_first:
                return self._product_first(x, channels, (height, width))
            return self._neighbours_first(x, channels, (height, width))

        return self.rounded(self._totals(x, sums))

    def _neighbours_first(
        self, x: tf.Tensor, channels: tf.Tensor | None, size: tuple[tf.Tensor, tf.Tensor]
    ) -> tf.Tensor:
        rows = _side_by_side(self.size)(x, *size)
        if channels is None:
            return self._sums(tf.ensure_shape(rows, [None, self.kernel.shape[0]]))
        taps = tf.range(0, self.kernel.shape[0], self.channels)
        return self._sums(rows, tf.reshape(taps[:, None] + channels, [-1]))

    def _product_first(
        self, x: tf.Tensor, channels: tf.Tensor | None, size: tuple[tf.Tensor, tf.Tensor]
    ) -> tf.Tensor:
        products = self.prepare(rows=channels).products(x)
        found = exact_sum(_summed(self.size)(product, *size) for product in products)
        return tf.ensure_shape(found, [None, self.results])


def _padded(x: tf.Tensor, size: int) -> tf.Tensor:
    """An array `[h, w, ...]` with zeros around it, as far as a kernel reaches."""
    margin = [size // 2] * 2
    return tf.pad(x, [margin, margin, *[[0, 0]] * (len(x.shape) - 2)])


def _places(size: int) -> list[tuple[int, int]]:
    """Where, in a padded array, it begins as each of a kernel's positions sees it."""
    return [(top, left) for top in range(size) for left in range(size)]


def _traced(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """One trace for all layers, of rows float32 `[h * w, C]`, height and width."""
    scalar = tf.TensorSpec([], tf.int32)
    given = [tf.TensorSpec([None, None]), scalar, scalar]
    return tf.function(compilation.uncompiled(function), given, autograph=False)


@functools.cache
def _side_by_side(size: int) -> Callable[..., tf.Tensor]:
    """What puts the neighbours of each position beside each other, `[h * w, size * size * C]`."""

    def function(x: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        channels = tf.shape(x)[1]
        x = _padded(tf.reshape(x, [height, width, channels]), size)
        windows = [x[top : top + height, left : left + width] for top, left in _places(size)]
        return tf.reshape(tf.concat(windows, 2), [height * width, size**2 * channels])

    return _traced(function)


@functools.cache
def _summed(size: int) -> Callable[..., tf.Tensor]:
    """What sums, for each position, the products that its neighbours have for it.

    Products are `[h * w, size * size * M]`, the sums `[h * w, M]`.
    """

    def function(products: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        results = tf.shape(products)[1] // size**2
        x = _padded(tf.reshape(products, [height, width, size**2, results]), size)
        windows = [
            x[top : top + height, left : left + width, tap]
            for tap, (top, left) in enumerate(_places(size))
        ]
        return tf.reshape(tf.add_n(windows), [height * width, results])

    return _traced(function)
