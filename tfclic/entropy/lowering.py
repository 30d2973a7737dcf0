"""Networks in exact integers, derived from float ones, and the values that they compute with.

`Exact` does to these what `tfclic.layers.Floats` does to floats. Values are lazy: nothing is
computed before somebody asks one, `on` the grid that he wants it, for the `whole` of it or for the
rows `at` some positions, which is all that a network of single positions then computes. The exact
form of a layer is made by `lower`, which goes by the layer's type.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Optional, TypeVar, Union

import numpy as np
import tensorflow as tf

from tfclic import layers
from tfclic.entropy.fixed_point_neighbourhood import FixedPointNeighbourhood
from tfclic.exact import compilation, fixed_point, naming

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.entropy.wavefront import Order
    from tfclic.layers.composite import Elementwise

Made = TypeVar("Made")
Lazy = Union["Value", "Network"]
# of (known, chosen) to rows; see `Value.at`
Rows = Callable[[tf.Tensor, Optional[tf.Tensor]], tf.Tensor]


class Form(NamedTuple):
    """Which integers stand for a value.

    Attributes:
      bits: they are multiples of `2**-bits`.
      limit: their largest magnitude.
      grids: what they are multiples of instead, if these are other `fixed_point.Grids`.
    """

    bits: int
    limit: int
    grids: fixed_point.Grids = fixed_point.PLAIN


ACTIVATIONS = Form(fixed_point.ACTIVATION_BITS, fixed_point.ACTIVATION_LIMIT)


def integers(limit: int) -> Form:
    """The `Form` of whole numbers up to `limit`."""
    return Form(0, limit)


@functools.singledispatch
def lower(layer: tf.keras.layers.Layer, given: Form, wanted: Form, name: str) -> tf.Module:
    """The exact form of a layer.

    Args:
      layer: with its weights made.
      given: `Form` of its input.
      wanted: `Form` of its result.
      name: a Python identifier, for error messages too.

    Returns:
      A tf.Module with `rows(source)` or `at(source, order, used, wanted)`, see `Value`, where
      `source` is the input's; `is_local`, whether it has `at`, which spares it other positions;
      and `factor`, by which its results have more rows and columns.

    Raises:
      ValueError: it has none; names the layer.
    """
    raise ValueError(f"layer {name}: {type(layer).__name__} has no exact form")


def _grids(given: Form, wanted: Form, activation: Elementwise | None, name: str) -> dict[str, Any]:
    try:
        slope = fixed_point.slope_of(activation)
    except ValueError as error:
        raise ValueError(f"layer {name}: {error}") from None
    return dict(
        input_bits=given.bits,
        input_limit=given.limit,
        output_bits=wanted.bits,
        output_limit=wanted.limit,
        grids=wanted.grids,
        slope=slope,
        name=name,
    )


@lower.register(tf.keras.layers.Dense)
def _(layer: tf.keras.layers.Dense, given: Form, wanted: Form, name: str) -> tf.Module:
    grids = _grids(given, wanted, layer.activation, name)
    return Pointwise(fixed_point.FixedPointDense(layer.kernel, layer.bias, **grids))


@lower.register(layers.SubpixelConv2D)
def _(layer: layers.SubpixelConv2D, given: Form, wanted: Form, name: str) -> tf.Module:
    conv = layer.conv
    grids = _grids(given, wanted, conv.activation, name)
    if conv.kernel_size == (1, 1) and layer.factor == 1:
        return Pointwise(fixed_point.FixedPointDense(conv.kernel, conv.bias, **grids))
    return Convolution(fixed_point.FixedPointConv2D(conv.kernel, conv.bias, **grids), layer.factor)


@lower.register(layers.NeighbourhoodNetwork)
def _(layer: layers.NeighbourhoodNetwork, given: Form, wanted: Form, name: str) -> tf.Module:
    if given[:2] != ACTIVATIONS[:2]:
        raise ValueError(f"layer {name}: it takes what other layers make, not integers")
    grids = _grids(given, wanted, layer.activation, name)
    results = {key: grids[key] for key in ("output_bits", "output_limit", "grids")}
    return Windows(FixedPointNeighbourhood(layer, grids["slope"], name, **results))


@lower.register(layers.MaskedConv2D)
def _(layer: layers.MaskedConv2D, given: Form, wanted: Form, name: str) -> tf.Module:
    grids = _grids(given, wanted, None, name)
    return Context(fixed_point.FixedPointDense(layer.taps, layer.bias, **grids))


@lower.register(layers.MaskedConv3D)
def _(layer: layers.MaskedConv3D, given: Form, wanted: Form, name: str) -> tf.Module:
    grids = _grids(given, wanted, layer.activation, name)
    return Context(fixed_point.FixedPointDense(layer.taps, layer.bias, **grids))


class Used(NamedTuple):
    """Some of the channels of a stream.

    Attributes:
      numbers: int32 `[n]`, ascending.
      channels: int, all of them.
    """

    numbers: tf.Tensor
    channels: int


def places(used: Used, count: int) -> tf.Tensor:
    """Where channels are among `count` that have all channels of a stream several times, int32."""
    starts = tf.range(0, count, used.channels)
    numbers = used.numbers
    return tf.reshape(starts[:, None] + numbers, [tf.size(starts) * tf.size(numbers)])


def _columns(wanted: Used | None, dense: fixed_point.FixedPointDense) -> fixed_point.Prepared:
    return dense.prepare(columns=None if wanted is None else places(wanted, dense.kernel.shape[1]))


class Convolution(tf.Module):
    """A zero-padded convolution, followed by depth-to-space: all of its results at once."""

    is_local = False

    def __init__(self, dense: fixed_point.FixedPointConv2D, factor: int) -> None:
        super().__init__(name=dense.name)
        self.dense, self.factor = dense, factor

    def rows(self, source: Value) -> tf.Tensor:
        rows = self.dense.convolve(source.rows(), *source.grid.size)
        if self.factor == 1:
            return rows
        blocks = tf.reshape(rows, [1, *source.grid.size, rows.shape[1]])
        return tf.reshape(
            tf.nn.depth_to_space(blocks, self.factor), [-1, rows.shape[1] // self.factor**2]
        )


class Pointwise(tf.Module):
    """A layer of each position alone."""

    is_local, factor = True, 1

    def __init__(self, dense: fixed_point.FixedPointDense) -> None:
        super().__init__(name=dense.name)
        self.dense = dense

    def rows(self, source: Value) -> tf.Tensor:
        return self.dense(source.rows())

    def at(
        self, source: Value, order: Order | None, used: Used | None, wanted: Used | None
    ) -> Rows:
        inner, prepared = source.at(order, used), _columns(wanted, self.dense)
        return lambda known, chosen: self.dense(inner(known, chosen), prepared)


class Windows(tf.Module):
    """A `NeighbourhoodNetwork`."""

    is_local, factor = True, 1

    def __init__(self, network: FixedPointNeighbourhood) -> None:
        super().__init__(name=network.name)
        self.network = network

    def at(
        self, source: Value, order: Order | None, used: Used | None, wanted: Used | None
    ) -> Rows:
        height, width = source.grid.size
        maps, prepared = (
            self.network.maps(source.whole()),
            _columns(wanted, self.network.layers[-1]),
        )

        def rows(known: tf.Tensor, chosen: tf.Tensor | None) -> tf.Tensor:
            positions = tf.range(height * width) if chosen is None else chosen
            if order is not None:
                positions = tf.gather(order.raster, positions)
            return self.network.rows(maps, height, width, positions, prepared)

        return rows


class Context(tf.Module):
    """A convolution over what is known of a stream when a position is coded."""

    is_local, factor = True, 1

    def __init__(self, dense: fixed_point.FixedPointDense) -> None:
        super().__init__(name=dense.name)
        self.dense = dense

    def at(self, source: Value, order: Order, used: Used | None, wanted: Used | None) -> Rows:
        rows = None if used is None else places(used, self.dense.kernel.shape[0])
        prepared = self.dense.prepare(rows=rows)

        def found(known: tf.Tensor, chosen: tf.Tensor | None) -> tf.Tensor:
            neighbours = order.neighbours
            if chosen is not None:
                neighbours = tf.gather(neighbours, chosen)
            shape = tf.shape(neighbours)
            visible = shape[1] * tf.shape(known)[1]
            return self.dense(
                tf.reshape(tf.gather(known, neighbours), [shape[0], visible]), prepared
            )

        return found


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


class Network:
    """What a network makes of values, once it is known in which form: `on` makes a `Value` of it.

    Its exact layers are in `networks`, and so is one trace for all graphs that compute the whole,
    unless the network is a part of another one, of which there is a trace.
    """

    def __init__(
        self,
        networks: Networks,
        network: tf.Module,
        inputs: Iterable[Lazy],
        hidden_bits: int,
        is_part: bool = False,
    ) -> None:
        self._networks, self._network, self._is_part = networks, network, is_part
        self._hidden_bits = hidden_bits
        self._as_activations: Value | None = None
        self.inputs = [each.on() for each in inputs]

    def on(self, form: Form | None = None) -> Value:
        """As `Value.on`."""
        if form is not None:
            return self._result(form)
        if self._as_activations is None:
            self._as_activations = self._result(ACTIVATIONS)
        return self._as_activations

    @property
    def grid(self) -> Grid:
        """The `Grid` of its result."""
        return self.on().grid

    def __add__(self, other: Lazy) -> Sum:
        return self.on() + other

    def _result(self, form: Form) -> Value:
        result = self.of(self.inputs, form)
        if self._is_part or result.is_local:
            return result
        return Traced(self._networks, self._networks.name_of(self._network), self, result)

    def of(self, inputs: Sequence[Value], form: Form) -> Value:
        """Its result for other inputs, a list of values."""
        if isinstance(self._network, layers.Composite):
            return self._network.compose(_Parts(self._networks), *inputs).on(form)
        (value,) = inputs
        *hidden, last = layers.layers_of(self._network)
        for layer in hidden:
            value = self._networks.applied(
                layer, value, ACTIVATIONS._replace(bits=self._hidden_bits)
            )
        return self._networks.applied(last, value, form)


class Traced(Value):
    """All of a network's result, by the trace that its `Networks` keep."""

    def __init__(self, networks: Networks, name: str, network: Network, result: Value) -> None:
        super().__init__(result.grid)
        self._networks, self._name, self._network = networks, name, network
        self.form = result.form

    def _computed(self) -> tf.Tensor:
        inputs = self._network.inputs

        def function(height: tf.Tensor, width: tf.Tensor, *arrays: tf.Tensor) -> tf.Tensor:
            inner = Grid(height, width)
            known = [Known(x, each.form, inner) for x, each in zip(arrays, inputs)]
            return self._network.of(known, self.form).rows()

        arrays = [*inputs[0].grid.size, *(each.rows() for each in inputs)]
        return self._networks.call_traced(self._name, function, arrays)


class Exact(layers.Floats):
    """What `tfclic.layers.Floats` does, of lazy values in exact integers.

    Args:
      networks: `Networks`.
    """

    is_part = False

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def run(self, network: tf.Module, *values: Lazy, hidden_bits: int | None = None) -> Network:
        bits = fixed_point.ACTIVATION_BITS if hidden_bits is None else hidden_bits
        return Network(self._networks, network, values, bits, self.is_part)

    def concat(self, *values: Lazy) -> Joined:
        return Joined(*(value.on() for value in values))

    def tabulated(self, function: Elementwise, value: Lazy, limit: int) -> Tabulated:
        return Tabulated(function, value, limit)

    def activated(self, function: Elementwise, value: Lazy) -> NoReturn:
        raise ValueError("an activation of its own has no exact form in an entropy model")

    def product(self, value: Lazy, factor: Lazy) -> NoReturn:
        raise ValueError("products have no exact form in an entropy model")

    def depth_to_space(self, value: Lazy, factor: int) -> NoReturn:
        raise ValueError("depth-to-space alone has no exact form in an entropy model")

    def silence(self, value: Lazy, factor: int, channels: int) -> NoReturn:
        raise ValueError("zeros have no exact form in an entropy model")


class _Parts(Exact):
    """The same inside of a network."""

    is_part = True


class Networks(tf.Module):
    """The exact networks of an entropy model, made when they are first wanted.

    Attributes:
      exact: dict of exact layers by name.

    Args:
      codec: the codec, a tf.Module, in which networks have their names.
    """

    def __init__(self, codec: tf.Module, name: str = "networks") -> None:
        super().__init__(name=name)
        self.exact: dict[str, tf.Module] = {}
        # in functions, out of TensorFlow's sight: they are no part of this module
        names = naming.names(codec)
        traces: dict[str, ConcreteFunction] = {}
        self._names, self._traces = lambda: names, lambda: traces

    def name_of(self, network: tf.Module) -> str:
        """The name of a network by its place in the codec, such as `slices_0_mean`."""
        return self._names()[id(network)]

    def applied(self, layer: tf.Module, source: Lazy, form: Form) -> Applied:
        """What a layer makes of a value, as a `Value` on the grids of `form`."""
        name, value = self.name_of(layer), source.on()
        if name not in self.exact:
            self.exact[name] = lower(layer, value.form, form, name)
        return Applied(self.exact[name], value, form)

    def call_traced(
        self, name: str, function: Callable[..., tf.Tensor], arrays: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """`function(*arrays)`, of scalars and rows, traced once for all that ask by this name."""
        arrays = [tf.convert_to_tensor(array) for array in arrays]
        if name not in self._traces():
            specs = [tf.TensorSpec([None, *x.shape[1:]][: len(x.shape)], x.dtype) for x in arrays]
            made = tf.function(compilation.uncompiled(function), specs, autograph=False)
            self._traces()[name] = made.get_concrete_function()
        return self._traces()[name](*arrays)
