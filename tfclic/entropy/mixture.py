"""Discretized Gaussian mixture likelihoods: what training differentiates and evaluation counts.

The integer form of the same distribution, which the range coder uses, is in
`tfclic.entropy.integer_mixture`; the two are tested against each other. The entropy model that has
both is in `tfclic.entropy.gaussian_mixture`.
"""

import math

import tensorflow as tf
import tensorflow_compression as tfc

LATENT_MIN, LATENT_MAX = -255, 256
LIKELIHOOD_FLOOR = 1e-6
# the scale table, as in TFC's examples: 64 rows, log-spaced
SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.11, 256.0, 64
SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)


def _normal_cdf(x):
    return 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


def likelihood(latents, logits, means, log_scales):
    """P(y) of latents, equation 8, unfloored.

    Args:
      latents: float32 `[...]`, integers or values with uniform noise.
      logits, means, log_scales: float32 `[..., K]`; scales are natural logarithms.

    Returns:
      float32 `[...]`, in 0..1.
    """
    low, high = math.log(SCALE_MIN), math.log(SCALE_MAX)
    log_scales = tfc.upper_bound(tfc.lower_bound(log_scales, low), high)
    y = tf.clip_by_value(latents, LATENT_MIN, LATENT_MAX)[..., None]
    inverse = tf.exp(-log_scales)
    upper = _normal_cdf((y + 0.5 - means) * inverse)
    lower = _normal_cdf((y - 0.5 - means) * inverse)
    upper = tf.where(y >= LATENT_MAX, tf.ones_like(upper), upper)
    lower = tf.where(y <= LATENT_MIN, tf.zeros_like(lower), lower)
    return tf.reduce_sum(tf.nn.softmax(logits) * (upper - lower), -1)
