"""Latents moved, before they are rounded, to where rate and distortion together are best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic.entropy import mixture, program
from tfclic.entropy.float_runners import Annealed
from tfclic.exact import compilation
from tfclic.export import container
from tfclic.export.tracing import latent_spec, specs, traced
from tfclic.export.transforming import as_colours, everywhere
from tfclic.format import beside
from tfclic.format.latents import STRIDE
from tfclic.layers.substitution import substituted
from tfclic.models import base

if TYPE_CHECKING:
    from tfclic.export.stored import StoredCodec
    from tfclic.models.base import ImageCodec

# Adam's (Kingma and Ba, ICLR 2015). Gradients are in bits for a step of the quantiser: with EPSILON
# among these, latents that hardly matter stay where they are.
LEARNING_RATE = 0.01
BETAS = 0.9, 0.999
EPSILON = 1.0
# The temperature is constant over the first fifth of the steps, and then falls exponentially.
WARMEST, COOLING, COOLS_FROM = 0.5, 3.0, 0.2


class Refinement(tf.Module):
    """What refines latents, as a graph of its own, which those who do not ask for it need not read.

    Its variables are those of the exported codec, and have their names.

    Args:
      stored: the exported codec.
      codec: that of which it was made.
    """

    def __init__(self, stored: StoredCodec, codec: ImageCodec) -> None:
        super().__init__(name="refinement")
        self.coding, self.weights = stored.coding, stored.weights
        channels = codec.config.latent_channels
        of_codec = dict(
            latents=latent_spec(channels, tf.float32),
            moments=tf.TensorSpec([2, None, None, channels], tf.float32),
        )

        @traced(*specs(beside.REFINE_BY_MAP, **of_codec))
        def by_map(
            latents: tf.Tensor,
            image: tf.Tensor,
            codes: tf.Tensor,
            moments: tf.Tensor,
            *steps: tf.Tensor,
        ) -> dict[str, tf.Tensor]:
            weights = {**self.coding.floats(), **stored.stand_ins(codec)}
            with substituted([codec], weights):
                pixels, quality = as_colours(image), container.quality_of(codes)
                return refine(codec, pixels, latents, quality, moments, steps)._asdict()

        @traced(*specs(beside.REFINE, **of_codec))
        def plain(
            latents: tf.Tensor,
            image: tf.Tensor,
            quality: tf.Tensor,
            moments: tf.Tensor,
            *steps: tf.Tensor,
        ) -> dict[str, tf.Tensor]:
            return by_map(latents, image, everywhere(quality), moments, *steps)

        self.functions = {beside.REFINE.name: plain, beside.REFINE_BY_MAP.name: by_map}


def refine(
    codec: ImageCodec,
    image: tf.Tensor,
    latents: tf.Tensor,
    quality: tf.Tensor,
    moments: tf.Tensor,
    steps: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
) -> beside.Refined:
    """Takes some of the steps of a refinement.

    Latents follow the gradient of bits + lambda * squared error through the entropy model and the
    synthesis transform while they are annealed (see `float_runners.Annealed`), which decoders do
    not notice. Lambda is that of the quality of each place. Side information is that of the latents
    at the first of these steps.

    Args:
      codec: the codec, with weights that it will have when it decodes.
      image: float32 `[H, W, 3]`, 0..1.
      latents: float32 `[h, w, C]`, of the image, before the gain.
      quality: float32 `[h, w]`, or `[1, 1]`: the same everywhere.
      moments: float32 `[2, h, w, C]`, Adam's; zeros at first.
      steps: int32 `[]` each: the first one to take, the one to stop before, and all there are.

    Returns:
      The latents, before the gain, and the moments.
    """
    first, last, count = steps
    quality = quality[None]
    sources = codec.sources(codec.gained(latents[None], quality))
    weight = lambda_of(codec, quality) * 255.0**2 / 3
    target, size = image[None], tf.shape(image)
    weight, shares = weight[0, 0, 0], weight[0] / weight[0, 0, 0]
    # exactly 1 where all are the same
    shares = _of_pixels(tf.broadcast_to(shares, tf.shape(latents)[:2]))[: size[0], : size[1], None]

    def cost(latents: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        code = Annealed(
            {**sources, program.LATENTS: latents},
            quality,
            temperature(tf.cast(step, tf.float32) / tf.cast(count, tf.float32)),
            tf.stack([step, count]),
        )
        decoded = codec.entropy(code)
        pixels = codec.synthesise(decoded, code.y_hat, quality)[:, : size[0], : size[1]]
        error = tf.reduce_sum(tf.math.squared_difference(pixels, target) * shares)
        return tf.reduce_sum(tf.add_n(list(code.bits.values()))) + weight * error

    def body(
        step: tf.Tensor, latents: tf.Tensor, mean: tf.Tensor, square: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(latents)
            value = cost(latents, step)
        # which TensorFlow loses where latents are taken apart into slices
        gradient = tf.ensure_shape(tape.gradient(value, latents), latents.shape)
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * tf.square(gradient)
        taken = tf.cast(step + 1, tf.float32)
        unbiased = mean / (1 - BETAS[0] ** taken), square / (1 - BETAS[1] ** taken)
        moved = latents - LEARNING_RATE * unbiased[0] / (tf.sqrt(unbiased[1]) + EPSILON)
        return step + 1, base.bounded(moved, mixture.LATENT_MIN, mixture.LATENT_MAX), mean, square

    _, latents, mean, square = tf.while_loop(
        compilation.uncompiled(lambda step, *_: step < last),
        compilation.uncompiled(body),
        (first, sources[program.LATENTS], moments[:1], moments[1:]),
    )
    return beside.Refined(codec.ungained(latents, quality)[0], tf.concat([mean, square], 0))


def temperature(done: tf.Tensor) -> tf.Tensor:
    """The temperature once the share `done` of all steps, float32 `[]`, is taken."""
    return WARMEST * tf.minimum(tf.exp(-COOLING * (done - COOLS_FROM)), 1.0)


def lambda_of(codec: ImageCodec, quality: tf.Tensor) -> tf.Tensor:
    """What a mean squared error on the 0..255 scale is worth in bits per pixel at `quality`.

    Between the levels of training it is interpolated as gains are. float32, of the shape of
    `quality`, which is `[B]` or `[B, h, w]`.
    """
    logarithms = np.log(np.asarray(codec.lmbdas, np.float32))[:, None]
    return tf.reshape(codec.gain.between(logarithms, quality), tf.shape(quality))


def _of_pixels(places: tf.Tensor) -> tf.Tensor:
    """What latents have, `[h, w]`, at each of their pixels."""
    return tf.repeat(tf.repeat(places, STRIDE, 0), STRIDE, 1)
