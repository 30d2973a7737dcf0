"""The scale hyperprior: zero-mean Gaussians whose scales are side information.

Source: Ballé, Minnen, Singh, Hwang, Johnston, "Variational Image Compression with a Scale
Hyperprior", ICLR 2018, figure 4. Unlike there, one model serves all rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.models.hyper import HYPER_BITS, HyperCodec, hyper_analysis, hyper_synthesis

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Value


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

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config)
        n, magnitudes = config.hyper_channels, tf.keras.layers.Activation(tf.abs)
        self.hyper_analysis = hyper_analysis((n, n, n), "relu", before=[magnitudes])
        self.hyper_synthesis = hyper_synthesis((n, n, config.latent_channels), "relu")

    def entropy(self, code: Runner) -> Value:
        """Latents y under zero-mean Gaussians whose scales follow from z."""
        z = self.coded_hyper_latents(code)
        log_scales = code.run(self.hyper_synthesis, z, hidden_bits=HYPER_BITS)
        channels = self.config.latent_channels
        return code.conditional("latents", channels, log_scales, num_parameters=1)


def build(config: ConfigDict) -> Hyperprior:
    """Builds the codec from `config` (see `Hyperprior`)."""
    return Hyperprior(config)
