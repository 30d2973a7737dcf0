"""Autoregressive and hierarchical priors, jointly: Gaussians from side information and a context.

Source: Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression", NeurIPS 2018; table 1 is the network. Unlike there, one model serves all rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.layers import MaskedConv2D, Sequential
from tfclic.models.hyper import HYPER_BITS, leaky_relu
from tfclic.models.mean_scale import MeanScale

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Value

CONTEXT_SIZE = 5


class ParameterNetwork(Sequential):
    """[Hyper features, context] to means and logarithms of scales: `[..., 4M] -> [..., 2M]`."""

    def __init__(self, config: ConfigDict) -> None:
        dense = tf.keras.layers.Dense
        layers = [dense(width, activation=leaky_relu) for width in config.parameter_channels]
        layers.append(dense(2 * config.latent_channels))
        super().__init__(layers, name="parameter_network")


class Joint(MeanScale):
    """The codec of the paper: `MeanScale` with a context and a network that combines the two.

    Args:
      config: as `MeanScale`, and
        parameter_channels: of the parameter network's hidden layers; (640, 512) in the paper.
        context_input: "noise" (paper) or "round": what the context sees of the latents in training.
    """

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config)
        self.context = MaskedConv2D(2 * config.latent_channels, CONTEXT_SIZE, name="context")
        self.parameter_network = ParameterNetwork(config)

    def entropy(self, code: Runner) -> Value:
        """Latents y under Gaussians that follow from z and from the latents before."""
        z = self.coded_hyper_latents(code)
        features = code.run(self.hyper_synthesis, z, hidden_bits=HYPER_BITS)

        def parameters(context: Value) -> Value:
            return code.run(self.parameter_network, code.concat(features, context))

        count = self.config.latent_channels
        return code.conditional("latents", count, parameters, context=self.context)


def build(config: ConfigDict) -> Joint:
    """Builds the codec from `config` (see `Joint`)."""
    return Joint(config)
