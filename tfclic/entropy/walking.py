"""What writes and reads strings: one walk through a program, in exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.entropy import active, coders, lazy, lowering
from tfclic.entropy import integer_mixture as im
from tfclic.entropy.exact_runners import ExactRunner
from tfclic.entropy.program import LATENTS, clipped
from tfclic.format.header import NOT_OF_THIS_SIZE

if TYPE_CHECKING:
    from tfclic.entropy.coding import EntropyCoder
    from tfclic.entropy.conditional_streams import Conditional
    from tfclic.entropy.exact_runners import Size
    from tfclic.entropy.factorized_streams import Gained, Independent
    from tfclic.layers.composite import Tensors


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
            self._latest = lazy.Known(symbols, lowering.ACTIVATIONS, stream.grid)
            symbols = stream.symbols_of(symbols)
        return self._coded(stream, name, symbols)

    def _coded(self, stream: Conditional, name: str, symbols: tf.Tensor) -> tf.Tensor:
        known = self._sources is not None
        if self.coding.layout.is_side(name):
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
        self._parameters = iter(tf.split(parameters, coding.layout.told_columns, -1))

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        if self.coding.layout.is_side(name):
            return super()._conditional(stream, name)
        stream.tell(next(self._parameters))
        return self._coded(stream, name, self._given(name, [*stream.grid.size, stream.channels]))

    def _value(self, stream: Conditional, name: str) -> lazy.Known:
        # of latents nothing that is told follows
        known = self.streams[name] if self.coding.layout.is_side(name) else None
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
        if self.coding.layout.is_side(name):
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
