"""Which number format the transforms compute in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfclic import errors

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

FORMATS = ("float32", "bfloat16")
CHOICES = ("auto", *FORMATS)
GAIN = 1.1  # how many times as fast bfloat16 has to be; less is not worth its rounding
SIDES = (32, 128)  # pixels; the first is to spare a machine that emulates bfloat16 the second
HOPELESS = 2.0  # how many times as slow bfloat16 is at the first that is not tried at the second
ROUNDS, PATIENCE = 5, 1.0  # turns of each format, and the seconds after which there are no more


def check(precision: str) -> None:
    """Raises errors.UsageError if `precision` is none of CHOICES."""
    if precision not in CHOICES:
        raise errors.UsageError(
            f"The precision {precision!r} is unknown; there are: {', '.join(CHOICES)}."
        )


def resolve(
    precision: str,
    recorded: str | None = None,
    measure: Callable[[], Mapping[str, float]] | None = None,
) -> str:
    """Returns "float32" or "bfloat16" for `precision`, which may be "auto".

    "auto" keeps what a resumed run had. For a new one it takes bfloat16 only where that is faster,
    which no flag of a processor tells: it may be emulated, and several times slower than float32.

    Args:
      precision: one of CHOICES.
      recorded: what the run computed in so far; None for a new one.
      measure: stands in for `race`.

    Raises:
      errors.UsageError: `precision` is none of the choices.
    """
    check(precision)
    if precision != "auto":
        return precision
    if recorded in FORMATS:
        return recorded
    seconds = (measure or race)()
    return "bfloat16" if seconds["float32"] >= GAIN * seconds["bfloat16"] else "float32"


def race(sides: Sequence[int] = SIDES, batch: int = 4, channels: int = 64) -> dict[str, float]:
    """Times a small chain of layers, forward and backward, in both formats.

    Args:
      sides, batch, channels: of what goes through it, [batch, side, side, channels], one size after
        the other, but for those at which bfloat16 could not win any more.

    Returns:
      Dict from each of FORMATS to seconds, at the last size.
    """
    for side in sides:
        seconds = _seconds({name: _make_step(name, side, batch, channels) for name in FORMATS})
        if seconds["bfloat16"] > HOPELESS * seconds["float32"]:
            break
    return seconds


def _seconds(steps: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of each of `steps`, a dict of functions: they take turns, and the best one counts."""
    for step in steps.values():
        step()  # traced, and kernels prepared
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
        if time.perf_counter() - began > PATIENCE:
            break
    return {name: min(times) for name, times in seconds.items()}


def _make_step(name: str, side: int, batch: int, channels: int) -> Callable[[], np.ndarray]:
    """Two convolutions and a leaky ReLU, as mixed precision runs them: float32 weights, cast."""
    import tensorflow as tf

    dtype = tf.dtypes.as_dtype(name)
    shape = [3, 3, channels, channels]
    scale = (9.0 * channels) ** -0.5
    kernels = [tf.Variable(tf.random.stateless_normal(shape, [i, 0]) * scale) for i in (1, 2)]
    images = tf.random.stateless_normal([batch, side, side, channels], [0, 0])

    @tf.function(autograph=False)
    def step(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            first, second = (tf.cast(kernel, dtype) for kernel in kernels)
            hidden = tf.nn.conv2d(tf.cast(images, dtype), first, 1, "SAME")
            hidden = tf.nn.leaky_relu(hidden)
            out = tf.nn.conv2d(hidden, second, 1, "SAME")
            loss = tf.reduce_mean(tf.square(tf.cast(out, tf.float32)))
        return tf.add_n([tf.reduce_sum(grad) for grad in tape.gradient(loss, kernels)])

    return lambda: step(images).numpy()  # the value: an accelerator has finished then
