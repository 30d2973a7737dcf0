"""Entropy models as exported codecs run them: exact, in integers.

`EntropyCoder` runs a codec's program (see `tfclic.entropy.program`) with the runners below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import tensorflow as tf

from tfclic.entropy import active, coders, interleaved, lowering
from tfclic.entropy import integer_mixture as im
from tfclic.entropy.program import DISTORTION_WEIGHT, LATENTS, Pieces, clipped, rdo_quantize
from tfclic.entropy.streams import (
    LATENT_LIMIT,
    SIDE_LIMIT,
    SIDE_STRIDE,
    VALUE_STEP,
    Conditional,
    Gained,
    Independent,
    least_decision,
)
from tfclic.exact import compilation, fixed_point
from tfclic.format import header
from tfclic.format.header import NOT_OF_THIS_SIZE, TOO_SHORT

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.factorized import FactorizedPrior
    from tfclic.entropy.program import Gain, Prior, Runner, Training
    from tfclic.layers.composite import Tensors, Value

Size = tuple[tf.Tensor, tf.Tensor]
# of a known array, candidates and the channels that they have, to what each candidate costs
Costs = Callable[[tf.Tensor, Sequence[tf.Tensor], tf.Tensor], list[tf.Tensor]]

# Of codings whose strings say which channels are in use, by how often each of them is. Before it, 2
# said so by groups of channels, 1 did not say it, and 0 had a table of single Gaussians that is as
# coarse as that of mixtures.
REVISION = 3

# What writes, and what reads, by the coder's name.
ENCODERS: dict[str, type[coders.RangeEncoder] | type[interleaved.Encoder]] = {
    header.RANGE: coders.RangeEncoder,
    header.INTERLEAVED: interleaved.Encoder,
}
DECODERS: dict[str, type[coders.RangeDecoder] | type[interleaved.Decoder]] = {
    header.RANGE: coders.RangeDecoder,
    header.INTERLEAVED: interleaved.Decoder,
}


class Codec(Protocol):
    """What has a program."""

    @property
    def lmbdas(self) -> Sequence[float]: ...

    @property
    def config(self) -> ConfigDict: ...

    @property
    def activity(self) -> tf.Variable: ...

    def entropy(self, code: Runner) -> Value: ...


class ExactRunner(lowering.Exact):
    """Runs a program in exact integers.

    A subclass says what happens at each node: `_independent(stream, name, shape)`,
    `_gained(stream, name, shape)` and `_conditional(stream, name)` return its integers.

    Args:
      coding: the `EntropyCoder`.
      size: `(height, width)` of the latents.
      sources: dict of float32 `[h, w, C]`; None: nothing is known.
    """

    def __init__(self, coding: EntropyCoder, size: Size, sources: Tensors | None = None) -> None:
        super().__init__(coding.networks)
        self.coding, self.size, self._sources = coding, size, sources
        self._grids = {1: lowering.Grid(*size)}
        self.streams: Tensors = {}
        self._shared: dict[int, tf.Tensor] = {}
        self._pieces = Pieces()
        # the latest conditional stream's values, where they are as decoded
        self._latest: lowering.Known | None = None

    def _independent(self, stream: Independent, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        raise NotImplementedError

    def _gained(self, stream: Gained, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        raise NotImplementedError

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        raise NotImplementedError

    def _source(self, name: str, channels: int) -> tf.Tensor:
        assert self._sources is not None
        return self._pieces.next(name, channels, self._sources)(self._sources)

    def _grid(self, stride: int) -> lowering.Grid:
        if stride not in self._grids:
            self._grids[stride] = self._grids[1].coarser(stride)
        return self._grids[stride]

    def independent(self, name: str, prior: Prior, stride: int = 1) -> lowering.Known:
        """As `program.Rounding.independent`."""
        stream = self.coding.stream(name, lambda: Independent(prior, stride, name))
        grid = self._grid(stride)
        self.streams[name] = self._independent(stream, name, [*grid.size, stream.channels])
        return lowering.Known(self.streams[name], lowering.integers(SIDE_LIMIT), grid)

    def gained(self, name: str, prior: FactorizedPrior, gain: Gain) -> lowering.Known:
        """As `program.Rounding.gained`."""
        count = self.coding.qualities
        stream = self.coding.stream(name, lambda: Gained(prior, gain, count, name))
        self.streams[name] = self._gained(stream, name, [*self.size, stream.channels])
        return lowering.Known(self.streams[name], lowering.integers(LATENT_LIMIT), self._grid(1))

    def conditional(
        self, name: str, channels: int, parameters: Any, stride: int = 1, **kind: Any
    ) -> lowering.Known:
        """As `program.Rounding.conditional`."""
        networks, grid = self.coding.networks, self._grid(stride)
        stream = Conditional(networks, grid, self._shared, channels, parameters, **kind)
        columns = stream.columns if stream.context is None else None
        self.coding.describe(name, channels, stride, columns)
        self.streams[name] = self._conditional(stream, name)
        return self._value(stream, name)

    def _value(self, stream: Conditional, name: str) -> lowering.Known:
        """What follows on a stream has to know of it."""
        return stream.value_of(self.streams[name])

    def refined(
        self, value: lowering.Lazy, network: tf.Module, *inputs: lowering.Lazy
    ) -> lowering.Lazy:
        """As `program.Rounding.refined`."""
        if self._latest is not None:
            # whoever knows the latents need not compute what they are made of
            return self._latest
        return value + self.run(network, *inputs, value)

    def add_losses(self, make: Callable[[Training], Tensors]) -> None:
        """As `program.Rounding.add_losses`: nothing."""


class Maker(ExactRunner):
    """Makes all networks and tables, and computes nothing."""

    def __init__(self, coding: EntropyCoder) -> None:
        super().__init__(coding, (0, 0))

    def _nothing(self, *_: Any, **__: Any) -> None:
        return None

    _independent = _gained = _conditional = _nothing


class Walker(ExactRunner):
    """Codes: the one definition of what is in a string.

    Args:
      coding, size: as for `ExactRunner`.
      coder: see `tfclic.entropy.coders`.
      sources: dict of float32 `[h, w, C]`, integers, if they are known; else None.
    """

    def __init__(
        self, coding: EntropyCoder, size: Size, coder: coders.Coder, sources: Tensors | None = None
    ) -> None:
        super().__init__(coding, size, sources)
        self._coder = coder
        self.state = coder.start()
        self._named: tf.Tensor | None = None
        if coding.names_first:
            latents = tf.zeros([1, 1, coding.channels]) if sources is None else sources[LATENTS]
            (name,) = coding.names
            self._named = self._names(name, latents)

    def _given(self, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.zeros(shape) if self._sources is None else self._source(name, shape[2])

    def _independent(self, stream: Independent, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        first = self.coding.first_row(name)
        values = self._given(name, shape)
        self.state, values = stream.code(self._coder, self.state, values, first)
        return self._possible(values)

    def _gained(self, stream: Gained, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        given, known = self._given(name, shape), self._sources is not None
        first = self.coding.first_row(name)
        self.state, latents = stream.code(self._coder, self.state, given, first, known)
        return latents

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        known = self._sources is not None
        symbols = self._given(name, [*stream.grid.size, stream.channels])
        if known:
            self._latest = lowering.Known(symbols, lowering.ACTIVATIONS, stream.grid)
            symbols = stream.symbols_of(symbols)
        return self._coded(stream, name, symbols)

    def _coded(self, stream: Conditional, name: str, symbols: tf.Tensor) -> tf.Tensor:
        known = self._sources is not None
        if self.coding.is_side(name):
            self.state, symbols = stream.code(self._coder, self.state, symbols, None, known)
            return self._possible(symbols)
        numbers = self._names(name, symbols) if self._named is None else self._named
        used = lowering.Used(numbers, stream.channels)
        symbols = tf.gather(symbols, numbers, axis=-1)
        self.state, symbols = stream.code(self._coder, self.state, symbols, used, known)
        return self._possible(active.everywhere(symbols, numbers, stream.channels))

    def _names(self, name: str, symbols: tf.Tensor) -> tf.Tensor:
        """Codes which channels of a stream's symbols `[h, w, C]` are in use, int32."""
        named = active.worth_saying(symbols)
        self.state, numbers = self.coding.names[name].code(self._coder, self.state, named)
        return numbers

    def _possible(self, values: tf.Tensor) -> tf.Tensor:
        """`values`, once it is clear that the string can have held what was read from it so far.

        More than it can hold shows here, before networks take time and memory.
        """
        refuses = self._coder.refuses(self.state)
        with tf.control_dependencies([tf.debugging.Assert(~refuses, [NOT_OF_THIS_SIZE])]):
            return tf.identity(values)


class Writer(Walker):
    """Writes what a `Quantizer` has chosen of streams of latents, whose parameters it told.

    So what they follow from is not computed again.

    Args:
      coding, size, coder: as for `Walker`.
      sources: dict of float32 `[h, w, C]`, integers; of latents the symbols.
      parameters: float32 `[h, w, n]`, of all streams of latents.
    """

    def __init__(
        self,
        coding: EntropyCoder,
        size: Size,
        coder: coders.Coder,
        sources: Tensors,
        parameters: tf.Tensor,
    ) -> None:
        super().__init__(coding, size, coder, sources)
        self._parameters = iter(tf.split(parameters, coding.told_columns, -1))

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        if self.coding.is_side(name):
            return super()._conditional(stream, name)
        stream.tell(next(self._parameters))
        return self._coded(stream, name, self._given(name, [*stream.grid.size, stream.channels]))

    def _value(self, stream: Conditional, name: str) -> lowering.Known:
        # of latents nothing that is told follows
        known = self.streams[name] if self.coding.is_side(name) else None
        return stream.value_of(known)


class PartialWalker(Walker):
    """Reads the first streams of latents, and takes what is expected for those that follow.

    Side information is always read. What follows a stream that is not wanted may be anything.

    Attributes:
      sound: int32, how many streams of latents surely lie within the string; -1: not even the side
        information does.

    Args:
      coding, size, coder: as for `Walker`; the coder is one that reads, and does not refuse.
      wanted: int32, how many streams of latents are read.
      string_bytes: int32, how long the string is of which the coder has the beginning.
    """

    # what a decoder has taken from the string before the bits are used up that symbols have taken
    AHEAD_BITS = 64

    def __init__(
        self,
        coding: EntropyCoder,
        size: Size,
        coder: coders.Coder,
        wanted: tf.Tensor,
        string_bytes: tf.Tensor,
    ) -> None:
        self._wanted, self._position = wanted, 0
        bits = 8 * tf.cast(string_bytes, tf.int64) - self.AHEAD_BITS
        self._budget = bits * (1 << coders.COST_BITS)
        self.sound = tf.constant(-1)
        super().__init__(coding, size, coder)

    @property
    def _is_wanted(self) -> tf.Tensor:
        return self._position < self._wanted

    def _is_sound(self) -> tf.Tensor:
        return self.state[-1] <= self._budget

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        if self.coding.is_side(name):
            return super()._conditional(stream, name)
        if not self._position:
            self.sound += tf.cast(self._is_sound(), tf.int32)
        symbols = super()._conditional(stream, name)
        self.sound += tf.cast(self._is_wanted & self._is_sound(), tf.int32)
        symbols = tf.where(self._is_wanted, symbols, self._expected(stream, symbols))
        self._position += 1
        return symbols

    def _expected(self, stream: Conditional, like: tf.Tensor) -> tf.Tensor:
        """Symbols `[h, w, C]` next to the means of what is not known yet."""
        zeros = tf.zeros_like(like)
        if stream.means:
            return zeros
        parameters = im.parameters_of_rows(stream.all_rows(zeros), stream.mixtures)
        logits, means, _ = im.to_floats(parameters)
        expected = tf.reduce_sum(tf.nn.softmax(logits) * means, -1)
        return clipped(tf.round(stream.in_place(expected, zeros)))

    def _names(self, name: str, symbols: tf.Tensor) -> tf.Tensor:
        numbers = super()._names(name, symbols)
        # there have to be some
        return numbers[: tf.where(self._is_wanted, tf.size(numbers), 1)]


class Quantizer(ExactRunner):
    """Makes of float latents what is coded: latents by rate and distortion, others to the nearest.

    Attributes:
      symbols, parameters: lists of float32 `[h, w, C]` and `[h, w, n]` of each stream of latents
        whose parameters follow from other streams alone: what is coded, and as `Writer` takes them.

    Args:
      coding, size, sources: as for `ExactRunner`.
    """

    def __init__(self, coding: EntropyCoder, size: Size, sources: Tensors) -> None:
        super().__init__(coding, size, sources)
        self.symbols: list[tf.Tensor] = []
        self.parameters: list[tf.Tensor] = []

    def _independent(self, stream: Independent, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        limit = float(SIDE_LIMIT)
        return tf.clip_by_value(tf.round(self._source(name, shape[2])), -limit, limit)

    def _gained(self, stream: Gained, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        def bits(
            known: tf.Tensor, candidates: Sequence[tf.Tensor], used: tf.Tensor
        ) -> list[tf.Tensor]:
            # the best level follows from all channels
            whole = [active.everywhere(x, used, shape[2]) for x in (known, *candidates)]
            return [tf.gather(each, used, axis=-1) for each in stream.bits(whole[0], whole[1:])]

        return self._chosen(self._source(name, shape[2]), bits)

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        latents = stream.differences(self._source(name, stream.channels))
        if self.coding.is_side(name):
            return clipped(tf.round(latents))

        is_told = stream.context is None

        def bits(
            known: tf.Tensor, candidates: Sequence[tf.Tensor], numbers: tf.Tensor
        ) -> list[tf.Tensor]:
            used = lowering.Used(numbers, stream.channels)
            rows = stream.all_rows(known, used)
            if is_told:
                self.parameters.append(stream.told(rows, used))
            return stream.bits(rows, candidates, used)

        symbols = self._chosen(latents, bits, active.possible if is_told else active.of)
        if is_told:
            self.symbols.append(symbols)
        return symbols

    def _chosen(
        self,
        latents: tf.Tensor,
        bits: Costs,
        channels_of: Callable[[tf.Tensor], tf.Tensor] = active.of,
    ) -> tf.Tensor:
        """Rounds latents to what is best by rate and distortion.

        Of the two integers beside a latent it is that with fewer bits + weight * error ** 2, by the
        probabilities that the nearest integers give each other. A decoder does not notice. Channels
        whose nearest integers are all zero stay as they are.

        Args:
          latents: float32 `[h, w, C]`, or whatever is coded as integers.
          bits: function of the nearest integers, a list of candidates, and the numbers of the
            channels that all of them have, to what each candidate would cost.
          channels_of: function of the nearest integers to these numbers, those of all channels that
            are in use among them.
        """
        nearest, channels = clipped(tf.round(latents)), latents.shape[-1]
        weight = self.coding.distortion_weight
        if weight is None:
            return nearest
        used = channels_of(nearest)
        latents, nearest = (tf.gather(x, used, axis=-1) for x in (latents, nearest))
        better = rdo_quantize(latents, nearest, weight, lambda both: bits(nearest, both, used))
        is_silent = ~tf.reduce_any(tf.not_equal(nearest, 0), [0, 1])
        return active.everywhere(tf.where(is_silent, nearest, better), used, channels)


class Statistics(ExactRunner):
    """What each element costs by its integer probability, and why.

    Attributes:
      found: dict of arrays by stream: dicts of float32 `[h, w, C]` or `[h, w, C, K]`: `bits`, and
        for conditional streams `weights`, `means`, `scales`, and `values`, as coded, their
        differences from the means being whole.
      named: list of float32, bits that say which channels are in use.

    Args:
      coding, size: as for `ExactRunner`.
      sources: dict of float32 `[h, w, C]`, integers.
    """

    def __init__(self, coding: EntropyCoder, size: Size, sources: Tensors) -> None:
        super().__init__(coding, size, sources)
        self.found: dict[str, Tensors] = {}
        self.named: list[tf.Tensor] = []

    def _independent(self, stream: Independent, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        values = self._source(name, shape[2])
        self.found[name] = {"values": values, "bits": stream.bits(values)}
        return values

    def _gained(self, stream: Gained, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        values = self._source(name, shape[2])
        self.found[name] = {"values": values, "bits": stream.bits(values, [values])[0]}
        return values

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        values = self._source(name, stream.channels)
        self._latest = lowering.Known(values, lowering.ACTIVATIONS, stream.grid)
        symbols = stream.symbols_of(values)
        rows = stream.all_rows(symbols)
        (bits,) = stream.bits(rows, [symbols])
        if not self.coding.is_side(name):
            used = active.worth_saying(symbols)
            bits = active.everywhere(tf.gather(bits, used, axis=-1), used, stream.channels)
            self.named.append(self.coding.names[name].bits(used))
        logits, means, scales = im.to_floats(im.parameters_of_rows(rows, stream.mixtures))
        shift = stream.mean_values / VALUE_STEP
        self.found[name] = {
            "values": symbols + shift,
            "bits": bits,
            "weights": stream.in_place(tf.nn.softmax(logits), symbols),
            "means": stream.in_place(means, symbols) + (shift[..., None] if stream.means else 0.0),
            "scales": stream.in_place(tf.exp(scales), symbols),
        }
        return symbols


class EntropyCoder(tf.Module):
    """Codes latents, and what their distributions depend on, into one string, and back.

    Latents and side information are two arrays: `latents` `[h, w, C]`, as the program returns them,
    integers, and `hyper_latents` `[h/4, w/4, Z]`, all other sources, joined, which are none if Z is
    0.

    Attributes:
      channels, hyper_channels: C and Z.
      names: dict of `active.Names` by stream of conditional latents.
      latent_step: what latents, integers, are multiples of.
      told_columns: list of how many parameters each stream of latents has at a position, if all of
        them follow from other streams alone; else None.

    Args:
      codec: a trained `tfclic.models.base.ImageCodec`.

    Raises:
      ValueError: a network of the program cannot be made exact; names the layer.
    """

    # of errors in rounding, bits for a squared step; None: errors alone
    distortion_weight = DISTORTION_WEIGHT
    # Raised when the same weights begin to give other strings: models must not be taken for others.
    revision = REVISION

    def __init__(self, codec: Codec, name: str = "coding") -> None:
        super().__init__(name=name)
        # in functions, out of TensorFlow's sight: the float networks are no part of this module
        self._program: Callable[[ExactRunner], lowering.Lazy] = lambda runner: codec.entropy(runner)
        self._activity = lambda: codec.activity
        self.qualities = len(codec.lmbdas)
        self.channels = codec.config.latent_channels
        self.networks = lowering.Networks(codec)
        self.streams: dict[str, Independent | Gained] = {}
        self._strides: dict[str, int] = {}
        self._widths: dict[str, int] = {}
        self._columns: dict[str, int | None] = {}
        self.names_first = False
        made = Maker(self)
        result = self._program(made).on()
        self.latent_step = 2.0**-result.form.bits
        # joined from fine to coarse
        mains = [name for name in self._strides if not self.is_side(name)]
        columns = [each for each in map(self._columns.get, mains) if each is not None]
        self.told_columns = columns if len(columns) == len(mains) else None
        pieces = tf.split(codec.activity, [self._widths[name] for name in mains], 1)
        by_name = {name: piece for name, piece in zip(mains, pieces) if name not in self.streams}
        self.names = {name: active.Names(piece, name) for name, piece in by_name.items()}
        # of several streams each has its own channels named, right before it
        self.names_first = len(mains) == len(self.names) == 1
        self.side_streams = tuple(
            sorted(filter(self.is_side, self._strides), key=self._strides.__getitem__)
        )
        self.hyper_channels = sum(map(self._joined, self.side_streams))
        self.least_bits = self._least_bits()

    def _least_bits(self) -> float:
        return sum(map(self._least_cost, self._strides)) / 2**coders.COST_BITS

    def take(self, other: EntropyCoder) -> None:
        """Takes the integers of another one, of which the codec was restored that this is made of.

        That has them but for tables, to which densities are no more than fitted, and for layers
        whose weights transforms store, too, in floats.
        """
        for variable, value in zip(self.variables, other.variables):
            variable.assign(value)
        for layer in self.layers():
            layer.regroup()
        self.least_bits = self._least_bits()

    def stream(self, name: str, make: Callable[[], Independent | Gained]) -> Any:
        """The module of a stream that has tables, made by `make()` when it is first wanted."""
        if name not in self.streams:
            stream = self.streams[name] = make()
            self.describe(name, stream.channels, stream.stride)
        return self.streams[name]

    def describe(self, name: str, channels: int, stride: int, columns: int | None = None) -> None:
        """Notes what a stream is like; `columns` of parameters, if these follow from others."""
        self._strides[name], self._widths[name] = stride, channels
        self._columns[name] = columns

    def is_side(self, name: str) -> bool:
        """Whether a stream is side information."""
        return self._strides[name] > 1

    def box(self, name: str, box: tf.Tensor) -> tf.Tensor:
        """A box of latents as it lies in the source `name`."""
        if name == LATENTS:
            return box
        return box // self._strides.get(name, SIDE_STRIDE)

    def _joined(self, name: str) -> int:
        """How many channels a stream has when it is joined with others."""
        return self._widths[name] * (SIDE_STRIDE // self._strides[name]) ** 2

    def _least_cost(self, name: str) -> int:
        """The least that a stream takes for a position of the joined ones, 2**-16 bits."""
        if name in self.streams:
            return self.streams[name].least_cost
        # latents may be silent in all of their channels
        return self._joined(name) * least_decision() if self.is_side(name) else 0

    @property
    def table(self) -> tf.Tensor:
        """The added table of the coder (see `tfclic.entropy.coders`), int32 `[rows, n]`."""
        tables = [stream.table for _, stream in sorted(self.streams.items())]
        return tf.concat(tables, 0) if tables else coders.NO_TABLE

    def first_row(self, name: str) -> int:
        """Where the rows of a stream begin in `table`."""
        before = [stream for key, stream in sorted(self.streams.items()) if key < name]
        return sum(len(stream.table) for stream in before)

    def restore(self) -> list[tf.Variable]:
        """Gives the codec the entropy networks that this stands for, as far as these are known.

        That is the one of which this was made; since then, variables may have been read into this.

        Returns:
          A list of the codec's variables that were given values.
        """
        given = [variable for layer in self.layers() for variable in layer.restore()]
        if self.names:
            self._activity().assign(tf.concat([each.activity() for each in self.names.values()], 1))
            given.append(self._activity())
        return given + [v for stream in self.streams.values() for v in stream.restore()]

    @property
    def is_differentiable(self) -> bool:
        """Whether latents have float densities, of which nothing but the weights is stored."""
        return not any(isinstance(stream, Gained) for stream in self.streams.values())

    def floats(self) -> dict[int, tf.Tensor]:
        """Float weights of the entropy networks, dict of tensors by the variables' ids.

        They are what the integers stand for, so that gradients can be had of an exported model.
        """
        pairs = (pair for layer in self.layers() for pair in layer.floats())
        return {id(variable): value for variable, value in pairs}

    def layers(self) -> list[fixed_point.FixedPointDense]:
        """All layers of all entropy networks, exact."""
        return [m for m in self.submodules if isinstance(m, fixed_point.FixedPointDense)]

    def join(self, streams: Tensors) -> tf.Tensor:
        """Streams of side information, a dict, as one array `[h/4, w/4, Z]`; see `split`."""
        arrays = []
        for name in self.side_streams:
            times, array = SIDE_STRIDE // self._strides[name], streams[name]
            arrays.append(tf.nn.space_to_depth(array[None], times)[0] if times > 1 else array)
        return tf.concat(arrays, -1)

    def stride(self, name: str) -> int:
        """Latents between the positions of a stream, each way."""
        return self._strides[name]

    def split(self, hyper_latents: tf.Tensor) -> Tensors:
        """The dict of streams that `join` was given."""
        found, sizes = {}, [self._joined(name) for name in self.side_streams]
        parts = tf.split(hyper_latents, sizes, -1) if sizes else []
        for name, part in zip(self.side_streams, parts):
            times = SIDE_STRIDE // self._strides[name]
            found[name] = tf.nn.depth_to_space(part[None], times)[0] if times > 1 else part
        return found

    def _sources(self, hyper_latents: tf.Tensor, latents: tf.Tensor) -> Tensors:
        return {**self.split(hyper_latents), LATENTS: latents}

    def _ran(self, runner: ExactRunner) -> tuple[tf.Tensor, tf.Tensor]:
        """The latents, and the side information, that a runner makes."""
        latents = self._program(runner).on().whole()
        if self.side_streams:
            return latents, self.join(runner.streams)
        return latents, tf.zeros([runner.size[0] // SIDE_STRIDE, runner.size[1] // SIDE_STRIDE, 0])

    @compilation.uncompiled
    def compress(
        self, hyper_latents: tf.Tensor, latents: tf.Tensor, coder: str = header.RANGE
    ) -> tf.Tensor:
        """The string of integer-valued hyper latents and latents (shapes as in the class).

        `coder` is the name of one.
        """
        encoder, shape = ENCODERS[coder](self.table), tf.shape(latents)
        runner = Walker(self, (shape[0], shape[1]), encoder, self._sources(hyper_latents, latents))
        self._program(runner)
        return encoder.finish(runner.state)

    @compilation.uncompiled
    def choose(self, sources: Tensors) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """As `quantize`, and what `write` then needs not compute; where there are `told_columns`.

        Returns:
          Latents and hyper latents, symbols `[h, w, C]` and parameters `[h, w, n]` of the streams
          of latents; all float32, integers.
        """
        shape = tf.shape(sources[LATENTS])
        runner = Quantizer(self, (shape[0], shape[1]), sources)
        found = self._ran(runner)
        return *found, tf.concat(runner.symbols, -1), tf.concat(runner.parameters, -1)

    @compilation.uncompiled
    def write(
        self,
        hyper_latents: tf.Tensor,
        symbols: tf.Tensor,
        parameters: tf.Tensor,
        coder: str = header.RANGE,
    ) -> tf.Tensor:
        """The string of what `choose` returned, that of `compress`; `coder` as there."""
        encoder, shape = ENCODERS[coder](self.table), tf.shape(symbols)
        sources = self._sources(hyper_latents, symbols)
        runner = Writer(self, (shape[0], shape[1]), encoder, sources, parameters)
        self._program(runner)
        return encoder.finish(runner.state)

    @compilation.uncompiled
    def decompress(self, string: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Latents float32 `[height, width, C]` of a string; see `read`."""
        return self.read(string, height, width)[1]

    @compilation.uncompiled
    def read(
        self, string: tf.Tensor, height: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Hyper latents and latents of a string.

        Args:
          string: of rank 0.
          height, width: int32, of the latents, multiples of 4.

        Raises:
          tf.errors.InvalidArgumentError: the string is too short for so many latents, which is
            found out before memory is taken for them; or it turns out not to hold them.
        """
        return self.try_read(string, height, width, tf.constant(True))[1:]

    @compilation.uncompiled
    def try_read(
        self,
        string: tf.Tensor,
        height: tf.Tensor,
        width: tf.Tensor,
        strict: tf.Tensor,
        coder: str = header.RANGE,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As `read`, for whoever cannot have it fail.

        Args:
          string, height, width: as for `read`.
          strict: bool; false: what does not hold is told, and time and memory are taken for it.
          coder: the name of that which wrote the string.

        Returns:
          `(sound, hyper_latents, latents)`, the first a bool, whether all is well.
        """
        rows, columns = height // SIDE_STRIDE, width // SIDE_STRIDE
        possible = self.can_hold(tf.strings.length(string), rows, columns)
        enough = tf.debugging.Assert(possible | ~strict, [TOO_SHORT])
        with tf.control_dependencies([enough]):
            size = SIDE_STRIDE * rows, SIDE_STRIDE * columns
        decoder = DECODERS[coder](self.table, string, strict)
        runner = Walker(self, size, decoder)
        latents, hyper_latents = self._ran(runner)
        sound = decoder.finish(runner.state)
        with tf.control_dependencies([tf.debugging.Assert(sound | ~strict, [NOT_OF_THIS_SIZE])]):
            return sound & possible, tf.identity(hyper_latents), tf.identity(latents)

    @property
    def parts(self) -> int:
        """How many streams of latents there are, one after the other."""
        return len(self._strides) - len(self.side_streams)

    @compilation.uncompiled
    def read_parts(
        self,
        string: tf.Tensor,
        height: tf.Tensor,
        width: tf.Tensor,
        wanted: tf.Tensor,
        coder: str = header.RANGE,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As `read`, of the first streams of latents; for the others it takes what is expected.

        Args:
          string: of rank 0; it may be the beginning of one.
          height, width: as for `read`.
          wanted: int32, how many streams are read.
          coder: as for `try_read`. Of the interleaved one a beginning holds nothing.

        Returns:
          `(sound, hyper_latents, latents)`, the first int32, how many of the wanted streams surely
          lie within the string; -1: not even what comes before them does.
        """
        size = SIDE_STRIDE * (height // SIDE_STRIDE), SIDE_STRIDE * (width // SIDE_STRIDE)
        decoder = DECODERS[coder](self.table, string, False)
        runner = PartialWalker(self, size, decoder, wanted, tf.strings.length(string))
        latents, hyper_latents = self._ran(runner)
        return runner.sound, hyper_latents, latents

    def can_hold(self, length: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        """Whether strings of so many bytes can hold so many rows and columns of hyper latents."""
        count = tf.cast(rows, tf.float64) * tf.cast(columns, tf.float64)
        bits = 8 * tf.cast(length + coders.SPARE_BYTES, tf.float64)
        return bits >= count * self.least_bits

    @compilation.uncompiled
    def quantize(self, sources: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        """Makes of the sources, a dict of float32 `[h, w, C]`, what is coded, within what can be.

        Returns:
          Latents and hyper latents, float32, integers.
        """
        shape = tf.shape(sources[LATENTS])
        return self._ran(Quantizer(self, (shape[0], shape[1]), sources))

    @compilation.uncompiled
    def statistics(self, hyper_latents: tf.Tensor, latents: tf.Tensor) -> Tensors:
        """What each element costs by its integer probability, and why.

        Returns:
          A dict of float32 arrays: `latents_bits` `[h, w, C]`, `channels_bits` `[h/4, w/4, 1]`,
          what says which channels are in use, and `STREAM_bits` of each stream of side information;
          of conditional latents, `weights`, `means` and `scales` `[h, w, C, K]`, on the grids of
          the exact coder. Where these are coded as differences from means, `latents` are as coded,
          not refined. Of several streams of latents `slices`, int32, are how many channels each
          has. Of several streams of side information `STREAM` are the values, and `STREAM_means`
          and `STREAM_scales` what these follow from.
        """
        shape = tf.shape(latents)
        size, sources = (shape[0], shape[1]), self._sources(hyper_latents, latents)
        runner = Statistics(self, size, sources)
        self._program(runner)
        found = {}
        for name in self.side_streams:
            each = runner.found[name]
            found[f"{name}_bits"] = each["bits"]
            if len(self.side_streams) > 1:
                found[name] = each["values"]
                for kind in ("means", "scales"):
                    if kind in each:
                        found[f"{name}_{kind}"] = each[kind][..., 0]
        parts = [each for name, each in runner.found.items() if not self.is_side(name)]
        for kind in parts[0]:
            joined = tf.concat([part[kind] for part in parts], 2)
            found[{"bits": "latents_bits", "values": LATENTS}.get(kind, kind)] = joined
        if self.latent_step == 1:
            del found[LATENTS]  # they are as they were given
        if len(parts) > 1:
            found["slices"] = tf.constant([part["bits"].shape[2] for part in parts])
        if runner.named:
            grid = shape[:2] // SIDE_STRIDE
            share = tf.add_n(runner.named) / tf.cast(tf.reduce_prod(grid), tf.float32)
            found["channels_bits"] = tf.fill(tf.concat([grid, [1]], 0), share)
        return found

    def total_bits(self, explained: Tensors) -> tf.Tensor:
        """All bits in what `statistics` returns, float32."""
        bits = (array for name, array in explained.items() if name.endswith("_bits"))
        levels = (stream.extra_bits for stream in self.streams.values())
        return tf.add_n([tf.reduce_sum(array) for array in bits]) + sum(levels)
