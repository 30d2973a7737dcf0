"""Qualities that differ from place to place: what is asked for, and what a file says of it."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import NamedTuple, Union

import numpy as np
import numpy.typing as npt

from tfclic import errors
from tfclic.format import header, quality_map
from tfclic.format.header import MAX_QUALITY_CODE
from tfclic.format.quality_map import BLOCK, MOST, QualityMap

RISE = 40.0  # of the quality of an area, unless something else is asked for
# Latents around an area have a part in its pixels: so far, pixels, they have its quality.
AROUND = 16
_TEXT = re.compile(
    r"(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})(?::([+-]?)(\d{1,9}(?:\.\d{0,9})?))?", re.A
)

Quality = Union[float, npt.NDArray[np.floating], npt.NDArray[np.integer]]


class Area(NamedTuple):
    """A part of an image that is to have a quality of its own.

    Attributes:
      x, y, width, height: int, pixels, inside of the image.
      quality: number, 0 to 100; or, if `is_relative`, what is added to the quality that there would
        be without it. Beyond 0 and 100 the nearest of these is meant.
      is_relative: bool.
    """

    x: int
    y: int
    width: int
    height: int
    quality: float = RISE
    is_relative: bool = True

    @classmethod
    def parse(cls, text: str) -> Area:
        """The `Area` that X,Y,W,H or X,Y,W,H:QUALITY says; with a sign a quality is relative.

        Raises:
          errors.UsageError: `text` is neither, or its quality is out of its range.
        """
        found = _TEXT.fullmatch(text)
        if not found:
            raise errors.UsageError(
                f"{text} is not X,Y,W,H or X,Y,W,H:QUALITY, with four whole numbers of pixels."
            )
        x, y, width, height = map(int, found.groups()[:4])
        if found[6] is None:
            return cls(x, y, width, height)
        value, sign = float(found[6]), found[5]
        area = cls(x, y, width, height, -value if sign == "-" else value, bool(sign))
        _check_own(area)
        return area

    def __str__(self) -> str:
        """What `parse` takes."""
        sign = "+" if self.is_relative else ""
        return f"{self.x},{self.y},{self.width},{self.height}:{self.quality:{sign}.6f}"


class Qualities(NamedTuple):
    """What a file says of its quality.

    Attributes:
      quality: float32, 0..100, that of the header.
      deviations: a `QualityMap`; None: it is the same everywhere.
    """

    quality: np.float32
    deviations: QualityMap | None = None

    def codes(self, box: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """The codes of the latents of a box, as `QualityMap.codes`; `[1, 1]` without a map."""
        base = header.quality_code(float(self.quality))
        if self.deviations is None:
            return np.array([[base]], np.int32)
        return self.deviations.codes(base, box)

    @property
    def coded(self) -> bytes:
        """The map as a file has it, bytes; empty if there is none."""
        return b"" if self.deviations is None else quality_map.encode(self.deviations)


class Wanted:
    """The qualities that an image is to have, block by block, which may be moved as a whole.

    Attributes:
      middle: float, the quality of most of it, with nothing moved.

    Args:
      height, width: pixels of the image.
      quality: number, 0..100; or an array [h, w] of any size of such numbers, which is spread over
        the image and averaged in blocks of 32x32 pixels.
      areas: list of `Area`s, or tuples of what these have, of which later ones cover earlier ones.

    Raises:
      errors.UsageError: a quality is out of its range, or an area is not inside of the image.
    """

    def __init__(
        self, height: int, width: int, quality: Quality, areas: Sequence[Area] = ()
    ) -> None:
        grid = quality_map.sides(height, width)
        given = np.asarray(quality, np.float64)
        if given.ndim == 0:
            _check(given, f"The quality has to be a number from 0 to 100, not {quality}.")
        elif given.ndim != 2 or not given.size:
            raise errors.UsageError(f"A map of qualities is [h, w], not {list(given.shape)}.")
        else:
            _check(given, "A map of qualities has numbers from 0 to 100.")
            for axis, side in enumerate((height, width)):
                given = _averaged(given, axis, side)
        self.middle = float(np.median(given))
        self._base = np.broadcast_to(given, grid)
        self._is_even = not areas and given.ndim == 0
        known = [Area(*area) for area in areas]
        self._areas = [(area, _blocks(area, height, width)) for area in known]
        self._latest: tuple[float, Qualities] | None = None

    def at(self, quality: float) -> Qualities:
        """The `Qualities` with all but areas of a quality of their own moved as a whole.

        Args:
          quality: number, 0..100, to which `middle` is moved.
        """
        latest = self._latest
        if latest is None or latest[0] != quality:
            latest = self._latest = quality, self._at(quality)
        return latest[1]

    def _at(self, quality: float) -> Qualities:
        if self._is_even:
            return Qualities(np.float32(quality))
        base = np.clip(self._base + (quality - self.middle), 0, 100)
        wanted = base.copy()
        for area, blocks in self._areas:
            rise = base[blocks] if area.is_relative else 0.0
            wanted[blocks] = np.clip(rise + area.quality, 0, 100)
        if np.ptp(wanted) == 0:
            return Qualities(np.float32(wanted.flat[0]))
        of_header = header.quality_code(quality)
        deviations = np.rint(wanted * (MAX_QUALITY_CODE / 100)).astype(np.int64) - of_header
        peak = int(np.abs(deviations).max())
        if not peak:
            return Qualities(np.float32(quality))
        nodes = np.rint(deviations * (MOST / peak)).astype(np.int8)
        snapped = np.float32(header.quality_of(of_header))
        return Qualities(snapped, QualityMap(peak, nodes))


def of_file(content: bytes, quality: float, height: int, width: int) -> Qualities:
    """What a file says.

    Args:
      content: bytes of the map; empty if there is none.
      quality: that of the header.
      height, width: pixels of the image.

    Raises:
      errors.FileFormatError: it is not the map of such an image.
    """
    found = quality_map.decode(content, height, width) if content else None
    return Qualities(np.float32(quality), found)


def _check(given: np.ndarray, sentence: str) -> None:
    if not ((given >= 0) & (given <= 100)).all():
        raise errors.UsageError(sentence)


def _averaged(array: np.ndarray, axis: int, side: int) -> np.ndarray:
    """Means over the blocks that a side of the image, in pixels, is cut into."""
    array = np.moveaxis(array, axis, 0)
    ends = np.minimum(np.arange(quality_map.sides(side, 1)[0] + 1) * BLOCK, side)
    ends = ends * (len(array) / side)
    below = np.concatenate([np.zeros_like(array[:1]), np.cumsum(array, 0)])
    whole = np.minimum(ends.astype(int), len(array) - 1)
    sums = below[whole] + (ends - whole)[:, None] * array[whole]
    # sums of differences may be beyond what was summed by their last bits
    means = np.clip(np.diff(sums, axis=0) / np.diff(ends)[:, None], array.min(), array.max())
    return np.moveaxis(means, 0, axis)


def _blocks(area: Area, height: int, width: int) -> tuple[slice, slice]:
    """The blocks that an area and what is around it touch."""
    try:
        x, y, across, down = map(operator.index, area[:4])
    except TypeError:
        raise errors.UsageError(
            f"An area has four whole numbers, x, y, width and height, not {tuple(area[:4])}."
        ) from None
    inside = x >= 0 and y >= 0 and across > 0 and down > 0
    if not (inside and x + across <= width and y + down <= height):
        raise errors.UsageError(
            f"The area {x},{y},{across},{down} is not inside of the image, {width}x{height}."
        )
    _check_own(area)
    return _touched(y, down), _touched(x, across)


def _check_own(area: Area) -> None:
    low, high = (0, 100) if not area.is_relative else (-100, 100)
    if not low <= area.quality <= high:
        raise errors.UsageError(
            f"The quality of an area has to be a number from {low} to {high}, not {area.quality:g}."
        )


def _touched(first: int, count: int) -> slice:
    start = max(first - AROUND, 0) // BLOCK
    return slice(start, -(-(first + count + AROUND) // BLOCK))
