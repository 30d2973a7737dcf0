"""A picture: the file of an image, with its alpha plane and metadata, which models do not know.

| bytes | what |
|---|---|
| 3 | `TFC` |
| 1 | 5; 6 with a map of qualities, which is the first part then |
| 1-5 | length of the whole file, varint |
| ... | parts: kind (1 byte), length of the content (varint), content; kinds rise |
| 4 | checksum: CRC-32 of everything before, little-endian |

An image that nothing belongs to is its own file, of the versions 1 to 4 that `tfclic.format.header`
describes; only with more than that a file of version 5 or 6 is made around it. Models read and
write versions 1 to 4. So whoever has a file calls `parse` first, and a model with `Picture.image`.
A map comes first, so that it is there for whoever makes the best of the beginning of a file.

What is claimed is bounded: lengths by those of the file, metadata by MAX_METADATA_BYTES, however
little they take while they are compressed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from tfclic import errors
from tfclic.format import header
from tfclic.format.header import (
    CHECKSUM_BYTES,
    CORRUPTED,
    MAGIC,
    NEWER_VERSION,
    SENTENCES,
    START,
    TRUNCATED,
    VERSION_BITS,
)

VERSION, WITH_MAP = header.OF_PICTURES, header.WITH_MAP
SHORTEST_FILE = START + 1 + CHECKSUM_BYTES
MAP, IMAGE, ALPHA = 0, 1, 2
# Whoever does not know a kind from here on passes over it.
DISPENSABLE = 128
ICC_PROFILE, EXIF, XMP = 129, 130, 131
PLAIN, DEFLATED = 0, 1
MAX_METADATA_BYTES = 1 << 24  # of each kind


class Metadata(NamedTuple):
    """What an image file says about its image, as the bytes of its own format; empty: nothing.

    Attributes:
      icc_profile: bytes, an ICC profile: what the colours of the pixels mean. Without one, sRGB.
      exif: bytes, Exif from its TIFF header on, with the orientation of the pixels as they are.
      xmp: bytes, an XMP packet.
    """

    icc_profile: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""


NO_METADATA = Metadata()
_KINDS = ICC_PROFILE, EXIF, XMP  # in the order of `Metadata`


class Picture(NamedTuple):
    """What is in a file.

    Attributes:
      image: bytes, the file of the image alone.
      metadata: a `Metadata`.
      alpha: bytes, its alpha plane, as `tfclic.format.alpha` codes it; empty: it is opaque.
      quality_map: bytes, where its quality is another one than the image's file says, as
        `tfclic.format.quality_map` codes it; empty: nowhere.
    """

    image: bytes
    metadata: Metadata = NO_METADATA
    alpha: bytes = b""
    quality_map: bytes = b""


def pack(picture: Picture) -> bytes:
    """The file, bytes, of a `Picture`; that of the image if nothing belongs to it.

    Raises:
      errors.ImageError: its metadata are larger than a file can say.
      errors.UsageError: one of them is no bytes.
    """
    parts = [(MAP, picture.quality_map)] if picture.quality_map else []
    parts.append((IMAGE, picture.image))
    if picture.alpha:
        parts.append((ALPHA, picture.alpha))
    for kind, name, content in zip(_KINDS, Metadata._fields, picture.metadata):
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise errors.UsageError(f"Metadata are bytes, b'' for none; {name} is {content!r:.40}.")
        if len(content) > MAX_METADATA_BYTES:
            raise errors.ImageError("Its metadata are too large for a tfclic file.")
        if content:
            parts.append((kind, _deflated(content)))
    if len(parts) == 1:
        return picture.image
    rest = b"".join(bytes([kind]) + header.varint(len(each)) + each for kind, each in parts)
    start = MAGIC + bytes([WITH_MAP if picture.quality_map else VERSION])
    body = start + header.length_varint(START + len(rest) + CHECKSUM_BYTES) + rest
    return body + _checksum(body)


def version(data: bytes) -> int:
    """The format version of a sound file, by its header: not that of the image in it."""
    return data[len(MAGIC)] & VERSION_BITS


def parse(data: bytes) -> Picture:
    """Takes a file apart.

    Args:
      data: bytes. What is not of version 5 or 6, sound or not, is taken for the file of an image.

    Returns:
      A `Picture`. Its image is not looked at; that is for `header.parse`, and for the model. Nor
      are its alpha and its map.

    Raises:
      errors.FileFormatError: it is of version 5 or 6, but not a sound file.
    """
    data = _bytes(data)
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : START][:1] not in _FLAGS:
        return Picture(data)
    length, start = header.read_varint(data, START)
    if len(data) < SHORTEST_FILE or (length is not None and len(data) < length):
        raise _refusal(TRUNCATED)
    body = data[:-CHECKSUM_BYTES]
    version, checksum = data[len(MAGIC)], data[len(body) :]
    if length != len(data) or version not in _VERSIONS or _checksum(body) != checksum:
        raise _refusal(CORRUPTED)
    parts = dict(_parts(body, start, MAP if version == WITH_MAP else IMAGE))
    is_opaque = ALPHA not in parts
    image, alpha, quality_map = (parts.pop(kind, b"") for kind in (IMAGE, ALPHA, MAP))
    if not image or image[: len(MAGIC)] == MAGIC and image[len(MAGIC) : START] in _FLAGS:
        raise _refusal(CORRUPTED)
    if not (alpha or is_opaque) or bool(quality_map) != (version == WITH_MAP):
        raise _refusal(CORRUPTED)
    metadata = Metadata(*(_inflated(parts.pop(kind, b"")) for kind in _KINDS))
    if any(kind < DISPENSABLE for kind in parts):
        raise _refusal(NEWER_VERSION)
    return Picture(image, metadata, alpha, quality_map)


def beginning(data: bytes) -> Picture:
    """What the beginning of a file has: the file of the image, as far as it is there, and a map.

    Raises:
      errors.FileFormatError: it is not the beginning of a file of version 5 or 6 with an image.
    """
    data = _bytes(data)
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : START] not in _FLAGS:
        return Picture(data)
    _, position = header.read_varint(data, START)
    has_map = version(data) == WITH_MAP
    found = []
    for expected in (MAP, IMAGE) if has_map else (IMAGE,):
        kind = data[position : position + 1]
        length, position = header.read_varint(data, position + 1)
        if kind != bytes([expected]) or length is None:
            raise _refusal(TRUNCATED)
        found.append(data[position : position + length])
        position += length
    return Picture(found[-1], quality_map=found[0] if has_map else b"")


_VERSIONS = VERSION, WITH_MAP
# All fourth bytes of these versions: other flags than none are refused, not passed on.
_FLAGS = [bytes([flags]) for flags in range(256) if flags & VERSION_BITS in _VERSIONS]


def _bytes(data: bytes) -> bytes:
    """The bytes of what has any, such as a memoryview; of a path or a number there are none."""
    return bytes(memoryview(data))


def _parts(body: bytes, position: int, least: int) -> Iterator[tuple[int, bytes]]:
    """Yields (kind, content) of each part, of which the first begins at `position`.

    No kind is below `least`.
    """
    before = least - 1
    while position < len(body):
        kind = body[position]
        length, position = header.read_varint(body, position + 1)
        if kind <= before or length is None or length > len(body) - position:
            raise _refusal(CORRUPTED)
        yield kind, body[position : position + length]
        before, position = kind, position + length


def _deflated(content: bytes) -> bytes:
    small = zlib.compress(content, 9)
    return bytes([DEFLATED]) + small if len(small) < len(content) else bytes([PLAIN]) + content


def _inflated(content: bytes) -> bytes:
    """What `_deflated` was given; nothing of nothing."""
    if not content:
        return b""
    method, content = content[0], content[1:]
    if method == DEFLATED:
        inflater = zlib.decompressobj()
        try:
            content = inflater.decompress(content, MAX_METADATA_BYTES + 1)
        except zlib.error:
            raise _refusal(CORRUPTED) from None
        if not inflater.eof or inflater.unused_data:
            raise _refusal(CORRUPTED)
    if method not in (PLAIN, DEFLATED) or not 0 < len(content) <= MAX_METADATA_BYTES:
        raise _refusal(CORRUPTED)
    return content


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little")


def _refusal(status: int) -> errors.FileFormatError:
    return errors.FileFormatError(SENTENCES[status])
