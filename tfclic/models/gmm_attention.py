"""Discretized Gaussian mixture likelihoods and attention modules.

Source: Cheng, Sun, Takeuchi, Katto, "Learned Image Compression with Discretized Gaussian Mixture
Likelihoods and Attention Modules", CVPR 2020; figure 4 is the network, section 3.2 the entropy
model, section 3.3 and the appendix the ablations.
"""

import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy.gaussian_mixture import GaussianMixture
from tfclic.entropy.mixture import LIKELIHOOD_FLOOR
from tfclic.layers import (
    GDN,
    Attention,
    BlockAnalysis,
    BlockSynthesis,
    MaskedConv2D,
    ResidualBlock,
    ResidualDown,
    ResidualUp,
    SubpixelConv2D,
)
from tfclic.models import base
from tfclic.models.gmm_attention_coding import GmmAttentionCoding

# nearest to the paper's 0.2 that binary fractions with few bits represent exactly
ENTROPY_SLOPE = 3 / 16
CONTEXT_SIZE = 5
HIDDEN_LAYERS = 2


def leaky_relu(x):
    """Leaky ReLU of the entropy networks."""
    return tf.nn.leaky_relu(x, ENTROPY_SLOPE)


def attention(config, filters):
    """The attention module that the configuration asks for, as a list of zero or one layer."""
    if config.attention == "none":
        return []
    return [Attention(filters, non_local=config.attention == "non_local")]


class Analysis(tf.keras.Sequential):
    """Images to latents y: `[B, H, W, 3] -> [B, H/16, W/16, N]`."""

    def __init__(self, config):
        w1, w2, w3 = config.widths
        n, k = config.latent_channels, config.kernel_size
        last = dict(padding="same", use_bias=False, kernel_initializer=_last(config))
        if config.residual:
            layers = [
                ResidualDown(w1),
                ResidualBlock(w1),
                ResidualDown(w2),
                *attention(config, w2),
                ResidualBlock(w2),
                ResidualDown(w3),
                ResidualBlock(w3),
                tf.keras.layers.Conv2D(n, 3, 2, **last),
                *attention(config, n),
            ]
        else:
            conv = tf.keras.layers.Conv2D
            layers = [
                *(conv(w1, k, 2, padding="same"), GDN()),
                *(conv(w2, k, 2, padding="same"), GDN(), *attention(config, w2)),
                *(conv(w3, k, 2, padding="same"), GDN()),
                conv(n, k, 2, **last),
                *attention(config, n),
            ]
        super().__init__(layers, name="analysis")


class Synthesis(tf.keras.Sequential):
    """Latents to images: `[B, H/16, W/16, N] -> [B, H, W, 3]`."""

    def __init__(self, config):
        w1, w2, w3 = config.widths
        n, k = config.latent_channels, config.kernel_size
        if config.residual:
            layers = [
                *attention(config, n),
                ResidualBlock(w3),
                ResidualUp(w3),
                ResidualBlock(w3),
                ResidualUp(w2),
                *attention(config, w2),
                ResidualBlock(w2),
                ResidualUp(w1),
                ResidualBlock(w1),
                SubpixelConv2D(3, 3, kernel_initializer=_last(config)),
            ]
        else:
            layers = [
                *attention(config, n),
                *(SubpixelConv2D(w3, k), GDN(inverse=True)),
                *(SubpixelConv2D(w2, k), GDN(inverse=True), *attention(config, w2)),
                *(SubpixelConv2D(w1, k), GDN(inverse=True)),
                SubpixelConv2D(3, k, kernel_initializer=_last(config)),
            ]
        super().__init__(layers, name="synthesis")


def _last(config):
    # with a linear path beside it, the nonlinear path starts at zero
    return "zeros" if config.block_transform else "glorot_uniform"


class HyperAnalysis(tf.keras.Sequential):
    """Latents to hyper latents z: `[B, h, w, N] -> [B, h/4, w/4, hyper_channels]`."""

    def __init__(self, config):
        def conv(strides=1, activation=tf.nn.leaky_relu):
            filters = config.hyper_channels
            return tf.keras.layers.Conv2D(
                filters, 3, strides, padding="same", activation=activation
            )

        layers = [conv(), conv(), conv(2), conv(), conv(2, None)]
        super().__init__(layers, name="hyper_analysis")


class HyperSynthesis(tf.keras.Sequential):
    """Hyper latents to hyper features: `[B, h/4, w/4, hyper_channels] -> [B, h, w, 2N]`."""

    def __init__(self, config):
        n = config.hyper_channels
        shapes = [(n, 1), (n, 2), (3 * n // 2, 1), (3 * n // 2, 2)]
        layers = [
            SubpixelConv2D(filters, 3, factor, activation=leaky_relu) for filters, factor in shapes
        ]
        layers.append(SubpixelConv2D(config.feature_channels, 3, 1))
        super().__init__(layers, name="hyper_synthesis")


class ParameterNetwork(tf.keras.Sequential):
    """[Hyper features, context] to logits, means and log scales of K mixtures: `-> [..., 3KN]`."""

    def __init__(self, config):
        outputs = 3 * config.mixtures * config.latent_channels
        layers = [
            tf.keras.layers.Dense(config.parameter_channels, activation=leaky_relu)
            for _ in range(HIDDEN_LAYERS)
        ]
        layers.append(tf.keras.layers.Dense(outputs))
        super().__init__(layers, name="parameter_network")


class GmmAttention(base.ImageCodec):
    """The codec of the paper; figure 4 left to right is `analysis`, `entropy`, `synthesis`.

    Args:
      config: ConfigDict with
        latent_channels: N.
        widths: channels at 1/2, 1/4 and 1/8 of the image's size; all N in the paper.
        hyper_channels: channels of z; N in the paper.
        feature_channels: of the hyper features and of the context each; 2N in the paper.
        parameter_channels: of the parameter network's hidden layers; 640 in the paper.
        mixtures: K.
        attention: "none", "simplified" or "non_local".
        residual: residual blocks (true) or one plain convolution per stage (false).
        kernel_size: of the plain convolutions, 5 or 9.
        block_transform: whether a linear 16x16 block transform runs beside the nonlinear path.
        synthesis_input: "noise" (paper) or "round": what the synthesis transform sees in training.
        lmbdas: trained lambdas, ascending.
    """

    REFERENCE_STEP = 45.0  # latents of the block transform have this step on the 0..255 scale

    def __init__(self, config):
        super().__init__(config, self.REFERENCE_STEP)
        n = config.latent_channels
        with base.compute_dtype(config):
            self.nonlinear_analysis = Analysis(config)
            self.nonlinear_synthesis = Synthesis(config)
        if config.block_transform:
            scale = 255.0 / base.CENTRED_SCALE / self.REFERENCE_STEP
            self.block_analysis = BlockAnalysis(n, scale, name="block_analysis")
            self.block_synthesis = BlockSynthesis(n, scale, name="block_synthesis")
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.context = MaskedConv2D(config.feature_channels, CONTEXT_SIZE, name="context")
        self.parameter_network = ParameterNetwork(config)
        self.hyper_prior = tfc.NoisyDeepFactorized(batch_shape=(config.hyper_channels,))
        self.mixture = GaussianMixture(config.mixtures)

    def analysis(self, images):
        """Latents `[B, H/16, W/16, N]` of centred images `[B, H, W, 3]`, before the gain."""
        latents = tf.cast(self.nonlinear_analysis(images), tf.float32)
        return latents + self.block_analysis(images) if self.config.block_transform else latents

    def synthesis(self, latents):
        """Centred images `[B, H, W, 3]` of latents `[B, H/16, W/16, N]` after the inverse gain."""
        images = tf.cast(self.nonlinear_synthesis(latents), tf.float32)
        return images + self.block_synthesis(latents) if self.config.block_transform else images

    def entropy(self, latents, seed, training):
        """Quantises latents `[B, h, w, N]` and counts their bits and those of the side information.

        Returns:
          The latents as the synthesis transform gets them, and the bits `[B]` of each part.
        """
        hyper_latents = self.hyper_analysis(latents)
        if training:
            hyper = hyper_latents + base.uniform_noise(tf.shape(hyper_latents), seed, 1)
            noisy = latents + base.uniform_noise(tf.shape(latents), seed, 2)
            seen = base.round_straight_through(hyper_latents)
        else:
            hyper = seen = tf.round(hyper_latents)
            noisy = tf.round(latents)
        # floored like the mixture's, since far out the prior's own logarithm overflows
        likelihood = tfc.lower_bound(self.hyper_prior.prob(hyper), LIKELIHOOD_FLOOR)
        hyper_bits = -tf.reduce_sum(tf.math.log(likelihood), [1, 2, 3]) / tf.math.log(2.0)
        if self.config.synthesis_input == "noise":
            seen = hyper
        parameters = self.parameters(noisy, self.hyper_synthesis(seen))
        quantised, bits = self.mixture(noisy, parameters, training=training)
        if training and self.config.synthesis_input == "round":
            quantised = base.round_straight_through(latents)
        parts = {"latents": tf.reduce_sum(bits, [1, 2, 3]), "hyper_latents": hyper_bits}
        return quantised, parts

    def parameters(self, latents, features):
        """Mixture parameters `[B, h, w, 3KN]` of all latents at once."""
        return self.parameter_network(tf.concat([features, self.context(latents)], -1))

    def transforms(self):
        """The parts that stay in floating point when exported."""
        linear = [self.block_analysis, self.block_synthesis] if self.config.block_transform else []
        nonlinear = [self.nonlinear_analysis, self.nonlinear_synthesis, self.hyper_analysis]
        return [*nonlinear, *linear, self.gain]

    def coding(self):
        """The exact integer form of the entropy model, for export."""
        return GmmAttentionCoding(self, ENTROPY_SLOPE)


def build(config):
    """Builds the codec from `config` (see `GmmAttention`)."""
    return GmmAttention(config)
