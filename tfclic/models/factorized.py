"""A factorized prior: the codec without side information.

Source: Ballé, Minnen, Singh, Hwang, Johnston, "Variational Image Compression with a Scale
Hyperprior", ICLR 2018, where it is the model that the hyperprior is compared with; its transforms
are those of figure 4, its prior that of appendix 6.1. Unlike there, one model serves all rates.
"""

import tensorflow as tf

from tfclic.entropy.factorized import FactorizedPrior
from tfclic.entropy.mixture import LATENT_MAX, LATENT_MIN
from tfclic.models import base
from tfclic.models.factorized_coding import FactorizedCoding
from tfclic.models.transforms import TransformCodec


class Factorized(TransformCodec):
    """Transforms, and a learned distribution for each channel of the latents.

    Args:
      config: ConfigDict with
        latent_channels: M in the paper, 192 or 320.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; all N in the paper, 128 or 192.
        kernel_size: of the convolutions, 5.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        synthesis_input: "noise" (paper) or "round": what the synthesis transform sees in training.
        lmbdas: trained lambdas, ascending.
    """

    def __init__(self, config):
        super().__init__(config)
        self.prior = FactorizedPrior(config.latent_channels)

    def gains(self, quality):
        """The gains of all channels, `[B, 1, 1, C]`, at `quality` `[B]`."""
        return self.gain(tf.ones([tf.size(quality), 1, 1, self.config.latent_channels]), quality)

    def entropy(self, latents, quality, seed, training):
        """`base.Coded` of latents `[B, h, w, C]`: quantised, with their bits."""
        if training:
            noisy = latents + base.uniform_noise(tf.shape(latents), seed, 2)
        else:
            noisy = tf.clip_by_value(tf.round(latents), LATENT_MIN, LATENT_MAX)
        bits = self.prior.bits(noisy, self.gains(quality))
        rounds = training and self.config.synthesis_input == "round"
        quantised = base.round_straight_through(latents) if rounds else noisy
        parts = {"latents": tf.reduce_sum(bits, [1, 2, 3])}
        return base.Coded(quantised, self.hyper_latents(quantised), parts)

    def rate(self, latents, hyper_latents, quality, floor):
        """Bits `[B]` of what is coded; see `ImageCodec`."""
        likelihood = tf.maximum(self.prior.likelihood(latents, self.gains(quality)), floor)
        return -tf.reduce_sum(tf.math.log(likelihood), [1, 2, 3]) / tf.math.log(2.0)

    def coding(self):
        """The exact integer form of the entropy model, for export."""
        return FactorizedCoding(self)


def build(config):
    """Builds the codec from `config` (see `Factorized`)."""
    return Factorized(config)
