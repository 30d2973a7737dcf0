"""A factorized prior: the codec without side information.

Source: Ballé, Minnen, Singh, Hwang, Johnston, "Variational Image Compression with a Scale
Hyperprior", ICLR 2018, where it is the model that the hyperprior is compared with; its transforms
are those of figure 4, its prior that of appendix 6.1. Unlike there, one model serves all rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.entropy.factorized import FactorizedPrior
from tfclic.models.transforms import TransformCodec

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Value


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
      **transforms: as `TransformCodec`.
    """

    def __init__(self, config: ConfigDict, **transforms: Any) -> None:
        super().__init__(config, **transforms)
        self.prior = FactorizedPrior(config.latent_channels)

    def gains(self, quality: tf.Tensor) -> tf.Tensor:
        """The gains of all channels, `[B, 1, 1, C]` or `[B, h, w, C]`, at `quality`."""
        return self.gain(tf.ones([1, 1, 1, self.config.latent_channels]), quality)

    def entropy(self, code: Runner) -> Value:
        """Each latent by the distribution of its channel, at the gain of the quality."""
        return code.gained("latents", self.prior, self.gains)


def build(config: ConfigDict) -> Factorized:
    """Builds the codec from `config` (see `Factorized`)."""
    return Factorized(config)
