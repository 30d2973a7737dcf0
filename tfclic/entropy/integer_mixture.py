"""The Gaussian mixture of `tfclic.entropy.mixture` in integers: the same on every machine.

Parameters are rounded to grids, the normal CDF is a table, and the mixture's cumulative function is
a sum of integer products, so that no machine can disagree about a probability.
"""

import collections
import math

import numpy as np
import tensorflow as tf

from tfclic.entropy import mixture

SYMBOLS = mixture.LATENT_MAX - mixture.LATENT_MIN + 1
MEAN_BITS = 4  # means are multiples of 1/16
MEAN_LIMIT = 300 << MEAN_BITS
LOGIT_BITS = 4  # logits are multiples of 1/16
WEIGHT_BITS = 12  # the largest weight is 2**12, the others exp(logit difference) of it
CDF_BITS = 16
CDF_RANGE = 5  # standard deviations; the table is flat beyond
CDF_STEPS = 64  # table entries per standard deviation
FRACTION_BITS = 6  # between table entries, linear interpolation
RECIPROCAL_BITS = 6
FLOOR = 8  # every symbol's mass, in units of 2**-(WEIGHT_BITS + CDF_BITS), on top of the mixture's
MAX_MIXTURES = 7  # more would overflow 31 bits

IntegerParameters = collections.namedtuple("IntegerParameters", "logits means scales")
IntegerParameters.__doc__ = """Mixture parameters on their grids, int32 `[..., K]` each.

logits: multiples of 1/16.
means: multiples of 1/16, within +-300.
scales: rows of the scale table, 0..63.
"""


def scale_table():
    """The standard deviations of the scale rows, float64 `[64]`."""
    rows = np.arange(mixture.SCALE_LEVELS)
    return mixture.SCALE_MIN * np.exp(rows * mixture.SCALE_STEP)


def _tables():
    ends = np.arange(-CDF_RANGE * CDF_STEPS, CDF_RANGE * CDF_STEPS + 1) / CDF_STEPS
    cdf = np.array([0.5 * (1 + math.erf(x / 2**0.5)) for x in ends])
    cdf = np.round((cdf - cdf[0]) / (cdf[-1] - cdf[0]) * 2**CDF_BITS).astype(np.int32)
    unit = CDF_STEPS << FRACTION_BITS  # of the table's argument, per standard deviation
    reciprocal = unit / (scale_table() * 2**MEAN_BITS) * 2**RECIPROCAL_BITS
    differences = np.arange(int(9 * 2**LOGIT_BITS)) / 2**LOGIT_BITS
    weight = np.round(np.exp(-differences) * 2**WEIGHT_BITS).astype(np.int32)
    spread = np.maximum(np.round(scale_table()), 1).astype(np.int32)
    return cdf, np.round(reciprocal).astype(np.int32), weight, spread


_CDF, _RECIPROCAL, _WEIGHT, _SPREAD = _tables()


def to_integers(logits, means, log_scales):
    """Rounds float parameters `[..., K]` to their grids.

    For evaluation and tests: an exported codec computes integers from the start.

    Returns:
      `IntegerParameters`.
    """
    scales = (log_scales - np.log(mixture.SCALE_MIN)) / mixture.SCALE_STEP
    return clip(tf.round(logits * 2**LOGIT_BITS), tf.round(means * 2**MEAN_BITS), tf.round(scales))


def to_floats(parameters):
    """The logits, means and log scales, float32 `[..., K]`, that `IntegerParameters` stand for."""
    logits, means, scales = (tf.cast(x, tf.float32) for x in parameters)
    log_scales = np.log(mixture.SCALE_MIN) + scales * mixture.SCALE_STEP
    return logits / 2**LOGIT_BITS, means / 2**MEAN_BITS, log_scales


def clip(logits, means, scales):
    """Limits integer-valued parameters to their ranges.

    The means' own range is a little wider than the latents', for a Gaussian may lean over the edge.
    """
    logits = tf.clip_by_value(logits, -(2.0**20), 2.0**20)
    means = tf.clip_by_value(means, -MEAN_LIMIT, MEAN_LIMIT)
    scales = tf.clip_by_value(scales, 0, mixture.SCALE_LEVELS - 1)
    return IntegerParameters(*(tf.cast(x, tf.int32) for x in (logits, means, scales)))


Distribution = collections.namedtuple("Distribution", "weights means reciprocals centre spread")
Distribution.__doc__ = """What the integer CDF of E elements needs, int32.

weights: `[E, K]`, the largest 2**12.
means: `[E, K]`, multiples of 1/16, counted from the first symbol's lower boundary.
reciprocals: `[E, K]`, inverse scales.
centre: `[E]`, symbol at the mean of the heaviest Gaussian.
spread: `[E]`, that Gaussian's standard deviation in symbols, at least 1.
"""


def distribution(parameters):
    """Prepares the CDF of elements with `IntegerParameters` of shape `[E, K]`."""
    difference = tf.reduce_max(parameters.logits, -1, keepdims=True) - parameters.logits
    weights = tf.gather(_WEIGHT, tf.minimum(difference, len(_WEIGHT) - 1))
    # at symbol boundary 0 the latent is LATENT_MIN - 1/2
    origin = (mixture.LATENT_MIN << MEAN_BITS) - (1 << (MEAN_BITS - 1))
    means = parameters.means - origin
    heaviest = tf.argmax(weights, -1, output_type=tf.int32)
    mean = tf.gather(means, heaviest, batch_dims=1)
    centre = tf.clip_by_value(tf.bitwise.right_shift(mean, MEAN_BITS), 0, SYMBOLS - 1)
    scale = tf.gather(parameters.scales, heaviest, batch_dims=1)
    reciprocals = tf.gather(_RECIPROCAL, parameters.scales)
    return Distribution(weights, means, reciprocals, centre, tf.gather(_SPREAD, scale))


def cumulative(dist, boundary):
    """Mass below symbol boundaries, strictly increasing in the boundary.

    Args:
      dist: `Distribution` of E elements.
      boundary: int32 `[E]`, 0..512; boundary b lies below symbol b (latent b - 255).

    Returns:
      int32 `[E]`: 0 at boundary 0 and `total(dist)` at boundary 512, which are the two edge cases
      of equation 8.
    """
    limit = CDF_RANGE * CDF_STEPS << FRACTION_BITS
    difference = (boundary * (1 << MEAN_BITS))[:, None] - dist.means
    z = tf.bitwise.right_shift(difference * dist.reciprocals, RECIPROCAL_BITS)
    z = tf.clip_by_value(z, -limit, limit - 1) + limit
    entry = tf.bitwise.right_shift(z, FRACTION_BITS)
    fraction = tf.bitwise.bitwise_and(z, (1 << FRACTION_BITS) - 1)
    below, above = tf.gather(_CDF, entry), tf.gather(_CDF, entry + 1)
    cdf = below + tf.bitwise.right_shift((above - below) * fraction, FRACTION_BITS)
    mass = tf.reduce_sum(dist.weights * cdf, -1)
    mass = tf.where(boundary <= 0, 0, mass)
    mass = tf.where(boundary >= SYMBOLS, tf.reduce_sum(dist.weights, -1) * (1 << CDF_BITS), mass)
    return mass + boundary * FLOOR


def total(dist):
    """int32 `[E]`: the mass of all symbols."""
    return tf.reduce_sum(dist.weights, -1) * (1 << CDF_BITS) + SYMBOLS * FLOOR
