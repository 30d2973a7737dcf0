"""The Gaussian mixture of `tfclic.entropy.mixture` in integers: the same on every machine.

Parameters are rounded to grids, the normal CDF is a table, and the mixture's cumulative function is
a sum of integer products, so that no machine can disagree about a probability.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfclic.entropy import mixture
from tfclic.format.latents import FLOOR, MASS_BITS

SYMBOLS = mixture.LATENT_MAX - mixture.LATENT_MIN + 1
MEAN_BITS = 4  # means are multiples of 1/16
MEAN_LIMIT = 300 << MEAN_BITS
LOGIT_BITS = 4  # logits are multiples of 1/16
WEIGHT_BITS = 12  # the largest weight is 2**12, the others exp(logit difference) of it
CDF_STEPS = 64  # table entries per standard deviation
FRACTION_BITS = 6  # between table entries, linear interpolation
RECIPROCAL_BITS = 6
MAX_MIXTURES = 7  # more would overflow 31 bits


class Resolution(NamedTuple):
    """How fine the normal CDF is.

    Attributes:
      cdf_bits: it reaches 2**cdf_bits; what `MASS_BITS` leaves is the weight's.
      cdf_range: standard deviations; it is flat beyond.
    """

    cdf_bits: int
    cdf_range: int


MIXTURE = Resolution(MASS_BITS - WEIGHT_BITS, 5)
# A single Gaussian has a weight of 1, and needs its tails, where a mixture has a wide Gaussian.
SINGLE = Resolution(24, 6)


def resolution_of(mixtures: int) -> Resolution:
    """The `Resolution` for so many Gaussians."""
    return SINGLE if mixtures == 1 else MIXTURE


def check_mixtures(mixtures: int) -> None:
    """Raises ValueError unless there can be so many Gaussians in a mixture."""
    if not 1 <= mixtures <= MAX_MIXTURES:
        raise ValueError(f"There can be 1 to {MAX_MIXTURES} mixtures, not {mixtures}.")


class IntegerParameters(NamedTuple):
    """Mixture parameters on their grids, int32 `[..., K]` each.

    Attributes:
      logits: multiples of 1/16.
      means: multiples of 1/16, within +-300.
      scales: rows of the scale table, 0..63.
    """

    logits: tf.Tensor
    means: tf.Tensor
    scales: tf.Tensor


def scale_table() -> np.ndarray:
    """The standard deviations of the scale rows, float64 `[64]`."""
    rows = np.arange(mixture.SCALE_LEVELS)
    return mixture.SCALE_MIN * np.exp(rows * mixture.SCALE_STEP)


def _normal_cdf(resolution: Resolution) -> np.ndarray:
    limit = resolution.cdf_range * CDF_STEPS
    ends = np.arange(-limit, limit + 1) / CDF_STEPS
    cdf = np.array([0.5 * (1 + math.erf(x / 2**0.5)) for x in ends])
    cdf = np.round((cdf - cdf[0]) / (cdf[-1] - cdf[0]) * 2**resolution.cdf_bits)
    return cdf.astype(np.int32)


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    unit = CDF_STEPS << FRACTION_BITS  # of the table's argument, per standard deviation
    reciprocal = unit / (scale_table() * 2**MEAN_BITS) * 2**RECIPROCAL_BITS
    differences = np.arange(int(9 * 2**LOGIT_BITS)) / 2**LOGIT_BITS
    weight = np.round(np.exp(-differences) * 2**WEIGHT_BITS).astype(np.int32)
    spread = np.maximum(np.round(scale_table()), 1).astype(np.int32)
    return np.round(reciprocal).astype(np.int32), weight, spread


_RECIPROCAL, _WEIGHT, _SPREAD = _tables()
# of logits, means and scales
_LOWEST = (-(2.0**20), -MEAN_LIMIT, 0)
_HIGHEST = (2.0**20, MEAN_LIMIT, mixture.SCALE_LEVELS - 1)


def to_integers(logits: tf.Tensor, means: tf.Tensor, log_scales: tf.Tensor) -> IntegerParameters:
    """Rounds float parameters `[..., K]` to their grids.

    For evaluation and tests: an exported codec computes integers from the start.

    Returns:
      `IntegerParameters`.
    """
    scales = (log_scales - np.log(mixture.SCALE_MIN)) / mixture.SCALE_STEP
    return clip(tf.round(logits * 2**LOGIT_BITS), tf.round(means * 2**MEAN_BITS), tf.round(scales))


def to_floats(parameters: IntegerParameters) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The logits, means and log scales, float32 `[..., K]`, that `IntegerParameters` stand for."""
    logits, means, scales = (tf.cast(x, tf.float32) for x in parameters)
    log_scales = np.log(mixture.SCALE_MIN) + scales * mixture.SCALE_STEP
    return logits / 2**LOGIT_BITS, means / 2**MEAN_BITS, log_scales


def clip(logits: tf.Tensor, means: tf.Tensor, scales: tf.Tensor) -> IntegerParameters:
    """Limits integer-valued parameters to their ranges.

    The means' own range is a little wider than the latents', for a Gaussian may lean over the edge.
    """
    limits = zip((logits, means, scales), _LOWEST, _HIGHEST)
    return IntegerParameters(
        *(tf.cast(tf.maximum(tf.minimum(x, high), low), tf.int32) for x, low, high in limits)
    )


def _planes(rows: tf.Tensor, mixtures: int) -> IntegerParameters:
    """Clipped `[K, n * C]` of a network's results `[n, 3 * K * C]`."""
    kinds = 3 * mixtures
    count, columns = tf.unstack(tf.shape(rows))
    channels = columns // kinds
    # rows are gathered, which is faster than to transpose
    order = tf.range(kinds)[:, None] + kinds * tf.range(count)
    planes = tf.gather(tf.reshape(rows, [count * kinds, channels]), tf.reshape(order, [-1]))
    return clip(*tf.unstack(tf.reshape(planes, [3, mixtures, count * channels])))


def parameters_of_rows(rows: tf.Tensor, mixtures: int) -> IntegerParameters:
    """`IntegerParameters` `[n * C, K]` of a network's integer-valued results.

    Args:
      rows: float32 `[n, 3 * K * C]`: logits, means and scales on their grids, not clipped.
      mixtures: K.
    """
    return IntegerParameters(*(tf.transpose(x) for x in _planes(rows, mixtures)))


class AnyDistribution(Protocol):
    """A `Distribution`, or another kind that decisions can be made of."""

    @property
    def centre(self) -> tf.Tensor: ...

    @property
    def spread(self) -> tf.Tensor: ...

    @property
    def total(self) -> tf.Tensor: ...

    @property
    def columns(self) -> tuple[tf.Tensor, ...]: ...

    def mass(self, columns: Sequence[tf.Tensor], boundary: tf.Tensor) -> tf.Tensor: ...


class Distribution(NamedTuple):
    """What the integer CDF of E elements needs, int32.

    Attributes:
      weights: `[K, E]`, the largest 2**12, or 2**4 if there is only one.
      means: `[K, E]`, multiples of 1/16, counted from the first symbol's lower boundary.
      reciprocals: `[K, E]`, inverse scales.
      centre: `[E]`, symbol at the mean of the heaviest Gaussian.
      spread: `[E]`, that Gaussian's standard deviation in symbols, at least 1.
      total: `[E]`, the mass of all symbols.
      table: the normal CDF, `normal_table(K)`.
    """

    weights: tf.Tensor
    means: tf.Tensor
    reciprocals: tf.Tensor
    centre: tf.Tensor
    spread: tf.Tensor
    total: tf.Tensor
    table: tf.Tensor

    @property
    def columns(self) -> tuple[tf.Tensor, ...]:
        """All that `mass` needs to know of each element, a tuple of int32 `[*, E]`."""
        return self.weights, self.means, self.reciprocals

    def mass(self, columns: Sequence[tf.Tensor], boundary: tf.Tensor) -> tf.Tensor:
        """Mass below symbol boundaries 1 to 511, int32 `[n]`.

        Args:
          columns: `columns` of n elements.
          boundary: int32 `[n]`.
        """
        weights, means, reciprocals = columns
        return inner_mass(weights, means, reciprocals, self.table, boundary)


def normal_table(mixtures: int) -> tf.Tensor:
    """The normal CDF at all arguments that occur, int32 `[2 * range * 64 * 64]`, for K `mixtures`.

    Interpolated from the table that a model stores; whoever builds many distributions computes it
    once.
    """
    steps, cdf = 1 << FRACTION_BITS, _normal_cdf(resolution_of(mixtures))
    below, above = cdf[:-1, None], cdf[1:, None]
    between = tf.bitwise.right_shift((above - below) * tf.range(steps), FRACTION_BITS)
    return tf.reshape(below + between, [-1])


def distribution(parameters: IntegerParameters, table: tf.Tensor | None = None) -> Distribution:
    """The `Distribution` of elements with `IntegerParameters` of shape `[E, K]`.

    Args:
      parameters: the `IntegerParameters`.
      table: `normal_table(K)`, to share it.
    """
    logits, means, scales = (tf.transpose(x) for x in parameters)
    return _distribution(logits, means, scales, table)


def distribution_of_rows(
    rows: tf.Tensor, mixtures: int, table: tf.Tensor | None = None
) -> Distribution:
    """The `Distribution` of n * C elements; arguments as in `parameters_of_rows`."""
    return _distribution(*_planes(rows, mixtures), table)


def _distribution(
    logits: tf.Tensor, means: tf.Tensor, scales: tf.Tensor, table: tf.Tensor | None
) -> Distribution:
    difference = tf.reduce_max(logits, 0) - logits
    weights = tf.gather(_WEIGHT, tf.minimum(difference, len(_WEIGHT) - 1))
    # at symbol boundary 0 the latent is LATENT_MIN - 1/2
    means -= (mixture.LATENT_MIN << MEAN_BITS) - (1 << (MEAN_BITS - 1))
    resolution = resolution_of(means.shape[0])
    weights = tf.bitwise.right_shift(weights, resolution.cdf_bits - MIXTURE.cdf_bits)
    mean, scale = _of_heaviest(difference, means), _of_heaviest(difference, scales)
    centre = tf.clip_by_value(tf.bitwise.right_shift(mean, MEAN_BITS), 0, SYMBOLS - 1)
    return Distribution(
        weights=weights,
        means=means,
        reciprocals=tf.gather(_RECIPROCAL, scales),
        centre=centre,
        spread=tf.gather(_SPREAD, scale),
        total=tf.reduce_sum(weights, 0) * (1 << resolution.cdf_bits) + SYMBOLS * FLOOR,
        table=normal_table(means.shape[0]) if table is None else table,
    )


def _of_heaviest(difference: tf.Tensor, each: tf.Tensor) -> tf.Tensor:
    """What the heaviest of K Gaussians has, `[E]` of `[K, E]`; of several the first.

    Args:
      difference: int32 `[K, E]`, how far each logit is below the largest.
      each: `[K, E]`.
    """
    *others, found = tf.unstack(each)
    for value, below in reversed(list(zip(others, tf.unstack(difference)))):
        found = tf.where(tf.equal(below, 0), value, found)
    return found


def inner_mass(
    weights: tf.Tensor,
    means: tf.Tensor,
    reciprocals: tf.Tensor,
    table: tf.Tensor,
    boundary: tf.Tensor,
) -> tf.Tensor:
    """Mass below symbol boundaries 1 to 511; arguments as in `Distribution` and `cumulative`."""
    limit = table.shape[0] // 2
    difference = boundary * (1 << MEAN_BITS) - means
    z = tf.bitwise.right_shift(difference * reciprocals, RECIPROCAL_BITS)
    cdf = tf.gather(table, tf.maximum(tf.minimum(z, limit - 1), -limit) + limit)
    return tf.reduce_sum(weights * cdf, -2) + boundary * FLOOR


def cumulative(dist: AnyDistribution, boundary: tf.Tensor) -> tf.Tensor:
    """Mass below symbol boundaries, strictly increasing in the boundary.

    Args:
      dist: `Distribution` of E elements, or another kind with the same `columns`, `mass`, `total`.
      boundary: int32 `[E]`, 0..512; boundary b lies below symbol b (latent b - 255).

    Returns:
      int32 `[E]`: 0 at boundary 0 and `dist.total` at boundary 512, which are the two edge cases of
      equation 8.
    """
    mass = dist.mass(dist.columns, boundary)
    mass = tf.where(boundary <= 0, 0, mass)
    return tf.where(boundary >= SYMBOLS, dist.total, mass)


def bits(dist: AnyDistribution, candidates: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """What latents cost by their integer probability, float32 `[E]` each.

    Args:
      dist: `Distribution` of E elements.
      candidates: int32 `[E]`, -255..256, one or two; these are neighbours of each other, or equal,
        and so have three boundaries.
    """
    lowest = functools.reduce(tf.minimum, candidates)
    first = lowest - mixture.LATENT_MIN
    boundaries = [tf.minimum(first + i, SYMBOLS) for i in range(len(candidates) + 1)]
    below = [cumulative(dist, boundary) for boundary in boundaries]
    masses = [high - low for low, high in zip(below, below[1:])]
    found = []
    for latents in candidates:
        mass = masses[0] if len(masses) == 1 else tf.where(latents > lowest, masses[1], masses[0])
        likelihood = tf.cast(mass, tf.float32) / tf.cast(dist.total, tf.float32)
        found.append(-tf.math.log(likelihood) / tf.math.log(2.0))
    return found
