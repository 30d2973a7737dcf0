"""Networks in exact integers, derived from float ones, and the values that they compute with.

`Exact` does to these what `tfclic.layers.Floats` does to floats. Values are lazy: nothing is
computed before somebody asks one, `on` the grid that he wants it, for the `whole` of it or for the
rows `at` some positions, which is all that a network of single positions then computes. The exact
form of a layer is made by `lower`, which goes by the layer's type.
"""

import collections
import functools

import numpy as np
import tensorflow as tf

from tfclic import layers
from tfclic.entropy import compilation, fixed_point
from tfclic.entropy.fixed_point_neighbourhood import FixedPointNeighbourhood

Form = collections.namedtuple("Form", "bits limit grids", defaults=(fixed_point.PLAIN,))
Form.__doc__ = """Which integers stand for a value.

bits: they are multiples of `2**-bits`.
limit: their largest magnitude.
grids: what they are multiples of instead, if these are other `fixed_point.Grids`.
"""
ACTIVATIONS = Form(fixed_point.ACTIVATION_BITS, fixed_point.ACTIVATION_LIMIT)


def integers(limit):
    """The `Form` of whole numbers up to `limit`."""
    return Form(0, limit)


def slope_of(activation):
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


@functools.singledispatch
def lower(layer, given, wanted, name):
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


def _grids(given, wanted, activation, name):
    try:
        slope = slope_of(activation)
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


@lower.register
def _(layer: tf.keras.layers.Dense, given, wanted, name):
    grids = _grids(given, wanted, layer.activation, name)
    return Pointwise(fixed_point.FixedPointDense(layer.kernel, layer.bias, **grids))


@lower.register
def _(layer: layers.SubpixelConv2D, given, wanted, name):
    conv = layer.conv
    grids = _grids(given, wanted, conv.activation, name)
    if conv.kernel_size == (1, 1) and layer.factor == 1:
        return Pointwise(fixed_point.FixedPointDense(conv.kernel, conv.bias, **grids))
    dense = fixed_point.FixedPointDense(conv.kernel, conv.bias, **grids)
    return Convolution(dense, conv.kernel_size[0], layer.factor)


@lower.register
def _(layer: layers.NeighbourhoodNetwork, given, wanted, name):
    if given[:2] != ACTIVATIONS[:2]:
        raise ValueError(f"layer {name}: it takes what other layers make, not integers")
    grids = _grids(given, wanted, layer.activation, name)
    results = {key: grids[key] for key in ("output_bits", "output_limit", "grids")}
    return Windows(FixedPointNeighbourhood(layer, grids["slope"], name, **results))


@lower.register
def _(layer: layers.MaskedConv2D, given, wanted, name):
    grids = _grids(given, wanted, None, name)
    return Context(fixed_point.FixedPointDense(layer.taps, layer.bias, **grids))


Used = collections.namedtuple("Used", "numbers channels")
Used.__doc__ = """Some of the channels of a stream.

numbers: int32 `[n]`, ascending.
channels: int, all of them.
"""


def places(used, count):
    """Where channels are among `count` that have all channels of a stream several times, int32."""
    starts = tf.range(0, count, used.channels)
    numbers = used.numbers
    return tf.reshape(starts[:, None] + numbers, [tf.size(starts) * tf.size(numbers)])


def _columns(wanted, dense):
    return dense.prepare(columns=None if wanted is None else places(wanted, dense.kernel.shape[1]))


class Convolution(tf.Module):
    """A zero-padded convolution, followed by depth-to-space: all of its results at once."""

    is_local = False

    def __init__(self, dense, size, factor):
        super().__init__(name=dense.name)
        self.dense, self.factor = dense, factor
        self._mask = np.ones([size, size], bool)

    def rows(self, source):
        rows = self.dense(fixed_point.neighbours(source.rows(), source.neighbours(self._mask)))
        if self.factor == 1:
            return rows
        blocks = tf.reshape(rows, [1, *source.size(), rows.shape[1]])
        return tf.reshape(
            tf.nn.depth_to_space(blocks, self.factor), [-1, rows.shape[1] // self.factor**2]
        )


class Pointwise(tf.Module):
    """A layer of each position alone."""

    is_local, factor = True, 1

    def __init__(self, dense):
        super().__init__(name=dense.name)
        self.dense = dense

    def rows(self, source):
        return self.dense(source.rows())

    def at(self, source, order, used, wanted):
        inner, prepared = source.at(order, used), _columns(wanted, self.dense)
        return lambda known, chosen: self.dense(inner(known, chosen), prepared)


class Windows(tf.Module):
    """A `NeighbourhoodNetwork`."""

    is_local, factor = True, 1

    def __init__(self, network):
        super().__init__(name=network.name)
        self.network = network

    def at(self, source, order, used, wanted):
        height, width = source.size()
        maps, prepared = (
            self.network.maps(source.whole()),
            _columns(wanted, self.network.layers[-1]),
        )

        def rows(known, chosen):
            positions = tf.range(height * width) if chosen is None else chosen
            if order is not None:
                positions = tf.gather(order.raster, positions)
            return self.network.rows(maps, height, width, positions, prepared)

        return rows


class Context(tf.Module):
    """A convolution over what is known of a stream when a position is coded."""

    is_local, factor = True, 1

    def __init__(self, dense):
        super().__init__(name=dense.name)
        self.dense = dense

    def at(self, source, order, used, wanted):
        rows = None if used is None else places(used, self.dense.kernel.shape[0])
        prepared = self.dense.prepare(rows=rows)

        def found(known, chosen):
            neighbours = order.neighbours
            if chosen is not None:
                neighbours = tf.gather(neighbours, chosen)
            shape = tf.shape(neighbours)
            visible = shape[1] * tf.shape(known)[1]
            return self.dense(
                tf.reshape(tf.gather(known, neighbours), [shape[0], visible]), prepared
            )

        return found


class Value:
    """A value in exact integers, `[h, w, C]`: a multiple of what its `form` says.

    A subclass has `_computed()`, all of its rows, which are computed once. Whoever wants some of
    them in a loop asks for `at` outside.
    """

    form = ACTIVATIONS
    like = None  # a value of the same size that it is made of, if there is one
    parts = ()  # all values that it is made of, as far as these are parts of one computation

    def __init__(self):
        self._rows, self._indices = None, {}

    def on(self, form=None):
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
    def is_local(self):
        """Whether no position of it depends on other positions of what it is made of."""
        return all(part.is_local for part in self.parts)

    def rows(self):
        """All of it, float32 `[h * w, C]`, integers."""
        if self._rows is None:
            self._rows = self._computed()
        return self._rows

    def size(self):
        """h and w, a pair of int32."""
        return self.like.size()

    def whole(self):
        """All of it, float32 `[h, w, C]`, integers."""
        rows = self.rows()
        return tf.reshape(rows, [*self.size(), rows.shape[1]])

    def neighbours(self, mask):
        """`fixed_point.neighbour_indices`, which values of one size share."""
        if self.like is not None:
            return self.like.neighbours(mask)
        if mask.size not in self._indices:
            self._indices[mask.size] = fixed_point.neighbour_indices(*self.size(), mask)
        return self._indices[mask.size]

    def at(self, order, used=None, wanted=None):
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

    def __add__(self, other):
        return Sum(self.on(), other.on())


class Known(Value):
    """Integers that are there, float32 `[h, w, C]`."""

    def __init__(self, array, form):
        super().__init__()
        self._array, self.form = array, form

    def _computed(self):
        return tf.reshape(self._array, [-1, self._array.shape[2]])

    def size(self):
        shape = tf.shape(self._array)
        return shape[0], shape[1]

    def whole(self):
        return self._array


class Applied(Value):
    """What an exact layer makes of a value."""

    def __init__(self, layer, source, form):
        super().__init__()
        self._layer, self._source, self.form = layer, source, form
        self.parts, self.like = (source,), source if layer.factor == 1 else None

    def size(self):
        return tuple(self._layer.factor * side for side in self._source.size())

    @property
    def is_local(self):
        return self._layer.is_local and super().is_local

    def _computed(self):
        return self._layer.rows(self._source)

    def at(self, order, used=None, wanted=None):
        return self._layer.at(self._source, order, used, wanted)


class _Several(Value):
    """Made of several values, on the finest of their grids."""

    def __init__(self, *parts):
        super().__init__()
        self.parts, self.like = parts, parts[0]
        bits = max(part.form.bits for part in parts)
        self._times = [1 << (bits - part.form.bits) for part in parts]
        limits = [part.form.limit * times for part, times in zip(parts, self._times)]
        self.form = Form(bits, max(limits))
        if self.form.limit > ACTIVATIONS.limit:
            raise ValueError(f"values up to {self.form.limit} have more than 16 bits")

    def _scaled(self, rows):
        return [x * times if times > 1 else x for x, times in zip(rows, self._times)]


class Sum(_Several):
    """The sum of values, within the limit of activations."""

    def __init__(self, *terms):
        super().__init__(*terms)
        self.form = self.form._replace(limit=ACTIVATIONS.limit)

    def _computed(self):
        total = tf.add_n(self._scaled([term.rows() for term in self.parts]))
        return tf.clip_by_value(total, -float(self.form.limit), float(self.form.limit))


class Joined(_Several):
    """Values side by side."""

    def _computed(self):
        return tf.concat(self._scaled([part.rows() for part in self.parts]), 1)

    def at(self, order, used=None, wanted=None):
        parts = [part.at(order, used, wanted) for part in self.parts]

        def found(known, chosen):
            return tf.concat(self._scaled([rows(known, chosen) for rows in parts]), 1)

        return found


class Tabulated(Value):
    """A function of activations, from a table of all that are within a limit."""

    def __init__(self, function, source, limit):
        super().__init__()
        unit = 1 << self.form.bits
        arguments = np.arange(-limit * unit, limit * unit + 1) / unit
        with tf.init_scope():
            results = function(tf.constant(arguments)).numpy()
        self._table = np.round(results * unit).astype(np.int32)
        self._source = self.like = source.on(self.form._replace(limit=limit * unit))
        self.parts = (self._source,)

    def _computed(self):
        index = tf.cast(self._source.rows(), tf.int32) + len(self._table) // 2
        return tf.cast(tf.gather(self._table, index), tf.float32)


class Network(Value):
    """What a network makes of values, once it is known on which grid.

    Its exact layers are in `networks`, and so is one trace for all graphs that compute the whole,
    unless the network is a part of another one, of which there is a trace.
    """

    def __init__(self, networks, network, inputs, hidden_bits, is_part=False):
        super().__init__()
        self._networks, self._network, self._is_part = networks, network, is_part
        self._as_activations = None
        self._inputs, self._hidden_bits = [each.on() for each in inputs], hidden_bits

    def on(self, form=None):
        if form is None:
            if self._as_activations is None:
                self._as_activations = self._result(ACTIVATIONS)
            return self._as_activations
        return self._result(form)

    def _result(self, form):
        result = self._of(self._inputs, form)
        if self._is_part or result.is_local:
            return result
        return Traced(self._networks, self._networks.name_of(self._network), self, form)

    def _of(self, inputs, form):
        if isinstance(self._network, layers.Composite):
            return self._network.compose(_Parts(self._networks), *inputs).on(form)
        (value,) = inputs
        *hidden, last = layers.layers_of(self._network)
        for layer in hidden:
            value = self._networks.applied(
                layer, value, ACTIVATIONS._replace(bits=self._hidden_bits)
            )
        return self._networks.applied(last, value, form)

    def whole_of(self, arrays, form):
        """Its result for other inputs, float32 `[h, w, *]`, of whatever size."""
        pairs = zip(arrays, self._inputs)
        return self._of([Known(array, each.form) for array, each in pairs], form).whole()

    def arrays(self):
        """All inputs, a list of float32 `[h, w, *]`."""
        return [each.whole() for each in self._inputs]


class Traced(Value):
    """All of a network's result, by the trace that its `Networks` keep."""

    def __init__(self, networks, name, network, form):
        super().__init__()
        self._networks, self._name, self._network, self.form = networks, name, network, form
        self.like = self

    def _computed(self):
        def function(*arrays):
            return self._network.whole_of(arrays, self.form)

        array = self._networks.call_traced(self._name, function, self._network.arrays())
        self.like = Known(array, self.form)
        return self.like.rows()

    def size(self):
        self.rows()
        return self.like.size()

    def neighbours(self, mask):
        self.rows()
        return self.like.neighbours(mask)


class Exact(layers.Floats):
    """What `tfclic.layers.Floats` does, of lazy values in exact integers.

    Args:
      networks: `Networks`.
    """

    is_part = False

    def __init__(self, networks):
        self._networks = networks

    def run(self, network, *values, hidden_bits=fixed_point.ACTIVATION_BITS):
        return Network(self._networks, network, values, hidden_bits, self.is_part)

    def concat(self, *values):
        return Joined(*(value.on() for value in values))

    def tabulated(self, function, value, limit):
        return Tabulated(function, value, limit)


class _Parts(Exact):
    """The same inside of a network."""

    is_part = True


class Networks(tf.Module):
    """The exact networks of an entropy model, made when they are first wanted.

    Args:
      codec: the codec, a tf.Module, in which networks have their names.
    """

    def __init__(self, codec, name="networks"):
        super().__init__(name=name)
        self.exact = {}
        # in functions, out of TensorFlow's sight: they are no part of this module
        names, traces = _names(codec), {}
        self._names, self._traces = lambda: names, lambda: traces

    def name_of(self, network):
        """The name of a network by its place in the codec, such as `slices_0_mean`."""
        return self._names()[id(network)]

    def applied(self, layer, source, form):
        """What a layer makes of a value, as a `Value` on the grids of `form`."""
        name, source = self.name_of(layer), source.on()
        if name not in self.exact:
            self.exact[name] = lower(layer, source.form, form, name)
        return Applied(self.exact[name], source, form)

    def call_traced(self, name, function, arrays):
        """`function(*arrays)`, float32 `[h, w, *]`, traced once for all that ask by this name."""
        if name not in self._traces():
            specs = [tf.TensorSpec([None, None, array.shape[2]]) for array in arrays]
            made = tf.function(compilation.uncompiled(function), specs, autograph=False)
            self._traces()[name] = made.get_concrete_function()
        return self._traces()[name](*arrays)


def _names(codec):
    """Names of all layers in a codec, by their ids."""
    found = {}

    def visit(value, path):
        if isinstance(value, (list, tuple)):
            for number, each in enumerate(value):
                visit(each, (*path, str(number)))
        elif isinstance(value, tf.Module) and id(value) not in found:
            found[id(value)] = "_".join(path)
            if isinstance(value, tf.keras.Sequential):
                visit(value.layers, path)
            else:
                for name, each in sorted(vars(value).items()):
                    if not name.startswith("_"):
                        visit(each, (*path, name))

    visit(codec, ())
    return found
