"""Layers whose results are integers, the same on every machine.

Kernels and activations are integers here (values on a binary grid), and their products are summed
exactly (`tfclic.exact.exact_sums`). Rounding to the next grid happens in float64, where everything
involved is a short binary fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from tfclic.exact.exact_sums import BYTE, exact_sum, in_use, of_bytes, row_groups, to_bytes
from tfclic.exact.rounding import PLAIN, STEP_BITS, Grids, round_kernel

if TYPE_CHECKING:
    from tfclic.layers.composite import Elementwise

# see `FixedPointDense._sums`
Sums = Callable[[tf.Tensor, Optional[tf.Tensor]], tf.Tensor]

# of 53 bits, these are left for the step, four for the slope's fraction and one for the rounding
EXACT_FLOAT64 = 1 << (48 - STEP_BITS)
LARGE_KERNEL = 1 << 19  # weights; as floats they do not stay in a core's own cache
ACTIVATION_BITS = 6  # hidden activations are multiples of 1/64
ACTIVATION_LIMIT = (1 << 15) - 1  # and have 16 bits


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
