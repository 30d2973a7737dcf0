"""Gains that let one set of weights serve every rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

LEAST_RISE = 1e-6  # of the logarithm of a gain from level to level, where one is given


def step_size(lmbda: npt.ArrayLike) -> np.ndarray:
    """The uniform quantiser step, on the 0..255 scale, that suits `lmbda` at high resolution.

    Minimises `-log2(step) + lmbda * step**2 / 36`: the rate of one orthonormal coefficient in bits,
    and its share of the mean squared error of three colour channels.
    """
    return np.sqrt(18.0 / (np.log(2.0) * np.asarray(lmbda)))


class QualityGain(tf.keras.layers.Layer):
    """Scales latents before rounding, and back after it, by a continuous quality.

    One pair of vectors (gain and inverse gain) for each trained lambda, interpolated exponentially
    in between. Source: Cui et al., "Asymmetric Gained Deep Image Compression With Continuous Rate
    Adaptation", CVPR 2021, equations 5 to 8. Unlike there, the gains of one channel cannot fall
    from one lambda to the next, so a higher quality never quantises more coarsely.

    Args:
      channels: number C of latent channels.
      lmbdas: trained lambdas, L of them, ascending.
      reference: the step size (0..255 scale) that a gain of 1 stands for.
    """

    def __init__(
        self, channels: int, lmbdas: Sequence[float], reference: float, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.channels = channels
        self.lmbdas = np.asarray(lmbdas, np.float64)
        self.levels = len(lmbdas)
        self.start = np.log(reference / step_size(lmbdas)).astype(np.float32)

    def build(self, _: tf.TensorShape) -> None:
        base = np.full((1, self.channels), self.start[0], np.float32)
        rises = np.repeat(np.diff(self.start)[:, None], self.channels, axis=1)
        constant = tf.keras.initializers.Constant
        self.base = self.add_weight(name="base", shape=base.shape, initializer=constant(base))
        self.rises = self.add_weight(
            name="rises",
            shape=rises.shape,
            # the inverse of the softplus that keeps every rise positive
            initializer=constant(np.log(np.expm1(rises))) if rises.size else "zeros",
        )
        self.correction = self.add_weight(
            name="correction", shape=(self.levels, self.channels), initializer="zeros"
        )

    def weights_at(self, lmbdas: Sequence[float]) -> dict[str, np.ndarray]:
        """The weights of a layer for other lambdas with this one's gains.

        Between this one's lambdas they are interpolated, exponentially as in `call`; beyond them
        they go on as those of a new layer do.

        Args:
          lmbdas: ascending, L' of them.

        Returns:
          Dict of float32 arrays by name: base `[1, C]`, rises `[L' - 1, C]`, correction `[L', C]`.
        """
        inside = np.clip(lmbdas, self.lmbdas[0], self.lmbdas[-1])
        beyond = np.log(step_size(inside) / step_size(lmbdas))
        logs = self.interpolated(self.log_gains(), lmbdas) + beyond[:, None]
        rises = np.log(np.expm1(np.maximum(np.diff(logs, axis=0), LEAST_RISE)))
        correction = self.interpolated(self.correction, lmbdas)
        found = {"base": logs[:1], "rises": rises, "correction": correction}
        return {name: values.astype(np.float32) for name, values in found.items()}

    def interpolated(self, table: npt.ArrayLike, lmbdas: Sequence[float]) -> np.ndarray:
        """What a table `[L, C]` has at other lambdas, L' of them: float64 `[L', C]`.

        Lambdas below or above this layer's have what its first or last one has.
        """
        columns = [np.interp(np.log(lmbdas), np.log(self.lmbdas), c) for c in np.asarray(table).T]
        return np.stack(columns, -1)

    def log_gains(self) -> tf.Tensor:
        """float32 `[L, C]`, the natural logarithm of the gains of each level."""
        rises = tf.concat([self.base, tf.nn.softplus(self.rises)], 0)
        return tf.cumsum(rises, 0)

    def between(self, logarithms: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """What has `logarithms` `[L, n]` at the levels, for `quality` `[B]`: `[B, 1, 1, n]`.

        For a map of qualities, `[B, h, w]`, it is `[B, h, w, n]`.
        """
        if len(quality.shape) == 1:
            quality = quality[:, None, None]
        position = tf.clip_by_value(quality / 100.0, 0.0, 1.0) * (self.levels - 1)
        lower = tf.minimum(tf.cast(position, tf.int32), max(self.levels - 2, 0))
        upper = tf.minimum(lower + 1, self.levels - 1)
        share = (position - tf.cast(lower, tf.float32))[..., None]
        below, above = tf.gather(logarithms, lower), tf.gather(logarithms, upper)
        values = below * (1 - share) + above * share
        return tf.exp(values)

    def call(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Scales `latents` `[B, h, w, C]` for `quality` (0..100), before rounding.

        `quality` is `[B]`, or `[B, h, w]` where it differs from place to place.
        """
        return latents * self.between(self.log_gains(), quality)

    def inverse(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Scales rounded `latents` `[B, h, w, C]` back for the synthesis transform."""
        return latents * self.between(self.correction - self.log_gains(), quality)
