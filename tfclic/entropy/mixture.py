"""Discretized Gaussian mixture likelihoods: what training differentiates and evaluation counts.

The integer form of the same distribution, which the range coder uses, is in
`tfclic.entropy.integer_mixture`; the two are tested against each other. The entropy model that has
both is in `tfclic.entropy.gaussian_mixture`.
"""

import functools
import math

import tensorflow as tf
import tensorflow_compression as tfc

LATENT_MIN, LATENT_MAX = -255, 256
LIKELIHOOD_FLOOR = 1e-6
# the scale table, as in TFC's examples: 64 rows, log-spaced
SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.11, 256.0, 64
SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)

KINDS = 3  # of parameters: logits, means, log scales


def completed(parameters, kinds):
    """Parameters of all kinds, of those of the last `kinds` alone: what is missing is 0.

    A single Gaussian needs no logits, one of symbols that count from its mean no means.

    Args:
      parameters: `[..., kinds * n]`, float or on the grids of exact coders.
      kinds: int, 1 to 3.

    Returns:
      `[..., 3 * n]`.
    """
    if kinds == KINDS:
        return parameters
    count = parameters.shape[-1] or tf.shape(parameters)[-1]
    missing = (KINDS - kinds) * (count // kinds)
    margins = [[0, 0]] * (len(parameters.shape) - 1) + [[missing, 0]]
    return tf.pad(parameters, margins)


# stands for infinity in a bound whose difference from a mean is multiplied by 0 later
_FAR = 1e9


def likelihood(latents, logits, means, log_scales):
    """P(y) of latents, equation 8, unfloored.

    Args:
      latents: float32 `[...]`, integers or values with uniform noise.
      logits, means, log_scales: float32 `[..., K]`; scales are natural logarithms.

    Returns:
      float32 `[...]`, in 0..1.
    """
    parts = (tf.unstack(tf.convert_to_tensor(x), axis=-1) for x in (logits, means, log_scales))
    return separate_likelihood(latents, *parts)


def separate_likelihood(latents, logits, means, log_scales):
    """As `likelihood`, with lists of K tensors `[...]`: several times faster than a small axis."""
    low, high = math.log(SCALE_MIN), math.log(SCALE_MAX)
    log_scales = [tfc.upper_bound(tfc.lower_bound(x, low), high) for x in log_scales]
    y = tf.clip_by_value(latents, LATENT_MIN, LATENT_MAX)
    return _likelihood(y, *logits, *means, *log_scales)


@tf.custom_gradient
def _likelihood(y, *parameters):
    count = len(parameters) // 3
    logits, means, log_scales = (parameters[i * count : (i + 1) * count] for i in range(3))
    weights = _softmax(logits)
    inverses = [tf.exp(-s) for s in log_scales]
    upper = tf.where(y >= LATENT_MAX, _FAR, y + 0.5)
    lower = tf.where(y <= LATENT_MIN, -_FAR, y - 0.5)
    edges = [((upper - m) * i, (lower - m) * i) for m, i in zip(means, inverses)]
    masses = [0.5 * (_erf(u) - _erf(v)) for u, v in edges]
    total = tf.add_n([w * p for w, p in zip(weights, masses)])

    def backward(upstream):
        shares = [upstream * w for w in weights]
        densities = [(_density(u), _density(v)) for u, v in edges]
        by_mean = [s * i * (g - f) for s, i, (f, g) in zip(shares, inverses, densities)]
        by_scale = [s * (g * v - f * u) for s, (u, v), (f, g) in zip(shares, edges, densities)]
        by_logit = [s * (p - total) for s, p in zip(shares, masses)]
        return (-tf.add_n(by_mean), *by_logit, *by_mean, *by_scale)

    return total, backward


def _softmax(logits):
    highest = functools.reduce(tf.maximum, logits)
    powers = [tf.exp(x - highest) for x in logits]
    scale = tf.math.reciprocal(tf.add_n(powers))
    return [p * scale for p in powers]


def _erf(x):
    return tf.math.erf(x * math.sqrt(0.5))


def _density(x):
    return tf.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
