"""Codecs with hyper latents: side information about the latents, under a learned prior."""

import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy.mixture import LIKELIHOOD_FLOOR
from tfclic.models import base
from tfclic.models.coding import HYPER_LIMIT
from tfclic.models.transforms import TransformCodec

# nearest to the papers' 0.2 that binary fractions with few bits represent exactly
ENTROPY_SLOPE = 3 / 16
TFC_PRIOR_SCALE = 10.0  # its default


def leaky_relu(x):
    """Leaky ReLU of the entropy networks."""
    return tf.nn.leaky_relu(x, ENTROPY_SLOPE)


class HyperCodec(TransformCodec):
    """Transforms, hyper latents z of the latents, and a deep factorized prior of these.

    A subclass makes `hyper_analysis`.

    Args:
      config: as `TransformCodec`, and
        hyper_channels: channels of the hyper latents z.
        hyper_prior_scale: how wide the prior of z is before training; 10 if it is missing.
      **transforms: as `TransformCodec`.
    """

    def __init__(self, config, **transforms):
        super().__init__(config, **transforms)
        scale = config.get("hyper_prior_scale", TFC_PRIOR_SCALE)
        self.hyper_prior = tfc.NoisyDeepFactorized(
            batch_shape=(config.hyper_channels,), init_scale=scale
        )

    def hyper_latents(self, latents):
        """Hyper latents `[B, h/4, w/4, hyper_channels]`, not rounded, of latents `[B, h, w, N]`.

        They are kept within what can be coded, as latents are.
        """
        return base.bounded(self.hyper_analysis(latents), -HYPER_LIMIT, HYPER_LIMIT)

    def coded_hyper_latents(self, latents, seed, training):
        """The hyper latents of latents `[B, h, w, N]`, and what they cost.

        Returns:
          `(noisy, rounded, bits)`: with the noise that stands for rounding and rounded straight
          through, `[B, h/4, w/4, hyper_channels]`, where not `training` both the same; bits, of the
          former, float32 `[B]`.
        """
        hyper_latents = self.hyper_latents(latents)
        if training:
            noisy = hyper_latents + base.uniform_noise(tf.shape(hyper_latents), seed, 1)
            rounded = base.round_straight_through(hyper_latents)
        else:
            noisy = rounded = tf.round(hyper_latents)
        # floored like the mixture's, since far out the prior's own logarithm overflows
        likelihood = tfc.lower_bound(self.hyper_prior.prob(noisy), LIKELIHOOD_FLOOR)
        bits = -tf.reduce_sum(tf.math.log(likelihood), [1, 2, 3]) / tf.math.log(2.0)
        return noisy, rounded, bits

    def transforms(self):
        """The parts that stay in floating point when exported."""
        # fingerprints of exported models depend on this order
        analysis, synthesis, *others = super().transforms()
        return [analysis, synthesis, self.hyper_analysis, *others]
