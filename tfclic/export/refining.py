"""Latents moved, before they are rounded, to where rate and distortion together are best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic.entropy import mixture, program
from tfclic.exact import compilation
from tfclic.export import exported
from tfclic.format import model
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
        given = exported.specs(
            model.REFINE,
            latents=tf.TensorSpec([None, None, channels], tf.float32),
            moments=tf.TensorSpec([2, None, None, channels], tf.float32),
        )

        @exported.traced(*given)
        def traced(
            latents: tf.Tensor,
            image: tf.Tensor,
            quality: tf.Tensor,
            moments: tf.Tensor,
            *steps: tf.Tensor,
        ) -> dict[str, tf.Tensor]:
            weights = {**self.coding.floats(), **stored.stand_ins(codec)}
            with substituted([codec], weights):
                pixels, snapped = exported.as_colours(image), exported.snapped(quality)
                return refine(codec, pixels, latents, snapped, moments, steps)._asdict()

        self.functions = {model.REFINE.name: traced}


def refine(
    codec: ImageCodec,
    image: tf.Tensor,
    latents: tf.Tensor,
    quality: tf.Tensor,
    moments: tf.Tensor,
    steps: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
) -> model.Refined:
    """Takes some of the steps of a refinement.

    Latents follow the gradient of bits + lambda * squared error through the entropy model and the
    synthesis transform while they are annealed (see `program.Annealed`), which decoders do not
    notice. Side information is that of the latents at the first of these steps.

    Args:
      codec: the codec, with weights that it will have when it decodes.
      image: float32 `[H, W, 3]`, 0..1.
      latents: float32 `[h, w, C]`, of the image, before the gain.
      quality: float32 `[]`.
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

    def cost(latents: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        code = program.Annealed(
            {**sources, program.LATENTS: latents},
            quality,
            temperature(tf.cast(step, tf.float32) / tf.cast(count, tf.float32)),
            tf.stack([step, count]),
        )
        decoded = codec.entropy(code)
        pixels = codec.synthesise(decoded, code.y_hat, quality)[:, : size[0], : size[1]]
        error = tf.reduce_sum(tf.math.squared_difference(pixels, target))
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
    return model.Refined(codec.ungained(latents, quality)[0], tf.concat([mean, square], 0))


def temperature(done: tf.Tensor) -> tf.Tensor:
    """The temperature once the share `done` of all steps, float32 `[]`, is taken."""
    return WARMEST * tf.minimum(tf.exp(-COOLING * (done - COOLS_FROM)), 1.0)


def lambda_of(codec: ImageCodec, quality: tf.Tensor) -> tf.Tensor:
    """What a mean squared error on the 0..255 scale is worth in bits per pixel at `quality`.

    Between the levels of training it is interpolated as gains are. float32 `[B]`, as `quality`.
    """
    logarithms = np.log(np.asarray(codec.lmbdas, np.float32))[:, None]
    return codec.gain.between(logarithms, quality)[:, 0, 0, 0]
