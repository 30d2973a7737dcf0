"""A learned distribution for each channel of the latents, in floats and in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import integer_mixture as im
from tfclic.entropy import mixture

# of a prior to its table
FIT_STEPS = 1000
FIT_RATE = 0.01
TOTAL_BITS = im.MASS_BITS
ROW = im.SYMBOLS + 1  # boundaries of all symbols


class ChannelPrior(tfc.NoisyDeepFactorized):
    """A learned density for each channel of hyper latents, whose noisy form has `prob`.

    Source: Ballé, Minnen, Singh, Hwang, Johnston, ICLR 2018, appendix 6.1.
    """

    def fit(self, masses: np.ndarray, first: int) -> list[tf.Variable]:
        """Fits it to probabilities, float32 `[n, C]`, of the integers from `first` on.

        Returns:
          Its variables.
        """
        return _fit(self, masses, first)


def _fit(prior: ChannelPrior, masses: np.ndarray, first: int) -> list[tf.Variable]:
    variables = list(prior.trainable_variables)
    values = tf.range(first, first + len(masses), dtype=tf.float32)[:, None]
    optimizer = tf.keras.optimizers.Adam(FIT_RATE)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            found = tfc.lower_bound(prior.prob(values), mixture.LIKELIHOOD_FLOOR)
            cost = -tf.reduce_sum(masses * tf.math.log(found))
        optimizer.apply_gradients(zip(tape.gradient(cost, variables), variables))

    for _ in range(FIT_STEPS):
        step()
    return variables


class FactorizedPrior(tf.Module):
    """Entropy model of latents whose distribution depends on their channel and gain alone.

    One density for each channel, Ballé et al., ICLR 2018, appendix 6.1, is that of the latents
    before the gain g. After it a unit interval is what 1/g was before:

    ```
    P(y) = F((y + 1/2) / g) - F((y - 1/2) / g)
    ```

    so that the same density serves every quality. As in `tfclic.entropy.mixture`, at latents with
    uniform noise the expression is the density of these.

    Args:
      channels: C.
    """

    def __init__(self, channels: int, name: str = "factorized_prior") -> None:
        super().__init__(name=name)
        # latents before the gain are about 1 in size; TFC's 10 takes thousands of steps to unlearn
        self.density = tfc.DeepFactorized(batch_shape=(channels,), init_scale=1)

    def likelihood(self, latents: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
        """P(y) of latents, unfloored, float32 in 0..1.

        Args:
          latents: float32 `[..., C]`, after the gain.
          gains: float32, of a shape that can be broadcast to that of `latents`.
        """
        upper, lower = (latents + 0.5) / gains, (latents - 0.5) / gains
        above, below = (self.density.survival_function(x) for x in (lower, upper))
        cdf, lower_cdf = self.density.cdf(upper), self.density.cdf(lower)
        # of two equal differences the one between smaller numbers is the more precise
        return tf.where(below < cdf, above - below, cdf - lower_cdf)

    def tables(self, gains: tf.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The integer form for some gains.

        Args:
          gains: float32 `[S, C]`.

        Returns:
          `(masses, centres, spreads)`, int32 arrays `[S * C, 513]`, `[S * C]` and `[S * C]`, as
          `TableDistribution` takes them.
        """
        values = tf.range(mixture.LATENT_MIN, mixture.LATENT_MAX + 1, dtype=tf.float32)
        latents = tf.tile(values[:, None], [1, gains.shape[1]])
        shares = [self.likelihood(latents, level).numpy().T for level in tf.unstack(gains)]
        shares = np.maximum(np.concatenate(shares).astype(np.float64), 0)
        # what lies beyond the ends belongs to them; where, matters little
        shares[:, [0, -1]] += np.maximum(1 - shares.sum(1, keepdims=True), 0) / 2
        below = np.cumsum(shares, 1) / shares.sum(1, keepdims=True)
        masses = np.round(below * 2**TOTAL_BITS) + im.FLOOR * np.arange(1, ROW)
        masses = np.pad(masses, [(0, 0), (1, 0)]).astype(np.int32)
        numbers = np.arange(im.SYMBOLS)
        means = (shares * numbers).sum(1) / shares.sum(1)
        variances = (shares * (numbers - means[:, None]) ** 2).sum(1) / shares.sum(1)
        spreads = np.clip(np.round(np.sqrt(variances)), 1, im.SYMBOLS).astype(np.int32)
        return masses, shares.argmax(1).astype(np.int32), spreads


class TableDistribution(NamedTuple):
    """The integer CDF of E elements, as rows of a table; see `integer_mixture.Distribution`.

    Attributes:
      row: int32 `[E]`.
      masses: int32 `[rows, 513]`, mass below each symbol's lower boundary, and in the end of all.
      centre, spread, total: int32 `[E]`.
    """

    row: tf.Tensor
    masses: tf.Tensor
    centre: tf.Tensor
    spread: tf.Tensor
    total: tf.Tensor

    @property
    def columns(self) -> tuple[tf.Tensor, ...]:
        """As `integer_mixture.Distribution` has it."""
        return (self.row[None],)

    def mass(self, columns: Sequence[tf.Tensor], boundary: tf.Tensor) -> tf.Tensor:
        """Mass below symbol boundaries 0 to 512, int32 `[n]`."""
        return tf.gather(tf.reshape(self.masses, [-1]), columns[0][0] * ROW + boundary)


def distribution(
    row: tf.Tensor, masses: tf.Tensor, centres: tf.Tensor, spreads: tf.Tensor
) -> TableDistribution:
    """The `TableDistribution` of elements with rows `row` (int32 `[E]`) of `tables`."""
    centre, spread = tf.gather(centres, row), tf.gather(spreads, row)
    return TableDistribution(row, masses, centre, spread, tf.gather(masses[:, -1], row))
