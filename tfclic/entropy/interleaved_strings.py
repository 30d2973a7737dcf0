"""Strings of the interleaved coder: what its lanes hold, put together and taken apart.

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

import tensorflow as tf

from tfclic.entropy import byte_strings
from tfclic.exact import compilation

WORD_BITS = 16
SIZE_BITS = 3 * WORD_BITS
HEADER_BITS = 16
WORD = 1 << WORD_BITS
_FIELD_BYTES = 5  # that a field of 32 bits may touch
_PLACES = tuple(range(8 * (_FIELD_BYTES - 1), -1, -8))


def unsaid_bits(size: tf.Tensor) -> tf.Tensor:
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


def packed(low: tf.Tensor, size: tf.Tensor, words: tf.Tensor, is_word: tf.Tensor) -> tf.Tensor:
    """The string of lanes.

    Args:
      low, size: int64 `[L]`, their last intervals.
      words, is_word: int64 and bool `[L, rows]`, as `interleaved.Encoder` leaves them: of each lane
        the words before, where there are any; each is to be increased by 1 if the next has 17 bits,
        or low has 49.
    """
    unsaid = unsaid_bits(size)
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
        return [(words & WORD - 1) + tf.pad(carry[1:], [[0, 1]])]

    carries = compilation.uncompiled(lambda words: tf.reduce_any(words >= WORD))
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


def unpacked(string: tf.Tensor) -> tuple[tf.Tensor, ...]:
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
