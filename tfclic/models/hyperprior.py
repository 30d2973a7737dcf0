"""The scale hyperprior: zero-mean Gaussians whose scales are side information.

Source: Ballé, Minnen, Singh, Hwang, Johnston, "Variational Image Compression with a Scale
Hyperprior", ICLR 2018, figure 4. Unlike there, one model serves all rates.
"""

import tensorflow as tf

from tfclic.layers import Sequential, SubpixelConv2D
from tfclic.models.hyper import HYPER_BITS, HyperCodec


class HyperAnalysis(Sequential):
    """Latents to hyper latents z: `[B, h, w, M] -> [B, h/4, w/4, hyper_channels]`, of |y|."""

    def __init__(self, config):
        n, conv = config.hyper_channels, tf.keras.layers.Conv2D
        layers = [
            tf.keras.layers.Activation(tf.abs),
            conv(n, 3, padding="same", activation="relu"),
            conv(n, 5, 2, padding="same", activation="relu"),
            conv(n, 5, 2, padding="same"),
        ]
        super().__init__(layers, name="hyper_analysis")


class HyperSynthesis(Sequential):
    """Hyper latents to the logarithms of scales: `[B, h/4, w/4, hyper_channels] -> [B, h, w, M]`.

    Sub-pixel convolutions of 3 see what the paper's transposed ones of 5 do.
    """

    def __init__(self, config):
        n = config.hyper_channels
        layers = [
            SubpixelConv2D(n, 3, activation="relu"),
            SubpixelConv2D(n, 3, activation="relu"),
            SubpixelConv2D(config.latent_channels, 3, 1),
        ]
        super().__init__(layers, name="hyper_synthesis")


class Hyperprior(HyperCodec):
    """The codec of the paper; figure 4 left to right is `analysis`, `entropy`, `synthesis`.

    Args:
      config: ConfigDict with
        latent_channels: M in the paper, 192 or 320.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; all N in the paper, 128 or 192.
        hyper_channels: channels of z; N in the paper.
        hyper_prior_scale: how wide the prior of z is before training.
        kernel_size: of the convolutions, 5.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        synthesis_input: "noise" (paper) or "round": what the synthesis transform sees in training.
        lmbdas: trained lambdas, ascending.
    """

    def __init__(self, config):
        super().__init__(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)

    def entropy(self, code):
        """Latents y under zero-mean Gaussians whose scales follow from z."""
        z = self.coded_hyper_latents(code)
        log_scales = code.run(self.hyper_synthesis, z, hidden_bits=HYPER_BITS)
        return code.conditional("latents", self.config.latent_channels, log_scales, kinds=1)


def build(config):
    """Builds the codec from `config` (see `Hyperprior`)."""
    return Hyperprior(config)
