"""The quality level of each image of a step: how it is drawn, and the lambda that it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic.layers import drawn_for_batch
from tfclic.training import schedule

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec
    from tfclic.training.state import State

LEVEL_SAMPLINGS = ("independent", "stratified")


def draw_levels(seed: tf.Tensor, count: int, batch: tf.Tensor, sampling: str) -> tf.Tensor:
    """Draws the quality level of each image of a step.

    In the mean over a batch every level is as likely as any other. "independent" draws for each
    image alone; "stratified" draws each image's from its own B-th part of the levels, in order,
    which lets the mean gradient of a small batch vary less.

    Args:
      seed: int32 [2], the step's.
      count: number of lambdas.
      batch: int32 [1], images in the batch.
      sampling: one of LEVEL_SAMPLINGS.

    Returns:
      int32 [B], indices into the codec's lambdas.
    """
    level_seed, _ = tf.unstack(tf.random.experimental.stateless_split(seed, 2))

    def draw(batch: tf.Tensor) -> tf.Tensor:
        if sampling == "stratified":
            places = tf.cast(tf.range(batch[0]), tf.float32)
            places += tf.random.stateless_uniform(batch, level_seed)
            drawn = places * (count / tf.cast(batch[0], tf.float32))
            return tf.minimum(tf.cast(drawn, tf.int32), count - 1)  # rounding may reach `count`
        return tf.random.stateless_uniform(batch, level_seed, 0, count, tf.int32)

    return drawn_for_batch(draw, batch)


def levels_of(codec: ImageCodec) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the quality and the lambda of each of a codec's levels: a pair of float32 [L]."""
    qualities = [codec.quality_of(i) for i in range(len(codec.lmbdas))]
    return tf.constant(qualities, tf.float32), tf.constant(codec.lmbdas, tf.float32)


def targets_of(
    codec: ImageCodec, state: State, training: ConfigDict, levels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The quality and the lambda of each image: those of its level, except in a first phase.

    There all images have training's first_lmbda, and the quality whose lambda is nearest to it.

    Args:
      codec, state, training: as `make_step`.
      levels: int32 [B], indices into the codec's lambdas.

    Returns:
      (qualities, lmbdas): float32 [B].
    """
    qualities, lmbdas = levels_of(codec)
    found = tf.gather(qualities, levels), tf.gather(lmbdas, levels)
    if not training.first_share:
        return found
    nearest = np.argmin(np.abs(np.log(codec.lmbdas) - np.log(training.first_lmbda)))
    first = qualities[nearest], tf.constant(training.first_lmbda, tf.float32)
    is_first = schedule.in_first_phase(state.step, training)
    quality, lmbda = (tf.where(is_first, a, b) for a, b in zip(first, found))
    return quality, lmbda
