"""Values in exact integers, which are computed when somebody asks for them.

Nothing is computed before one is asked, `on` the grid on which it is wanted, for the `whole` of it
or for the rows `at` some positions, which is all that a network of single positions then computes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Union

import numpy as np
import tensorflow as tf

from tfclic.entropy.lowering import ACTIVATIONS, Form, Rows, Used, places

if TYPE_CHECKING:
    from tfclic.entropy.networks import Network
    from tfclic.entropy.wavefront import Order
    from tfclic.layers.composite import Elementwise

Made = TypeVar("Made")
Lazy = Union["Value", "Network"]


class Grid:
    """Height and width of values, and what follows from these alone, computed once.

    Args:
      height, width: int32.
      finer: dict of finer grids by factor, as far as they are known.
    """

    def __init__(
        self,
        height: tf.Tensor,
        width: tf.Tensor,
        finer: dict[int, Grid] | None = None,
    ) -> None:
        self.size = height, width
        self._known: dict[Hashable, Any] = {}
        self._finer = finer or {}

    def once(self, key: Hashable, make: Callable[[tf.Tensor, tf.Tensor], Made]) -> Made:
        """What `make(height, width)` returned when it was first asked for."""
        if key not in self._known:
            self._known[key] = make(*self.size)
        return self._known[key]

    def finer(self, factor: int) -> Grid:
        """The grid with `factor` times as many rows and columns."""
        if factor == 1:
            return self
        if factor not in self._finer:
            beyond = {k // factor: grid for k, grid in self._finer.items() if k % factor == 0}
            height, width = (factor * side for side in self.size)
            self._finer[factor] = Grid(height, width, finer=beyond)
        return self._finer[factor]

    def coarser(self, factor: int) -> Grid:
        """The grid of which this one is `finer(factor)`."""
        height, width = (side // factor for side in self.size)
        return Grid(height, width, finer={factor: self})


class Value:
    """A value in exact integers, `[h, w, C]`: a multiple of what its `form` says.

    A subclass has `_computed()`, all of its rows, which are computed once. Whoever wants some of
    them in a loop asks for `at` outside.

    Args:
      grid: the `Grid` that it lies on.
      parts: all values that it is made of, as far as these are parts of one computation.
    """

    form = ACTIVATIONS

    def __init__(self, grid: Grid, parts: Sequence[Value] = ()) -> None:
        self.grid, self.parts, self._rows = grid, parts, None

    def _computed(self) -> tf.Tensor:
        raise NotImplementedError

    def on(self, form: Form | None = None) -> Value:
        """The same in the form that is wanted; makes the exact networks that are needed for it.

        Args:
          form: a `Form`; None: any, which for a network's results is that of activations.

        Raises:
          ValueError: a network cannot be made exact, or the value cannot be had in this form.
        """
        if form is not None and form[:2] != self.form[:2]:
            raise ValueError(
                f"a value is wanted with the bits and limit {form[:2]}, not {self.form[:2]}"
            )
        return self

    @property
    def is_local(self) -> bool:
        """Whether no position of it depends on other positions of what it is made of."""
        return all(part.is_local for part in self.parts)

    def rows(self) -> tf.Tensor:
        """All of it, float32 `[h * w, C]`, integers."""
        if self._rows is None:
            self._rows = self._computed()
        return self._rows

    def whole(self) -> tf.Tensor:
        """All of it, float32 `[h, w, C]`, integers."""
        rows = self.rows()
        return tf.reshape(rows, [*self.grid.size, rows.shape[1]])

    def at(self, order: Order | None, used: Used | None = None, wanted: Used | None = None) -> Rows:
        """Its rows at some positions.

        Args:
          order: `wavefront.Order`; None: by rows.
          used: `Used` channels that `known` has; None: all.
          wanted: those whose parameters are wanted, where this value is a stream's parameters.

        Returns:
          A function of `(known, chosen)` to float32 `[n, C]`: the stream's own values as
          `wavefront.arrange` has them, and int32 `[n]`, ranks; None: all. It may be called in
          loops.
        """
        rows = self.rows() if order is None else tf.gather(self.rows(), order.raster)
        if wanted is not None:
            rows = tf.gather(rows, places(wanted, rows.shape[1]), axis=1)
        return lambda known, chosen: rows if chosen is None else tf.gather(rows, chosen)

    def __add__(self, other: Lazy) -> Sum:
        return Sum(self.on(), other.on())


class Known(Value):
    """Integers that are there.

    Args:
      array: float32 `[h, w, C]`, or rows `[h * w, C]`; None: in loops alone.
      form: their `Form`.
      grid: their `Grid`.
    """

    def __init__(self, array: tf.Tensor | None, form: Form, grid: Grid) -> None:
        super().__init__(grid)
        self._array: tf.Tensor = array
        self.form = form

    def _computed(self) -> tf.Tensor:
        return tf.reshape(self._array, [-1, self._array.shape[-1]])


class Applied(Value):
    """What an exact layer makes of a value."""

    def __init__(self, layer: tf.Module, source: Value, form: Form) -> None:
        super().__init__(source.grid.finer(layer.factor), [source])
        self._layer, self._source, self.form = layer, source, form

    @property
    def is_local(self) -> bool:
        return self._layer.is_local and super().is_local

    def _computed(self) -> tf.Tensor:
        return self._layer.rows(self._source)

    def at(self, order: Order | None, used: Used | None = None, wanted: Used | None = None) -> Rows:
        return self._layer.at(self._source, order, used, wanted)


class _Several(Value):
    """Made of several values, on the finest of their grids of integers."""

    def __init__(self, *parts: Value) -> None:
        super().__init__(parts[0].grid, parts)
        bits = max(part.form.bits for part in parts)
        self._times = [1 << (bits - part.form.bits) for part in parts]
        limits = [part.form.limit * times for part, times in zip(parts, self._times)]
        self.form = Form(bits, max(limits))
        if self.form.limit > ACTIVATIONS.limit:
            raise ValueError(f"values up to {self.form.limit} have more than 16 bits")

    def _scaled(self, rows: Iterable[tf.Tensor]) -> list[tf.Tensor]:
        return [x * times if times > 1 else x for x, times in zip(rows, self._times)]


class Sum(_Several):
    """The sum of values, within the limit of activations."""

    def __init__(self, *terms: Value) -> None:
        super().__init__(*terms)
        self.form = self.form._replace(limit=ACTIVATIONS.limit)

    def _computed(self) -> tf.Tensor:
        total = tf.add_n(self._scaled([term.rows() for term in self.parts]))
        return tf.clip_by_value(total, -float(self.form.limit), float(self.form.limit))


class Joined(_Several):
    """Values side by side."""

    def _computed(self) -> tf.Tensor:
        return tf.concat(self._scaled([part.rows() for part in self.parts]), 1)

    def at(self, order: Order | None, used: Used | None = None, wanted: Used | None = None) -> Rows:
        parts = [part.at(order, used, wanted) for part in self.parts]

        def found(known: tf.Tensor, chosen: tf.Tensor | None) -> tf.Tensor:
            return tf.concat(self._scaled([rows(known, chosen) for rows in parts]), 1)

        return found


class Tabulated(Value):
    """A function of activations, from a table of all that are within a limit."""

    def __init__(self, function: Elementwise, source: Lazy, limit: int) -> None:
        unit = 1 << self.form.bits
        self._source = source.on(self.form._replace(limit=limit * unit))
        super().__init__(source.grid, [self._source])
        arguments = np.arange(-limit * unit, limit * unit + 1) / unit
        with tf.init_scope():
            results = function(tf.constant(arguments)).numpy()
        self._table = np.round(results * unit).astype(np.int32)

    def _computed(self) -> tf.Tensor:
        index = tf.cast(self._source.rows(), tf.int32) + len(self._table) // 2
        return tf.cast(tf.gather(self._table, index), tf.float32)
