"""Values in a synthesis: integers on a grid, as soon as somebody says on which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfclic.exact import exact_sums, octets
from tfclic.exact.constants import Constants
from tfclic.exact.exact_sums import BYTE
from tfclic.exact.octets import Form

OPERAND = BYTE  # largest magnitude of what a layer takes
WIDE = (1 << 15) - 1  # of what it takes as two bytes
AVERAGE_ROOM = 16  # of averages, beyond what was seen
FINE = 1 << 12  # steps in the range of what is added, or multiplied
LARGEST = 1 << 22  # of what is added
PIXELS = "pixels"  # the purpose of a value that is an image


class Grid(NamedTuple):
    """Integers on a grid.

    Attributes:
      tensor: float32 `[B, h, w, C]`; of a `Form`, where one computes in bytes, uint8, offset.
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
        self._in_form: dict[tuple[Form, bytes], Grid] = {}

    def on(self, steps: np.ndarray, limit: int | Form, purpose: str) -> Grid:
        """It as multiples of steps `[C]`, clipped to limits; `purpose` names the variables."""
        raise NotImplementedError

    def fine(self) -> Grid:
        """It on a grid that is fine enough to be added to others, computed once."""
        if self._fine is None:
            self._fine = self._finely()
        return self._fine

    def _finely(self) -> Grid:
        return self.on(self.sizes / FINE, LARGEST, "fine")

    def operands(
        self, sizes: np.ndarray, purpose: str, form: Form | None = None
    ) -> list[tuple[tf.Tensor, int]]:
        """As a layer takes it: integers of a form, or within +-256, each with how often it counts.

        Steps are `steps_for(sizes, form)`.
        """
        steps = self.steps_for(sizes, form)
        if form is None:
            return [(self.on(steps, OPERAND, purpose).tensor, 1)]
        key = form, steps.tobytes()
        if key not in self._in_form:
            self._in_form[key] = self.on(steps, form, purpose)
        return [(self._in_form[key].tensor, 1)]

    def steps_for(self, sizes: np.ndarray, form: Form | None = None) -> np.ndarray:
        """The steps of its `operands`."""
        return sizes / OPERAND if form is None else octets.SHARE * sizes / form.largest

    @property
    def form(self) -> Form | None:
        """Of its operands, where these have 8 bits; None: it comes in another one."""
        return octets.SIGNED

    def multiplicand(self) -> Grid:
        """It on a grid as fine as there is, to be multiplied."""
        return self.fine()

    def magnitudes(self, steps: np.ndarray, purpose: str) -> tf.Tensor:
        """Absolute values of what it is on a grid of `octets.SIGNED`."""
        found = self.on(steps, octets.SIGNED, purpose).tensor
        if not self.constants.in_bytes:
            return tf.abs(found)
        # the offset away, and as bytes what had a sign
        return tf.bitcast(tf.abs(octets.without_offset(found)), tf.uint8)

    def __add__(self, other: Value) -> Value:
        return Sum(self, other)

    def _again(self, given: Grid, steps: np.ndarray, limit: int | Form, purpose: str) -> Grid:
        """Integers on another grid."""
        ratio = given.steps / steps
        if not np.array_equal(ratio, np.ones_like(ratio)):
            times = self.constants(f"{self.name}_to_{purpose}", lambda: ratio)
            largest = given.limit * ratio.max() + 1
            return self.rounded(given.tensor * times, steps, largest, limit)
        if isinstance(limit, Form):
            return self.rounded(given.tensor, steps, given.limit, limit)
        return clipped(given.tensor, steps, given.limit, limit)

    def rounded(
        self, tensor: tf.Tensor, steps: np.ndarray, largest: float, limit: int | Form
    ) -> Grid:
        """Floats, up to `largest`, as integers within limits."""
        if not isinstance(limit, Form):
            return clipped(tf.round(tensor), steps, largest, limit)
        if self.constants.in_bytes:
            return Grid(octets.rounded(tensor, limit), steps, octets.RANGE)
        return clipped(tf.round(tensor), steps, np.inf, limit)


def clipped(tensor: tf.Tensor, steps: np.ndarray, largest: float, limit: int | Form) -> Grid:
    least, most = limit[:2] if isinstance(limit, Form) else (-limit, limit)
    if largest > most:
        tensor = clip(tensor, least, most)
    return Grid(tensor, steps, min(largest, max(most, -least)))


def clip(tensor: tf.Tensor, least: int, most: int) -> tf.Tensor:
    # tf.clip_by_value takes two passes
    return tf.raw_ops.ClipByValue(t=tensor, clip_value_min=float(least), clip_value_max=float(most))


def _in_two(tensor: tf.Tensor) -> list[tuple[tf.Tensor, int]]:
    """The operands that integers of 16 bits are: a high byte and a low one."""
    high, low = exact_sums.to_bytes(tensor)
    return [(high, BYTE), (low, 1)]


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

    def on(self, steps: np.ndarray, limit: int | Form, purpose: str) -> Grid:
        return self._again(self._grid, steps, limit, purpose)

    def _finely(self) -> Grid:
        return self._grid

    def operands(
        self, sizes: np.ndarray, purpose: str, form: Form | None = None
    ) -> list[tuple[tf.Tensor, int]]:
        if self._grid.limit <= OPERAND:
            return [(self._grid.tensor, 1)]
        return _in_two(self._grid.tensor)

    def steps_for(self, sizes: np.ndarray, form: Form | None = None) -> np.ndarray:
        return self._grid.steps

    @property
    def form(self) -> Form | None:
        return None


class Average(Value):
    """The averages of a value's channels over the image, `[B, 1, 1, C]`, in 16 bits for layers.

    They are few, so that bits cost nothing, and what is wrong about them is wrong everywhere: an
    image may have much larger ones than those that were seen.
    """

    def __init__(self, value: Value) -> None:
        super().__init__(
            value.constants, f"{value.name}_average", value.sizes, value.stride, np.inf
        )
        self._given = value.fine()

    def on(self, steps: np.ndarray, limit: int | Form, purpose: str) -> Grid:
        integers = self._given.tensor
        # exact, and a quotient that IEEE 754 defines
        total = tf.reduce_sum(tf.cast(integers, tf.float64), [1, 2], keepdims=True)
        count = tf.cast(tf.reduce_prod(tf.shape(integers)[1:3]), tf.float64)
        times = self.constants(f"{self.name}_to_{purpose}", lambda: self._given.steps / steps)
        return self.rounded(tf.cast(total / count, tf.float32) * times, steps, np.inf, limit)

    def operands(
        self, sizes: np.ndarray, purpose: str, form: Form | None = None
    ) -> list[tuple[tf.Tensor, int]]:
        return _in_two(self.on(self.steps_for(sizes), WIDE, purpose).tensor)

    def steps_for(self, sizes: np.ndarray, form: Form | None = None) -> np.ndarray:
        return AVERAGE_ROOM * sizes / WIDE

    @property
    def form(self) -> Form | None:
        return None


class Sum(Value):
    """The sum of two values, the latter made of the former or both of something else.

    Raises:
      ValueError: another sum has the same name.
    """

    def __init__(self, first: Value, second: Value) -> None:
        sizes = first.sizes + second.sizes
        stride, reach = first.stride, max(first.reach, second.reach)
        # by what is new, not by what it is added to, which others may be added to as well
        was_there = isinstance(second, (Sum, Known)) and not isinstance(first, (Sum, Known))
        named = first if was_there else second
        super().__init__(first.constants, f"{named.name}_sum", sizes, stride, reach)
        self._parts = first, second

    def on(self, steps: np.ndarray, limit: int | Form, purpose: str) -> Grid:
        if self._fine is not None or purpose != PIXELS:
            return self._again(self.fine(), steps, limit, purpose)
        return self._added([part.on(steps, LARGEST, purpose) for part in self._parts])

    def _finely(self) -> Grid:
        # what was a sum before keeps its grid
        kept = [part.fine() for part in self._parts if isinstance(part, (Sum, Known))]
        steps = kept[0].steps if kept else self.sizes / FINE
        if not np.array_equal(steps, self.constants.once(f"{self.name}_steps", lambda: steps)):
            raise ValueError(f"two sums are called {self.name}")
        return self._added([self._part(part, steps) for part in self._parts])

    def _part(self, part: Value, steps: np.ndarray) -> Grid:
        if part._fine is not None and np.array_equal(part._fine.steps, steps):
            return part._fine
        return part.on(steps, LARGEST, f"sum_of_{self.name}")

    def _added(self, parts: Sequence[Grid]) -> Grid:
        total = parts[0].tensor + parts[1].tensor
        return clipped(total, parts[0].steps, parts[0].limit + parts[1].limit, LARGEST)
