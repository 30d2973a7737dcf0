"""A recurrent encoder and decoder, which send what is still missing, iteration by iteration.

Source: Toderici, Vincent, Johnston, Hwang, Minnen, Shor, Covell, "Full Resolution Image Compression
with Recurrent Neural Networks", CVPR 2017, with gated recurrent units and additive reconstruction.
Unlike there, bits have a price in training, and their probabilities follow from the iterations
before and from neighbours on a checkerboard, which two steps decode, not from a recurrent network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.format.latents import STRIDE
from tfclic.layers import MaskedConv2D, Sequential, SubpixelConv2D
from tfclic.models import base
from tfclic.models.slices import conv

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.entropy.program import Runner
    from tfclic.layers.composite import Operations, Value

REFERENCE_STEP = 45.0
CONTEXT_SIZE = 5
MIXTURES = 3  # of Gaussians: about -1, 0 and 1, if that is best


class ConvGRU(tf.keras.layers.Layer):
    """A gated recurrent unit of convolutions: input and state `[B, h, w, *]` to the next state.

    Args:
      filters: channels of the state.
      strides: of the convolution over the input, 3x3, which leads to the positions of the state.
      hidden_size: of the convolutions over the state.
    """

    def __init__(self, filters: int, strides: int = 1, hidden_size: int = 1) -> None:
        super().__init__()
        self.filters, self.strides = filters, strides
        make = tf.keras.layers.Conv2D
        self.of_input = make(3 * filters, 3, strides, padding="same")
        self.of_state = make(2 * filters, hidden_size, padding="same", use_bias=False)
        self.of_reset = make(filters, hidden_size, padding="same", use_bias=False)

    def call(self, x: tf.Tensor, state: tf.Tensor | None) -> tf.Tensor:
        given = self.of_input(x)
        if state is None:
            state = tf.zeros_like(given[..., : self.filters])
        gates, candidate = tf.split(given, [2 * self.filters, self.filters], -1)
        update, reset = tf.split(tf.sigmoid(gates + self.of_state(state)), 2, -1)
        candidate = tf.tanh(candidate + self.of_reset(reset * state))
        return state + update * (candidate - state)


class Encoder(tf.keras.layers.Layer):
    """One iteration: a residual `[B, H, W, 3]` to a binary code `[B, H/16, W/16, n]`."""

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(name="encoder")
        first, *widths = config.encoder_widths
        self.enter = tf.keras.layers.Conv2D(first, 3, 2, padding="same")
        self.units = [ConvGRU(width, strides=2) for width in widths]
        self.binarizer = tf.keras.layers.Conv2D(config.code_channels, 1, activation="tanh")

    def call(
        self, residual: tf.Tensor, states: Sequence[tf.Tensor | None]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        x, found = self.enter(residual), []
        for unit, state in zip(self.units, states):
            x = unit(x, state)
            found.append(x)
        return binarized(tf.cast(self.binarizer(x), tf.float32)), found


class Decoder(tf.keras.layers.Layer):
    """One iteration: a code `[B, H/16, W/16, n]` to what is added to the image `[B, H, W, 3]`."""

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(name="decoder")
        widths, sizes = config.decoder_widths, config.decoder_hidden_sizes
        self.enter = tf.keras.layers.Conv2D(widths[0], 1)
        self.units = [ConvGRU(width, hidden_size=size) for width, size in zip(widths, sizes)]
        self.leave = tf.keras.layers.Conv2D(3, 1)

    def call(
        self, code: tf.Tensor, states: Sequence[tf.Tensor | None]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        x, found = self.enter(code), []
        for unit, state in zip(self.units, states):
            found.append(unit(x, state))
            x = tf.nn.depth_to_space(found[-1], 2)
        return tf.cast(self.leave(x), tf.float32), found


class Iterations(tf.keras.layers.Layer):
    """All iterations of the decoder: codes `[B, H/16, W/16, K * n]` to images `[B, H, W, 3]`."""

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(name="iterations")
        self.decoder, self.count = Decoder(config), len(config.lmbdas)

    def call(self, codes: tf.Tensor) -> tf.Tensor:
        total: tf.Tensor | float = 0.0
        states: Sequence[tf.Tensor | None] = [None] * len(self.decoder.units)
        for code in tf.split(codes, self.count, -1):
            added, states = self.decoder(code, states)
            total += added * self.sent(code)
        return total

    @staticmethod
    def sent(code: tf.Tensor) -> tf.Tensor:
        """Whether a code `[B, h, w, n]` was sent, and is not zero: `[B, 16 h, 16 w, 1]`."""
        is_sent = tf.reduce_mean(tf.abs(tf.cast(code, tf.float32)), -1, keepdims=True)
        return tf.repeat(tf.repeat(is_sent, STRIDE, axis=1), STRIDE, axis=2)


class Code(tf.keras.layers.Layer):
    """The entropy model of one iteration's code, `size` channels."""

    def __init__(self, config: ConfigDict, size: int, is_first: bool) -> None:
        super().__init__()
        self.size, width = size, config.context_channels
        self.context = MaskedConv2D(width, CONTEXT_SIZE, mask="checkerboard")
        if not is_first:
            self.before: SubpixelConv2D = conv(width, CONTEXT_SIZE, "relu")
        hidden = [tf.keras.layers.Dense(width, "relu") for width in config.parameter_channels]
        self.probability = Sequential([*hidden, tf.keras.layers.Dense(3 * MIXTURES * size)])

    def coded(self, code: Runner, name: str, decoded: Sequence[Value]) -> Value:
        """The code as a program has it, under mixtures that follow from the iterations before."""
        known = [code.run(self.before, code.concat(*decoded))] if decoded else []

        def parameters(context: Value) -> Value:
            return code.run(self.probability, code.concat(*known, context))

        return code.conditional(
            name, self.size, parameters, mixtures=MIXTURES, num_parameters=3, context=self.context
        )


def binarized(x: tf.Tensor) -> tf.Tensor:
    """-1 or 1, whichever is nearer; the gradient passes as if it did not."""
    return x + tf.stop_gradient(tf.where(x < 0, -1.0, 1.0) - x)


class Recurrent(base.ImageCodec):
    """The codec of the paper; there are as many iterations as lambdas, K.

    Latents are the codes of all iterations, side by side. Those that a quality leaves out are zero.

    Args:
      config: ConfigDict with
        latent_channels: K times the channels of a code.
        code_channels: of a code, n; 32 in the paper.
        encoder_widths: channels at 1/2, 1/4, 1/8 and 1/16 of the image's size; 64, 256, 512 and 512
          in the paper, of which all but the first are recurrent.
        decoder_widths: of its four recurrent layers; 512, 512, 256 and 128 in the paper.
        decoder_hidden_sizes: of their convolutions over the state; 1, 1, 3 and 3 in the paper.
        context_channels, parameter_channels: of the networks that predict a code.
        synthesis_input, context_input: as for other systems; codes are whole numbers, "round".
        lmbdas: trained lambdas, ascending, one for each iteration; 16 iterations in the paper.
    """

    scales_latents = False
    moves_latents = False

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config, REFERENCE_STEP)
        with base.compute_dtype(config):
            self.encoder_network = Encoder(config)
            self.iterations = Iterations(config)
        sizes = [config.code_channels] * len(self.lmbdas)
        self.codes = [Code(config, size, not number) for number, size in enumerate(sizes)]

    def analysis(self, images: tf.Tensor) -> tf.Tensor:
        """The codes of all iterations, `[B, H/16, W/16, K * n]`, of centred images."""
        decoder, codes = self.iterations.decoder, []
        states: tuple[Sequence[tf.Tensor | None], ...] = (
            [None] * len(self.encoder_network.units),
            [None] * len(decoder.units),
        )
        residual = images
        for _ in self.codes:
            code, of_encoder = self.encoder_network(residual, states[0])
            added, of_decoder = decoder(code, states[1])
            codes.append(code)
            residual, states = residual - added, (of_encoder, of_decoder)
        return tf.concat(codes, -1)

    def gained(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Latents `[B, h, w, C]` without the iterations that qualities leave out.

        Qualities are `[B]`, or `[B, h, w]` where they differ from place to place.
        """
        if len(quality.shape) == 1:
            quality = quality[:, None, None]
        last = tf.round(quality / 100.0 * (len(self.codes) - 1.0))
        number = tf.range(self.config.latent_channels) // self.config.code_channels
        is_sent = tf.cast(number, tf.float32) <= last[..., None]
        return latents * tf.cast(is_sent, latents.dtype)

    def ungained(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Latents `[B, h, w, C]` as they are."""
        return latents

    def synthesis_input(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Latents `[B, h, w, C]` as they are."""
        return latents

    def entropy(self, code: Runner) -> Value:
        """The codes, each under mixtures that follow from those before."""
        decoded: list[Value] = []
        for number, part in enumerate(self.codes, 1):
            decoded.append(part.coded(code, f"iteration_{number}", decoded))
        return code.concat(*decoded)

    def reconstruct(
        self,
        ops: Operations,
        latents: Value,
        side_information: Mapping[str, Value],
        stage: tf.Tensor | None = None,
    ) -> Value:
        """As `ImageCodec.reconstruct`: what all iterations add."""
        return ops.run(self.iterations, latents)

    def transforms(self) -> list[tf.Module]:
        """The parts that stay in floating point when exported."""
        return [self.encoder_network, self.iterations]

    def encoder(self) -> list[tf.Module]:
        """What codes are made by, but for the decoder, which the encoder has, too."""
        return [self.encoder_network]


def build(config: ConfigDict) -> Recurrent:
    """Builds the codec from `config` (see `Recurrent`)."""
    return Recurrent(config)
