"""The mean and scale hyperprior: Gaussians whose means and scales are side information.

Source: Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression", NeurIPS 2018, where it is the model without context. Unlike there, one model serves
all rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.models.hyper import (
    HYPER_BITS,
    HyperCodec,
    hyper_analysis,
    hyper_synthesis,
    leaky_relu,
)

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Value


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

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config)
        n, m = config.hyper_channels, config.latent_channels
        self.hyper_analysis = hyper_analysis((n, n, n), tf.nn.leaky_relu)
        self.hyper_synthesis = hyper_synthesis((m, 3 * m // 2, 2 * m), leaky_relu)

    def entropy(self, code: Runner) -> Value:
        """Latents y under Gaussians whose means and scales follow from z."""
        z = self.coded_hyper_latents(code)
        parameters = code.run(self.hyper_synthesis, z, hidden_bits=HYPER_BITS)
        return code.conditional("latents", self.config.latent_channels, parameters)


def build(config: ConfigDict) -> MeanScale:
    """Builds the codec from `config` (see `MeanScale`)."""
    return MeanScale(config)
