"""Integers moved, before they are coded, to where rate and distortion together are less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic.entropy import program
from tfclic.entropy.float_runners import Moving, RDOLatents
from tfclic.exact import compilation
from tfclic.export import container
from tfclic.export.tracing import latent_spec, specs, traced
from tfclic.export.transforming import as_colours, everywhere
from tfclic.format import beside
from tfclic.format.latents import STRIDE
from tfclic.layers import uniform_noise
from tfclic.layers.substitution import substituted

if TYPE_CHECKING:
    from tfclic.export.stored import StoredCodec
    from tfclic.layers.composite import Tensors
    from tfclic.models.base import ImageCodec

# How many bits a step of one costs beyond what the gradient says: by errors that grow with its
# square, and by what moves at once around it. So it begins; then it follows what steps turn out to
# cost, of which it takes a little less, since those that follow move less at once; and half of it
# is tried where nothing moves.
CURVATURE, OF_FOUND = 13.0, 0.85
LEAST_CURVATURE, MOST_CURVATURE = 1.0, 64.0
# Of the moves that seem to pay so many are taken, at each of the first steps and afterwards.
MOST, FEWER, FIRST_STEPS = 0.8, 0.5, 3


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
            latents=latent_spec(channels, tf.float32), curvature=tf.TensorSpec([], tf.float32)
        )

        @traced(*specs(beside.REFINE_BY_MAP, **of_codec))
        def by_map(
            latents: tf.Tensor,
            image: tf.Tensor,
            codes: tf.Tensor,
            *state: tf.Tensor,
        ) -> dict[str, tf.Tensor]:
            weights = {**self.coding.floats(), **stored.stand_ins(codec)}
            with substituted([codec], weights):
                pixels, quality = as_colours(image), container.quality_of(codes)
                return refine(codec, pixels, latents, quality, *state)._asdict()

        @traced(*specs(beside.REFINE, **of_codec))
        def plain(
            latents: tf.Tensor, image: tf.Tensor, quality: tf.Tensor, *state: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            return by_map(latents, image, everywhere(quality), *state)

        self.functions = {beside.REFINE.name: plain, beside.REFINE_BY_MAP.name: by_map}


def refine(
    codec: ImageCodec,
    image: tf.Tensor,
    latents: tf.Tensor,
    quality: tf.Tensor,
    curvature: tf.Tensor,
    first: tf.Tensor,
    last: tf.Tensor,
) -> beside.Refined:
    """Takes some of the steps of a refinement, which decoders do not notice.

    Latents begin as they are rounded by rate and distortion. At each step it is told for every one
    what bits + lambda * squared error would be with the integer below and with the one above: by
    its own probabilities, by the gradient through what follows on it, in the entropy model and in
    the synthesis transform, and by the curvature. Of the moves that seem to pay a share is taken,
    at random, since those that pay alone need not pay together. Channels that are all zero stay so.

    Lambda is that of the quality of each place. Side information is that of the latents at the
    first of these steps.

    Args:
      codec: the codec, with weights that it will have when it decodes.
      image: float32 `[H, W, 3]`, 0..1.
      latents: float32 `[h, w, C]`, of the image, before the gain.
      quality: float32 `[h, w]`, or `[1, 1]`: the same everywhere.
      curvature: float32 `[]`, bits; 0: not known.
      first, last: int32 `[]`, the first step to take, and the one to stop before.

    Returns:
      The latents, before the gain, and the curvature.
    """
    quality = quality[None]
    sources = codec.sources(codec.gained(latents[None], quality))
    rounded = RDOLatents(sources, quality)
    codec.entropy(rounded)
    integers = rounded.integers()
    in_use = tf.reduce_any(tf.not_equal(integers, 0.0), [1, 2], keepdims=True)
    weight = lambda_of(codec, quality) * 255.0**2 / 3
    target, size = image[None], tf.shape(image)
    weight, shares = weight[0, 0, 0], weight[0] / weight[0, 0, 0]
    # exactly 1 where all are the same
    shares = _of_pixels(tf.broadcast_to(shares, tf.shape(latents)[:2]))[: size[0], : size[1], None]

    def cost(integers: tf.Tensor) -> tuple[tf.Tensor, Moving]:
        code = Moving(sources, quality, integers)
        decoded = codec.entropy(code)
        pixels = codec.synthesise(decoded, code.y_hat, quality)[:, : size[0], : size[1]]
        error = tf.reduce_sum(tf.math.squared_difference(pixels, target) * shares)
        return tf.reduce_sum(tf.add_n(list(code.bits.values()))) + weight * error, code

    def body(
        step: tf.Tensor,
        integers: tf.Tensor,
        curvature: tf.Tensor,
        expected: tf.Tensor,
        count: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(integers)
            value, code = cost(integers)
        # whose shape TensorFlow loses where latents are taken apart into slices
        gradient = tf.ensure_shape(tape.gradient(value, integers), integers.shape)
        found = OF_FOUND * (value - expected) / tf.maximum(count, 1.0)
        found = tf.clip_by_value(found, LEAST_CURVATURE, MOST_CURVATURE)
        curvature = (curvature + tf.where(count > 0, found, 0.0)) / 2
        down, up = code.joined_changes()
        down, up = down - gradient, up + gradient
        change = tf.minimum(down, up)
        share = tf.where(step < FIRST_STEPS, MOST, FEWER)
        drawn = uniform_noise(tf.shape(integers), tf.stack([step, 0]), 0) < share - 0.5
        taken = tf.cast(drawn & in_use & (change + curvature < 0), tf.float32)
        moved = program.clipped(integers + tf.where(down < up, -taken, taken))
        expected = value + tf.reduce_sum(taken * change)
        return step + 1, moved, curvature, expected, tf.reduce_sum(taken)

    curvature = tf.where(curvature > 0, curvature, CURVATURE)
    _, integers, curvature, *_ = tf.while_loop(
        compilation.uncompiled(lambda step, *_: step < last),
        compilation.uncompiled(body),
        # before the first step nothing has moved, and nothing is known of what that takes
        (first, integers, 2 * curvature, 0.0, 0.0),
    )
    found = _near(codec, sources, quality, integers)
    return beside.Refined(codec.ungained(found, quality)[0], curvature)


def _near(
    codec: ImageCodec, sources: Tensors, quality: tf.Tensor, integers: tf.Tensor
) -> tf.Tensor:
    """Latents that are rounded to given integers, by rate and distortion.

    Otherwise they are as near as that lets them be to what they were, for side information follows
    from latents that are not rounded. All are float32 `[1, h, w, C]`.
    """
    code = Moving(sources, quality, integers)
    codec.entropy(code)
    coded = tf.concat(code.latents, -1)
    # of the other integer's bits, a bit more than it saves, in errors
    saved = (tf.nn.relu(-change) + 1.0 for change in code.joined_changes())
    below, above = (tf.nn.relu(0.5 - each / (2 * program.DISTORTION_WEIGHT)) for each in saved)
    return coded + tf.clip_by_value(sources[program.LATENTS] - coded, -below, above)


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
