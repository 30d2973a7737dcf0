"""Finding the quality at which a file has the size, or the fidelity, that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tfclic import errors
from tfclic.format.header import MAX_QUALITY_CODE as CODES
from tfclic.format.header import quality_of

if TYPE_CHECKING:
    from tfclic.runtime.encoder import Encoder

MOST_TRIES = 24
MOST_REFINEMENTS = 5
SIZE_TOLERANCE = 0.02  # of the size asked for, below it
PSNR_TOLERANCE = 0.05  # dB, above what was asked for


def search(value_of: Callable[[float], float], low: float, high: float, at_most: bool) -> float:
    """Looks for a quality whose value lies in `[low, high]`.

    The values of lossy codecs rise with quality, though not at every single step. Between two
    qualities of which one gives too little and the other too much, the next try is where a straight
    line would meet the middle of the range; every third one halves the interval.

    Args:
      value_of: function of a quality, 0..100; it is asked for qualities that a file can state.
      low, high: numbers.
      at_most: which way to miss a range that lies between two neighbouring qualities, or is not met
        in MOST_TRIES: below it (true) or above it.

    Returns:
      The quality.

    Raises:
      OutOfReach: even the lowest quality gives more than `high`, or the highest less than `low`.
    """
    bottom, top = 0, CODES
    below, above = (value_of(quality_of(code)) for code in (bottom, top))
    for code, value, misses in ((bottom, below, below > high), (top, above, above < low)):
        if misses:
            raise OutOfReach(quality_of(code), value)
        if low <= value <= high:
            return quality_of(code)
    for tries in range(MOST_TRIES):
        share = 0.5 if tries % 3 == 2 else ((low + high) / 2 - below) / (above - below)
        code = min(max(round(bottom + share * (top - bottom)), bottom + 1), top - 1)
        if code <= bottom:
            break
        value = value_of(quality_of(code))
        if low <= value <= high:
            return quality_of(code)
        if value < low:
            bottom, below = code, value
        else:
            top, above = code, value
    return quality_of(bottom if at_most else top)


class OutOfReach(Exception):
    """No quality gives what was asked for.

    Attributes:
      quality: the one that comes nearest.
      value: what it gives.
    """

    def __init__(self, quality: float, value: float) -> None:
        super().__init__(f"Quality {quality:g} gives {value:g}.")
        self.quality, self.value = quality, value


def compress(encoder: Encoder, kind: str, target: float, pixels: int) -> bytes:
    """Compresses an image to a target.

    Args:
      encoder: its `encoder.Encoder`, which keeps the analysis.
      kind: "file_bytes", "bpp" or "psnr".
      target: number.
      pixels: int, of the image.

    Returns:
      bytes, the file.

    Raises:
      errors.UsageError: the target is out of reach, or senseless.
    """
    if not 0 < target < math.inf:
        raise errors.UsageError(f"{target:g} cannot be a target; it has to be above 0.")
    is_psnr = kind == "psnr"
    if is_psnr:
        wanted = Wanted(target, target + PSNR_TOLERANCE, at_most=False)
    else:
        most = target if kind == "file_bytes" else target * pixels / 8
        wanted = Wanted((1 - SIZE_TOLERANCE) * most, most, at_most=True)
    plain = Tried(encoder.plain(), is_psnr)
    try:
        quality = search(plain.value, *wanted)
    except OutOfReach as nearest:
        raise errors.UsageError(_sentence(kind, target, nearest, pixels)) from None
    refined = _refined(encoder, plain, wanted, quality) if encoder.refinement else None
    return refined or plain.file(quality)


class Wanted(NamedTuple):
    """A range of sizes or PSNRs, and which way to miss it, as `search` takes them."""

    low: float
    high: float
    at_most: bool


class Tried:
    """An encoder's files, and what is asked of them, by quality, each made once.

    Args:
      encoder: a `encoder.Encoder`.
      is_psnr: whether their PSNR is asked, or their size.
    """

    def __init__(self, encoder: Encoder, is_psnr: bool) -> None:
        self._encoder, self.is_psnr = encoder, is_psnr
        self._files: dict[float, bytes] = {}
        self._values: dict[float, float] = {}

    def file(self, quality: float) -> bytes:
        """The file, bytes."""
        if quality not in self._files:
            self._files[quality] = self._encoder.file(quality)
        return self._files[quality]

    def value(self, quality: float) -> float:
        """Its PSNR in dB, or its size in bytes."""
        if quality not in self._values:
            value = self._encoder.psnr(quality) if self.is_psnr else len(self.file(quality))
            self._values[quality] = value
        return self._values[quality]


def _refined(encoder: Encoder, plain: Tried, wanted: Wanted, quality: float) -> bytes | None:
    """The file of a refined image that is within a range; None if there is none among a few.

    A refinement takes long, and changes sizes and PSNRs by shares that hardly depend on the
    quality: so that is searched without it, for what is wanted less what it changed the last time.
    """
    refined = Tried(encoder, plain.is_psnr)
    for _ in range(MOST_REFINEMENTS):
        value = refined.value(quality)
        if wanted.low <= value <= wanted.high:
            return refined.file(quality)
        share = plain.value(quality) / value
        if not 0 < share < math.inf:
            break  # a PSNR of equal images, by which nothing can be found
        middle = (wanted.low + wanted.high) / 2 * share
        margin = (wanted.high - wanted.low) / 4 * share
        try:
            quality = search(plain.value, middle - margin, middle + margin, wanted.at_most)
        except OutOfReach:
            break
    return None


def _sentence(kind: str, target: float, nearest: OutOfReach, pixels: int) -> str:
    written: Callable[[float], str] = {
        "file_bytes": lambda value: f"{value:,.0f} bytes",
        "bpp": lambda value: f"{value:.4g} bits per pixel",
        "psnr": lambda value: f"{value:.2f} dB",
    }[kind]
    value = 8 * nearest.value / pixels if kind == "bpp" else nearest.value
    return (
        f"{written(target)} cannot be reached; the nearest is {written(value)}, "
        f"with quality {nearest.quality:g}."
    )
