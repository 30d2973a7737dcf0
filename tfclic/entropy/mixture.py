"""Discretized Gaussian mixture likelihoods: what training differentiates and evaluation counts.

The integer form of the same distribution, which the range coder uses, is in
`tfclic.entropy.integer_mixture`; the two are tested against each other.
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


class GaussianMixture(tf.Module):
    """Entropy model of latents whose elements each follow their own mixture of K Gaussians.

    The probability of an integer latent y is that of the unit interval around it,

    ```
    P(y) = sum_k w_k * [Phi((y + 1/2 - mu_k) / sigma_k) - Phi((y - 1/2 - mu_k) / sigma_k)]
    ```

    (Cheng et al., CVPR 2020, equation 8), with the lower Phi replaced by 0 at y = -255 and the
    upper one by 1 at y = 256. The same expression, evaluated at latents with additive uniform noise
    in [-1/2, 1/2), is the density of the noisy latents, a differentiable stand-in for the rate of
    the rounded ones; for K = 1 it is TFC's `NoisyNormal`.

    It follows the workflow of TFC's `ContinuousIndexedEntropyModel`: train with `__call__`, which
    bounds the rate, and code with `compress` and `decompress`. In place of range coding tables per
    index, parameters are rounded to integers when coding, and each symbol becomes a few binary
    decisions (`tfclic.entropy.decisions`), since no table could hold every mixture.

    Training:

    ```python
    mixture = GaussianMixture(mixtures=3)
    noisy, bits = mixture(latents, parameters, training=True)  # parameters: [..., 3 * 3 * C]
    ```

    Coding:

    ```python
    integers = mixture.to_integers(parameters)
    string = mixture.compress(latents, integers)
    latents = mixture.decompress(string, integers)
    ```

    Args:
      mixtures: K, number of Gaussians per element.
    """

    def __init__(self, mixtures=3, name="gaussian_mixture"):
        super().__init__(name=name)
        self.mixtures = mixtures

    def split(self, parameters):
        """Takes a network's output apart.

        Args:
          parameters: `[..., 3 * K * C]`: logits, means, natural logarithms of the scales.

        Returns:
          A tuple of three tensors `[..., C, K]`.
        """
        shape = tf.concat([tf.shape(parameters)[:-1], [3, self.mixtures, -1]], 0)
        parts = tf.unstack(tf.reshape(parameters, shape), axis=-3)
        return tuple(tf.linalg.matrix_transpose(part) for part in parts)

    def likelihood(self, latents, parameters):
        """P(y) of latents `[..., C]`, unfloored; integers or values with uniform noise.

        Args:
          latents: float32 `[..., C]`.
          parameters: float32 `[..., 3 * K * C]`.

        Returns:
          float32 `[..., C]`, in 0..1.
        """
        return likelihood(latents, *self.split(parameters))

    def __call__(self, latents, parameters, training=True):
        """Bounds the number of bits that latents take.

        Args:
          latents: float32 `[..., C]`, real-valued if not `training`. In training they must carry
            their noise already (`tfclic.models.base.uniform_noise`), since the context model has to
            see the same noise.
          parameters: float32 `[..., 3 * K * C]`.
          training: whether to leave the latents as they are (true) or round and clip them.

        Returns:
          A tuple (latents as coded, bits per element `[..., C]`).
        """
        if not training:
            latents = tf.clip_by_value(tf.round(latents), LATENT_MIN, LATENT_MAX)
        likelihood = tfc.lower_bound(self.likelihood(latents, parameters), LIKELIHOOD_FLOOR)
        return latents, -tf.math.log(likelihood) / math.log(2.0)
