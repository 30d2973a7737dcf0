"""The difference of two rate-distortion curves (Bjontegaard 2001)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, Optional

Point = tuple[Optional[float], Optional[float]]

# Of the narrower curve's range; below, a mean over the overlap says little of the curves.
LEAST_OVERLAP = 0.5


class Difference(NamedTuple):
    """One curve against another.

    Attributes:
      rate: Bjontegaard delta rate in percent: the mean difference of the rate at equal
        quality, negative if fewer bits are needed; None if there is too little overlap.
      decibels: Bjontegaard delta quality, dB at equal rate; None likewise.
      lowest: dB, where the overlap begins; None if a curve has no two points.
      highest: dB, where it ends; below `lowest` if there is none.
    """

    rate: float | None
    decibels: float | None
    lowest: float | None
    highest: float | None


def difference(anchor: Iterable[Point], judged: Iterable[Point]) -> Difference:
    """Compares two curves over the quality that both reach.

    Piecewise cubic interpolation (pchip) of the logarithm of the rate over the quality.

    Args:
      anchor: list of points, pairs of rate and quality (dB), in any order; values that are None or
        not finite are left out.
      judged: the same, of the codec that is judged.

    Returns:
      A `Difference`.
    """
    import bjontegaard

    points, others = increasing(anchor), increasing(judged)
    if min(len(points), len(others)) < 2:
        return Difference(None, None, None, None)
    (rates, qualities), (other_rates, other_qualities) = zip(*points), zip(*others)
    lowest, highest = max(qualities[0], other_qualities[0]), min(qualities[-1], other_qualities[-1])
    narrower = min(qualities[-1] - qualities[0], other_qualities[-1] - other_qualities[0])
    if highest - lowest < LEAST_OVERLAP * narrower:
        return Difference(None, None, lowest, highest)
    arguments = rates, qualities, other_rates, other_qualities
    how = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    percent = bjontegaard.bd_rate(*arguments, **how)
    if rates[-1] <= other_rates[0] or other_rates[-1] <= rates[0]:
        return Difference(float(percent), None, lowest, highest)
    return Difference(
        float(percent), float(bjontegaard.bd_psnr(*arguments, **how)), lowest, highest
    )


def increasing(points: Iterable[Point]) -> list[tuple[float, float]]:
    """Returns points, (rate, quality), with both rising: without those that cost more for less."""
    kept: list[tuple[float, float]] = []
    known = [
        (rate, quality)
        for rate, quality in points
        if rate is not None and quality is not None
        if math.isfinite(rate) and math.isfinite(quality)
    ]
    for rate, quality in sorted(known, key=lambda point: point[0]):
        if not kept or quality > kept[-1][1]:
            kept.append((float(rate), float(quality)))
    return kept
