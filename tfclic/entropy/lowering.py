"""The exact forms of layers, in integers: `lower` makes them, by a layer's type."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import tensorflow as tf

from tfclic import layers
from tfclic.entropy.fixed_point_neighbourhood import FixedPointNeighbourhood
from tfclic.exact import fixed_point, rounding
from tfclic.exact.fixed_point_convolution import FixedPointConv2D

if TYPE_CHECKING:
    from tfclic.entropy.lazy import Value
    from tfclic.entropy.wavefront import Order
    from tfclic.layers.composite import Elementwise

# of (known, chosen) to rows; see `lazy.Value.at`
Rows = Callable[[tf.Tensor, Optional[tf.Tensor]], tf.Tensor]


class Form(NamedTuple):
    """Which integers stand for a value.

    Attributes:
      bits: they are multiples of `2**-bits`.
      limit: their largest magnitude.
      grids: what they are multiples of instead, if these are other `rounding.Grids`.
    """

    bits: int
    limit: int
    grids: rounding.Grids = rounding.PLAIN


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
    return Convolution(FixedPointConv2D(conv.kernel, conv.bias, **grids), layer.factor)


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

    def __init__(self, dense: FixedPointConv2D, factor: int) -> None:
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
