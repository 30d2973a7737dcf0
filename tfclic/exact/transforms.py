"""Synthesis transforms in exact integers, derived from float ones: the same pixels everywhere.

A value is a float32 tensor of integers, each channel a multiple of its own step. A layer takes
integers within +-256 and an integer kernel of 8 bits, so that its sums are exact in float32 in
whatever order they are taken, and operands survive being shortened to bfloat16. What needs more
bits is taken apart into a high and a low byte, and so are kernels that are cheap to repeat. From
one grid to the next leads a multiplication of two floats and a rounding, each of them an operation
of its own that IEEE 754 defines to the last bit. No sum is ever taken of products that were not
rounded to integers, which a compiler might fuse.

`Integers` does to these values what `tfclic.layers.Floats` does to floats; the exact form of a
layer follows from `kernels.linear`, by its type, and from the `ranges` that its values had in
floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic import layers
from tfclic.exact import kernels, octets
from tfclic.exact.constants import Constants
from tfclic.exact.exact_sums import BYTE
from tfclic.exact.octets import Form
from tfclic.exact.sums import Joined, Shuffled, Sums, Term
from tfclic.exact.values import OPERAND, Average, Grid, Known, Value

if TYPE_CHECKING:
    from tfclic.exact.ranges import Ranges
    from tfclic.layers.composite import Elementwise

COLOURS = 3
FEW = 16  # columns of a kernel that are cheap to have twice
WIDEST = 8  # stride at which operands may have 8 bits; above it there is little work
ARGUMENTS, RESULTS = 1 << 6, 1 << 12  # of tables: steps of 1


class Integers(layers.Floats):
    """What `tfclic.layers.Floats` does, of `Value`s.

    Args:
      constants: `Constants`.
      ranges: how large the values around each layer get.
      names: of layers, by their ids.
      eight_bits: whether operands of layers have 8 bits where most of the work is.
    """

    def __init__(
        self,
        constants: Constants,
        ranges: Ranges,
        names: Mapping[int, str],
        eight_bits: bool = False,
    ) -> None:
        self.constants, self._ranges, self._names = constants, ranges, names
        self._eight_bits = eight_bits

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
            layer = self.constants.once(f"{name}_linear", lambda: kernels.linear(network))
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
        return value.activated(kernels.slope_of(function), value.sizes)

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
        return Average(value)

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
        tensor = first.tensor * tf.cast(second.tensor, tf.float32)
        term = Term(tensor, first.steps * second.steps, first.limit * second.limit)
        return Sums(self.constants, name, [term], None, 1.0, 1, sizes, stride, reach)

    def _applied(self, layer: kernels.Linear, value: Value, name: str) -> Sums:
        given, form = self._ranges[name].given, self._form(layer, value)
        steps, operands = value.steps_for(given, form), value.operands(given, name, form)
        is_cheap = layer.kernel.shape[-1] <= FEW or layer.factor > 2
        in_halves = is_cheap and not layer.is_depthwise
        terms = self._products(layer, steps, operands, name, in_halves, form)
        bias = layer.bias if len(terms) > 1 else None
        reach = value.reach + layer.kernel.shape[0] // 2 * value.stride
        sizes, stride = self._ranges[name].made, value.stride / layer.factor
        shape = bias, layer.slope, layer.factor
        return Sums(self.constants, name, terms, *shape, sizes, stride, reach)

    def _products(
        self,
        layer: kernels.Linear,
        steps: np.ndarray,
        operands: Sequence[tuple[tf.Tensor, int]],
        name: str,
        in_halves: bool,
        form: Form | None = None,
    ) -> list[Term]:
        """All products of operands and parts of the kernel; a single one has the bias in it."""
        largest = OPERAND if len(operands) == 1 else BYTE // 2
        if form is not None:
            largest = octets.RANGE

        def make() -> kernels.Kernel:
            folded = layer.kernel * (steps if layer.is_depthwise else steps[:, None])
            return kernels.rounded(folded, layer.bias, largest, in_halves)

        kernel = self.constants.once(f"{name}_kernel", make)
        is_alone = len(operands) == len(kernel.parts) == 1
        joined = np.concatenate(kernel.parts, -1)
        terms, bias = [], kernel.bias if is_alone else np.zeros(joined.shape[-1])
        # all bytes meet the kernel at once, so that it is read once
        x = operands[0][0] if len(operands) == 1 else tf.concat([part for part, _ in operands], 0)
        if form is not None and self.constants.in_bytes:
            total = octets.convolved(x, joined, bias, form)
        else:
            integers = self.constants(f"{name}_kernel", lambda: joined, tf.int8)
            total = kernels.convolved(x, integers, layer.is_depthwise)
            if bias.any():
                total = tf.nn.bias_add(total, self.constants(f"{name}_bias", lambda: bias))
        sums = _split(total, len(operands), 0)
        for total, (_, times) in zip(sums, operands):
            for part, unit, limit in zip(
                _split(total, len(kernel.parts), -1), kernel.units, kernel.limits
            ):
                terms.append(Term(part, unit * times, limit, form is not None))
        return terms

    def _normalised(self, layer: layers.GDN, value: Value, name: str) -> Sums:
        if not layer.inverse:
            raise ValueError("a GDN that divides has no exact form")
        given, form = self._ranges[name].given, None
        if self._form(None, value) is None:
            steps = given / OPERAND
            magnitude = tf.abs(value.on(steps, OPERAND, name).tensor)
        else:
            form = octets.UNSIGNED
            steps = given / octets.SIGNED.largest
            magnitude = value.magnitudes(steps, name)

        def make() -> kernels.Linear:
            gamma, beta = (np.asarray(each, np.float64) for each in (layer.gamma, layer.beta))
            return kernels.Linear(gamma[None, None], beta)

        norm = self.constants.once(f"{name}_linear", make)
        (term,) = self._products(norm, steps, [(magnitude, 1)], name, False, form)
        factor = Grid(term.tensor, term.unit, term.limit)
        sizes = self._ranges[name].made
        first = value.fine() if form is None else value.multiplicand()
        return self._product(name, first, factor, sizes, value.stride, value.reach)

    def _form(self, layer: kernels.Linear | None, value: Value) -> Form | None:
        """Of the operands of a layer (None: of a norm), where they have 8 bits."""
        if not self._eight_bits or value.stride > WIDEST:
            return None
        if layer is None:
            return value.form
        # what makes pixels of values wants more bits, and is little work
        makes_pixels = layer.kernel.shape[-1] == COLOURS * layer.factor**2
        return None if layer.is_depthwise or makes_pixels else value.form


def _split(total: tf.Tensor, count: int, axis: int) -> list[tf.Tensor]:
    return [total] if count == 1 else tf.split(total, count, axis)
