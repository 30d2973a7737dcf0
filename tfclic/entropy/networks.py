"""Networks in exact integers, derived from float ones.

`Exact` does to values that are `tfclic.entropy.lazy` what `tfclic.layers.Floats` does to floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

import tensorflow as tf

from tfclic import layers
from tfclic.entropy.lazy import Applied, Grid, Joined, Known, Sum, Tabulated, Value
from tfclic.entropy.lowering import ACTIVATIONS, Form, lower
from tfclic.exact import compilation, fixed_point, naming

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.entropy.lazy import Lazy
    from tfclic.layers.composite import Elementwise


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
