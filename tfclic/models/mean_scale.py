"""The mean and scale hyperprior: Gaussians whose means and scales are side information.

Source: Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression", NeurIPS 2018, where it is the model without context. Unlike there, one model serves
all rates.
"""

import tensorflow as tf

from tfclic.layers import Sequential, SubpixelConv2D
from tfclic.models.hyper import HYPER_BITS, HyperCodec, leaky_relu


class HyperAnalysis(Sequential):
    """Latents to hyper latents z: `[B, h, w, M] -> [B, h/4, w/4, hyper_channels]`."""

    def __init__(self, config):
        n, conv = config.hyper_channels, tf.keras.layers.Conv2D
        layers = [
            conv(n, 3, padding="same", activation=tf.nn.leaky_relu),
            conv(n, 5, 2, padding="same", activation=tf.nn.leaky_relu),
            conv(n, 5, 2, padding="same"),
        ]
        super().__init__(layers, name="hyper_analysis")


class HyperSynthesis(Sequential):
    """Hyper latents to features: `[B, h/4, w/4, hyper_channels] -> [B, h, w, 2M]`.

    Sub-pixel convolutions of 3 see what the paper's transposed ones of 5 do.
    """

    def __init__(self, config):
        m = config.latent_channels
        layers = [
            SubpixelConv2D(m, 3, activation=leaky_relu),
            SubpixelConv2D(3 * m // 2, 3, activation=leaky_relu),
            SubpixelConv2D(2 * m, 3, 1),
        ]
        super().__init__(layers, name="hyper_synthesis")


class MeanScale(HyperCodec):
    """The paper's codec without its context: the features are means and logarithms of scales.

    Args:
      config: ConfigDict with
        latent_channels: M, 192 or 320.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; all 192 in the paper.
        hyper_channels: channels of z; 192 in the paper.
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
        """Latents y under Gaussians whose means and scales follow from z."""
        z = self.coded_hyper_latents(code)
        parameters = code.run(self.hyper_synthesis, z, hidden_bits=HYPER_BITS)
        return code.conditional("latents", self.config.latent_channels, parameters)


def build(config):
    """Builds the codec from `config` (see `MeanScale`)."""
    return MeanScale(config)
