"""What changes with the step: the learning rate, the stage, and the lambdas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec


def learning_rate(step: tf.Tensor, training: ConfigDict) -> tf.Tensor:
    """Linear warm-up, constant, then a linear fall over the last `decay_share` of the steps.

    Which are those before a last phase on rounded latents: over that, another linear fall begins at
    `rounded_learning_rate`.

    Args:
      step: int tensor [], from 0.
      training: configuration with learning_rate, final_learning_rate, warmup_steps, decay_share and
        steps; with a rounded_share also rounded_learning_rate.

    Returns:
      float32 [].
    """
    step = tf.cast(step, tf.float32)
    peak, final = float(training.learning_rate), float(training.final_learning_rate)
    rate = tf.constant(peak)
    end = rounded_from(training)
    decay_steps = float(training.decay_share) * end
    if decay_steps > 0:
        done = (step - (end - decay_steps)) / decay_steps
        rate = peak + (final - peak) * tf.clip_by_value(done, 0.0, 1.0)
    if end < training.steps:
        peak, done = float(training.rounded_learning_rate), (step - end) / (training.steps - end)
        rate = tf.where(step < end, rate, peak + (final - peak) * tf.minimum(done, 1.0))
    if training.warmup_steps > 0:
        rate = rate * tf.minimum(1.0, (step + 1.0) / training.warmup_steps)
    return rate


def rounded_from(training: ConfigDict) -> int:
    """The step, from 0, at which the last phase begins, on rounded latents.

    Args:
      training: configuration with steps and rounded_share, the share of all steps that are so.
    """
    return int(training.steps) - round(training.rounded_share * training.steps)


def stage(step: tf.Tensor, training: ConfigDict) -> tf.Tensor:
    """The number, from 0, of the stage of training that a step belongs to.

    Args:
      step: int tensor [], from 0.
      training: configuration with steps and stage_shares, the shares of all steps that the stages
        take, but for the last one, which takes the rest.

    Returns:
      int32 [].
    """
    ends, done = [], 0.0
    for share in training.stage_shares:
        done += share
        ends.append(round(done * training.steps))
    return tf.reduce_sum(tf.cast(step >= tf.constant(ends, step.dtype), tf.int32))


def stage_of(codec: ImageCodec, step: tf.Tensor, training: ConfigDict) -> dict[str, tf.Tensor]:
    """The stage that a codec is in, as an argument for it by name.

    Args:
      codec: the model.
      step, training: as for `stage`.

    Returns:
      {"stage": int32 []}; {} if the codec has one stage only.
    """
    return {"stage": stage(step, training)} if codec.stages > 1 else {}


def in_first_phase(step: tf.Tensor, training: ConfigDict) -> tf.Tensor:
    """Whether all images have one lambda yet, training's first_lmbda.

    Args:
      step: int tensor [], from 0.
      training: configuration with steps and first_share, the share of all steps that are so.

    Returns:
      bool [].
    """
    return step < tf.constant(round(training.first_share * training.steps), step.dtype)
