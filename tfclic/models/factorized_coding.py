"""Latents with a distribution for each channel, as an exported codec codes them."""

import math

import numpy as np
import tensorflow as tf

from tfclic.entropy import active, coders, compilation, factorized, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.models.coding import HYPER_STRIDE, Coding

# from one trained quality to the next; so gains are within some 5 % of those of the nearest set
LEVELS_BETWEEN = 4


class FactorizedCoding(Coding):
    """Codes latents into one string, and back; there are no hyper latents.

    How wide the distributions are depends on the gain, and so on the quality. The string begins
    with a *level*, the number of one of S sets of distributions, made for qualities from 0 to 100
    in equal steps; the writer takes that with the fewest bits.

    Args:
      codec: a trained `Factorized`.
    """

    hyper_channels = 0

    def __init__(self, codec, name="coding"):
        super().__init__(name=name)
        self.channels = codec.config.latent_channels
        self.levels = LEVELS_BETWEEN * (len(codec.lmbdas) - 1) + 1
        gains = codec.gains(tf.linspace(0.0, 100.0, self.levels))[:, 0, 0]
        masses, centres, spreads = codec.prior.tables(gains)
        self.masses = tf.Variable(masses, trainable=False, name="masses")
        self.centres = tf.Variable(centres, trainable=False, name="centres")
        self.spreads = tf.Variable(spreads, trainable=False, name="spreads")
        ends = np.arange(self.levels + 1) * (1 << coders.PRECISION) // self.levels
        self.level_table = np.array([[coders.PRECISION, *ends]], np.int32)
        self.least_bits = float(self.least_of_latents()) / 2**coders.COST_BITS

    @property
    def table(self):
        """A row of equal shares for the level."""
        return self.level_table

    def _bits(self):
        """Bits of each symbol, float32 `[S, C, 512]`."""
        shares = tf.cast(self.masses[:, 1:] - self.masses[:, :-1], tf.float32)
        total = tf.cast(self.masses[:, -1:], tf.float32)
        bits = tf.math.log(total / shares) / math.log(2.0)
        return tf.reshape(bits, [self.levels, self.channels, im.SYMBOLS])

    def _rows(self, level, positions):
        return tf.tile(level * self.channels + tf.range(self.channels), [positions])

    def best_level(self, latents):
        """The level, int32 `[1]`, at which latents `[h, w, C]` take the fewest bits."""
        symbols = tf.reshape(tf.cast(latents, tf.int32), [-1, self.channels]) - mixture.LATENT_MIN
        kinds = symbols + tf.range(self.channels) * im.SYMBOLS
        count = self.channels * im.SYMBOLS
        counts = tf.math.bincount(tf.reshape(kinds, [-1]), minlength=count, maxlength=count)
        counts = tf.reshape(tf.cast(counts, tf.float32), [self.channels, im.SYMBOLS])
        totals = tf.reduce_sum(self._bits() * counts, [1, 2])
        return tf.argmin(totals, output_type=tf.int32)[None]

    def order(self, height, width):
        """By rows."""
        return wavefront.raster_order(height, width)

    def code_side(self, coder, state, hyper_latents, latents, known):
        """Codes the level, int32 `[1]`."""
        row = tf.zeros([1], tf.int32)
        return coder.symbols(state, row, self.best_level(latents) if known else row)

    def code_used(self, coder, state, latents):
        """As `Coding.code_used`; all channels are coded, since nothing else would bound an image.

        There are no hyper latents that a string would have to hold.
        """
        return state, None

    def distributions(self, side, latents, order, known, used=None):
        """The channels' distributions at the level `side`."""

        def distribution_at(_, chosen):
            rows = self._rows(side, tf.size(chosen))
            return factorized.distribution(rows, self.masses, self.centres, self.spreads)

        return distribution_at

    @compilation.uncompiled
    def judged(self, string, height, width, strict):
        """As `Coding.judged`, with hyper latents `[h/4, w/4, 0]` in the place of the level."""
        sound, _, latents = super().judged(string, height, width, strict)
        return sound, tf.zeros([height // HYPER_STRIDE, width // HYPER_STRIDE, 0]), latents

    def bits(self, hyper_latents, known, candidates, used=None):
        """As `Coding` has it."""
        shape, table = tf.shape(known), tf.reshape(self._bits(), [-1, im.SYMBOLS])
        if used is not None:
            candidates = [active.everywhere(each, used, self.channels) for each in candidates]
            all_bits = self.bits(
                hyper_latents, active.everywhere(known, used, self.channels), candidates
            )
            return [tf.gather(bits, used, axis=-1) for bits in all_bits]
        rows, found = self._rows(self.best_level(known), shape[0] * shape[1]), []
        for latents in candidates:
            symbols = tf.reshape(tf.cast(latents, tf.int32), [-1]) - mixture.LATENT_MIN
            bits = tf.gather_nd(table, tf.stack([rows, symbols], -1))
            found.append(tf.reshape(bits, shape))
        return found

    @compilation.uncompiled
    def explain(self, hyper_latents, latents):
        """What each latent costs.

        Returns:
          A dict of float32 arrays: `latents_bits` `[h, w, C]` and `hyper_latents_bits`
          `[h/4, w/4, 0]`.
        """
        (bits,) = self.bits(hyper_latents, latents, [latents])
        return {"latents_bits": bits, "hyper_latents_bits": hyper_latents}

    def total_bits(self, explained):
        """As `Coding.total_bits`, with the level, which belongs to no latent."""
        return super().total_bits(explained) + math.log2(self.levels)
