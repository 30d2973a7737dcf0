"""The `.tfclic` file: a header, a coder's strings, a checksum.

| bytes | what |
|---|---|
| 3 | `TFC` |
| 1 | bits 0-3: format version, 1 to 4; bit 4: the image is grayscale; bits 5-7: zero |
| 1-5 | length of the whole file, varint |
| 4 | fingerprint of the model |
| 2 | quality, little-endian, 0..65535 for 0..100 |
| 1-3 | width, varint |
| 1-3 | height, varint |
| 2 | versions 2 and 4: width and height of the tiles in units of 64 pixels |
| 4 n | versions 2 and 4: the length of each of the n tiles' strings, little-endian |
| ... | payload: one string, in versions 2 and 4 one for each tile |
| 4 | checksum: the first 4 bytes of FarmHash64 (`tf.fingerprint`) of everything before |

Version 1 is for images that are one tile, version 2 for those that are several; strings are the
range coder's. Versions 3 and 4 are the same with strings of the interleaved coder. Version 5 is one
of these with metadata around it, version 6 one with a map of qualities, `tfclic.format.picture`.

A varint is LEB128: 7 bits per byte, the lowest first, the top bit set in all bytes but the last, no
superfluous zero bytes. Files of one tile below 256 MiB spend at most 24 bytes on all but the
payload.

The checksum covers the magic, the version and the length too, but those are judged first, so that
a foreign, a newer and a truncated file are told apart from a corrupted one. Nothing else is
believed before the checksum holds.

`parse` and `pack` here are in Python alone, `tfclic.export.container` has them in TensorFlow's ops.
Python has no FarmHash, so that `parse` and `pack` are given it, as a function; without one, `parse`
tells what a file claims, which is enough to look for its model, and leaves the checksum to that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tfclic import errors
from tfclic.format import boxes
from tfclic.format.boxes import LONGEST_SIDE as MAX_TILE_SIDE
from tfclic.format.latents import MULTIPLE
from tfclic.places import CALLED

if TYPE_CHECKING:
    import numpy as np

Checksum = Callable[[bytes], bytes]
Number = TypeVar("Number", float, "np.ndarray")

MAGIC = b"TFC"
ONE_TILE, TILED = 1, 2
RANGE, INTERLEAVED = CODERS = "range", "interleaved"
OF_INTERLEAVED = 2  # more than the version of the same file with the range coder
VERSION = TILED + OF_INTERLEAVED
# which `tfclic.format.picture` takes apart
OF_PICTURES = VERSION + 1
WITH_MAP = OF_PICTURES + 1
VERSION_BITS = 15
GRAYSCALE_FLAG = 1 << 4
MAX_QUALITY_CODE = 65535
MAX_SIDE = (1 << 21) - 1
MAX_PIXELS = 1 << 31
# What readers take unless they are told otherwise: as much as Pillow does. A few bytes may say that
# they are an image of any size.
DEFAULT_MAX_PIXELS = 2 * 89_478_485
MAX_PAYLOAD_BYTES = (1 << 31) - 1
MOST_MISSING = 200  # times what there is of a file: its length is no more than a claim

VARINT_BYTES = 5
FINGERPRINT_BYTES = 4
QUALITY_BYTES = 2
LENGTH_BYTES = 4
CHECKSUM_BYTES = 4
START = len(MAGIC) + 1  # of the length
SHORTEST_FILE = START + 1 + FINGERPRINT_BYTES + QUALITY_BYTES + 1 + 1 + CHECKSUM_BYTES

OK, NOT_TFCLIC, NEWER_VERSION, TRUNCATED, CORRUPTED, HAS_MORE, HAS_MAP = STATUSES = range(7)

SENTENCES = {
    NOT_TFCLIC: "It is not a tfclic file.",
    NEWER_VERSION: "It is of a newer format than this tfclic knows; update tfclic.",
    TRUNCATED: "It is truncated: its end is missing.",
    CORRUPTED: "It is corrupted: its content is not what was written.",
    HAS_MORE: (
        "It has alpha or metadata beside its image, which a model alone does not read; "
        f"{CALLED}serve and {CALLED}decompress do, the latter with any --server."
    ),
    HAS_MAP: (
        "Its quality differs from place to place, which a model alone does not read; "
        f"{CALLED}serve and {CALLED}decompress do."
    ),
}
ABOVE = {OF_PICTURES: HAS_MORE, WITH_MAP: HAS_MAP}  # statuses of versions above those of images
# The hexadecimal fingerprint and a full stop follow.
OTHER_MODEL = "It was made by another model, whose fingerprint is "
NO_SIZE = "The image is empty, or too large for a tfclic file."
# Of strings, which models judge:
TOO_SHORT = "The image is too large for so few bytes."
NOT_OF_THIS_SIZE = "What is coded is not an image of this size."
# To whoever has the interleaved coder alone:
RANGE_CODED = (
    "It was written with the range coder, which needs TensorFlow Compression; where that is, "
    f"`{CALLED}recode FILE --coder=interleaved` writes it anew."
)


class Header(NamedTuple):
    """What a file says.

    Attributes:
      grayscale: bool.
      fingerprint: bytes, 4, the model's.
      quality: int, the quality code 0..65535 (see `quality_of`).
      width, height: int, pixels.
      tile_height, tile_width: int, pixels, multiples of 64.
      lengths: tuple of ints, bytes of each tile's string.
      payload: bytes, the tiles' strings one after the other.
      interleaved: bool, whether they are of the interleaved coder, not the range coder.
    """

    grayscale: bool
    fingerprint: bytes
    quality: int
    width: int
    height: int
    tile_height: int
    tile_width: int
    lengths: tuple[int, ...]
    payload: bytes
    interleaved: bool = False

    @property
    def version(self) -> int:
        """Of the format, int."""
        version = TILED if len(self.lengths) > 1 else ONE_TILE
        return version + OF_INTERLEAVED * self.interleaved

    @property
    def coder(self) -> str:
        """The name of that which wrote the strings."""
        return INTERLEAVED if self.interleaved else RANGE


def quality_of(code: Number) -> Number:
    """The quality 0..100 that a code, a float, stands for."""
    return code * 100 / MAX_QUALITY_CODE


def quality_code(quality: float) -> int:
    """The code, an int, that stands for a quality, 0..100."""
    return min(max(round(quality * MAX_QUALITY_CODE / 100), 0), MAX_QUALITY_CODE)


def is_size(width: int, height: int) -> bool:
    """Whether a file can say so many pixels."""
    inside = 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE
    return inside and width * height <= MAX_PIXELS


def whole_side(side: int) -> int:
    """The side of the only tile of an image with this side, in pixels."""
    return min(boxes.round_up(side, MULTIPLE), MAX_TILE_SIDE)


def pack(header: Header, checksum: Checksum) -> bytes:
    """Makes a file.

    Args:
      header: a `Header`; of its tiles' sides there is no trace if there is one tile.
      checksum: function of bytes, of which the first 4 are taken: FarmHash64, little-endian.

    Returns:
      bytes.

    Raises:
      errors.ImageError: the image is larger than a file can say.
    """
    is_tiled, sides = len(header.lengths) > 1, (header.width, header.height)
    if not is_size(*sides) or not (is_tiled or max(sides) <= MAX_TILE_SIDE):
        raise errors.ImageError(NO_SIZE)
    flags = header.version + GRAYSCALE_FLAG * header.grayscale
    index = b""
    if is_tiled:
        index = bytes([header.tile_width // MULTIPLE, header.tile_height // MULTIPLE])
        index += struct.pack(f"<{len(header.lengths)}I", *header.lengths)
    quality = header.quality.to_bytes(QUALITY_BYTES, "little")
    rest = header.fingerprint + quality + b"".join(map(varint, sides)) + index + header.payload
    others = START + len(rest) + CHECKSUM_BYTES
    body = MAGIC + bytes([flags]) + length_varint(others) + rest
    return body + checksum(body)[:CHECKSUM_BYTES]


def length_varint(others: int) -> bytes:
    """The varint of a file's length, which counts its own bytes and `others`."""
    # where two numbers of them would do, it is the larger
    lengths = (others + count for count in range(1, VARINT_BYTES + 1))
    return varint(max(each for each in lengths if each == others + len(varint(each))))


def varint(value: int) -> bytes:
    """The bytes that code `value`, an int."""
    groups = []
    while value >= 128:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def parse(data: bytes, checksum: Checksum | None = None) -> Header:
    """Takes a file apart.

    Args:
      data: bytes.
      checksum: as for `pack`; None: the checksum may be anything, so what is returned is no more
        than a claim.

    Returns:
      A `Header`.

    Raises:
      errors.FileFormatError: it is not a sound file; the sentence, one of SENTENCES, says why.
    """
    status, header = _parse(data, checksum)
    if header is None:
        raise errors.FileFormatError(SENTENCES[status])
    return header


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """The (width, height) at their place in a file, pixels; None if there cannot be any.

    A hint how much a file, however damaged, may ask for before anything else has looked at it.
    """
    return _claimed(data)[0]


def claimed_tile(data: bytes) -> tuple[int, int] | None:
    """The (width, height) of a file's largest tile, pixels; None as for `claimed_size`."""
    size, rest = _claimed(data)
    if size is None:
        return None
    sides = MAX_TILE_SIDE, MAX_TILE_SIDE
    if data[START - 1] & VERSION_BITS in (TILED, TILED + OF_INTERLEAVED) and len(rest) >= 2:
        sides = rest[0] * MULTIPLE, rest[1] * MULTIPLE
    return min(size[0], sides[0]), min(size[1], sides[1])


def _claimed(data: bytes) -> tuple[tuple[int, int] | None, bytes]:
    """What `claimed_size` says, and the two bytes that follow."""
    if len(data) <= START or not data.startswith(MAGIC) or data[START - 1] & VERSION_BITS > VERSION:
        return None, b""
    _, start = read_varint(data, START)
    width, height, position = _read_sizes(data, start)
    if width is None or height is None:
        return None, b""
    return (width, height), data[position : position + 2]


def is_cut(data: bytes) -> bool:
    """Whether a file has fewer bytes than it says."""
    length, _ = read_varint(data, START)
    return length is None or len(data) < length


def beginning(data: bytes) -> tuple[Header, int]:
    """What the beginning of a file claims, which its end would have to confirm.

    Args:
      data: bytes.

    Returns:
      A `Header`, whose payload has zeros where it is missing, and how many of its bytes are there.

    Raises:
      errors.FileFormatError: it is not the beginning of a file, or of too little of one.
    """
    length, _ = read_varint(data, START)
    missing = (length or 0) - len(data)
    if missing > MOST_MISSING * len(data):
        raise errors.FileFormatError(SENTENCES[TRUNCATED])
    header = parse(data + bytes(max(missing, 0)))
    received = len(header.payload) - max(missing - CHECKSUM_BYTES, 0)
    if received < 0:
        raise errors.FileFormatError(SENTENCES[TRUNCATED])
    return header, received


def _parse(data: bytes, checksum: Checksum | None) -> tuple[int, Header | None]:
    """`(status, Header)`, the latter None unless the former is OK."""
    # The beginning of the magic alone is a truncated file, nothing at all is none.
    if not data or not MAGIC.startswith(data[: len(MAGIC)]):
        return NOT_TFCLIC, None
    version = data[len(MAGIC)] & VERSION_BITS if len(data) > len(MAGIC) else ONE_TILE
    if version > VERSION:
        return ABOVE.get(version, NEWER_VERSION), None
    length, start = read_varint(data, START)
    if len(data) < SHORTEST_FILE or (length is not None and len(data) < length):
        return TRUNCATED, None
    body = data[:-CHECKSUM_BYTES]
    sound = length == len(data)
    sound = sound and (checksum is None or checksum(body)[:CHECKSUM_BYTES] == data[len(body) :])
    header = _fields(body, start) if sound else None
    return (OK, header) if header else (CORRUPTED, None)


def _fields(body: bytes, start: int) -> Header | None:
    """The `Header` in a file without its checksum, whose length ends at `start`; None if none."""
    flags = body[len(MAGIC)]
    version = flags & VERSION_BITS
    interleaved = version > TILED
    quality_start = start + FINGERPRINT_BYTES
    width, height, position = _read_sizes(body, start)
    known = flags & ~(VERSION_BITS | GRAYSCALE_FLAG) == 0 and 0 < version <= VERSION
    if not known or width is None or height is None or not is_size(width, height):
        return None
    of_range = version - OF_INTERLEAVED * interleaved
    tiles = _read_tiles(body[position:], of_range, width, height)
    if tiles is None:
        return None
    return Header(
        flags & GRAYSCALE_FLAG != 0,
        body[start:quality_start],
        int.from_bytes(body[quality_start : quality_start + QUALITY_BYTES], "little"),
        width,
        height,
        *tiles,
        interleaved,
    )


def _read_sizes(data: bytes, start: int) -> tuple[int | None, int | None, int]:
    """(width, height, position after them) in a file whose length ends at `start`."""
    width, position = read_varint(data, start + FINGERPRINT_BYTES + QUALITY_BYTES)
    return (width, *read_varint(data, position))


def _read_tiles(
    rest: bytes, version: int, width: int, height: int
) -> tuple[int, int, tuple[int, ...], bytes] | None:
    """(tile height, tile width, lengths, payload) of what follows the sizes; None if unsound."""
    if version == ONE_TILE:
        tile_width, tile_height = whole_side(width), whole_side(height)
    elif len(rest) < 2:
        return None
    else:
        tile_width, tile_height, rest = rest[0] * MULTIPLE, rest[1] * MULTIPLE, rest[2:]
    if not (0 < tile_width <= MAX_TILE_SIDE and 0 < tile_height <= MAX_TILE_SIDE):
        return None
    count = boxes.count(height, width, tile_height, tile_width)
    index_bytes = 0 if count == 1 else LENGTH_BYTES * count
    if (count > 1) != (version == TILED) or index_bytes > len(rest):
        return None
    payload = rest[index_bytes:]
    lengths = struct.unpack(f"<{count}I", rest[:index_bytes]) if index_bytes else (len(payload),)
    if sum(lengths) != len(payload) or len(payload) > MAX_PAYLOAD_BYTES:
        return None
    return tile_height, tile_width, lengths, payload


def read_varint(data: bytes, position: int) -> tuple[int | None, int]:
    """(value, position after it) of the varint at `position`; the value is None if there is none.

    Args:
      data: bytes.
      position: int.
    """
    value = 0
    for count, byte in enumerate(data[position : position + VARINT_BYTES]):
        value |= (byte & 127) << 7 * count
        if byte < 128:
            return value if byte or not count else None, position + count + 1
    return None, len(data)
