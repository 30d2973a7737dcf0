"""Levels of hyper latents, and how much neighbours have in common on each level.

A level is an array of a file: the latents, or hyper latents of some kind. Where the model says what
it expected there, by `NAME_means` and `NAME_scales`, the level can be normalised: what is left of
it then is what the model could not know (Hu et al., TPAMI 2021, figure of the redundancy).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import numpy as np
import numpy.typing as npt

from tfclic.format.interface import BITS, LATENTS

if TYPE_CHECKING:
    from tfclic.runtime.statistics import Statistics

Arrays = Mapping[str, np.ndarray]

REACH = 4  # positions each way, of correlations
LEAST_VARIANCE = 0.05  # of channels that say anything, in squared steps


class Level(NamedTuple):
    """One channel of one level, float32 `[h, w]` each.

    Attributes:
      channel: the one of highest entropy.
      values: as coded.
      bits: what each takes.
      means, scales: what was expected; None where the model does not say.
    """

    channel: int
    values: np.ndarray
    bits: np.ndarray
    means: np.ndarray | None
    scales: np.ndarray | None

    @property
    def normalised(self) -> np.ndarray | None:
        """Values less their means, in standard deviations; None if these are not known."""
        return None if self.means is None else (self.values - self.means) / self.scales


def expected(found: Arrays, name: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Means and standard deviations `[h, w, C]` of a level in a dict of arrays; None if unknown."""
    if name != LATENTS:
        return found.get(f"{name}_means"), found.get(f"{name}_scales")
    if "weights" not in found:
        return None, None
    weights, means, scales = (found[kind] for kind in ("weights", "means", "scales"))
    mean = np.sum(weights * means, -1)
    variance = np.sum(weights * (scales**2 + (means - mean[..., None]) ** 2), -1)
    return mean, np.sqrt(variance)


def of(explanation: Statistics) -> dict[str, Level]:
    """The levels of a file beside its latents, largest first.

    Args:
      explanation: `statistics.Statistics`.

    Returns:
      Dict of `Level`s by name.
    """
    parts = explanation.parts
    names = sorted((n for n in parts if n != LATENTS), key=lambda name: -parts[name].bits)
    channels = {name: int(np.argmax(parts[name].channels)) for name in names}

    def work(found: Arrays) -> dict[str, list[np.ndarray | None]]:
        arrays = {}
        for name, channel in channels.items():
            every = found.get(name), found.get(name + BITS), *expected(found, name)
            if every[0] is not None:
                arrays[name] = [None if a is None else a[:, :, channel].copy() for a in every]
        return arrays

    levels: dict[str, Level] = {}
    pieces = explanation.each(work)
    for name in pieces[0]:
        columns = zip(*(piece[name] for piece in pieces))
        whole: list[Any] = [
            None if c[0] is None else explanation.assembled(list(c)) for c in columns
        ]
        levels[name] = Level(channels[name], *whole)
    return levels


class Correlation:
    """Correlation of positions with those beside them, over as many arrays as are added.

    Each channel has its own mean and variance; those that hardly vary do not count.

    Args:
      coded: for values that are normalised, the `Correlation` of what is coded, whose variance
        says which channels count: where nothing is coded, what is expected would correlate.
    """

    def __init__(self, coded: Correlation | None = None) -> None:
        self._coded = coded
        self._sums: Any = 0

    def add(self, array: np.ndarray) -> None:
        """Adds an array `[h, w, C]`."""
        array = np.asarray(array, np.float64)
        lags = [(dy, dx) for dy in range(REACH + 1) for dx in range(-REACH, REACH + 1)]
        self._sums = self._sums + np.stack([_sums(array, *lag) for lag in lags])

    def map(self) -> npt.NDArray[np.float64]:
        """Float64 `[2 * REACH + 1, 2 * REACH + 1]`, mean over channels, the centre being 1."""
        below = _mean(self._by_channel()).reshape(REACH + 1, 2 * REACH + 1)
        # a lag and its opposite are the same pairs
        return np.concatenate([below[:0:-1, ::-1], below])

    def of_neighbours(self) -> float:
        """Mean absolute correlation with the next position down and to the right, float."""
        grid = self._by_channel().reshape(REACH + 1, 2 * REACH + 1, -1)
        return float(_mean(np.abs(np.concatenate([grid[1, REACH], grid[0, REACH + 1]]))))

    def _by_channel(self) -> npt.NDArray[np.float64]:
        """Float64 `[lags, C]`; nan for channels that say nothing."""
        count, product, first, second = np.moveaxis(self._sums, 1, 0)
        mean, variance = self._moments()
        says = variance if self._coded is None else self._coded._moments()[1]
        variance = np.where((says > LEAST_VARIANCE) & (variance > 0), variance, np.nan)
        count = np.maximum(count, 1)
        return (product - mean * (first + second)) / count / variance + mean**2 / variance

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each channel, float64 `[C]` each."""
        count, squares, values, _ = self._sums[REACH]  # of each position with itself
        mean = values / count
        return mean, squares / count - mean**2


Pair = tuple[Correlation, Optional[Correlation]]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not nan; 0 if nothing is left."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(-1) / np.maximum(known.sum(-1), 1)


def _sums(array: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Count, products and sums of all pairs `dy` rows and `dx` columns apart, `[4, C]`."""
    height, width = array.shape[:2]
    right, left = max(dx, 0), max(-dx, 0)
    one = array[: max(height - dy, 0), left : max(width - right, left)]
    other = array[dy:, right : max(width - left, right)]
    count = np.full(array.shape[2], one.shape[0] * one.shape[1])
    sums = [np.sum(x, (0, 1)) for x in (one * other, one, other)]
    return np.stack([count, *sums])


def correlations(explanation: Statistics, into: dict[str, Pair] | None = None) -> dict[str, Pair]:
    """How much neighbours have in common on each level, as coded and normalised.

    Args:
      explanation: `statistics.Statistics`.
      into: dict as this returns it, to which the file is added.

    Returns:
      Dict from the name of each level to a pair of `Correlation`s; the second is None for levels
      that are not predicted.
    """
    result = {} if into is None else into

    def work(found: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        arrays = {}
        for name in explanation.parts:
            if name in found:
                means, scales = expected(found, name)
                values = found[name].astype(np.float32)
                arrays[name] = values, None if means is None else (values - means) / scales
        return arrays

    for tile in explanation.each(work):
        for name, arrays in tile.items():
            coded = Correlation()
            pair = coded, None if arrays[1] is None else Correlation(coded)
            for correlation, array in zip(result.setdefault(name, pair), arrays):
                if correlation is not None and array is not None:
                    correlation.add(array)
    return result
