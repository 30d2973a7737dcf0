"""Gains of a quality without a library's exponential, which differs from machine to machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

BITS = 16  # of the fraction of a logarithm
HALF = 1 << BITS // 2
SMALLEST, EXPONENTS = -64, 128  # of powers of two


def fractions(logarithms: np.ndarray) -> np.ndarray:
    """Binary logarithms as integers, multiples of `2**-BITS`, float64.

    Raises:
      ValueError: they are beyond what can be told.
    """
    if not np.all(np.abs(logarithms) < -SMALLEST - 1):
        raise ValueError("gains are out of bounds")
    return np.round(logarithms * 2.0**BITS)


def tables() -> tuple[np.ndarray, np.ndarray]:
    """Powers of two with a fraction of `BITS`, whose halves are looked up: float32 `[2, HALF]`.

    The third table, of whole exponents, is float32 `[EXPONENTS]`, from `SMALLEST` on.
    """
    steps = np.arange(HALF)
    halves = np.stack([2.0 ** (steps / HALF), 2.0 ** (steps / HALF**2)])
    return halves.astype(np.float32), np.ldexp(1.0, SMALLEST + np.arange(EXPONENTS))


def interpolated(
    logarithms: tf.Tensor,
    code: tf.Tensor,
    codes: int,
    table: Callable[[str, Callable[[], np.ndarray]], tf.Tensor],
) -> tf.Tensor:
    """`2**logarithm` between the levels, as `layers.QualityGain` has it, in exact arithmetic.

    Args:
      logarithms: float `[L, C]`, from `fractions`.
      code: int32, of any shape, 0..codes, of the quality: the first level to the last one.
      codes: the largest code.
      table: makes a constant of a name and what returns its content.

    Returns:
      float32 `[..., C]`.
    """
    logarithms, levels = tf.cast(logarithms, tf.int64), logarithms.shape[0]
    position = tf.cast(code, tf.int64) * (levels - 1)
    lower = tf.minimum(position // codes, max(levels - 2, 0))
    share = (position - lower * codes)[..., None]
    below = tf.gather(logarithms, lower)
    above = tf.gather(logarithms, tf.minimum(lower + 1, levels - 1))
    found = (below * (codes - share) + above * share) // codes
    whole = found // 2**BITS
    fraction = found - whole * 2**BITS
    halves = table("gain_fractions", lambda: tables()[0])
    powers = table("gain_exponents", lambda: tables()[1])
    high, low = (
        tf.cast(tf.gather(halves[row], index), tf.float64)
        for row, index in enumerate((fraction // HALF, fraction % HALF))
    )
    # exact: two floats of 24 bits, and a power of two
    scale = tf.cast(tf.gather(powers, whole - SMALLEST), tf.float64)
    return tf.cast(high * low * scale, tf.float32)
