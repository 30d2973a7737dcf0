"""Discretized Gaussian mixture likelihoods: what training differentiates and evaluation counts.

The integer form of the same distribution, which the range coder uses, is in
`tfclic.entropy.integer_mixture`; the two are tested against each other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.format.latents import LATENT_MAX, LATENT_MIN

LIKELIHOOD_FLOOR = 1e-6
# the scale table, as in TFC's examples: 64 rows, log-spaced
SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.11, 256.0, 64
SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)

NUM_PARAMETERS = 3  # of parameters: logits, means, log scales


def completed(parameters: tf.Tensor, num_parameters: int) -> tf.Tensor:
    """All parameters, of the last `num_parameters` of three alone: what is missing is 0.

    A single Gaussian needs no logits, one of symbols that count from its mean no means.

    Args:
      parameters: `[..., num_parameters * n]`, float or on the grids of exact coders.
      num_parameters: int, 1 to 3.

    Returns:
      `[..., 3 * n]`.
    """
    if num_parameters == NUM_PARAMETERS:
        return parameters
    count = parameters.shape[-1] or tf.shape(parameters)[-1]
    missing = (NUM_PARAMETERS - num_parameters) * (count // num_parameters)
    margins = [[0, 0]] * (len(parameters.shape) - 1) + [[missing, 0]]
    return tf.pad(parameters, margins)


def of_volume(parameters: tf.Tensor) -> tf.Tensor:
    """Parameters `[..., C, n]` of each value of a volume as others have them, `[..., n * C]`."""
    rank = len(parameters.shape)
    channels, count = parameters.shape[-2:]
    parameters = tf.transpose(parameters, [*range(rank - 2), rank - 1, rank - 2])
    return tf.reshape(parameters, tf.concat([tf.shape(parameters)[:-2], [count * channels]], 0))


# stands for infinity in a bound whose difference from a mean is multiplied by 0 later
_FAR = 1e9


def likelihood(latents: tf.Tensor, parameters: tf.Tensor, mixtures: int = 1) -> tf.Tensor:
    """P(y) of latents, unfloored: the probability of the unit interval around each,

    ```
    P(y) = sum_k w_k * [Phi((y + 1/2 - mu_k) / sigma_k) - Phi((y - 1/2 - mu_k) / sigma_k)]
    ```

    (Cheng et al., CVPR 2020, equation 8), with the lower Phi replaced by 0 at y = -255 and the
    upper one by 1 at y = 256. The same expression, evaluated at latents with additive uniform noise
    in [-1/2, 1/2), is the density of the noisy latents, a differentiable stand-in for the rate of
    the rounded ones; for K = 1 it is TFC's `NoisyNormal`.

    Args:
      latents: float32 `[..., C]`, integers or values with uniform noise.
      parameters: float32 `[..., 3 * K * C]`: logits, means, natural logarithms of scales.
      mixtures: K.

    Returns:
      float32 `[..., C]`, in 0..1.
    """
    # lists of K tensors are several times faster than a small axis
    parts = tf.split(parameters, NUM_PARAMETERS * mixtures, axis=-1)
    logits, means, log_scales = (
        parts[i * mixtures : (i + 1) * mixtures] for i in range(NUM_PARAMETERS)
    )
    low, high = math.log(SCALE_MIN), math.log(SCALE_MAX)
    log_scales = [tfc.upper_bound(tfc.lower_bound(x, low), high) for x in log_scales]
    y = tf.clip_by_value(latents, LATENT_MIN, LATENT_MAX)
    return _likelihood(y, *logits, *means, *log_scales)


@tf.custom_gradient
def _likelihood(
    y: tf.Tensor, *parameters: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
    count = len(parameters) // 3
    logits, means, log_scales = (parameters[i * count : (i + 1) * count] for i in range(3))
    weights = _softmax(logits)
    inverses = [tf.exp(-s) for s in log_scales]
    upper = tf.where(y >= LATENT_MAX, _FAR, y + 0.5)
    lower = tf.where(y <= LATENT_MIN, -_FAR, y - 0.5)
    edges = [((upper - m) * i, (lower - m) * i) for m, i in zip(means, inverses)]
    masses = [0.5 * (_erf(u) - _erf(v)) for u, v in edges]
    total = tf.add_n([w * p for w, p in zip(weights, masses)])

    def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        shares = [upstream * w for w in weights]
        densities = [(_density(u), _density(v)) for u, v in edges]
        by_mean = [s * i * (g - f) for s, i, (f, g) in zip(shares, inverses, densities)]
        by_scale = [s * (g * v - f * u) for s, (u, v), (f, g) in zip(shares, edges, densities)]
        by_logit = [s * (p - total) for s, p in zip(shares, masses)]
        return (-tf.add_n(by_mean), *by_logit, *by_mean, *by_scale)

    return total, backward


def _softmax(logits: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    highest = functools.reduce(tf.maximum, logits)
    powers = [tf.exp(x - highest) for x in logits]
    scale = tf.math.reciprocal(tf.add_n(powers))
    return [p * scale for p in powers]


def _erf(x: tf.Tensor) -> tf.Tensor:
    return tf.math.erf(x * math.sqrt(0.5))


def _density(x: tf.Tensor) -> tf.Tensor:
    return tf.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
