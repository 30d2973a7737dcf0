"""Layers whose results are integers, the same on every machine.

A sum of products of integers is exact in float32 while no partial sum reaches 2**24, whatever the
order of summation. So kernels and activations are integers here (values on a binary grid), wide
activations are split into a high and a low byte, and rows are taken in groups whose worst case
stays below that bound. No operand exceeds 256, so hardware that shortens the inputs of a matrix
product to bfloat16 or TF32 computes the same. Rounding to the next grid happens in float64, where
everything involved is a short binary fraction.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, TypeVar

import numpy as np
import tensorflow as tf

from tfclic.exact import compilation
from tfclic.layers import neighbourhood

if TYPE_CHECKING:
    from tfclic.layers.composite import Elementwise

Array = TypeVar("Array", np.ndarray, tf.Tensor)
# see `FixedPointDense._sums`
Sums = Callable[[tf.Tensor, Optional[tf.Tensor]], tf.Tensor]

EXACT_FLOAT32 = 1 << 24
STEP_BITS = 8  # of what a kernel's integers count, times a power of two
# of 53 bits, these are left for the step, four for the slope's fraction and one for the rounding
EXACT_FLOAT64 = 1 << (48 - STEP_BITS)
KERNEL_LIMIT = 127
BYTE = 256
LARGE_KERNEL = 1 << 19  # weights; as floats they do not stay in a core's own cache
ACTIVATION_BITS = 6  # hidden activations are multiples of 1/64
ACTIVATION_LIMIT = (1 << 15) - 1  # and have 16 bits
# from 2**-20, which leaves room for biases, to beyond what weights can be
_STEPS = np.ldexp(
    np.arange(2.0 ** (STEP_BITS - 1), 2.0**STEP_BITS),
    np.arange(1 - STEP_BITS - 20, 128)[:, None],
).ravel()


def slope_of(activation: Elementwise | None) -> float:
    """The slope below 0 of a layer's activation, as `fixed_point.FixedPointDense` takes it.

    Raises:
      ValueError: it is neither linear nor a (leaky) ReLU.
    """
    ends = [float(activation(tf.constant(x))) for x in (1.0, -1.0, -2.0)] if activation else None
    if ends is None:
        return 1.0
    if ends[0] != 1 or ends[2] != 2 * ends[1]:
        raise ValueError("its activation is neither linear nor a (leaky) ReLU")
    return -ends[1]


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


class Prepared(NamedTuple):
    """What a `FixedPointDense` needs of its weights for some rows and columns.

    Attributes:
      kernels: list of float32 `[rows, M]`, one for each group of rows.
      ranges: list of (first, end), which of the inputs meet them.
      bias, scale: float64 `[M]`.
    """

    kernels: list[tf.Tensor]
    ranges: list[tuple[tf.Tensor, tf.Tensor]]
    bias: tf.Tensor
    scale: tf.Tensor

    def products(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Exact sums of products with each of the kernels, float32, of operands within a byte."""
        groups = [x[:, first:end] if len(self.ranges) > 1 else x for first, end in self.ranges]
        return [tf.matmul(part, kernel) for part, kernel in zip(groups, self.kernels)]

    def product(self, x: tf.Tensor) -> tf.Tensor:
        """Exact sums of products with all of them, float64 `[n, M]`."""
        return exact_sum(self.products(x))

    def sums(self, x: tf.Tensor, channels: tf.Tensor | None) -> tf.Tensor:
        """The same of some of the inputs, int32 `[c]`, that the only group of rows has."""
        if channels is None:
            return self.product(x)
        (kernel,) = self.kernels
        return exact_sum([tf.matmul(x, tf.gather(kernel, channels))])


class FixedPointDense(tf.Module):
    """A dense layer from integers to integers: product, bias, leaky ReLU, rounding, clipping.

    Args:
      kernel: float `[..., M]`, an array or a variable, rounded here; K is what it has in a column.
      bias: float `[M]`, likewise.
      input_bits: inputs are multiples of `2**-input_bits`, given as integers.
      input_limit: largest magnitude of an integer input.
      output_bits: likewise, of the results.
      output_limit: results are clipped to this magnitude.
      slope: of the leaky ReLU, a binary fraction of at most 6 bits; 1 for none.
      grids: the layer's `Grids`, whose integers results are then multiples of.

    Raises:
      ValueError: if weights are not finite, inputs do not fit two bytes, or sums with the bias do
        not fit float64, so that results could not be kept exact; the message names the layer.
    """

    def __init__(
        self,
        kernel: tf.Variable,
        bias: tf.Variable,
        input_bits: int = ACTIVATION_BITS,
        input_limit: int = ACTIVATION_LIMIT,
        output_bits: int = ACTIVATION_BITS,
        output_limit: int = ACTIVATION_LIMIT,
        slope: float = 1.0,
        grids: Grids = PLAIN,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        # in a function, out of TensorFlow's sight: they are no part of this module
        self._origin = lambda made_of=(kernel, bias): (made_of, grids)
        kernel, bias = np.asarray(kernel, np.float64), np.asarray(bias, np.float64)
        kernel, bias = grids.on(kernel.reshape(-1, kernel.shape[-1]), bias)
        if not (np.all(np.isfinite(kernel)) and np.all(np.isfinite(bias))):
            raise ValueError(f"layer {self.name}: weights are not finite")
        with tf.init_scope():
            integers, steps = (each.numpy() for each in round_kernel(kernel))
        integers = integers.astype(np.int8)
        self.split = input_limit > BYTE
        if input_limit > ACTIVATION_LIMIT:
            raise ValueError(
                f"layer {self.name}: inputs up to {input_limit} need more than 16 bits"
            )
        self.slope, self.input_limit, self.output_limit = slope, input_limit, output_limit
        self.kernel = tf.Variable(integers, trainable=False, name="kernel")
        self.regroup()
        self.input_bits, self.output_bits = input_bits, output_bits
        unit = steps * 2.0**-input_bits  # of sums
        bias = np.round(bias / unit)
        largest = np.abs(integers.astype(np.float64)).sum(0) * input_limit + np.abs(bias)
        if not largest.max() < EXACT_FLOAT64:
            raise ValueError(f"layer {self.name}: sums up to {largest.max():.3g} are not exact")
        self.bias = tf.Variable(bias, trainable=False, dtype=tf.float64, name="bias")
        self.scale = tf.Variable(
            unit * 2.0**output_bits, trainable=False, dtype=tf.float64, name="scale"
        )

    @property
    def _matrix(self) -> tf.Tensor:
        """By which inputs are multiplied, int8."""
        return self.kernel

    def regroup(self) -> None:
        """Chooses groups of rows anew, for the kernel that it has now."""
        self.groups = row_groups(self.kernel.numpy(), self._largest_operand)

    @property
    def _largest_operand(self) -> int:
        """Of those that meet the kernel."""
        return BYTE // 2 if self.split else self.input_limit

    def floats(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        """What it was made of, kernel and bias, and what its own weights stand for of these.

        Returns:
          Pairs of a variable and a tensor of its shape and type.
        """
        made_of, grids = self._origin()
        unit = self.scale * 2.0**-self.output_bits
        kernel = tf.cast(self.kernel, tf.float64) * (unit * 2.0**self.input_bits)
        values = grids.off(kernel, self.bias * unit)
        return [
            (each, tf.cast(tf.reshape(value, each.shape), each.dtype))
            for each, value in zip(made_of, values)
        ]

    def kernel_in_floats(self) -> tuple[tf.Variable, Grids]:
        """The kernel that it was made of, and the grids on which this was rounded."""
        (kernel, _), grids = self._origin()
        return kernel, grids

    def restore(self) -> list[tf.Variable]:
        """Gives the variables it was made of what its own stand for.

        Returns:
          Both, kernel and bias.
        """
        found = self.floats()
        for variable, value in found:
            variable.assign(value)
        return [variable for variable, _ in found]

    def prepare(self, rows: tf.Tensor | None = None, columns: tf.Tensor | None = None) -> Prepared:
        """What the products need, to be made outside of loops.

        Args:
          rows: int32 `[k]`, ascending, those of the kernel that inputs will be for; None: all.
          columns: int32 `[m]`, those of the results that are wanted; None: all.

        Returns:
          A `Prepared`.
        """
        kernel, bias, scale = self._matrix, self.bias, self.scale
        if columns is not None:
            kernel = tf.gather(kernel, columns, axis=1)
            bias, scale = tf.gather(bias, columns), tf.gather(scale, columns)
        if rows is not None:
            kernel = tf.gather(kernel, rows)
        kernel = tf.cast(kernel, tf.float32)
        if len(self.groups) == 1:
            return Prepared([kernel], self.groups, bias, scale)
        ends = [end for _, end in self.groups]
        if rows is not None:
            # what is exact for all rows of a group is exact for some of them
            ends = tf.unstack(tf.searchsorted(rows, ends))
        ranges = list(zip([0, *ends], ends))
        return Prepared([kernel[first:end] for first, end in ranges], ranges, bias, scale)

    def __call__(self, x: tf.Tensor, prepared: Prepared | None = None) -> tf.Tensor:
        """Applies the layer.

        Args:
          x: float32 `[n, K]`, integers within the input limit.
          prepared: from `prepare`; None: for all rows and columns.

        Returns:
          float32 `[n, M]`, integers within the output limit.
        """
        if prepared is None:
            return self.rounded(self._totals(x, self._sums))
        if not self.split:
            return self.rounded(prepared.product(x), prepared)
        if self._is_large:
            return self.rounded(self._totals(x, prepared.sums), prepared)
        # both bytes meet the kernel at once, so that it is read once
        return self.rounded(of_bytes(prepared.product(tf.concat(to_bytes(x), 0))), prepared)

    @property
    def _is_large(self) -> bool:
        """Whether the high bytes' few rows of the kernel are sooner read than computed with all."""
        return len(self.groups) == 1 and self.kernel.shape.num_elements() >= LARGE_KERNEL

    def _sums(self, x: tf.Tensor, channels: tf.Tensor | None = None) -> tf.Tensor:
        """Exact sums of products with the kernel, float64 `[n, M]`, of operands within a byte.

        Args:
          x: float32 `[n, c]`.
          channels: int32 `[c]`, which of the inputs these are; None: all.
        """
        return self.prepare(rows=channels).product(x)

    def _totals(self, x: tf.Tensor, sums: Sums) -> tf.Tensor:
        """The same of operands that may have two bytes, `[n, K]`, by `sums` of single ones.

        Few channels have large values. Those whose high byte is zero everywhere take no time there.
        """
        if not self.split:
            return sums(x, None)
        high, low = to_bytes(x)
        channels = in_use(high)
        return BYTE * sums(tf.gather(high, channels, axis=1), channels) + sums(low, None)

    def rounded(self, total: tf.Tensor, prepared: Prepared | None = None) -> tf.Tensor:
        """The layer's results, float32 `[n, M]`, of all sums of products `[n, M]`."""
        weights: FixedPointDense | Prepared = self if prepared is None else prepared
        total = (total + weights.bias) * weights.scale
        if self.slope != 1:
            total = tf.maximum(total, total * self.slope)
        limit = float(self.output_limit)
        return tf.cast(tf.maximum(tf.minimum(tf.floor(total + 0.5), limit), -limit), tf.float32)


class FixedPointConv2D(FixedPointDense):
    """The same layer of the neighbourhoods of all positions, zero outside of the array.

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


def _windows(x: tf.Tensor, size: int) -> list[tf.Tensor]:
    """Arrays `[h, w, ...]` as seen by each of a kernel's positions, rows of them first."""
    height, width = tf.unstack(tf.shape(x)[:2])
    margin = [size // 2] * 2
    padded = tf.pad(x, [margin, margin, *[[0, 0]] * (len(x.shape) - 2)])
    places = itertools.product(range(size), repeat=2)
    return [padded[top : top + height, left : left + width] for top, left in places]


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
        beside = tf.concat(_windows(tf.reshape(x, [height, width, channels]), size), 2)
        return tf.reshape(beside, [height * width, size**2 * channels])

    return _traced(function)


@functools.cache
def _summed(size: int) -> Callable[..., tf.Tensor]:
    """What sums, for each position, the products that its neighbours have for it.

    Products are `[h * w, size * size * M]`, the sums `[h * w, M]`.
    """

    def function(products: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        results = tf.shape(products)[1] // size**2
        windows = _windows(tf.reshape(products, [height, width, size**2, results]), size)
        total = tf.add_n([window[:, :, tap] for tap, window in enumerate(windows)])
        return tf.reshape(total, [height * width, results])

    return _traced(function)


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


def grid(height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows and columns of all positions in raster order, two int32 `[height * width]`."""
    rows = tf.repeat(tf.range(height), width)
    return rows, tf.tile(tf.range(width), [height])
