"""A coder in TensorFlow's own operations: interleaved range coders.

A range coder is one long chain of small steps, which takes an operation of its own. Here L of them,
the *lanes*, run side by side, so that a step of all is a few operations on `[L]`: the k-th decision
or symbol of a string is coded by lane `k mod L`, after those of smaller numbers. (F. Giesen,
"Interleaved entropy coders", 2014, does so with rANS. That would lose twice as much in each lane,
for its states begin at 2**16 when the first symbol comes, and takes no fewer operations.)

A lane's content is a binary fraction in an interval [low, low + size), at first [0, 1); an event
with the part [start, end) of 2**16 narrows it down. Both are kept times 2**48; when the size falls
below 2**32 all of it is scaled by 2**16, and what leaves low at the top is a word of the content
(G. N. N. Martin, "Range encoding", 1979). In the end the content is the first fraction from low on
that is a multiple of the largest power of 2 up to the size; smaller bits are not said.
`tfclic.entropy.interleaved_strings` says how a string has it.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfclic.entropy import coders
from tfclic.entropy.coders import State
from tfclic.entropy.interleaved_strings import (
    SIZE_BITS,
    WORD,
    WORD_BITS,
    packed,
    unpacked,
    unsaid_bits,
)
from tfclic.exact import compilation

MAX_LANES = 256
# Time goes with bits / lanes, and some 9 bits are lost in each: of 64x64 pixels 2 to 4 % (8 lanes),
# of 768x512 a quarter of a percent (70).
LANES_TO_ROOT = 7
_WHOLE = 1 << coders.PRECISION
_LEAST = 1 << SIZE_BITS - WORD_BITS  # a smaller size is scaled


class Encoder(coders.Writer):
    """Writes one string; otherwise like `coders.RangeEncoder`.

    Args:
      table: int32 `[rows, n + 2]`, the added table.
      lanes: int32, L, 1 to 256; None: as many as the bits are worth.
    """

    def __init__(self, table: tf.Tensor, lanes: int | tf.Tensor | None = None) -> None:
        self._table, self._lanes = tf.convert_to_tensor(table), lanes

    def start(self) -> State:
        """Nothing yet: a list of int32 `[n, 2]`, starts and ends."""
        return tf.raw_ops.EmptyTensorList(
            element_shape=[-1, 2], max_num_elements=-1, element_dtype=tf.int32
        )

    def decide(
        self,
        state: State,
        probability: tf.Tensor,
        truth: tf.Tensor,
        element: tf.Tensor | None = None,
    ) -> tuple[State, tf.Tensor]:
        """Notes bools `truth` `[n]`, P(true) = `probability` / 4096 (int32 `[n]`)."""
        bound = _bound(probability)
        return _noted(state, tf.where(truth, bound, 0), tf.where(truth, _WHOLE, bound)), truth

    def symbols(self, state: State, row: tf.Tensor, value: tf.Tensor) -> tuple[State, tf.Tensor]:
        """Notes integers `value` (int32 `[n]`) by rows `row` of the added table."""
        start, end = (tf.gather_nd(self._table, tf.stack([row, value + i], -1)) for i in (1, 2))
        return _noted(state, start, end), value

    def finish(self, state: State) -> tf.Tensor:
        """The string, of rank 0."""
        events, _ = tf.raw_ops.TensorListConcatV2(
            input_handle=state,
            element_shape=[-1, 2],
            leading_dims=tf.zeros([0], tf.int64),
            element_dtype=tf.int32,
        )
        lanes = _worth(events) if self._lanes is None else self._lanes
        return packed(*_narrowed(events, lanes))


class Decoder(coders.Reader):
    """Reads one string; otherwise like `coders.RangeDecoder`.

    The state is that of each lane: how far the content lies above low, and the size, int64 `[L]`,
    and the place of the next word, int32 `[L]`; whose turn it is, int32; and what the symbols so
    far must have taken.

    Args:
      table: the encoder's.
      string, strict: as for `coders.Reader`.
    """

    def __init__(
        self, table: tf.Tensor, string: tf.Tensor, strict: bool | tf.Tensor = True
    ) -> None:
        super().__init__(string, strict)
        cdf = tf.convert_to_tensor(table)[:, 1:]
        certain = tf.pad(tf.fill([1, tf.shape(cdf)[1] - 1], _WHOLE), [[0, 0], [1, 0]])
        self._cdf = tf.cast(tf.concat([cdf, certain], 0), tf.int64)
        self._first, self._words, self._left, self._whole = unpacked(string)
        self._lanes, self._last = tf.size(self._first), tf.size(self._words) - 1

    def start(self) -> State:
        """A fresh state, before the first symbol."""
        words = [tf.gather(self._words, self._first + i) for i in range(SIZE_BITS // WORD_BITS)]
        above = words[0]
        for word in words[1:]:
            above = above * WORD + word
        size = tf.fill(tf.shape(above), tf.constant(1 << SIZE_BITS, tf.int64))
        place = self._first + len(words)
        return above, size, place, tf.zeros([], tf.int32), tf.zeros([], tf.int64)

    def decide(
        self,
        state: State,
        probability: tf.Tensor,
        truth: tf.Tensor,
        element: tf.Tensor | None = None,
    ) -> tuple[State, tf.Tensor]:
        """Decodes decisions, bool `[n]`."""

        def step(above: tf.Tensor, size: tf.Tensor, bound: tf.Tensor) -> tuple[tf.Tensor, ...]:
            share = _part(size) * bound
            rest = above - share
            is_true = rest >= 0
            return (
                tf.where(is_true, rest, above),
                tf.where(is_true, size - share, share),
                is_true,
            )

        bound = tf.cast(_bound(probability), tf.int64)
        state, truth = self._taken(state, bound, 0, step, tf.bool)
        return (*state[:-1], state[-1] + self.cost_of_decisions(probability, truth)), truth

    def symbols(self, state: State, row: tf.Tensor, value: tf.Tensor) -> tuple[State, tf.Tensor]:
        """Decodes integers, int32 `[n]`."""

        def step(above: tf.Tensor, size: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, ...]:
            part, cdf = _part(size), tf.gather(self._cdf, row)
            slot = tf.minimum(above // part, _WHOLE - 1)
            value = tf.searchsorted(cdf, slot[:, None], side="right") - 1
            ends = tf.gather(cdf, tf.concat([value, value + 1], 1), batch_dims=1)
            start, end = tf.unstack(ends, 2, 1)
            return above - part * start, _narrow(size, part, start, end), value[:, 0]

        certain = tf.shape(self._cdf)[0] - 1
        state, value = self._taken(state, row, certain, step, tf.int32)
        start, end = (tf.gather_nd(self._cdf, tf.stack([row, value + i], -1)) for i in (0, 1))
        return (*state[:-1], state[-1] + tf.reduce_sum(coders.least_cost(end - start))), value

    def _taken(
        self,
        state: State,
        given: tf.Tensor,
        certain: int | tf.Tensor,
        step: Callable[..., tuple[tf.Tensor, ...]],
        dtype: tf.DType,
    ) -> tuple[State, tf.Tensor]:
        """Takes events from the lanes in turn.

        Args:
          state: the coder's.
          given: `[n]`, what is known of each event.
          certain: the same, of one that has all of the interval.
          step: function of `above`, `size` and what is given, `[L]`, to the former two before they
            are scaled, and outcomes.
          dtype: of outcomes.

        Returns:
          `(state, outcomes)`.
        """
        *lanes, turn, cost = state
        end = turn + tf.size(given)
        rows = (end + self._lanes - 1) // self._lanes
        margin = [[turn, rows * self._lanes - end]]
        given = tf.reshape(tf.pad(given, margin, constant_values=certain), [rows, self._lanes])
        found = _Rows(rows, self._lanes, dtype)

        @compilation.uncompiled
        def body(
            row: tf.Tensor, above: tf.Tensor, size: tf.Tensor, place: tf.Tensor, kept: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            above, size, outcome = step(above, size, tf.gather(given, row))
            short, word = size < _LEAST, tf.gather(self._words, place)
            above = tf.where(short, above * WORD + word, above)
            size = tf.where(short, size * WORD, size)
            place = tf.minimum(place + tf.cast(short, tf.int32), self._last)
            return row + 1, above, size, place, found.write(kept, row, outcome)

        _, *lanes, kept = tf.while_loop(
            compilation.uncompiled(lambda row, *_: row < rows), body, [0, *lanes, found.none]
        )
        outcomes = tf.reshape(found.all(kept), [-1])[turn:end]
        return (*lanes, end % self._lanes, cost), outcomes

    def finish(self, state: State) -> tf.Tensor:
        """Whether the string ended just where its last symbol did; true for what was encoded."""
        above, size, place, _, _ = state
        unsaid = unsaid_bits(size)
        ended = tf.equal(tf.gather(self._left, place - 1), -unsaid)
        ended &= tf.equal(tf.bitwise.right_shift(above, tf.cast(unsaid, tf.int64)), 0)
        return tf.reduce_all(ended) & self._whole & ~self.exhausted(state)


class _Rows:
    """The `rows` of an array `[rows, lanes]`, as a loop makes them; there may be none.

    Attributes:
      none: a list without any, a tensor.
    """

    def __init__(self, rows: tf.Tensor, lanes: tf.Tensor, dtype: tf.DType) -> None:
        self._shape, self._dtype = tf.reshape(lanes, [1]), dtype
        self.none = tf.raw_ops.TensorListReserve(
            element_shape=self._shape, num_elements=rows, element_dtype=dtype
        )

    def write(self, kept: tf.Tensor, row: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """The list with one more."""
        return tf.raw_ops.TensorListSetItem(input_handle=kept, index=row, item=values)

    def all(self, kept: tf.Tensor) -> tf.Tensor:
        """The array."""
        return tf.raw_ops.TensorListStack(
            input_handle=kept, element_shape=self._shape, element_dtype=self._dtype
        )


def _bound(probability: tf.Tensor) -> tf.Tensor:
    """Where "yes" begins, of 2**16, for probabilities of yes of 4096."""
    return _WHOLE - probability * (1 << (coders.PRECISION - coders.DECISION_BITS))


def _noted(events: State, start: tf.Tensor, end: tf.Tensor) -> State:
    noted = tf.stack([start, end], 1)
    return tf.raw_ops.TensorListPushBack(input_handle=events, tensor=noted)


def _part(size: tf.Tensor) -> tf.Tensor:
    """2**-16 of intervals, rounded down; the last event has what remains."""
    return tf.bitwise.right_shift(size, tf.constant(coders.PRECISION, tf.int64))


def _narrow(size: tf.Tensor, part: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """The size of the part [start, end) of an interval."""
    return tf.where(tf.equal(end, _WHOLE), size, part * end) - part * start


def _worth(events: tf.Tensor) -> tf.Tensor:
    """How many lanes events `[n, 2]` are worth."""
    bits = tf.reduce_sum(coders.least_cost(events[:, 1] - events[:, 0])) / (1 << coders.COST_BITS)
    return tf.clip_by_value(tf.cast(tf.sqrt(bits) / LANES_TO_ROOT, tf.int32), 1, MAX_LANES)


def _narrowed(events: tf.Tensor, lanes: int | tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Puts events `[n, 2]` into lanes.

    Returns:
      `(low, size, words, is_word)`: the last intervals, int64 `[L]`, and of each lane the words
      before, int64 `[L, rows]`, where `is_word`; each is to be increased by 1 if the next has 17
      bits, or low has 49.
    """
    count = tf.shape(events)[0]
    rows = (count + lanes - 1) // lanes
    margin = [[0, rows * lanes - count]]
    start, end = tf.unstack(tf.cast(events, tf.int64), 2, 1)
    start = tf.reshape(tf.pad(start, margin), [rows, lanes])
    end = tf.reshape(tf.pad(end, margin, constant_values=_WHOLE), [rows, lanes])
    words, is_word = (_Rows(rows, lanes, dtype) for dtype in (tf.int64, tf.bool))
    top = tf.constant(SIZE_BITS - WORD_BITS, tf.int64)

    @compilation.uncompiled
    def body(
        row: tf.Tensor, low: tf.Tensor, size: tf.Tensor, kept: tf.Tensor, is_kept: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        part, at = _part(size), tf.gather(start, row)
        low, size = low + part * at, _narrow(size, part, at, tf.gather(end, row))
        short = size < _LEAST
        kept = words.write(kept, row, tf.bitwise.right_shift(low, top))
        is_kept = is_word.write(is_kept, row, short)
        low = tf.where(short, (low & _LEAST - 1) * WORD, low)
        return row + 1, low, tf.where(short, size * WORD, size), kept, is_kept

    zero = tf.zeros([lanes], tf.int64)
    _, low, size, *kept = tf.while_loop(
        compilation.uncompiled(lambda row, *_: row < rows),
        body,
        [0, zero, zero + (1 << SIZE_BITS), words.none, is_word.none],
    )
    return low, size, *(tf.transpose(each.all(k)) for each, k in zip((words, is_word), kept))
