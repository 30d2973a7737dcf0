"""Discretized Gaussian mixture likelihoods and attention modules.

Source: Cheng, Sun, Takeuchi, Katto, "Learned Image Compression with Discretized Gaussian Mixture
Likelihoods and Attention Modules", CVPR 2020; figure 4 is the network, section 3.2 the entropy
model, section 3.3 and the appendix the ablations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.layers import (
    Attention,
    MaskedConv2D,
    ResidualBlock,
    ResidualDown,
    ResidualUp,
    Sequential,
    SubpixelConv2D,
)
from tfclic.models import transforms
from tfclic.models.hyper import HYPER_BITS, HyperCodec, leaky_relu

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Value
    from tfclic.models.hyper import Activation
    from tfclic.models.transforms import Layers

CONTEXT_SIZE = 5
HIDDEN_LAYERS = 2


def attention_of(config: ConfigDict) -> Callable[[int], Layers]:
    """The attention module that the configuration asks for.

    Returns:
      A function of the number of channels to a list of zero or one layer.
    """

    def attention(filters: int) -> Layers:
        non_local = config.attention == "non_local"
        return [] if config.attention == "none" else [Attention(filters, non_local=non_local)]

    return attention


def latent_attention_of(config: ConfigDict) -> Callable[[int], Layers]:
    """As `attention_of`, of the module at the latents.

    Where it is left out a layer without effect has its place, so that the names of the weights
    beside it are the same.
    """
    if config.get("latent_attention", True):
        return attention_of(config)
    return lambda filters: [tf.keras.layers.Activation("linear")]


class Analysis(Sequential):
    """Images to latents y: `[B, H, W, 3] -> [B, H/16, W/16, N]`."""

    def __init__(self, config: ConfigDict) -> None:
        attention, at_latents = attention_of(config), latent_attention_of(config)
        (w1, w2, w3), n = config.widths, config.latent_channels
        initializer = transforms.last_initializer(config)
        last = dict(padding="same", use_bias=False, kernel_initializer=initializer)
        if config.residual:
            layers = [
                ResidualDown(w1),
                ResidualBlock(w1),
                ResidualDown(w2),
                *attention(w2),
                ResidualBlock(w2),
                ResidualDown(w3),
                ResidualBlock(w3),
                tf.keras.layers.Conv2D(n, 3, 2, **last),
                *at_latents(n),
            ]
        else:
            layers = transforms.plain_analysis(config, attention)
        super().__init__(layers, name="analysis")


class Synthesis(Sequential):
    """Latents to images: `[B, H/16, W/16, N] -> [B, H, W, 3]`."""

    def __init__(self, config: ConfigDict) -> None:
        attention, at_latents = attention_of(config), latent_attention_of(config)
        (w1, w2, w3), n = config.widths, config.latent_channels
        if config.residual:
            layers = [
                *at_latents(n),
                ResidualBlock(w3),
                ResidualUp(w3),
                ResidualBlock(w3),
                ResidualUp(w2),
                *attention(w2),
                ResidualBlock(w2),
                ResidualUp(w1),
                ResidualBlock(w1),
                SubpixelConv2D(3, 3, kernel_initializer=transforms.last_initializer(config)),
            ]
        else:
            layers = transforms.plain_synthesis(config, config.kernel_size, attention)
        super().__init__(layers, name="synthesis")


class HyperAnalysis(Sequential):
    """Latents to hyper latents z: `[B, h, w, N] -> [B, h/4, w/4, hyper_channels]`."""

    def __init__(self, config: ConfigDict) -> None:
        def conv(
            strides: int = 1, activation: Activation = tf.nn.leaky_relu
        ) -> tf.keras.layers.Layer:
            filters = config.hyper_channels
            return tf.keras.layers.Conv2D(
                filters, 3, strides, padding="same", activation=activation
            )

        layers = [conv(), conv(), conv(2), conv(), conv(2, None)]
        super().__init__(layers, name="hyper_analysis")


class HyperSynthesis(Sequential):
    """Hyper latents to hyper features: `[B, h/4, w/4, hyper_channels] -> [B, h, w, 2N]`."""

    def __init__(self, config: ConfigDict) -> None:
        n = config.hyper_channels
        shapes = [(n, 1), (n, 2), (3 * n // 2, 1), (3 * n // 2, 2)]
        layers = [
            SubpixelConv2D(filters, 3, factor, activation=leaky_relu) for filters, factor in shapes
        ]
        layers.append(SubpixelConv2D(config.feature_channels, 3, 1))
        super().__init__(layers, name="hyper_synthesis")


class ParameterNetwork(Sequential):
    """[Hyper features, context] to logits, means and log scales of K mixtures: `-> [..., 3KN]`."""

    def __init__(self, config: ConfigDict) -> None:
        outputs = 3 * config.mixtures * config.latent_channels
        layers = [
            tf.keras.layers.Dense(config.parameter_channels, activation=leaky_relu)
            for _ in range(HIDDEN_LAYERS)
        ]
        layers.append(tf.keras.layers.Dense(outputs))
        super().__init__(layers, name="parameter_network")


class GmmAttention(HyperCodec):
    """The codec of the paper; figure 4 left to right is `analysis`, `entropy`, `synthesis`.

    Args:
      config: ConfigDict with
        latent_channels: N.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; all N in the paper.
        hyper_channels: channels of z; N in the paper.
        hyper_prior_scale: how wide the prior of z is before training.
        feature_channels: of the hyper features and of the context each; 2N in the paper.
        parameter_channels: of the parameter network's hidden layers; 640 in the paper.
        mixtures: K.
        attention: "none", "simplified" or "non_local".
        latent_attention: whether there is one at the latents too (true if it is missing); with
          residual blocks alone.
        residual: residual blocks (true) or one plain convolution per stage (false).
        kernel_size: of the plain convolutions, 5 or 9.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        synthesis_input, context_input: "noise" (paper) or "round": what the synthesis transform and
          the context see of the latents in training.
        lmbdas: trained lambdas, ascending.
    """

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config, analysis=Analysis, synthesis=Synthesis)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.context = MaskedConv2D(config.feature_channels, CONTEXT_SIZE, name="context")
        self.parameter_network = ParameterNetwork(config)

    def entropy(self, code: Runner) -> Value:
        """Latents y under Gaussian mixtures that follow from z and from the latents before."""
        z = self.coded_hyper_latents(code)
        features = code.run(self.hyper_synthesis, z, hidden_bits=HYPER_BITS)

        def parameters(context: Value) -> Value:
            return code.run(self.parameter_network, code.concat(features, context))

        return code.conditional(
            "latents",
            self.config.latent_channels,
            parameters,
            mixtures=self.config.mixtures,
            num_parameters=3,
            context=self.context,
        )


def build(config: ConfigDict) -> GmmAttention:
    """Builds the codec from `config` (see `GmmAttention`)."""
    return GmmAttention(config)
