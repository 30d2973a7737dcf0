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

A string, bits from the highest of the first byte on:

| bits | what |
|---|---|
| 8 | L - 1 |
| 3 | number u of unused bits at the end |
| 5 | k |
| k L | n[l] - min(n), for each lane |
| sum(n) | the n[l] bits of each lane's content |
| u | zero |

min(n) follows from the length of the string.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfclic.entropy import byte_strings, coders
from tfclic.entropy.coders import State
from tfclic.exact import compilation

WORD_BITS = 16
SIZE_BITS = 3 * WORD_BITS
MAX_LANES = 256
HEADER_BITS = 16
# Time goes with bits / lanes, and some 9 bits are lost in each: of 64x64 pixels 2 to 4 % (8 lanes),
# of 768x512 a quarter of a percent (70).
LANES_TO_ROOT = 7
_WHOLE = 1 << coders.PRECISION
_WORD = 1 << WORD_BITS
_LEAST = 1 << SIZE_BITS - WORD_BITS  # a smaller size is scaled
_FIELD_BYTES = 5  # that a field of 32 bits may touch
_PLACES = tuple(range(8 * (_FIELD_BYTES - 1), -1, -8))


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
        return _packed(*_narrowed(events, lanes))


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
        self._first, self._words, self._left, self._whole = _unpacked(string)
        self._lanes, self._last = tf.size(self._first), tf.size(self._words) - 1

    def start(self) -> State:
        """A fresh state, before the first symbol."""
        words = [tf.gather(self._words, self._first + i) for i in range(SIZE_BITS // WORD_BITS)]
        above = words[0]
        for word in words[1:]:
            above = above * _WORD + word
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
            above = tf.where(short, above * _WORD + word, above)
            size = tf.where(short, size * _WORD, size)
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
        unsaid = _unsaid(size)
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


def _unsaid(size: tf.Tensor) -> tf.Tensor:
    """How many bits of 48 need not be said for a number in an interval of a size, int32."""
    return _bit_length(size) - 1


def _bit_length(x: tf.Tensor) -> tf.Tensor:
    """Bits of natural numbers below 2**63, int64 `[...]`, as int32."""
    length = tf.cast(x > 0, tf.int32)
    for step in (32, 16, 8, 4, 2, 1):
        upper = tf.bitwise.right_shift(x, tf.constant(step, tf.int64))
        x = tf.where(upper > 0, upper, x)
        length += step * tf.cast(upper > 0, tf.int32)
    return length


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
        low = tf.where(short, (low & _LEAST - 1) * _WORD, low)
        return row + 1, low, tf.where(short, size * _WORD, size), kept, is_kept

    zero = tf.zeros([lanes], tf.int64)
    _, low, size, *kept = tf.while_loop(
        compilation.uncompiled(lambda row, *_: row < rows),
        body,
        [0, zero, zero + (1 << SIZE_BITS), words.none, is_word.none],
    )
    return low, size, *(tf.transpose(each.all(k)) for each, k in zip((words, is_word), kept))


def _packed(low: tf.Tensor, size: tf.Tensor, words: tf.Tensor, is_word: tf.Tensor) -> tf.Tensor:
    """The string of lanes as `_narrowed` leaves them."""
    unsaid = _unsaid(size)
    step = tf.bitwise.left_shift(tf.ones_like(size), tf.cast(unsaid, tf.int64))
    top = tf.constant(SIZE_BITS - WORD_BITS, tf.int64)
    end = tf.bitwise.right_shift((low + step - 1) // step * step, top)
    words = tf.concat([words, end[:, None]], 1)
    widths = WORD_BITS * tf.cast(is_word, tf.int32)
    widths = tf.concat([widths, SIZE_BITS - unsaid[:, None]], 1)
    lengths = tf.reduce_sum(widths, 1)
    is_there = tf.pad(is_word, [[0, 0], [0, 1]], constant_values=True)
    words, widths = _carried(tf.boolean_mask(words, is_there)), tf.boolean_mask(widths, is_there)
    words = tf.bitwise.right_shift(words, tf.cast(WORD_BITS - widths, tf.int64))

    lanes = tf.size(low)
    over = lengths - tf.reduce_min(lengths)
    width = _bit_length(tf.cast(tf.reduce_max(over), tf.int64))
    unused = -(HEADER_BITS + width * lanes + tf.reduce_sum(lengths)) % 8
    header = tf.stack([lanes - 1, 32 * unused + width])
    values = tf.concat([tf.cast(tf.concat([header, over], 0), tf.int64), words], 0)
    return _written(values, tf.concat([[8, 8], tf.fill([lanes], width), widths], 0))


def _carried(words: tf.Tensor) -> tf.Tensor:
    """Words of which some have 17 bits, with those bits carried to the words before."""

    @compilation.uncompiled
    def body(words: tf.Tensor) -> list[tf.Tensor]:
        carry = tf.bitwise.right_shift(words, tf.constant(WORD_BITS, tf.int64))
        return [(words & _WORD - 1) + tf.pad(carry[1:], [[0, 1]])]

    carries = compilation.uncompiled(lambda words: tf.reduce_any(words >= _WORD))
    return tf.while_loop(carries, body, [words])[0]


def _written(values: tf.Tensor, widths: tf.Tensor) -> tf.Tensor:
    """The string of the `widths` (at most 32) lowest bits of int64 `values`, all in a row."""
    position = tf.cumsum(widths, exclusive=True)
    shift = 8 * _FIELD_BYTES - position % 8 - widths
    values = tf.bitwise.left_shift(values, tf.cast(shift, tf.int64))[:, None]
    parts = tf.cast(tf.bitwise.right_shift(values, _PLACES) & 255, tf.int32)
    index = (position // 8)[:, None] + tf.range(_FIELD_BYTES)
    total = (tf.reduce_sum(widths) + 7) // 8
    made = tf.scatter_nd(index[..., None], parts, total[None] + _FIELD_BYTES)[:total]
    return byte_strings.of(made)


def _unpacked(string: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Takes a string apart, whatever it is.

    Returns:
      `(first, words, left, whole)`: where each lane begins in `words`, int32 `[L]`; int64 words;
      of the same length, int32, how many bits of its lane come after a word, or how many of those
      up to its end were none, below 0; and whether the lengths of lanes can be.
    """
    size = 8 * tf.cast(tf.strings.length(string), tf.int64)
    padded = tf.strings.join([string, b"\0" * _FIELD_BYTES])
    data = tf.cast(tf.io.decode_raw(padded, tf.uint8), tf.int64)
    lanes, width, unused = data[0] + 1, data[1] & 31, data[1] // 32
    over = _read(data, HEADER_BITS + width * tf.range(lanes), width)
    begin = HEADER_BITS + width * lanes
    rest = size - begin - unused - tf.reduce_sum(over)
    whole = (rest >= 0) & tf.equal(rest % lanes, 0)
    whole &= tf.equal(_read(data, size - unused, unused), 0)
    lengths = tf.where(whole, rest // lanes + over, 0)
    begin += tf.cumsum(lengths, exclusive=True)
    # at the end 48 bits have been read of which one may be the last; and one word more is looked at
    count = lengths // WORD_BITS + SIZE_BITS // WORD_BITS + 1
    first = tf.cumsum(count, exclusive=True)
    lane = tf.repeat(tf.range(lanes), count)
    index = tf.range(tf.size(lane, tf.int64)) - tf.gather(first, lane)
    left = tf.gather(lengths, lane) - WORD_BITS * (index + 1)
    width = tf.clip_by_value(left + WORD_BITS, 0, WORD_BITS)
    words = _read(data, tf.gather(begin, lane) + WORD_BITS * index, width)
    words = tf.bitwise.left_shift(words, WORD_BITS - width)
    return tf.cast(first, tf.int32), words, tf.cast(left, tf.int32), whole


def _read(data: tf.Tensor, position: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Bits of bytes, int64 all: `width` (at most 32) of them at `position`; zeros after the end."""
    index = (position // 8)[..., None] + tf.range(_FIELD_BYTES, dtype=tf.int64)
    parts = tf.gather(data, tf.clip_by_value(index, 0, tf.size(data, tf.int64) - 1))
    value = tf.reduce_sum(tf.bitwise.left_shift(parts, _PLACES), -1)
    value = tf.bitwise.right_shift(value, 8 * _FIELD_BYTES - position % 8 - width)
    return value & tf.bitwise.left_shift(tf.ones_like(width), width) - 1
