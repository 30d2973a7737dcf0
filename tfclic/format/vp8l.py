"""A plane of bytes as a lossless WebP bitstream (VP8L, RFC 9649, section 3), by Pillow.

The bitstream is that of an image whose green is the plane. It is kept without its first 5 bytes,
signature, sides, flags and version, which follow from the plane's sides.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np

MAX_SIDE = (1 << 14) - 1  # pixels; the format has one more, its library has not
MAX_PIXELS = 1 << 22  # of what is read, which takes 8 bytes for each
_HEAD = struct.Struct("<4sI4s4sI")  # of a WebP file and its only chunk
_HEAD_BYTES = 5  # of the bitstream
_SIGNATURE = 0x2F
_SIDE_BITS = 14


def holds(height: int, width: int) -> bool:
    """Whether a plane of these sides, in pixels, may be a bitstream."""
    return max(height, width) <= MAX_SIDE and height * width <= MAX_PIXELS


def is_there() -> bool:
    """Whether Pillow reads and writes WebP here."""
    from PIL import features

    return bool(features.check("webp"))


def encode(plane: np.ndarray, thorough: bool = False) -> bytes:
    """The bitstream, but for its first bytes, of a plane: uint8 [H, W] that it `holds`.

    `thorough` takes some fifty times as long.
    """
    from PIL import Image

    green = Image.fromarray(plane)
    none = Image.new("L", green.size)
    file = io.BytesIO()
    image = Image.merge("RGB", (none, green, none))
    quality, method = (100, 6) if thorough else (75, 4)
    image.save(file, "WEBP", lossless=True, quality=quality, method=method, exact=True)
    data = file.getvalue()
    *_, size = _HEAD.unpack_from(data)
    return data[_HEAD.size + _HEAD_BYTES : _HEAD.size + size]


def decode(content: bytes, height: int, width: int) -> np.ndarray:
    """The plane, uint8 [H, W], of what `encode` returned.

    Raises:
      ValueError: it is none of these sides.
    """
    if not holds(height, width):
        raise ValueError("A lossless WebP bitstream cannot be so large.")
    image: Any = _opened(content, height, width)
    return np.array(image.getchannel("G"))


def _opened(content: bytes, height: int, width: int) -> Any:
    """A Pillow image, loaded; its sides are those that its head, made here, says.

    What others let Pillow open at the moment, or in all of a program, is no limit here.
    """
    from PIL import WebPImagePlugin

    sides = width - 1 | height - 1 << _SIDE_BITS
    stream = bytes([_SIGNATURE]) + struct.pack("<I", sides) + content
    padded = stream + bytes(len(stream) % 2)
    size = _HEAD.size - 8 + len(padded)
    data = _HEAD.pack(b"RIFF", size, b"WEBP", b"VP8L", len(stream)) + padded
    try:
        image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
        image.load()
    # the library's own words and kinds of error change with its releases
    except Exception as error:
        raise ValueError("It is no lossless WebP bitstream.") from error
    return image
