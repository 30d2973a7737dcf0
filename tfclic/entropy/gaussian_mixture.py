"""The entropy model of latents that follow mixtures of Gaussians."""

import math

import tensorflow as tf
import tensorflow_compression as tfc
from absl import logging

from tfclic.entropy import coders, decisions, mixture
from tfclic.entropy import integer_mixture as im


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
    model = GaussianMixture(mixtures=3)
    noisy, bits = model(latents, parameters, training=True)  # parameters: [..., 3 * 3 * C]
    ```

    Coding:

    ```python
    integers = model.to_integers(parameters)
    string = model.compress(latents, integers)
    latents = model.decompress(string, integers)
    ```

    Here all parameters are known before the first latent is decoded. Where they depend on latents
    decoded earlier, `tfclic.entropy.wavefront` walks them with the same decisions.

    Args:
      mixtures: K, number of Gaussians per element, at most 7.
    """

    def __init__(self, mixtures=3, name="gaussian_mixture"):
        super().__init__(name=name)
        if not 1 <= mixtures <= im.MAX_MIXTURES:
            raise ValueError(f"There can be 1 to {im.MAX_MIXTURES} mixtures, not {mixtures}.")
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
        parts = tf.split(parameters, 3 * self.mixtures, axis=-1)
        kinds = (parts[i * self.mixtures : (i + 1) * self.mixtures] for i in range(3))
        return mixture.separate_likelihood(latents, *kinds)

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
            latents = tf.clip_by_value(tf.round(latents), mixture.LATENT_MIN, mixture.LATENT_MAX)
        likelihood = tfc.lower_bound(self.likelihood(latents, parameters), mixture.LIKELIHOOD_FLOOR)
        return latents, -tf.math.log(likelihood) / math.log(2.0)

    def to_integers(self, parameters):
        """Rounds parameters `[..., 3 * K * C]` to their grids: `IntegerParameters` `[..., C, K]`.

        The result depends on the last bits of `parameters`: encoder and decoder must share it, or
        compute `parameters` exactly (`tfclic.entropy.fixed_point`).
        """
        return im.to_integers(*self.split(parameters))

    def compress(self, latents, parameters):
        """Writes latents into a string.

        Args:
          latents: float32 `[...]`, rounded here; what lies outside of -255..256 is clipped, with a
            warning in eager mode.
          parameters: `IntegerParameters` of shape `[..., K]`.

        Returns:
          The string, of rank 0.
        """
        rounded = tf.round(latents)
        clipped = tf.clip_by_value(rounded, mixture.LATENT_MIN, mixture.LATENT_MAX)
        if tf.executing_eagerly() and bool(tf.reduce_any(clipped != rounded)):
            count = int(tf.math.count_nonzero(clipped != rounded))
            logging.warning("%d latents are outside of -255..256 and were clipped.", count)
        symbols = tf.cast(tf.reshape(clipped, [-1]), tf.int32) - mixture.LATENT_MIN
        coder = coders.RangeEncoder(coders.NO_TABLE)
        dist = im.distribution(self._flat(parameters))
        state, _ = decisions.code(coder, coder.start(), dist, symbols)
        return coder.finish(state)

    def decompress(self, string, parameters):
        """Reads latents, float32 `[...]`, written with the same `IntegerParameters` `[..., K]`."""
        flat = self._flat(parameters)
        coder = coders.RangeDecoder(coders.NO_TABLE, string)
        blank = tf.zeros(tf.shape(flat.means)[:1], tf.int32)
        _, symbols = decisions.code(coder, coder.start(), im.distribution(flat), blank)
        latents = tf.cast(symbols + mixture.LATENT_MIN, tf.float32)
        return tf.reshape(latents, tf.shape(parameters.means)[:-1])

    def _flat(self, parameters):
        return im.IntegerParameters(*(tf.reshape(x, [-1, self.mixtures]) for x in parameters))
