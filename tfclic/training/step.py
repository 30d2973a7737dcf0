"""One training step: how a batch of images changes the state.

A step depends on the state, the images and the seed alone, so a repeated step repeats its result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import tensorflow as tf

from tfclic.training import objectives, schedule
from tfclic.training.levels import draw_levels, targets_of

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec
    from tfclic.training.quantized import Kernels
    from tfclic.training.state import State

Structure = TypeVar("Structure")
Metrics = dict[str, tf.Tensor]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


def seed_of(run_seed: int, step: int) -> tf.Tensor:
    """Returns the int32 [2] seed of a step's random numbers."""
    return tf.stack([tf.constant(run_seed, tf.int32), tf.cast(step, tf.int32)])


def make_step(
    codec: ImageCodec, state: State, training: ConfigDict, kernels: Kernels | None = None
) -> Callable[[tf.Tensor, tf.Tensor], Metrics]:
    """Makes the step function.

    Args:
      codec: the model to train.
      state: its `state.State`.
      training: configuration.
      kernels: for a step of the last phase, as `advance` has them.

    Called in the scope of a `tf.distribute` strategy, as codec and state were made, it makes the
    step of that strategy: each replica measures its part of the batch, the gradients are averaged,
    and every replica then makes the same update to its own copy of the state.

    Returns:
      A tf.function of uint8 images [B, H, W, 3] (the replicas' parts, if there are several) and an
      int32 seed [2] that advances `state` by one step and returns a dict of scalars: those of
      `loss_and_gradients`, learning_rate, gradient_norm, and skipped, 1.0 if the weights were left
      alone because the gradient was not finite.
    """
    distortion = objectives.get(training.objective)
    strategy = tf.distribute.get_strategy()

    def replica_step(images: tf.Tensor, seed: tf.Tensor) -> Metrics:
        rate = schedule.learning_rate(state.step, training)
        arguments = codec, state, distortion, training, images, seed, rate
        metrics = advance(*arguments, kernels=kernels)
        return {**metrics, "learning_rate": rate}

    @tf.function(autograph=False)
    def train_step(images: tf.Tensor, seed: tf.Tensor) -> Metrics:
        metrics = strategy.run(replica_step, (images, seed))
        return {k: strategy.experimental_local_results(v)[0] for k, v in metrics.items()}

    return train_step


def decoder(codec: ImageCodec, state: State) -> list[str]:
    """Paths in `state` of what makes no latents: all trained but the encoder, with the gains."""
    fixed = {id(v) for part in codec.encoder() for v in part.variables}
    return [path for path in state.trained if id(state.weights[path]) not in fixed]


def begin_rounded(codec: ImageCodec, state: State) -> None:
    """Lets the last phase begin: all weights become their moving averages.

    Those of the encoder stay so, as they will be exported, and tell a run that is resumed within
    the phase, where nothing happens here.
    """
    learning = decoder(codec, state)
    held = [path for path in state.ema if path not in learning]
    if all(np.array_equal(state.weights[path], state.ema[path]) for path in held):
        return
    for path, average in state.ema.items():
        state.weights[path].assign(average)


def advance(
    codec: ImageCodec,
    state: State,
    distortion: objectives.Objective,
    training: ConfigDict,
    images: tf.Tensor,
    seed: tf.Tensor,
    rate: tf.Tensor,
    levels: tf.Tensor | None = None,
    select: bool = False,
    kernels: Kernels | None = None,
) -> Metrics:
    """Advances `state` by one step.

    In the last phase latents are rounded by rate and distortion, kernels to 8 bits, both as an
    export does it; and what a decoder has learns alone, of what the exported analysis makes (see
    `begin_rounded`).

    Args:
      codec, state, training: as `make_step`.
      distortion, images, seed: as `loss_and_gradients`.
      levels: int32 [B], indices into the codec's lambdas, for `levels.targets_of`; drawn if None.
      rate: float32 [], the learning rate.
      select: whether to leave the weights alone after a gradient that is not finite by choosing
        between old and new values, where an accelerator would have to wait for a branch.
      kernels: the codec's `quantized.Kernels`, in the last phase.

    Returns:
      Dict of scalars: those of `loss_and_gradients`, gradient_norm and skipped; and phase, 1 or 2,
      where training has two.
    """
    stage = schedule.stage_of(codec, state.step, training)
    if levels is None:
        batch = tf.shape(images)[:1]
        levels = draw_levels(seed, len(codec.lmbdas), batch, training.level_sampling)
    targets = targets_of(codec, state, training, levels)
    rounded = kernels is not None
    paths = decoder(codec, state) if rounded else state.trained
    parameters = [state.weights[path] for path in paths]
    with kernels.rounded(state.weights) if kernels else contextlib.nullcontext():
        metrics, grads = loss_and_gradients(
            codec, parameters, distortion, images, seed, targets, stage, rounded
        )
    if training.first_share:
        metrics["phase"] = 2.0 - tf.cast(schedule.in_first_phase(state.step, training), tf.float32)
    metrics, grads = mean_over_replicas((metrics, grads))
    norm = tf.linalg.global_norm(grads)
    usable = tf.math.is_finite(norm) & tf.math.is_finite(metrics["loss"])

    def update() -> tf.Tensor:
        apply_gradients(state, grads, norm, rate, training, paths if rounded else None)
        return tf.constant(0.0)

    if select:
        with _kept_unless(usable, state):
            update()
        metrics["skipped"] = 1.0 - tf.cast(usable, tf.float32)
    else:
        metrics["skipped"] = tf.cond(usable, update, lambda: tf.constant(1.0))
    add_to_copy(state.step, 1)
    return {**metrics, "gradient_norm": norm}


@contextlib.contextmanager
def _kept_unless(usable: tf.Tensor, state: State) -> Iterator[None]:
    before = {name: tf.convert_to_tensor(v.read_value()) for name, v in state.named().items()}
    yield
    for name, variable in state.named().items():
        variable.assign(tf.where(usable, variable.read_value(), before[name]))


def mean_over_replicas(values: Structure) -> Structure:
    """Returns a structure of tensors, averaged over the replicas where there are several."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def add_to_copy(variable: tf.Variable, value: int) -> tf.Tensor:
    """Adds to this replica's copy of a variable; returns the sum.

    `assign_add` would make the replicas wait for each other, which tf.cond does not allow.
    """
    value = tf.cast(value, variable.dtype)
    tf.raw_ops.AssignAddVariableOp(resource=variable.handle, value=value)
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)


def loss_and_gradients(
    codec: ImageCodec,
    parameters: Sequence[tf.Variable],
    distortion: objectives.Objective,
    images: tf.Tensor,
    seed: tf.Tensor,
    targets: tuple[tf.Tensor, tf.Tensor],
    stage: dict[str, tf.Tensor] | None = None,
    rounded: bool = False,
) -> tuple[Metrics, list[tf.Tensor]]:
    """Measures a batch, each image at a lambda of its own, and differentiates the mean loss.

    Args:
      codec: the model.
      parameters: list of the variables to differentiate by.
      distortion: one of the objectives.
      images: uint8 [B, H, W, 3].
      seed: int32 [2].
      targets: as `levels.targets_of` gives them.
      stage: as `schedule.stage_of` gives it.
      rounded: whether latents are rounded, by rate and distortion, and nothing else counts.

    Returns:
      (metrics, gradients): scalars loss, bpp, distortion and psnr, means over the batch, and
      bpp/NAME of each part; for codecs with stages stage; for those that have auxiliary losses
      auxiliary, their sum, and auxiliary/NAME of each; and a tensor for each of `parameters`.
    """
    stage = stage or {}
    qualities, lmbdas = targets
    _, noise_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    images = tf.cast(images, tf.float32) / 255.0
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(parameters)
        out = codec(images, qualities, seed=noise_seed, training=not rounded, rdo=rounded, **stage)
        losses, bpp, error = objectives.rate_distortion(out, images, lmbdas, distortion)
        auxiliary = tf.add_n(list(out.auxiliary_losses.values())) if out.auxiliary_losses else 0.0
        loss = tf.reduce_mean(losses + auxiliary)
    unconnected = tf.UnconnectedGradients.ZERO
    grads = tape.gradient(loss, parameters, unconnected_gradients=unconnected)
    metrics = {
        "loss": loss,
        "bpp": tf.reduce_mean(bpp),
        "distortion": tf.reduce_mean(error),
        "psnr": tf.reduce_mean(objectives.psnr(images, out.reconstruction)),
    }
    if stage:
        metrics["stage"] = tf.cast(stage["stage"] + 1, tf.float32)
    if out.auxiliary_losses:
        metrics["auxiliary"] = tf.reduce_mean(auxiliary)
    terms = {f"auxiliary/{name}": term for name, term in out.auxiliary_losses.items()}
    terms.update({f"bpp/{name}": part for name, part in objectives.bpp_of_parts(out).items()})
    metrics.update({name: tf.reduce_mean(term) for name, term in terms.items()})
    return metrics, [tf.convert_to_tensor(g) for g in grads]


def apply_gradients(
    state: State,
    grads: Sequence[tf.Tensor],
    norm: tf.Tensor,
    rate: tf.Tensor,
    training: ConfigDict,
    rounded: Sequence[str] | None = None,
) -> None:
    """Clips `grads` by their global norm and takes one step of Adam and of the moving averages.

    Args:
      state, rate, training: as `advance`.
      grads: list of tensors, for each of the trained variables.
      norm: float32 [], the global norm of `grads`.
      rounded: paths of the variables that they are of instead, in the last phase.
    """
    if training.clip_norm > 0:
        grads, _ = tf.clip_by_global_norm(grads, training.clip_norm, use_norm=norm)
    count = tf.cast(add_to_copy(state.updates, 1), tf.float32)
    paths, age = rounded, tf.cast(state.step - schedule.rounded_from(training) + 1, tf.float32)
    if paths is None:
        paths, age = state.trained, count
    for path, grad in zip(paths, grads):
        tf.raw_ops.ResourceApplyAdam(
            var=state.weights[path].handle,
            m=state.first_moment[path].handle,
            v=state.second_moment[path].handle,
            beta1_power=tf.pow(BETA_1, count),
            beta2_power=tf.pow(BETA_2, count),
            lr=rate,
            beta1=BETA_1,
            beta2=BETA_2,
            epsilon=EPSILON,
            grad=grad,
        )
    if training.ema_decay:
        # Young averages follow quickly, or they would hold the random start for long.
        keep = tf.minimum(float(training.ema_decay), (1.0 + age) / (10.0 + age))
        for path in paths:
            average = state.ema[path]
            # assign_sub with the multiplication inside: one pass over memory less
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.handle, alpha=1.0 - keep, delta=average - state.weights[path]
            )
