"""The `.tfclic` file in TensorFlow's ops: `tfclic.format.header` says what is in it.

Everything runs eagerly as well as inside the exported graph. Comparisons are ops too, since `==`
between tensors can mean identity where a graph is traced. All tensors are scalars unless said
otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfclic import errors
from tfclic.entropy import byte_strings
from tfclic.format import boxes
from tfclic.format import header as layout
from tfclic.format.header import (
    ABOVE,
    CHECKSUM_BYTES,
    CORRUPTED,
    FINGERPRINT_BYTES,
    GRAYSCALE_FLAG,
    LENGTH_BYTES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    MAX_PIXELS,
    MAX_QUALITY_CODE,
    MAX_SIDE,
    MAX_TILE_SIDE,
    NEWER_VERSION,
    NO_SIZE,
    NOT_TFCLIC,
    OF_INTERLEAVED,
    OK,
    ONE_TILE,
    OTHER_MODEL,
    QUALITY_BYTES,
    RANGE_CODED,
    SENTENCES,
    SHORTEST_FILE,
    START,
    STATUSES,
    TILED,
    TRUNCATED,
    VARINT_BYTES,
    VERSION,
    VERSION_BITS,
)
from tfclic.format.latents import MULTIPLE

# Where the header ends at the latest.
_LONGEST_HEADER = START + VARINT_BYTES + FINGERPRINT_BYTES + QUALITY_BYTES + 2 * VARINT_BYTES + 2

_ALL_HEX = [f"{value:02x}" for value in range(256)]


class Header(NamedTuple):
    """What `parse` finds in a file: `status`, int32, and a `layout.Header` of tensors.

    `status` is OK or another of the codes of `layout`. If it is not OK, all else is void.
    """

    status: tf.Tensor
    grayscale: tf.Tensor
    fingerprint: tf.Tensor
    quality: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    tile_height: tf.Tensor
    tile_width: tf.Tensor
    lengths: tf.Tensor
    payload: tf.Tensor
    interleaved: tf.Tensor


def quality_code(quality: tf.Tensor) -> tf.Tensor:
    """Returns the int32 code of a float32 `quality` in 0..100, for the header."""
    code = tf.round(tf.cast(quality, tf.float32) * (MAX_QUALITY_CODE / 100))
    return tf.clip_by_value(tf.cast(code, tf.int32), 0, MAX_QUALITY_CODE)


def quality_of(code: tf.Tensor) -> tf.Tensor:
    """Returns the float32 quality 0..100 that an int32 `code` stands for.

    Encoders have to use `quality_of(quality_code(quality))`, which is all that the decoder knows.
    """
    return layout.quality_of(tf.cast(code, tf.float32))


def pack(
    fingerprint: tf.Tensor,
    width: tf.Tensor,
    height: tf.Tensor,
    quality16: tf.Tensor,
    grayscale: tf.Tensor,
    payload: tf.Tensor,
    tiles: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None = None,
    interleaved: bool = False,
) -> tf.Tensor:
    """Makes a file.

    Args:
      fingerprint: string of 4 bytes.
      width, height: int32, pixels, 1 to MAX_SIDE, at most MAX_PIXELS together, and neither more
        than MAX_TILE_SIDE if there is one tile.
      quality16: int32, quality code 0..65535.
      grayscale: bool.
      payload: string.
      tiles: `(tile_height, tile_width, lengths)` as in `Header`; None: there is one tile.
      interleaved: bool, as in `Header`.

    Returns:
      string, the bytes of the file.

    Raises:
      tf.errors.InvalidArgumentError: the image is larger than a file can say.
    """
    width, height = tf.cast(width, tf.int64), tf.cast(height, tf.int64)
    is_tiled = tf.size(tiles[2]) > 1 if tiles is not None else tf.constant(False)
    fits = _is_size(width, height) & (is_tiled | (tf.maximum(width, height) <= MAX_TILE_SIDE))
    with tf.control_dependencies([tf.debugging.Assert(fits, [NO_SIZE])]):
        size = tf.strings.join([_varint(width), _varint(height)])
    version, index = tf.constant(ONE_TILE, tf.int64), tf.constant(b"")
    if tiles is not None:
        version = tf.where(is_tiled, tf.constant(TILED, tf.int64), version)
        index = tf.cond(is_tiled, lambda: _pack_index(*tiles), lambda: index)
    flags = version + OF_INTERLEAVED * tf.cast(interleaved, tf.int64)
    flags += GRAYSCALE_FLAG * tf.cast(grayscale, tf.int64)
    quality = tf.cast(quality16, tf.int64)
    code = byte_strings.of(tf.stack([quality % 256, quality // 256]))
    middle = tf.strings.join([fingerprint, code, size, index, payload])
    start = tf.strings.join([MAGIC, byte_strings.of(flags[None])])
    rest = tf.cast(tf.strings.length(start) + tf.strings.length(middle), tf.int64) + CHECKSUM_BYTES
    length = rest
    for count in range(1, VARINT_BYTES + 1):
        # The length counts its own bytes, and there is a `count` that fits them exactly.
        candidate = rest + count
        length = tf.where(tf.equal(_varint_size(candidate), count), candidate, length)
    body = tf.strings.join([start, _varint(length), middle])
    return tf.strings.join([body, _checksum(body)])


def _pack_index(tile_height: tf.Tensor, tile_width: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    sides = tf.stack([tile_width, tile_height]) // MULTIPLE
    places = 8 * tf.range(LENGTH_BYTES)
    lengths = tf.bitwise.right_shift(lengths[:, None], places) & 255
    return byte_strings.of(tf.concat([sides, tf.reshape(lengths, [-1])], 0))


def parse(data: tf.Tensor) -> Header:
    """Takes a file apart, and never fails: `status` tells what is wrong with `data`, a string."""
    actual = tf.cast(tf.strings.length(data), tf.int64)
    padded = tf.strings.join([_slice(data, 0, _LONGEST_HEADER), b"\0" * _LONGEST_HEADER])
    head = tf.cast(tf.io.decode_raw(padded, tf.uint8), tf.int64)
    magic = _slice(padded, 0, len(MAGIC))
    flags = head[len(MAGIC)]
    version = flags & VERSION_BITS
    length, position, length_is_valid = _read_varint(head, START)
    fingerprint = _slice(padded, position, FINGERPRINT_BYTES)
    position += FINGERPRINT_BYTES
    quality = head[position] + 256 * head[position + 1]
    width, position, width_is_valid = _read_varint(head, position + QUALITY_BYTES)
    height, position, height_is_valid = _read_varint(head, position)

    before_checksum = tf.maximum(actual - CHECKSUM_BYTES, 0)
    body = _slice(data, 0, before_checksum)
    checksum = _slice(data, before_checksum, CHECKSUM_BYTES)
    sound = length_is_valid & tf.equal(length, actual) & tf.equal(checksum, _checksum(body))
    sound &= tf.equal(flags & ~(VERSION_BITS | GRAYSCALE_FLAG), 0) & (version >= ONE_TILE)
    sound &= width_is_valid & height_is_valid & _is_size(width, height)

    interleaved = version > TILED
    of_range = version - OF_INTERLEAVED * tf.cast(interleaved, tf.int64)
    tile_height, tile_width, count, position = _read_tiles(head, position, of_range, height, width)
    index_bytes = tf.where(count > 1, LENGTH_BYTES * count, 0)
    sound &= (count > 0) & (position + index_bytes <= before_checksum)
    position, index_bytes = (tf.where(sound, x, 0) for x in (position, index_bytes))
    payload_bytes = before_checksum - position - index_bytes
    lengths = _read_index(_slice(data, position, index_bytes), payload_bytes)
    sound &= tf.equal(tf.reduce_sum(lengths), payload_bytes)
    sound &= payload_bytes <= MAX_PAYLOAD_BYTES

    def size(side: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.where(sound, side, 0), tf.int32)

    return Header(
        _status(actual, magic, version, length_is_valid & (actual < length), sound),
        sound & tf.not_equal(flags & GRAYSCALE_FLAG, 0),
        fingerprint,
        tf.cast(quality, tf.int32),
        size(width),
        size(height),
        size(tile_height),
        size(tile_width),
        lengths=tf.cast(tf.where(sound, lengths, 0), tf.int32),
        payload=_slice(data, position + index_bytes, tf.where(sound, payload_bytes, 0)),
        interleaved=interleaved,
    )


def _read_tiles(
    head: tf.Tensor, position: tf.Tensor, version: tf.Tensor, height: tf.Tensor, width: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """(tile height, tile width, their number, position after it); the number is 0 if it is wrong.

    All int64. Sizes that are not sound may give anything but an error.
    """
    sides = head[position : position + 2] * MULTIPLE
    most = MAX_TILE_SIDE
    is_tiled = tf.equal(version, TILED)
    whole = [boxes.round_up(side, MULTIPLE) for side in (width, height)]
    tile_width, tile_height = (
        tf.where(is_tiled, sides[i], tf.clip_by_value(whole[i], MULTIPLE, most)) for i in (0, 1)
    )
    possible = (tile_width >= 1) & (tile_height >= 1) & (tile_width <= most) & (tile_height <= most)
    count = boxes.count(height, width, tf.maximum(tile_height, 1), tf.maximum(tile_width, 1))
    count = tf.where(possible & tf.equal(count > 1, is_tiled), count, 0)
    return tile_height, tile_width, count, position + 2 * tf.cast(is_tiled, tf.int64)


def _read_index(index: tf.Tensor, payload_bytes: tf.Tensor) -> tf.Tensor:
    """The lengths, int64 `[n]`, that `index` holds; if it is empty, the only one."""
    values = tf.reshape(tf.io.decode_raw(index, tf.uint8), [-1, LENGTH_BYTES])
    places = 8 * tf.range(LENGTH_BYTES, dtype=tf.int64)
    lengths = tf.reduce_sum(tf.bitwise.left_shift(tf.cast(values, tf.int64), places), -1)
    return tf.cond(tf.size(lengths) > 0, lambda: lengths, lambda: payload_bytes[None])


def _status(
    actual: tf.Tensor,
    magic: tf.Tensor,
    version: tf.Tensor,
    ends_early: tf.Tensor,
    sound: tf.Tensor,
) -> tf.Tensor:
    status = tf.where(sound, OK, CORRUPTED)
    status = tf.where((actual < SHORTEST_FILE) | ends_early, TRUNCATED, status)
    above = tf.gather([ABOVE.get(each, NEWER_VERSION) for each in range(VERSION_BITS + 1)], version)
    status = tf.where((version > VERSION) & (actual > len(MAGIC)), above, status)
    # The beginning of the magic alone is a truncated file, nothing at all is none.
    known = tf.minimum(actual, len(MAGIC))
    foreign = tf.not_equal(_slice(magic, 0, known), _slice(MAGIC, 0, known))
    return tf.where(foreign | tf.equal(actual, 0), NOT_TFCLIC, status)


def check(header: Header, fingerprint: bytes | None = None, reads_range: bool = True) -> Header:
    """Refuses what is not a sound file.

    Args:
      header: what `parse` returned.
      fingerprint: 4 bytes; the model's that is about to decode. None: any.
      reads_range: bool, whether that has the range coder.

    Returns:
      `header`; in a graph, its tensors wait for the checks.

    Raises:
      errors.FileFormatError: eagerly, if the status is not OK; the sentence says why.
      errors.ModelError: eagerly, if the file was made by another model, or coder.
      tf.errors.InvalidArgumentError: in a graph, with the same sentences.
    """
    if tf.executing_eagerly():
        status = int(header.status)
        if status != OK:
            raise errors.FileFormatError(SENTENCES[status])
        if fingerprint is not None and header.fingerprint.numpy() != fingerprint:
            raise errors.ModelError(other_model(header.fingerprint).numpy().decode())
        if not (reads_range or header.interleaved):
            raise errors.ModelError(RANGE_CODED)
        return header
    sentences = [SENTENCES.get(status, "") for status in STATUSES]
    checks = [
        tf.debugging.Assert(tf.equal(header.status, OK), [tf.gather(sentences, header.status)])
    ]
    if fingerprint is not None:
        with tf.control_dependencies(checks):
            is_ours = tf.equal(header.fingerprint, fingerprint)
            checks = [tf.debugging.Assert(is_ours, [other_model(header.fingerprint)])]
    if not reads_range:
        with tf.control_dependencies(checks):
            checks = [tf.debugging.Assert(header.interleaved, [RANGE_CODED])]
    with tf.control_dependencies(checks):
        return Header(*(tf.identity(field) for field in header))


def hexadecimal(fingerprint: tf.Tensor) -> tf.Tensor:
    """Returns the 8 hex digits of a fingerprint (string of 4 bytes) as a string."""
    return tf.strings.reduce_join(tf.gather(_ALL_HEX, _values(fingerprint)))


def other_model(fingerprint: tf.Tensor) -> tf.Tensor:
    """The sentence, string, for whoever is to decode a file of the model with `fingerprint`."""
    return tf.strings.join([OTHER_MODEL, hexadecimal(fingerprint), "."])


def _is_size(width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    # Both sides are bounded first, so that their product cannot overflow.
    inside = (width >= 1) & (height >= 1) & (width <= MAX_SIDE) & (height <= MAX_SIDE)
    return inside & (tf.minimum(width, MAX_SIDE) * tf.minimum(height, MAX_SIDE) <= MAX_PIXELS)


def _slice(string: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    # Python integers and int64 tensors do not mix in a graph without this.
    return tf.strings.substr(string, tf.cast(start, tf.int64), tf.cast(length, tf.int64))


def _values(string: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(string, tf.uint8), tf.int32)


def _checksum(body: tf.Tensor) -> tf.Tensor:
    return byte_strings.of(tf.cast(tf.fingerprint(body[None])[0, :CHECKSUM_BYTES], tf.int32))


def _varint_size(value: tf.Tensor) -> tf.Tensor:
    """Returns how many bytes (int64) the varint of `value` (int64, 0..2^35 - 1) has."""
    limits = tf.constant([1 << (7 * count) for count in range(1, VARINT_BYTES)], tf.int64)
    return 1 + tf.reduce_sum(tf.cast(value >= limits, tf.int64))


def _varint(value: tf.Tensor) -> tf.Tensor:
    """Returns the string that codes `value`, int64."""
    count = _varint_size(value)
    place = tf.range(VARINT_BYTES, dtype=tf.int64)
    groups = tf.bitwise.right_shift(value, 7 * place) & 127
    return byte_strings.of((groups + 128 * tf.cast(place < count - 1, tf.int64))[:count])


def _read_varint(head: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reads a varint in `head` (int64 [n]) at `position`: (value, position after it, is valid)."""
    groups = head[position : position + VARINT_BYTES]
    ended = tf.cast(groups < 128, tf.int32)
    count = tf.minimum(tf.argmax(ended), VARINT_BYTES - 1) + 1
    place = tf.range(VARINT_BYTES, dtype=tf.int64)
    parts = tf.bitwise.left_shift(groups & 127, 7 * place)
    value = tf.reduce_sum(tf.where(place < count, parts, 0))
    valid = tf.reduce_any(groups < 128) & tf.equal(_varint_size(value), count)
    return value, tf.cast(position, tf.int64) + count, valid
