"""Images at a fraction of their size, from latents, without the synthesis.

A thumbnail's pixel is the mean of a square of pixels. Such means follow from the latents around
almost linearly, so a model may have `Map`s beside its graph, small arrays that
`tfclic.export.thumbnails` has fitted: where there is one nothing but the latents is decoded. Where
there is none an image is decoded and `reduced`.
"""

from __future__ import annotations

import io
import math
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tfclic import errors
from tfclic.format.latents import STRIDE
from tfclic.format.model import THUMBNAILS

if TYPE_CHECKING:
    from tfclic.images import Pixels

# By what sides can be divided.
REDUCTIONS = 2, 4, 8, 16
_COLOURS = 3
_ROWS = 64  # of latents at a time, which bounds the memory


class Map(NamedTuple):
    """What makes a thumbnail of latents: a convolution, after the inverse gains.

    A latent has `side` x `side` of its pixels, row by row, three colours each.

    Attributes:
      channels: int32 [K], which latents it takes.
      logarithms: float32 [L, K], natural, of their inverse gains at L qualities, evenly from 0 to
        100; between them they are interpolated.
      kernel: float32 [k, k, K, 3 * side**2], k odd.
      bias: float32 [3 * side**2]; pixels are 0..255.
    """

    channels: np.ndarray
    logarithms: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    @property
    def side(self) -> int:
        """How many pixels a latent has each way."""
        return math.isqrt(len(self.bias) // _COLOURS)

    def taken(self, latents: np.ndarray) -> np.ndarray:
        """Of latents [h, w, N] those that it takes, [h, w, K].

        Raises:
          errors.ModelError: there are not so many.
        """
        if self.channels.max() >= latents.shape[-1]:
            raise errors.ModelError("The model's thumbnails are for more latents than it has.")
        return latents[..., self.channels]

    def gains(self, quality: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """What latents are multiplied with at qualities [...], 0..100: float32 [..., K]."""
        levels = len(self.logarithms)
        position = np.clip(np.asarray(quality, np.float32) / 100, 0, 1) * (levels - 1)
        lower = np.minimum(position.astype(int), max(levels - 2, 0))
        share = (position - lower)[..., None]
        below, above = (self.logarithms[np.minimum(lower + i, levels - 1)] for i in (0, 1))
        return np.exp(below * (1 - share) + above * share).astype(np.float32)

    def columns(self, latents: np.ndarray, quality: npt.ArrayLike) -> np.ndarray:
        """What the kernel takes of latents [h, w, K], as coded: float32 [h, w, k * k * K].

        Beyond the edges latents are those at the edges.
        """
        return _windows(self._padded(latents, quality), len(self.kernel))

    def image(self, latents: np.ndarray, quality: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The thumbnail, float32 [side * h, side * w, 3], 0..255, of latents [h, w, K].

        `quality` is 0..100, of all or [h, w] of each place.
        """
        height, width, side, size = *latents.shape[:2], self.side, len(self.kernel)
        kernel = self.kernel.reshape(-1, len(self.bias)).astype(np.float32)
        padded, pieces = self._padded(latents, quality), []
        for start in range(0, height, _ROWS):
            rows = padded[start : start + _ROWS + size - 1]
            pieces.append(_windows(rows, size) @ kernel + self.bias)
        blocks = np.concatenate(pieces).reshape(height, width, side, side, _COLOURS)
        image = blocks.transpose(0, 2, 1, 3, 4).reshape(side * height, side * width, _COLOURS)
        return np.clip(image, 0, 255)

    def _padded(self, latents: np.ndarray, quality: npt.ArrayLike) -> np.ndarray:
        margin = len(self.kernel) // 2
        around = [(margin, margin), (margin, margin), (0, 0)]
        return np.pad(latents * self.gains(quality), around, "edge")


def _windows(padded: np.ndarray, size: int) -> np.ndarray:
    """All windows of `size` x `size` in an array [H, W, C]: [H - size + 1, W - size + 1, ...]."""
    height, width = (side - size + 1 for side in padded.shape[:2])
    places = ((row, column) for row in range(size) for column in range(size))
    return np.concatenate([padded[y : y + height, x : x + width] for y, x in places], -1)


def reduction(scale: float) -> int:
    """By what sides are divided at a scale, such as 8 at 1/8; 1 at 1.

    Raises:
      errors.UsageError: there is no such scale.
    """
    for known in (1, *REDUCTIONS):
        if scale * known == 1:
            return known
    listed = ", ".join(f"1/{known}" for known in REDUCTIONS)
    raise errors.UsageError(f"The scale has to be one of 1, {listed}, not {scale}.")


def reduced(pixels: Pixels, by: int) -> Pixels:
    """The means of squares of `by` x `by` pixels; at the right and the bottom of what is there.

    Args:
      pixels: uint8 array [H, W, 3] or [H, W]; or with alpha, [H, W, 4] or [H, W, 2], by which
        colours then count.
      by: 1 or more.

    Returns:
      uint8 array of the same kind, the sides divided by `by` and rounded up.
    """
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).reduce(by))


def has_any(path: pathlib.Path, checksums: Mapping[str, str] | None) -> bool:
    """Whether the model in the folder `path`, with these checksums in its card, has maps."""
    is_known = checksums is None or THUMBNAILS in checksums
    return is_known and (path / THUMBNAILS).is_file()


def read(path: pathlib.Path) -> dict[int, Map]:
    """The maps of the model in the folder `path`, by what they divide sides by.

    Raises:
      errors.ModelError: they cannot be read.
    """
    file = path / THUMBNAILS
    try:
        with np.load(file, allow_pickle=False) as found:
            numbers = sorted({int(name.split("/")[0]) for name in found.files})
            maps = {
                number: Map(*(found[f"{number}/{field}"] for field in Map._fields))
                for number in numbers
            }
        for number, each in maps.items():
            _check(number, each)
    except OSError as error:
        raise errors.ModelError(f"{file} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # zip files can be damaged in any way
        raise errors.ModelError(f"{file} is damaged: {error}.") from error
    return maps


def _check(number: int, found: Map) -> None:
    """Raises ValueError if a map is none."""
    size, width, channels, outputs = found.kernel.shape
    shapes = (len(found.channels),), (len(found.logarithms), channels), (outputs,)
    arrays = found.channels, found.logarithms, found.bias
    fits = [array.shape for array in arrays] == list(shapes) and len(found.channels) == channels
    is_square = size == width and size % 2 and outputs == _COLOURS * (STRIDE // number) ** 2
    if number not in REDUCTIONS or not (fits and is_square and found.logarithms.size):
        raise ValueError(f"its map for 1/{number} has other shapes")
    if not all(np.isfinite(array).all() for array in found) or found.channels.min() < 0:
        raise ValueError(f"its map for 1/{number} has no sensible numbers")


def packed(maps: Mapping[int, Map]) -> bytes:
    """The content of a file that `read` reads; kernels lose half of their bits."""
    arrays = {
        f"{number}/{field}": value.astype(np.float16) if field == "kernel" else value
        for number, each in maps.items()
        for field, value in each._asdict().items()
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
