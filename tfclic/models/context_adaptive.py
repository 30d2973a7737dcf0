"""Two contexts: of hyper latents, which take bits, and of latents decoded, which take none.

Source: Lee, Cho, Beack, "Context-Adaptive Entropy Model for End-to-End Optimized Image
Compression", ICLR 2019; its base model. Unlike there, one model serves all rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfclic.entropy.channel_gaussian import ChannelGaussian
from tfclic.layers import MaskedConv2D, SubpixelConv2D
from tfclic.models.hyper import (
    HYPER_BITS,
    HyperCodec,
    hyper_analysis,
    hyper_synthesis,
    leaky_relu,
)
from tfclic.models.joint import ParameterNetwork

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Value

BIT_CONSUMING_SIZE = 5
BIT_FREE_SIZE = 7  # of which a window of 4x4 is seen


class ContextAdaptive(HyperCodec):
    """The codec of the paper; the letters in its figures are g_a, g_s, h_a, h_s, E', E'' and f.

    ```
    z -> h_s -> c' -> bit-consuming context E' --+
                                                 +-> f -> Gaussians of y
    y before and above -> bit-free context E'' --+
    ```

    Args:
      config: ConfigDict with
        latent_channels: M; 192 or 228 in the paper.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; all N in the paper, 128 or 192.
        hyper_channels: channels of z; N in the paper.
        kernel_size: of the convolutions, 5.
        context_channels: of what is made of each context.
        parameter_channels: of the hidden layers that join both.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        synthesis_input, context_input: "noise" (paper) or "round": what the synthesis transform and
          the context see of the latents in training.
        lmbdas: trained lambdas, ascending.
    """

    def __init__(self, config: ConfigDict) -> None:
        n, m, width = config.hyper_channels, config.latent_channels, config.context_channels
        super().__init__(config, hyper_prior=ChannelGaussian(n, name="hyper_prior"))
        self.hyper_analysis = hyper_analysis((n, n, n), "relu")
        self.hyper_synthesis = hyper_synthesis((n, n, m), "relu")
        self.bit_consuming = SubpixelConv2D(width, BIT_CONSUMING_SIZE, 1, activation=leaky_relu)
        self.bit_free = MaskedConv2D(width, BIT_FREE_SIZE, mask="window", name="bit_free")
        self.estimator = ParameterNetwork(config)

    def entropy(self, code: Runner) -> Value:
        """Latents y under Gaussians that follow from z around, and from y before."""
        z = self.coded_hyper_latents(code)
        transformed = code.run(self.hyper_synthesis, z, hidden_bits=HYPER_BITS)
        consuming = code.run(self.bit_consuming, transformed)

        def parameters(free: Value) -> Value:
            return code.run(self.estimator, code.concat(consuming, free))

        count = self.config.latent_channels
        return code.conditional("latents", count, parameters, context=self.bit_free)


def build(config: ConfigDict) -> ContextAdaptive:
    """Builds the codec from `config` (see `ContextAdaptive`)."""
    return ContextAdaptive(config)
