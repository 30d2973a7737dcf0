"""Layers made of other layers, described once for every kind of arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import tensorflow as tf

from tfclic.layers.sequential import Sequential

Elementwise = Callable[[tf.Tensor], tf.Tensor]
Tensors = dict[str, tf.Tensor]
Value = Any  # tensors for some, whatever stands for them for others; values can be added


class Operations(Protocol):
    """What `Floats` does, of whatever kind of values."""

    def run(self, network: tf.Module, *values: Value, hidden_bits: int | None = None) -> Value: ...

    def in_turn(self, networks: Iterable[tf.Module], value: Value) -> Value: ...

    def concat(self, *values: Value) -> Value: ...

    def tabulated(self, function: Elementwise, value: Value, limit: int) -> Value: ...

    def activated(self, function: Elementwise, value: Value) -> Value: ...

    def product(self, value: Value, factor: Value) -> Value: ...

    def depth_to_space(self, value: Value, factor: int) -> Value: ...

    def precise(self, value: Value) -> Value: ...

    def silence(self, value: Value, factor: int, channels: int) -> Value: ...

    def average(self, value: Value) -> Value: ...

    def gated(self, value: Value) -> Value: ...

    def scaled(self, value: Value, weight: tf.Variable) -> Value: ...


class Floats:
    """What composites, and entropy models, do with values: here float tensors `[B, h, w, C]`.

    Others do the same with exact integers (`tfclic.entropy.lowering`, `tfclic.exact.transforms`).
    Values can also be added.
    """

    def run(self, network: tf.Module, *values: Value, hidden_bits: int | None = None) -> Value:
        """What a network, a layer, makes of values.

        Args:
          network: a layer.
          *values: its inputs.
          hidden_bits: between the layers of a `Sequential` exact integers are multiples of
            `2**-hidden_bits`, of 1/64 if it is missing. Floats do not mind.
        """
        return network(*values)

    def in_turn(self, networks: Iterable[tf.Module], value: Value) -> Value:
        """What networks make of a value, one after the other."""
        for network in networks:
            value = self.run(network, value)
        return value

    def concat(self, *values: Value) -> Value:
        """Values side by side, `[..., C1 + C2 + ...]`."""
        return tf.concat(values, -1)

    def tabulated(self, function: Elementwise, value: Value, limit: int) -> Value:
        """What a function makes of each element; beyond `limit` it changes no more.

        Args:
          function: of a NumPy array or a tensor, elementwise.
          value: its arguments.
          limit: int, the largest magnitude of an argument of which exact integers know the result.
        """
        return function(value)

    def activated(self, function: Elementwise, value: Value) -> Value:
        """What a (leaky) ReLU makes of a value."""
        return function(value)

    def product(self, value: Value, factor: Value) -> Value:
        """A value times another one, element by element."""
        return value * factor

    def depth_to_space(self, value: Value, factor: int) -> Value:
        """`[B, h, w, factor**2 * C]` as `[B, factor * h, factor * w, C]`."""
        return tf.nn.depth_to_space(value, factor)

    def precise(self, value: Value) -> Value:
        """A value in float32, in whatever precision a transform computes."""
        return tf.cast(value, tf.float32)

    def silence(self, value: Value, factor: int, channels: int) -> Value:
        """Zeros `[B, h / factor, w / factor, channels]`, of a value `[B, h, w, C]`."""
        return tf.zeros_like(value[:, ::factor, ::factor, :1]) * tf.zeros([channels])

    def average(self, value: Value) -> Value:
        """The averages of all channels over the image, `[B, 1, 1, C]`."""
        # float32: a sum over a whole image
        average = tf.reduce_mean(tf.cast(value, tf.float32), [1, 2], keepdims=True)
        return tf.cast(average, value.dtype)

    def gated(self, value: Value) -> Value:
        """The product of both halves of the channels: `[..., 2C] -> [..., C]`."""
        first, second = tf.split(value, 2, -1)
        return first * second

    def scaled(self, value: Value, weight: tf.Variable) -> Value:
        """Each channel times its weight, `[C]`."""
        return value * tf.cast(weight, value.dtype)


FLOATS = Floats()


class Composite(tf.keras.layers.Layer):
    """A layer whose `compose(ops, *inputs)` says what it is in terms of `Floats` and the like."""

    def call(self, *inputs: tf.Tensor) -> tf.Tensor:
        return self.compose(FLOATS, *inputs)


def layers_of(network: tf.Module) -> list[tf.Module]:
    """The layers that a network calls in turn: those of a `Sequential`, else itself."""
    return list(network.layers) if isinstance(network, Sequential) else [network]
