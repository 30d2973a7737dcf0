"""Values that layers make, which are sums of products, and values put together of others."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfclic.exact import octets
from tfclic.exact.constants import Constants
from tfclic.exact.exact_sums import EXACT_FLOAT32
from tfclic.exact.octets import Form
from tfclic.exact.values import Grid, Value, clip


class Term(NamedTuple):
    """Something to be summed: `tensor`, `[B, h, w, M]`, times `unit`, float64 `[M]`.

    Attributes:
      tensor: float32; int32 if it is of bytes, and these are computed with.
      unit, limit: as told; the largest magnitude of the tensor.
      is_of_bytes: whether it is the sum of products of operands of a `Form`.
    """

    tensor: tf.Tensor
    unit: np.ndarray
    limit: float
    is_of_bytes: bool = False


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

    @property
    def form(self) -> Form | None:
        return octets.UNSIGNED if self._slope == 0 else octets.SIGNED

    def multiplicand(self) -> Grid:
        if not (self._is_scaled_at_once() and self._slope == self._factor == 1):
            return self.fine()
        # the sums themselves
        ((tensor, unit, limit, _),) = self._terms
        return Grid(tf.cast(tensor, tf.float32), unit, limit)

    def on(self, steps: np.ndarray, limit: int | Form, purpose: str) -> Grid:
        columns = np.tile(steps, self._factor**2)
        if isinstance(limit, Form) and self._is_scaled_at_once():
            total = Grid(self._in_bytes(columns, limit, purpose), steps, octets.RANGE)
            return total._replace(tensor=octets.depth_to_space(total.tensor, self._factor))
        largest, parts = 0.0, []
        for number, (tensor, unit, most, _) in enumerate(self._terms):
            name = f"{self.name}_{number}_to_{purpose}"
            times = unit / columns
            times_each = self.constants(name, functools.partial(np.asarray, times))
            part = tf.cast(tensor, tf.float32) * times_each
            is_alone = len(self._terms) == 1 and self._bias is None
            parts.append(part if is_alone else tf.round(part))
            largest += most * float(np.abs(times).max()) + 1
        if self._bias is not None and self._bias.any():
            offset = np.round(self._bias / columns)
            parts.append(self.constants(f"{self.name}_bias_to_{purpose}", lambda: offset))
            largest += float(np.abs(offset).max())
        if largest >= EXACT_FLOAT32 and len(parts) > 1:
            # far beyond what is asked for, and what there is
            most = EXACT_FLOAT32 // 2 // len(parts)
            parts, largest = [clip(part, -most, most) for part in parts], most * len(parts)
        total = functools.reduce(tf.add, parts)
        if self._slope == 0:
            total = tf.nn.relu(total)
        elif self._slope != 1:
            total = tf.nn.leaky_relu(total, self._slope)
        total = self.rounded(total, steps, largest, limit)
        return total._replace(tensor=octets.depth_to_space(total.tensor, self._factor))

    def _is_scaled_at_once(self) -> bool:
        """Whether it is made of sums of products of bytes by `octets.scaled` alone."""
        term, *others = self._terms
        is_alone = not others and self._bias is None and self._slope >= 0
        return is_alone and term.is_of_bytes and bool(np.all(term.unit > 0))

    def _in_bytes(self, columns: np.ndarray, form: Form, purpose: str) -> tf.Tensor:
        """The only term on a grid of 8 bits."""
        ((tensor, unit, *_),) = self._terms
        slopes = [1.0] if self._slope in (0, 1) else [1.0, self._slope]
        each = [octets.snapped(unit * slope / columns, form) for slope in slopes]
        names = [f"{self.name}_slope_{number}_to_{purpose}" for number in range(len(each))]
        is_signed = form is octets.SIGNED
        if self.constants.in_bytes:
            found = [octets.scaled(tensor, times, form) for times in each]
        else:
            makes = [functools.partial(np.asarray, times) for times in each]
            found = [tf.round(tensor * self.constants(*pair)) for pair in zip(names, makes)]
        total = functools.reduce(tf.maximum, found)
        if is_signed and self._slope == 0:
            total = tf.maximum(total, tf.zeros([], total.dtype))
        if self.constants.in_bytes:
            return octets.with_offset(total) if is_signed else total
        return clip(total, octets.LEAST if is_signed else form.least, form.largest)


class Joined(Value):
    """Values side by side."""

    def __init__(self, *parts: Value) -> None:
        sizes = np.concatenate([part.sizes for part in parts])
        reach = max(part.reach for part in parts)
        name = "_with_".join(part.name for part in parts)
        super().__init__(parts[0].constants, name, sizes, parts[0].stride, reach)
        self._parts = parts

    def on(self, steps: np.ndarray, limit: int | Form, purpose: str) -> Grid:
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

    def on(self, steps: np.ndarray, limit: int | Form, purpose: str) -> Grid:
        found = self._source.on(np.tile(steps, self._factor**2), limit, purpose)
        return Grid(octets.depth_to_space(found.tensor, self._factor), steps, found.limit)
