"""The alpha plane of an image, coded without loss: differences of neighbours, then LZMA or WebP.

| bytes | what |
|---|---|
| 1 | bits 0-1: 0: values are coded; 1: their differences from the left; 2: from above; 3: both |
| | bits 2-4: LZMA's number of literal context bits, lc, 0 to 4; or 5: WebP; bits 5-7: zero |
| ... | H * W bytes, row by row, as a raw stream of LZMA (lp 0, pb 0) with an end mark; or as a |
| | lossless WebP bitstream without its first 5 bytes (`tfclic.format.vp8l`) |

Differences are modulo 256; what lies outside of the image is zero. LZMA is in Python's standard
library, reads in memory that its dictionary bounds, and is about as good as WebP's lossless mode on
drawn planes (`benchmarks/alpha.py`); sums undo differences, which numpy does at once. Small planes,
where it is not always, are written as WebP where that is smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tfclic import errors
from tfclic.format import hidden, vp8l
from tfclic.format.header import CORRUPTED, SENTENCES

if TYPE_CHECKING:
    import lzma

Plane = np.ndarray

OPAQUE = 255
LEFT, ABOVE = 1, 2  # bits of the first byte
_DICTIONARY_BYTES = 1 << 22
_AT_ONCE = 1 << 22  # bytes, as far as rows allow
_FAST, _SMALL = 1, 9 | 1 << 31  # presets; the latter is the library's PRESET_EXTREME
_MOST_CONTEXT = 4  # bits
_WEBP = 5  # in the place of these
_SMALL_PIXELS = 1 << 18  # of a plane that WebP is tried for
_FEW_BYTES = 1 << 15  # up to which it may take its time, which is less then
_CONTEXTS = 1, 4  # that are tried: the former is better for few values, the latter for noise


def encode(plane: Plane) -> bytes:
    """Codes an alpha plane.

    Args:
      plane: uint8 [H, W], 0 (clear) to 255 (opaque).

    Returns:
      bytes; of an opaque plane none.
    """
    if plane.min() == OPAQUE:
        return b""
    height, width = plane.shape
    rows = max(1, _AT_ONCE // width)
    middle = plane[max(0, (height - rows) // 2) :][:rows]
    sizes = [len(_coded(middle, way, _CONTEXTS[0], _FAST)) for way in range(4)]
    way = int(np.argmin(sizes))
    tries = [bytes([way | lc << 2]) + _coded(plane, way, lc, _SMALL) for lc in _CONTEXTS]
    if plane.size <= _SMALL_PIXELS and vp8l.holds(height, width) and vp8l.is_there():
        tries.append(_as_webp(plane))
    return min(tries, key=len)


def decode(
    content: bytes, height: int, width: int, region: tuple[int, int, int, int] | None = None
) -> Plane:
    """Decodes an alpha plane, in a few megabytes beside what is returned.

    Args:
      content: bytes, what `encode` returned.
      height, width: pixels.
      region: (x, y, width, height), pixels inside of it: what to return. None: all. Rows below it
        are not looked at.

    Returns:
      uint8 array [h, w].

    Raises:
      errors.FileFormatError: it is not such a plane.
    """
    left, top, across, down = region or (0, 0, width, height)
    if not content:
        return np.full([down, across], OPAQUE, np.uint8)
    found = np.empty([down, across], np.uint8)
    start = 0
    for rows in _rows(content, height, width):
        end = start + len(rows)
        inside = slice(max(start, top), min(end, top + down))
        if inside.start < inside.stop:
            seen = rows[inside.start - start : inside.stop - start, left : left + across]
            found[inside.start - top : inside.stop - top] = seen
        start = end
        if start >= top + down and start < height:
            break
    return found


def split(pixels: np.ndarray) -> tuple[np.ndarray, bytes]:
    """An array [H, W, 2] or [H, W, 4] as (its colours [H, W, 1 or 3], its alpha as `encode`).

    Where alpha is 0 colours are others, that take fewer bits. Any other array is returned as it is,
    with nothing for its alpha.
    """
    if pixels.ndim != 3 or pixels.shape[-1] not in (2, 4) or not pixels.size:
        return pixels, b""
    plane = pixels[..., -1]
    return hidden.filled(np.ascontiguousarray(pixels[..., :-1]), plane == 0), encode(plane)


def joined(pixels: np.ndarray, plane: Plane) -> np.ndarray:
    """Pixels [H, W, 3] or [H, W] with their alpha [H, W], as [H, W, 4] or [H, W, 2]."""
    height, width = plane.shape
    return np.concatenate([pixels.reshape(height, width, -1), plane[..., None]], -1)


def _rows(content: bytes, height: int, width: int) -> Iterator[Plane]:
    """Yields the plane, uint8 [some rows, W] at a time."""
    way, kind, coded = content[0] & 3, content[0] >> 2, content[1:]
    if kind == _WEBP:
        pieces = _of_webp(coded, height, width)
    elif kind <= _MOST_CONTEXT:
        pieces = _of_lzma(coded, kind, height, width)
    else:
        raise _refusal()
    above = np.zeros(width, np.uint8)
    for rows in pieces:
        if way & LEFT:
            np.add.accumulate(rows, 1, out=rows)
        if way & ABOVE:
            rows[0] += above
            np.add.accumulate(rows, 0, out=rows)
            above = rows[-1]
        yield rows


def _of_webp(coded: bytes, height: int, width: int) -> Iterator[Plane]:
    if not vp8l.is_there():
        sentence = "Its alpha is coded as WebP, which this Pillow was built without."
        raise errors.TfclicError(sentence)
    try:
        yield vp8l.decode(coded, height, width)
    except ValueError:
        raise _refusal() from None


def _of_lzma(coded: bytes, lc: int, height: int, width: int) -> Iterator[Plane]:
    reader = _lzma().LZMADecompressor(format=_lzma().FORMAT_RAW, filters=_filters(lc, _FAST))
    at_once = max(1, _AT_ONCE // width)
    for start in range(0, height, at_once):
        count = min(at_once, height - start)
        values = np.frombuffer(_read(reader, coded, count * width), np.uint8)
        coded = b""
        if start + count == height:
            _check_end(reader)
        yield values.reshape(count, width).copy()


def _read(reader: lzma.LZMADecompressor, coded: bytes, count: int) -> bytes:
    """The next `count` bytes; `coded` are those of the stream that `reader` has not got yet."""
    found = bytearray()
    try:
        while len(found) < count and not reader.eof:
            more = reader.decompress(coded, count - len(found))
            coded = b""
            if not more and reader.needs_input:
                break
            found += more
    except _lzma().LZMAError:
        raise _refusal() from None
    if len(found) < count:
        raise _refusal()
    return bytes(found)


def _check_end(reader: lzma.LZMADecompressor) -> None:
    """Raises errors.FileFormatError unless the stream has its end mark here, and nothing more."""
    try:
        more = b"" if reader.eof else reader.decompress(b"", 1)
    except _lzma().LZMAError:
        raise _refusal() from None
    if more or not reader.eof or reader.unused_data:
        raise _refusal()


def _coded(plane: Plane, way: int, lc: int, preset: int) -> bytes:
    values, library = _differences(plane, way).tobytes(), _lzma()
    return library.compress(values, format=library.FORMAT_RAW, filters=_filters(lc, preset))


def _as_webp(plane: Plane) -> bytes:
    # it predicts by itself, and only ramps are smaller as differences
    ways = {way: _differences(plane, way) for way in (0, LEFT)}
    coded = {way: vp8l.encode(values) for way, values in ways.items()}
    best = min(coded, key=lambda way: len(coded[way]))
    if len(coded[best]) <= _FEW_BYTES:
        coded[best] = vp8l.encode(ways[best], thorough=True)
    return bytes([best | _WEBP << 2]) + coded[best]


def _differences(plane: Plane, way: int) -> Plane:
    values = plane.copy()
    if way & LEFT:
        values[:, 1:] -= plane[:, :-1]
    if way & ABOVE:
        values[1:] -= values[:-1].copy()
    return values


def _filters(lc: int, preset: int) -> list[dict[str, Any]]:
    properties = {"lc": lc, "lp": 0, "pb": 0, "dict_size": _DICTIONARY_BYTES}
    return [{"id": _lzma().FILTER_LZMA1, "preset": preset, **properties}]


def _lzma() -> Any:
    """The module; raises errors.TfclicError where Python was built without it."""
    try:
        import lzma
    except ImportError as error:
        sentence = (
            "Transparent images need Python's module lzma, which this Python was built without."
        )
        raise errors.TfclicError(sentence) from error
    return lzma


def _refusal() -> errors.FileFormatError:
    return errors.FileFormatError(SENTENCES[CORRUPTED])
