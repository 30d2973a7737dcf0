"""Streams with tables of their own, in exact integers: each channel has its distribution.

These are the nodes `independent` and `gained` of programs (see `tfclic.entropy.program`). An
`EntropyCoder` makes them once, and their tables are variables of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import coders, factorized, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.entropy.layout import SIDE_STRIDE

if TYPE_CHECKING:
    from tfclic.entropy.coders import Coder, State
    from tfclic.entropy.integer_mixture import AnyDistribution
    from tfclic.entropy.program import Gain, Prior

SIDE_LIMIT = 127  # of streams whose elements are independent
# of a gained stream, from one trained quality to the next; gains are within some 5 % of the nearest
LEVELS_BETWEEN = 4


class Independent(tf.Module):
    """A stream whose elements have a distribution for each channel: a table.

    Args:
      prior: has `prob`, and `fit`, its inverse as far as there is one.
      stride: latents to an element, each way.
    """

    def __init__(self, prior: Prior, stride: int, name: str) -> None:
        super().__init__(name=name)
        self.stride, self._prior = stride, lambda: prior
        values = tf.range(-SIDE_LIMIT, SIDE_LIMIT + 1, dtype=tf.float32)[:, None]
        # differences of a cumulative function may be below 0 by its last bit
        masses = tf.maximum(tf.transpose(prior.prob(values)), 0)
        cdf = tfc.pmf_to_quantized_cdf(masses, coders.PRECISION).numpy()
        # no row has an escape code (see `tfclic.entropy.coders`), hence every value is in the table
        table = np.pad(cdf, [(0, 0), (1, 0)], constant_values=coders.PRECISION)
        self.table = tf.Variable(table, trainable=False, name="table")
        self.channels = len(table)
        self.extra_bits = 0.0

    @property
    def least_cost(self) -> int:
        """The least that a position of the joined streams takes, 2**-16 bits."""
        cost = coders.least_cost(np.diff(self.table.numpy()[:, 1:]).max(1)).numpy().sum()
        return int(cost) * (SIDE_STRIDE // self.stride) ** 2

    def restore(self) -> list[tf.Variable]:
        """Fits the prior to the table; returns its variables."""
        masses = np.diff(self.table.numpy()[:, 1:]) / 2.0**coders.PRECISION
        return self._prior().fit(masses.T.astype(np.float32), -SIDE_LIMIT)

    def code(
        self, coder: Coder, state: State, values: tf.Tensor, first_row: int
    ) -> tuple[State, tf.Tensor]:
        """Codes integers `[h, w, C]`, all channels of a position together."""
        shape = tf.shape(values)
        rows = tf.tile(first_row + tf.range(self.channels), [shape[0] * shape[1]])
        symbols = tf.cast(tf.reshape(values, [-1]), tf.int32) + SIDE_LIMIT
        state, symbols = coder.symbols(state, rows, symbols)
        return state, tf.reshape(tf.cast(symbols - SIDE_LIMIT, tf.float32), shape)

    def bits(self, values: tf.Tensor) -> tf.Tensor:
        """What each of integers `[h, w, C]` costs."""
        index = tf.cast(values, tf.int32) + SIDE_LIMIT + 1
        channels = tf.broadcast_to(tf.range(self.channels), tf.shape(index))
        above, below = (
            tf.gather_nd(self.table, tf.stack([channels, index + i], -1)) for i in (1, 0)
        )
        share = tf.cast(above - below, tf.float32) / 2.0**coders.PRECISION
        return -tf.math.log(share) / math.log(2.0)


class Gained(tf.Module):
    """A stream whose distributions depend on a gain, and so on the quality.

    It begins with a *level*, the number of one of S sets of distributions, made for qualities from
    0 to 100 in equal steps; the writer takes that with the fewest bits.

    Args:
      prior: a `factorized.FactorizedPrior`.
      gain: function of qualities `[n]` to gains `[n, 1, 1, C]`.
      qualities: how many are trained.
    """

    def __init__(
        self, prior: factorized.FactorizedPrior, gain: Gain, qualities: int, name: str
    ) -> None:
        super().__init__(name=name)
        self.stride = 1
        self.levels = LEVELS_BETWEEN * (qualities - 1) + 1
        gains = gain(tf.linspace(0.0, 100.0, self.levels))[:, 0, 0]
        self.channels = gains.shape[1]
        masses, centres, spreads = prior.tables(gains)
        self.masses = tf.Variable(masses, trainable=False, name="masses")
        self.centres = tf.Variable(centres, trainable=False, name="centres")
        self.spreads = tf.Variable(spreads, trainable=False, name="spreads")
        ends = np.arange(self.levels + 1) * (1 << coders.PRECISION) // self.levels
        self.table = np.array([[coders.PRECISION, *ends]], np.int32)
        self.extra_bits = math.log2(self.levels)
        self.least_cost = SIDE_STRIDE**2 * self.channels * least_decision()

    def restore(self) -> list[tf.Variable]:
        """Nothing: the prior cannot be told from its tables."""
        return []

    def code(
        self, coder: Coder, state: State, latents: tf.Tensor, first_row: int, known: bool
    ) -> tuple[State, tf.Tensor]:
        """Codes the level, and latents `[h, w, C]`; `known`, whether they are."""
        row = tf.fill([1], first_row)
        state, level = coder.symbols(state, row, self.best_level(latents) if known else row)

        def distribution_at(_: tf.Tensor, chosen: tf.Tensor) -> AnyDistribution:
            rows = self._rows(level, tf.size(chosen))
            return factorized.distribution(rows, self.masses, self.centres, self.spreads)

        order = wavefront.raster_order(tf.shape(latents)[0], tf.shape(latents)[1])
        return wavefront.traverse(coder, state, latents, distribution_at, order)

    def bits(self, known: tf.Tensor, candidates: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """What each latent of the candidates costs, at the level that is best for `known`."""
        rows = self._rows(self.best_level(known), tf.size(known) // self.channels)
        table, found = tf.reshape(self._bits(), [-1, im.SYMBOLS]), []
        for latents in candidates:
            symbols = tf.reshape(tf.cast(latents, tf.int32), [-1]) - mixture.LATENT_MIN
            bits = tf.gather_nd(table, tf.stack([rows, symbols], -1))
            found.append(tf.reshape(bits, tf.shape(known)))
        return found

    def best_level(self, latents: tf.Tensor) -> tf.Tensor:
        """The level, int32 `[1]`, at which latents `[h, w, C]` take the fewest bits."""
        symbols = tf.reshape(tf.cast(latents, tf.int32), [-1, self.channels]) - mixture.LATENT_MIN
        kinds = symbols + tf.range(self.channels) * im.SYMBOLS
        count = self.channels * im.SYMBOLS
        counts = tf.math.bincount(tf.reshape(kinds, [-1]), minlength=count, maxlength=count)
        counts = tf.reshape(tf.cast(counts, tf.float32), [self.channels, im.SYMBOLS])
        totals = tf.reduce_sum(self._bits() * counts, [1, 2])
        return tf.argmin(totals, output_type=tf.int32)[None]

    def _bits(self) -> tf.Tensor:
        """Bits of each symbol, float32 `[S, C, 512]`."""
        shares = tf.cast(self.masses[:, 1:] - self.masses[:, :-1], tf.float32)
        total = tf.cast(self.masses[:, -1:], tf.float32)
        bits = tf.math.log(total / shares) / math.log(2.0)
        return tf.reshape(bits, [self.levels, self.channels, im.SYMBOLS])

    def _rows(self, level: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        return tf.tile(level * self.channels + tf.range(self.channels), [positions])


def least_decision() -> int:
    """The least that an element takes which is coded by decisions, 2**-16 bits."""
    # a latent takes one decision at least, of a probability of 4095 / 4096 at most
    return int(coders.least_cost(((1 << coders.DECISION_BITS) - 1) << 4).numpy())
