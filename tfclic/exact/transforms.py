"""Synthesis transforms in exact integers, derived from float ones: the same pixels everywhere.

A value is a float32 tensor of integers, each channel a multiple of its own step. A layer takes
integers within +-256 and an integer kernel of 8 bits, so that its sums are exact in float32 in
whatever order they are taken, and operands survive being shortened to bfloat16. What needs more
bits is taken apart into a high and a low byte, and so are kernels that are cheap to repeat. From
one grid to the next leads a multiplication of two floats and a rounding, each of them an operation
of its own that IEEE 754 defines to the last bit. No sum is ever taken of products that were not
rounded to integers, which a compiler might fuse.

`Integers` does to these values what `tfclic.layers.Floats` does to floats; the exact form of a
layer follows from `linear`, by its type, and from the `ranges` that its values had in floats.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from tfclic import layers
from tfclic.exact import fixed_point
from tfclic.exact.fixed_point import BYTE, EXACT_FLOAT32, KERNEL_LIMIT

Made = TypeVar("Made")

if TYPE_CHECKING:
    from tfclic.exact.ranges import Ranges
    from tfclic.layers.composite import Elementwise

OPERAND = BYTE  # largest magnitude of what a layer takes
WIDE = (1 << 15) - 1  # of what it takes as two bytes
FINE = 1 << 12  # steps in the range of what is added, or multiplied
LARGEST = 1 << 22  # of what is added
FEW = 16  # columns of a kernel that are cheap to have twice
AVERAGE = 8  # steps of an average in one of what it is of
BIAS = 1 << 22  # the largest bias in units of sums
ARGUMENTS, RESULTS = 1 << 6, 1 << 12  # of tables: steps of 1


class Linear(NamedTuple):
    """A layer that is linear but for a (leaky) ReLU.

    Attributes:
      kernel: float64 `[size, size, C, M]`.
      bias: float64 `[M]`.
      slope: of the leaky ReLU; 1 for none.
      factor: of the depth-to-space that follows.
      is_depthwise: whether each column sees one channel, its own; C is 1 then.
    """

    kernel: np.ndarray
    bias: np.ndarray
    slope: float = 1.0
    factor: int = 1
    is_depthwise: bool = False


@functools.singledispatch
def linear(layer: tf.keras.layers.Layer) -> Linear:
    """What a layer is, a `Linear`.

    Raises:
      ValueError: it has no exact form; says why.
    """
    raise ValueError(f"{type(layer).__name__} has no exact form")


@linear.register(tf.keras.layers.DepthwiseConv2D)
@linear.register(tf.keras.layers.Conv2D)
def _(layer: tf.keras.layers.Conv2D | tf.keras.layers.DepthwiseConv2D) -> Linear:
    strided = {*layer.strides, *layer.dilation_rate, layer.groups} != {1}
    if strided or (layer.padding != "same" and layer.kernel_size != (1, 1)):
        raise ValueError("a convolution with strides, dilation, groups or no padding")
    is_depthwise = isinstance(layer, tf.keras.layers.DepthwiseConv2D)
    if is_depthwise and layer.depth_multiplier != 1:
        raise ValueError("a depthwise convolution with several results for a channel")
    weights = layer.depthwise_kernel if is_depthwise else layer.kernel
    kernel = np.asarray(weights, np.float64)
    kernel = kernel.transpose(0, 1, 3, 2) if is_depthwise else kernel
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(kernel.shape[-1])
    is_linear = layer.activation in (None, tf.keras.activations.linear)
    slope = 1.0 if is_linear else _slope(layer.activation)
    return Linear(kernel, bias, slope, is_depthwise=is_depthwise)


@linear.register(layers.SubpixelConv2D)
def _(layer: layers.SubpixelConv2D) -> Linear:
    return linear(layer.conv)._replace(factor=layer.factor)


@linear.register(layers.BlockSynthesis)
def _(layer: layers.BlockSynthesis) -> Linear:
    kernel = np.asarray(layer.kernel, np.float64)[None, None]
    return Linear(kernel, np.zeros(kernel.shape[-1]), factor=layer.size)


def _slope(activation: Elementwise) -> float:
    """The slope below 0 of a (leaky) ReLU."""
    with tf.init_scope():
        return fixed_point.slope_of(activation)


class Kernel(NamedTuple):
    """A kernel in integers: about `sum(parts[i] * units[i])`.

    Attributes:
      parts: list of int8-like float64 `[size, size, C, M]`.
      units: list of float64 `[M]`.
      bias: float64 `[M]`, integers of the unit; where there are several parts, not rounded.
      limits: list of floats, the largest magnitude of a sum, with the bias.
    """

    parts: list[np.ndarray]
    units: list[np.ndarray]
    bias: np.ndarray
    limits: list[float]


def rounded(kernel: np.ndarray, bias: np.ndarray, largest: int, in_halves: bool) -> Kernel:
    """Rounds a kernel so that sums are exact in float32.

    Args:
      kernel: float64 `[size, size, C, M]`, for integers.
      bias: float64 `[M]`.
      largest: their largest magnitude.
      in_halves: whether the kernel gets 16 bits, in two parts, instead of 8, if sums stay exact.
    """
    columns = kernel.reshape(-1, kernel.shape[-1])
    peak = np.abs(columns).max(0)
    if in_halves:
        unit = np.where(peak > 0, peak, 1.0) / (KERNEL_LIMIT * BYTE)
        whole = np.round(kernel / unit)
        high = np.floor((whole + BYTE // 2) / BYTE)
        parts, units = [high, whole - BYTE * high], [unit * BYTE, unit]
        limits = [float(_magnitudes(part).max() * largest) for part in parts]
        if max(limits) < EXACT_FLOAT32:
            return Kernel(parts, units, bias, limits)
    unit = np.maximum(peak / KERNEL_LIMIT, np.abs(bias) / BIAS)
    unit = np.where(unit > 0, unit, 1.0)
    while True:
        part, counted = np.round(kernel / unit), np.round(bias / unit)
        totals = _magnitudes(part) * largest + np.abs(counted)
        if totals.max() < EXACT_FLOAT32:
            return Kernel([part], [unit], counted, [float(totals.max())])
        # the few columns that are too long get shorter integers
        unit = np.where(totals < EXACT_FLOAT32, unit, unit * 1.01 * totals / EXACT_FLOAT32)


def _magnitudes(part: np.ndarray) -> np.ndarray:
    return np.abs(part).reshape(-1, part.shape[-1]).sum(0)


class Constants(tf.Module):
    """What the exact form of a transform keeps: variables by name, made when first wanted.

    They are variables, for what is constant in a graph may be folded by whoever optimizes it.
    """

    def __init__(self, name: str = "integers") -> None:
        super().__init__(name=name)
        self.variables_by_name: dict[str, tf.Variable] = {}
        known: dict[str, Any] = {}
        # in a function, out of TensorFlow's sight
        self._known = lambda: known

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` returned when it was first asked for; what is no part of a graph."""
        if name not in self._known():
            with tf.init_scope():
                self._known()[name] = make()
        return self._known()[name]

    def __call__(self, name: str, make: Callable[[], Any], dtype: Any = tf.float32) -> tf.Tensor:
        """What `make` returned when it was first asked for, float32."""
        if name not in self.variables_by_name:
            with tf.init_scope():
                made = tf.Variable(tf.cast(make(), dtype), trainable=False, name=name)
            self.variables_by_name[name] = made
        return tf.cast(self.variables_by_name[name], tf.float32)


class Grid(NamedTuple):
    """Integers on a grid.

    Attributes:
      tensor: float32 `[B, h, w, C]`.
      steps: float64 `[C]`, what 1 stands for.
      limit: float, their largest magnitude.
    """

    tensor: tf.Tensor
    steps: np.ndarray
    limit: float


class Value:
    """A value that integers are made of when somebody says on which grid.

    Args:
      constants: `Constants`.
      name: unique, an identifier.
      sizes: float64 `[C]`, how large it gets, as far as was seen; steps follow from it.
      stride: pixels of the image between its positions.
      reach: pixels beyond a pixel's own that it depends on; infinite if on all.
    """

    def __init__(
        self, constants: Constants, name: str, sizes: np.ndarray, stride: float, reach: float
    ) -> None:
        self.constants, self.name, self.sizes = constants, name, sizes
        self.stride, self.reach = stride, reach
        self._fine: Grid | None = None

    def on(self, steps: np.ndarray, limit: int, purpose: str) -> Grid:
        """It as multiples of steps `[C]`, clipped to a limit; `purpose` names the variables."""
        raise NotImplementedError

    def fine(self) -> Grid:
        """It on a grid that is fine enough to be added to others, computed once."""
        if self._fine is None:
            self._fine = self._finely()
        return self._fine

    def _finely(self) -> Grid:
        return self.on(self.sizes / FINE, LARGEST, "fine")

    def operands(self, sizes: np.ndarray, purpose: str) -> list[tuple[tf.Tensor, int]]:
        """It as a layer takes it: integers within +-256, each with how often it counts.

        Steps are `steps_for(sizes)`.
        """
        return [(self.on(self.steps_for(sizes), OPERAND, purpose).tensor, 1)]

    def steps_for(self, sizes: np.ndarray) -> np.ndarray:
        """The steps of its `operands`."""
        return sizes / OPERAND

    def __add__(self, other: Value) -> Value:
        return Sum(self, other)

    def _again(self, given: Grid, steps: np.ndarray, limit: int, purpose: str) -> Grid:
        """Integers on another grid."""
        ratio = given.steps / steps
        tensor, largest = given.tensor, given.limit
        if not np.array_equal(ratio, np.ones_like(ratio)):
            times = self.constants(f"{self.name}_to_{purpose}", lambda: ratio)
            tensor, largest = tf.round(tensor * times), given.limit * ratio.max() + 1
        return _clipped(tensor, steps, largest, limit)


def _clipped(tensor: tf.Tensor, steps: np.ndarray, largest: float, limit: int) -> Grid:
    if largest > limit:
        # tf.clip_by_value takes two passes
        tensor = tf.raw_ops.ClipByValue(
            t=tensor, clip_value_min=-float(limit), clip_value_max=float(limit)
        )
    return Grid(tensor, steps, min(largest, limit))


class Known(Value):
    """Integers that are there: float32 `[B, h, w, C]`, of steps `[C]`, within a limit."""

    def __init__(
        self,
        constants: Constants,
        name: str,
        tensor: tf.Tensor,
        steps: np.ndarray,
        limit: int,
        stride: float,
    ) -> None:
        super().__init__(constants, name, steps * limit, stride, 0)
        self._grid = Grid(tensor, steps, limit)

    def on(self, steps: np.ndarray, limit: int, purpose: str) -> Grid:
        return self._again(self._grid, steps, limit, purpose)

    def _finely(self) -> Grid:
        return self._grid

    def operands(self, sizes: np.ndarray, purpose: str) -> list[tuple[tf.Tensor, int]]:
        if self._grid.limit <= OPERAND:
            return [(self._grid.tensor, 1)]
        high, low = fixed_point.to_bytes(self._grid.tensor)
        return [(high, BYTE), (low, 1)]

    def steps_for(self, sizes: np.ndarray) -> np.ndarray:
        return self._grid.steps


class Term(NamedTuple):
    """Something to be summed: `tensor`, float32 `[B, h, w, M]`, times `unit`, float64 `[M]`."""

    tensor: tf.Tensor
    unit: np.ndarray
    limit: float


class Sums(Value):
    """Sums of products, not rounded yet, with a leaky ReLU and depth-to-space after them.

    Args:
      terms: list of `Term`.
      bias: float64 `[M]`, added to what several terms make; None where it is in the only one.
      slope, factor: as in `Linear`.
    """

    def __init__(
        self,
        constants: Constants,
        name: str,
        terms: Sequence[Term],
        bias: np.ndarray | None,
        slope: float,
        factor: int,
        sizes: np.ndarray,
        stride: float,
        reach: float,
    ) -> None:
        super().__init__(constants, name, sizes, stride, reach)
        self._terms, self._bias, self._slope, self._factor = terms, bias, slope, factor

    def scaled(self, weights: np.ndarray) -> Sums:
        """Each channel times its weight."""
        if self._slope != 1 or self._factor != 1:
            raise ValueError("weights after an activation or depth-to-space")
        terms = [term._replace(unit=term.unit * weights) for term in self._terms]
        bias = None if self._bias is None else self._bias * weights
        sizes = self.sizes * np.abs(weights)
        sizes = np.maximum(sizes, max(1e-3 * sizes.max(), 1e-9))
        name = f"{self.name}_scaled"
        shape = bias, 1.0, 1, sizes, self.stride, self.reach
        return Sums(self.constants, name, terms, *shape)

    def activated(self, slope: float, sizes: np.ndarray) -> Sums:
        """It with a leaky ReLU, of which it has none."""
        if self._slope != 1:
            raise ValueError("two activations in turn")
        given = self.name, self._terms, self._bias, slope, self._factor
        return Sums(self.constants, *given, sizes, self.stride, self.reach)

    def on(self, steps: np.ndarray, limit: int, purpose: str) -> Grid:
        columns = np.tile(steps, self._factor**2)
        largest, parts = 0.0, []
        for number, (tensor, unit, most) in enumerate(self._terms):
            name = f"{self.name}_{number}_to_{purpose}"
            times = unit / columns
            part = tensor * self.constants(name, functools.partial(np.asarray, times))
            is_alone = len(self._terms) == 1 and self._bias is None
            parts.append(part if is_alone else tf.round(part))
            largest += most * float(np.abs(times).max()) + 1
        if self._bias is not None and self._bias.any():
            offset = np.round(self._bias / columns)
            parts.append(self.constants(f"{self.name}_bias_to_{purpose}", lambda: offset))
            largest += float(np.abs(offset).max())
        if largest >= EXACT_FLOAT32 and len(parts) > 1:
            raise ValueError(f"layer {self.name}: sums up to {largest:.3g} are not exact")
        total = functools.reduce(tf.add, parts)
        if self._slope == 0:
            total = tf.nn.relu(total)
        elif self._slope != 1:
            total = tf.nn.leaky_relu(total, self._slope)
        total = _clipped(tf.round(total), steps, largest, limit)
        if self._factor == 1:
            return total
        return total._replace(tensor=tf.nn.depth_to_space(total.tensor, self._factor))


class Sum(Value):
    """The sum of two values."""

    def __init__(self, first: Value, second: Value) -> None:
        sizes = first.sizes + second.sizes
        stride, reach = first.stride, max(first.reach, second.reach)
        # by what is new, not by what it is added to
        named = second if isinstance(first, (Sum, Known)) else first
        super().__init__(first.constants, f"{named.name}_sum", sizes, stride, reach)
        self._parts = first, second

    def on(self, steps: np.ndarray, limit: int, purpose: str) -> Grid:
        if self._fine is not None or purpose != PIXELS:
            return self._again(self.fine(), steps, limit, purpose)
        return self._added([part.on(steps, LARGEST, purpose) for part in self._parts])

    def _finely(self) -> Grid:
        # what was a sum before keeps its grid
        kept = [part.fine() for part in self._parts if isinstance(part, (Sum, Known))]
        steps = kept[0].steps if kept else self.sizes / FINE
        return self._added([self._part(part, steps) for part in self._parts])

    def _part(self, part: Value, steps: np.ndarray) -> Grid:
        if part._fine is not None and np.array_equal(part._fine.steps, steps):
            return part._fine
        return part.on(steps, LARGEST, f"sum_of_{self.name}")

    def _added(self, parts: Sequence[Grid]) -> Grid:
        total = parts[0].tensor + parts[1].tensor
        return _clipped(total, parts[0].steps, parts[0].limit + parts[1].limit, LARGEST)


PIXELS = "pixels"


class Joined(Value):
    """Values side by side."""

    def __init__(self, *parts: Value) -> None:
        sizes = np.concatenate([part.sizes for part in parts])
        reach = max(part.reach for part in parts)
        name = "_with_".join(part.name for part in parts)
        super().__init__(parts[0].constants, name, sizes, parts[0].stride, reach)
        self._parts = parts

    def on(self, steps: np.ndarray, limit: int, purpose: str) -> Grid:
        each = np.split(steps, np.cumsum([len(part.sizes) for part in self._parts])[:-1])
        found = [part.on(own, limit, purpose) for part, own in zip(self._parts, each)]
        tensor = tf.concat([grid.tensor for grid in found], -1)
        return Grid(tensor, steps, max(grid.limit for grid in found))


class Shuffled(Value):
    """Depth-to-space of a value."""

    def __init__(self, source: Value, factor: int) -> None:
        sizes = source.sizes.reshape(factor**2, -1).max(0)
        stride = source.stride / factor
        super().__init__(source.constants, f"{source.name}_shuffled", sizes, stride, source.reach)
        self._source, self._factor = source, factor

    def on(self, steps: np.ndarray, limit: int, purpose: str) -> Grid:
        found = self._source.on(np.tile(steps, self._factor**2), limit, purpose)
        return Grid(tf.nn.depth_to_space(found.tensor, self._factor), steps, found.limit)


class Integers(layers.Floats):
    """What `tfclic.layers.Floats` does, of `Value`s.

    Args:
      constants: `Constants`.
      ranges: how large the values around each layer get.
      names: of layers, by their ids.
    """

    def __init__(self, constants: Constants, ranges: Ranges, names: Mapping[int, str]) -> None:
        self.constants, self._ranges, self._names = constants, ranges, names

    def run(self, network: tf.Module, *values: Value, hidden_bits: int | None = None) -> Value:
        if isinstance(network, layers.Composite):
            return network.compose(self, *values)
        if isinstance(network, layers.Sequential):
            return self.in_turn(network.layers, *values)
        (value,) = values
        if isinstance(network, tf.keras.layers.Activation):
            return self.activated(network.activation, value)
        name = self._names[id(network)]
        try:
            if isinstance(network, layers.GDN):
                return self._normalised(network, value, name)
            if isinstance(network, layers.ChannelNorm):
                return self._standardised(network, value, name)
            layer = self.constants.once(f"{name}_linear", lambda: linear(network))
            return self._applied(layer, value, name)
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from None

    def concat(self, *values: Value) -> Value:
        return Joined(*values)

    def tabulated(self, function: Elementwise, value: Value, limit: int) -> Value:
        largest, channels = limit * ARGUMENTS, len(value.sizes)

        def table() -> np.ndarray:
            arguments = np.arange(-largest, largest + 1) / ARGUMENTS
            return np.round(function(tf.constant(arguments)).numpy() * RESULTS)

        name = f"{value.name}_table"
        found = value.on(np.full(channels, 1 / ARGUMENTS), largest, name)
        index = tf.cast(found.tensor, tf.int32) + largest
        tensor = tf.gather(self.constants(name, table), index)
        limit = self.constants.once(name, lambda: int(np.abs(table()).max()))
        steps = np.full(channels, 1 / RESULTS)
        known = Known(self.constants, name, tensor, steps, limit, value.stride)
        known.reach = value.reach
        return known

    def activated(self, function: Elementwise, value: Value) -> Value:
        if function is tf.keras.activations.linear:
            return value
        if not isinstance(value, Sums):
            raise ValueError(f"after {value.name}: an activation of what is no layer's result")
        return value.activated(_slope(function), value.sizes)

    def product(self, value: Value, factor: Value) -> Value:
        first, second = value.fine(), factor.fine()
        name = f"{value.name}_times_{factor.name}"
        sizes = value.sizes * factor.sizes
        return self._product(name, first, second, sizes, value.stride, factor.reach)

    def depth_to_space(self, value: Value, factor: int) -> Value:
        return Shuffled(value, factor)

    def precise(self, value: Value) -> Value:
        return value

    def silence(self, value: Value, factor: int, channels: int) -> Value:
        tensor = super().silence(value.fine().tensor, factor, channels)
        name, stride = f"no_{value.name}", value.stride * factor
        return Known(self.constants, name, tensor, np.ones(channels), 1, stride)

    def average(self, value: Value) -> Value:
        given, name = value.fine(), f"{value.name}_average"
        # exact, and a quotient that IEEE 754 defines
        total = tf.reduce_sum(tf.cast(given.tensor, tf.float64), [1, 2], keepdims=True)
        count = tf.cast(tf.reduce_prod(tf.shape(given.tensor)[1:3]), tf.float64)
        found = tf.round(tf.cast(total / count, tf.float32) * AVERAGE)
        grid = _clipped(found, given.steps / AVERAGE, np.inf, WIDE)
        known = Known(self.constants, name, grid.tensor, grid.steps, WIDE, value.stride)
        known.reach = np.inf
        return known

    def gated(self, value: Value) -> Value:
        given = value.fine()
        channels = len(given.steps) // 2
        steps, sizes = (np.split(each, [channels]) for each in (given.steps, value.sizes))
        first, second = tf.split(given.tensor, 2, -1)
        term = Term(first * second, steps[0] * steps[1], given.limit**2)
        # both are seldom at their largest
        size = sizes[0] * sizes[1] / 16
        shape = None, 1.0, 1, size, value.stride, value.reach
        return Sums(self.constants, f"{value.name}_gated", [term], *shape)

    def scaled(self, value: Value, weight: tf.Variable) -> Value:
        if not isinstance(value, Sums):
            raise ValueError(f"after {value.name}: weights of what is no layer's result")
        name = f"{value.name}_weights"
        weights = self.constants.once(name, lambda: np.asarray(weight, np.float64))
        return value.scaled(weights)

    def _standardised(self, layer: layers.ChannelNorm, value: Value, name: str) -> Sums:
        """`ChannelNorm`, by exact sums over the channels, all of one step, and of their squares."""
        channels = len(value.sizes)
        limit = (1 << 21) // channels
        step = float(value.sizes.max()) * 2 / limit
        given = value.on(np.full(channels, step), limit, name).tensor
        # differences from the mean, times the number of channels: within 2**22
        centred = given * channels - tf.reduce_sum(given, -1, keepdims=True)
        squares = tf.reduce_sum(tf.square(tf.cast(centred, tf.float64)), -1, keepdims=True)
        least = max(round(layers.EPSILON * channels**3 / step**2), 1)
        # operations that IEEE 754 defines, and integers before them
        deviation = tf.sqrt((squares + tf.constant(least, tf.float64)) / channels)
        tensor = centred * tf.cast(1 / deviation, tf.float32)

        def weights() -> tuple[np.ndarray, np.ndarray]:
            return np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)

        scale, offset = self.constants.once(f"{name}_weights", weights)
        term = Term(tensor, scale, float(np.sqrt(channels)))
        shape = offset, 1.0, 1, self._ranges[name].made, value.stride, value.reach
        return Sums(self.constants, name, [term], *shape)

    def _product(
        self,
        name: str,
        first: Grid,
        second: Grid,
        sizes: np.ndarray,
        stride: float,
        reach: float,
    ) -> Sums:
        term = Term(
            first.tensor * second.tensor, first.steps * second.steps, first.limit * second.limit
        )
        return Sums(self.constants, name, [term], None, 1.0, 1, sizes, stride, reach)

    def _applied(self, layer: Linear, value: Value, name: str) -> Sums:
        given = self._ranges[name].given
        steps, operands = value.steps_for(given), value.operands(given, name)
        is_cheap = layer.kernel.shape[-1] <= FEW or layer.factor > 2
        in_halves = is_cheap and not layer.is_depthwise
        terms = self._products(layer, steps, operands, name, in_halves)
        bias = layer.bias if len(terms) > 1 else None
        reach = value.reach + layer.kernel.shape[0] // 2 * value.stride
        sizes, stride = self._ranges[name].made, value.stride / layer.factor
        shape = bias, layer.slope, layer.factor
        return Sums(self.constants, name, terms, *shape, sizes, stride, reach)

    def _products(
        self,
        layer: Linear,
        steps: np.ndarray,
        operands: Sequence[tuple[tf.Tensor, int]],
        name: str,
        in_halves: bool,
    ) -> list[Term]:
        """All products of operands and parts of the kernel; a single one has the bias in it."""
        largest = OPERAND if len(operands) == 1 else BYTE // 2

        def make() -> Kernel:
            folded = layer.kernel * (steps if layer.is_depthwise else steps[:, None])
            return rounded(folded, layer.bias, largest, in_halves)

        kernel = self.constants.once(f"{name}_kernel", make)
        is_alone = len(operands) == len(kernel.parts) == 1
        integers = self.constants(
            f"{name}_kernel", lambda: np.concatenate(kernel.parts, -1), tf.int8
        )
        terms = []
        # all bytes meet the kernel at once, so that it is read once
        x = operands[0][0] if len(operands) == 1 else tf.concat([part for part, _ in operands], 0)
        sums = _split(convolved(x, integers, layer.is_depthwise), len(operands), 0)
        for total, (_, times) in zip(sums, operands):
            for part, unit, limit in zip(
                _split(total, len(kernel.parts), -1), kernel.units, kernel.limits
            ):
                if is_alone and kernel.bias.any():
                    bias = self.constants(f"{name}_bias", lambda: kernel.bias)
                    part = tf.nn.bias_add(part, bias)
                terms.append(Term(part, unit * times, limit))
        return terms

    def _normalised(self, layer: layers.GDN, value: Value, name: str) -> Sums:
        if not layer.inverse:
            raise ValueError("a GDN that divides has no exact form")
        given = self._ranges[name].given
        magnitude = tf.abs(value.on(given / OPERAND, OPERAND, name).tensor)

        def make() -> Linear:
            gamma, beta = (np.asarray(each, np.float64) for each in (layer.gamma, layer.beta))
            return Linear(gamma[None, None], beta)

        norm = self.constants.once(f"{name}_linear", make)
        (term,) = self._products(norm, given / OPERAND, [(magnitude, 1)], name, False)
        sizes = self._ranges[name].made
        return self._product(name, value.fine(), Grid(*term), sizes, value.stride, value.reach)


def _split(total: tf.Tensor, count: int, axis: int) -> list[tf.Tensor]:
    return [total] if count == 1 else tf.split(total, count, axis)


def convolved(x: tf.Tensor, kernel: tf.Tensor, is_depthwise: bool = False) -> tf.Tensor:
    """Zero-padded convolution, as a product of matrices where the kernel sees one position."""
    if is_depthwise:
        kernel = tf.transpose(kernel, [0, 1, 3, 2])
        return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")
    if kernel.shape[:2] != (1, 1):
        return tf.nn.conv2d(x, kernel, 1, "SAME")
    rows = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel[0, 0])
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [kernel.shape[-1]]], 0))
