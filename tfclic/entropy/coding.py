"""Entropy models as exported codecs run them: exact, in integers.

`EntropyCoder` runs a codec's program (see `tfclic.entropy.program`) with what `exact_runners` and
`walking` have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import tensorflow as tf

from tfclic.entropy import active, coders, interleaved
from tfclic.entropy.exact_runners import ExactRunner, Maker, Quantizer, Statistics
from tfclic.entropy.factorized_streams import Gained, Independent, least_decision
from tfclic.entropy.layout import SIDE_STRIDE, Layout
from tfclic.entropy.networks import Networks
from tfclic.entropy.program import DISTORTION_WEIGHT, LATENTS
from tfclic.entropy.walking import PartialWalker, Walker, Writer
from tfclic.exact import compilation, fixed_point
from tfclic.format import header
from tfclic.format.header import NOT_OF_THIS_SIZE, TOO_SHORT

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.lazy import Lazy
    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Tensors, Value

# Of codings whose strings say which channels are in use, by how often each of them is. Before it, 2
# said so by groups of channels, 1 did not say it, and 0 had a table of single Gaussians that is as
# coarse as that of mixtures.
REVISION = 3

# How often latents are rounded at most, and how far side information at a position matters, in its
# own positions: hyper syntheses have two 3x3 convolutions at its resolution or the next finer one.
ATTEMPTS, SIDE_REACH = 2, 2

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


class EntropyCoder(tf.Module):
    """Codes latents, and what their distributions depend on, into one string, and back.

    Latents and side information are two arrays: `latents` `[h, w, C]`, as the program returns them,
    integers, and `hyper_latents` `[h/4, w/4, Z]`, all other sources, joined, which are none if Z is
    0.

    Attributes:
      channels: C.
      layout: the `Layout` of its streams, which has Z.
      names: dict of `active.Names` by stream of conditional latents.
      latent_step: what latents, integers, are multiples of.

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
        self._program: Callable[[ExactRunner], Lazy] = lambda runner: codec.entropy(runner)
        self._activity = lambda: codec.activity
        self.qualities = len(codec.lmbdas)
        self.channels = codec.config.latent_channels
        self.networks = Networks(codec)
        self.streams: dict[str, Independent | Gained] = {}
        self.layout = Layout()
        self.names_first = False
        made = Maker(self)
        result = self._program(made).on()
        self._has_means = made.has_means
        self.latent_step = 2.0**-result.form.bits
        mains = self.layout.latents
        pieces = tf.split(codec.activity, [self.layout.channels(name) for name in mains], 1)
        by_name = {name: piece for name, piece in zip(mains, pieces) if name not in self.streams}
        self.names = {name: active.Names(piece, name) for name, piece in by_name.items()}
        # of several streams each has its own channels named, right before it
        self.names_first = len(mains) == len(self.names) == 1
        self.least_bits = self._least_bits()

    def _least_bits(self) -> float:
        return sum(map(self._least_cost, self.layout.names)) / 2**coders.COST_BITS

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
            self.layout.describe(name, stream.channels, stream.stride)
        return self.streams[name]

    def _least_cost(self, name: str) -> int:
        """The least that a stream takes for a position of the joined ones, 2**-16 bits."""
        if name in self.streams:
            return self.streams[name].least_cost
        # latents may be silent in all of their channels
        layout = self.layout
        return layout.joined_channels(name) * least_decision() if layout.is_side(name) else 0

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

    def _sources(self, hyper_latents: tf.Tensor, latents: tf.Tensor) -> Tensors:
        return {**self.layout.split(hyper_latents), LATENTS: latents}

    def _ran(self, runner: ExactRunner) -> tuple[tf.Tensor, tf.Tensor]:
        """The latents, and the side information, that a runner makes."""
        latents = self._program(runner).on().whole()
        if self.layout.sides:
            return latents, self.layout.join(runner.streams)
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
        """As `quantize`, and what `write` then needs not compute; see `Layout.told_columns`.

        Returns:
          Latents and hyper latents, symbols `[h, w, C]` and parameters `[h, w, n]` of the streams
          of latents; all float32, integers.
        """
        latents, hyper_latents, *told = self._quantized(sources, is_told=True)
        return latents, hyper_latents, *told

    def _quantized(self, sources: Tensors, is_told: bool = False) -> list[tf.Tensor]:
        """What `quantize` returns, or `choose`.

        Where latents are coded as differences from means, these may be so far off that no symbol is
        what a latent would be: at the highest qualities, of images unlike those of the training.
        There side information becomes zero, which expects little, and all is computed once more.
        """
        shape = tf.shape(sources[LATENTS])
        size = shape[0], shape[1]

        def once(sources: Tensors) -> tuple[Quantizer, list[tf.Tensor]]:
            runner = Quantizer(self, size, sources)
            found = [*self._ran(runner)]
            if is_told:
                found += [tf.concat(runner.symbols, -1), tf.concat(runner.parameters, -1)]
            return runner, found

        if not (self._has_means and self.layout.sides):
            return once(sources)[1]

        @compilation.uncompiled
        def attempt(_: tf.Tensor, kept: tf.Tensor, *__: tf.Tensor) -> tuple[tf.Tensor, ...]:
            sides = self.layout.split(self.layout.join(sources) * kept)
            runner, found = once({**sources, **sides})
            missed = tf.reduce_any(tf.stack(runner.missed), 0)
            return tf.reduce_any(missed), kept * (1 - _around(missed)), *found

        coarse = size[0] // SIDE_STRIDE, size[1] // SIDE_STRIDE
        widths = [self.channels, self.layout.hyper_channels]
        if is_told:
            widths += [self.channels, sum(self.layout.told_columns or [])]
        empty = [tf.zeros([*(coarse if i == 1 else size), n]) for i, n in enumerate(widths)]
        _, _, *found = tf.while_loop(
            compilation.uncompiled(lambda missed, *_: missed),
            attempt,
            (tf.constant(True), tf.ones([*coarse, 1]), *empty),
            shape_invariants=(
                tf.TensorShape([]),
                *(tf.TensorShape([None, None, n]) for n in (1, *widths)),
            ),
            maximum_iterations=ATTEMPTS,
        )
        return found

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
        latents, hyper_latents = self._quantized(sources)
        return latents, hyper_latents

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
        return runner.joined()

    def total_bits(self, explained: Tensors) -> tf.Tensor:
        """All bits in what `statistics` returns, float32."""
        bits = (array for name, array in explained.items() if name.endswith("_bits"))
        levels = (stream.extra_bits for stream in self.streams.values())
        return tf.add_n([tf.reduce_sum(array) for array in bits]) + sum(levels)


def _around(places: tf.Tensor) -> tf.Tensor:
    """1 where side information reaches any of the places, bool `[h, w]`: `[h/4, w/4, 1]`."""
    marks = tf.cast(places, tf.float32)[None, :, :, None]
    marks = tf.nn.max_pool2d(marks, SIDE_STRIDE, SIDE_STRIDE, "VALID")
    return tf.nn.max_pool2d(marks, 2 * SIDE_REACH + 1, 1, "SAME")[0]
