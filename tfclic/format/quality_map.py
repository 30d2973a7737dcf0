"""A map of qualities: by how much a file's quality is another one, from place to place.

| bytes | what |
|---|---|
| 2 | peak, little-endian, 1 to 65535: quality codes that a deviation of 127 stands for |
| 1 | 0: deviations are coded; 1: their differences from the left; 2: from above; 3: both |
| ... | R * C bytes, row by row, as a raw stream of deflate that ends with its end mark |

There is a node in the middle of each block of 32x32 pixels; it has a deviation, -127 to 127, from
the quality of the header. Between nodes deviations are interpolated, at each latent, in integers,
so that every reader has the same quality, and the same gain, everywhere.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tfclic import errors
from tfclic.format.header import CORRUPTED, MAX_QUALITY_CODE, SENTENCES
from tfclic.format.latents import STRIDE

BLOCK = 2 * STRIDE  # pixels to a node, each way
MOST = 127  # deviation
SHARES = 16  # of four nodes in a latent: 9, 3, 3 and 1
_PEAK_BYTES = 2
_START = _PEAK_BYTES + 1
_LEFT, _ABOVE = 1, 2  # bits of the third byte
_RAW = -15  # deflate without zlib's header and checksum

Codes = npt.NDArray[np.int32]


class QualityMap(NamedTuple):
    """Deviations from a file's quality.

    Attributes:
      peak: int, 1 to 65535, quality codes that a deviation of 127 stands for.
      nodes: int8 [R, C], -127 to 127, one for each block.
    """

    peak: int
    nodes: npt.NDArray[np.int8]

    def codes(self, base: int, box: npt.ArrayLike) -> Codes:
        """The quality codes of latents.

        Args:
          base: the quality code in the header.
          box: (top, left, height, width), latents, which may reach beyond the image.

        Returns:
          int32 [height, width], 0 to 65535.
        """
        top, left, height, width = (int(each) for each in np.asarray(box))
        down = _between(top, height, self.nodes.shape[0])
        across = _between(left, width, self.nodes.shape[1])
        rows = 3 * self.nodes[down[0]].astype(np.int64) + self.nodes[down[1]]
        both = 3 * rows[:, across[0]] + rows[:, across[1]]
        codes = base + self.peak * both // (MOST * SHARES)
        return np.clip(codes, 0, MAX_QUALITY_CODE).astype(np.int32)


def _between(first: int, count: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Of latents along an axis the nearest node, and the one that is behind it: indices [count]."""
    places = np.arange(first, first + count)
    nearest = places // 2
    behind = nearest + 2 * (places % 2) - 1
    return np.clip(nearest, 0, nodes - 1), np.clip(behind, 0, nodes - 1)


def sides(height: int, width: int) -> tuple[int, int]:
    """How many rows and columns of nodes an image has; in pixels."""
    return -(-height // BLOCK), -(-width // BLOCK)


def encode(found: QualityMap) -> bytes:
    """Codes a `QualityMap`."""
    values = found.nodes.astype(np.uint8)
    tries = [bytes([way]) + _deflated(_differences(values, way)) for way in range(4)]
    return found.peak.to_bytes(_PEAK_BYTES, "little") + min(tries, key=len)


def decode(content: bytes, height: int, width: int) -> QualityMap:
    """Decodes a map; no more memory is taken than the image has nodes.

    Args:
      content: bytes, what `encode` returned.
      height, width: pixels of the image.

    Returns:
      A `QualityMap`.

    Raises:
      errors.FileFormatError: it is not the map of such an image.
    """
    rows, columns = sides(height, width)
    peak = int.from_bytes(content[:_PEAK_BYTES], "little")
    way = content[_PEAK_BYTES] if len(content) > _START else -1
    if not peak or way not in range(4):
        raise _refusal()
    nodes = np.frombuffer(_inflated(content[_START:], rows * columns), np.uint8)
    nodes = nodes.reshape(rows, columns)
    if way & _LEFT:
        nodes = np.add.accumulate(nodes, 1, np.uint8)
    if way & _ABOVE:
        nodes = np.add.accumulate(nodes, 0, np.uint8)
    if (nodes == MOST + 1).any():
        raise _refusal()
    return QualityMap(peak, nodes.astype(np.int8))


def _differences(values: np.ndarray, way: int) -> np.ndarray:
    """What sums along the ways that the bits of `way` say make values of again, modulo 256."""
    values = values.copy()
    if way & _LEFT:
        values[:, 1:] -= values[:, :-1].copy()
    if way & _ABOVE:
        values[1:] -= values[:-1].copy()
    return values


def _deflated(values: np.ndarray) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, _RAW)
    return deflater.compress(values.tobytes()) + deflater.flush()


def _inflated(stream: bytes, count: int) -> bytes:
    """The `count` bytes that a stream has to hold."""
    inflater = zlib.decompressobj(_RAW)
    try:
        found = inflater.decompress(stream, count + 1)
    except zlib.error:
        raise _refusal() from None
    if len(found) != count or not inflater.eof or inflater.unused_data:
        raise _refusal()
    return found


def _refusal() -> errors.FileFormatError:
    return errors.FileFormatError(SENTENCES[CORRUPTED])
