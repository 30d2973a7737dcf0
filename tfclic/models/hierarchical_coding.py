"""Latents under two levels of hyper latents, as an exported codec codes them."""

import functools

import numpy as np
import tensorflow as tf

from tfclic.entropy import coders, compilation, fixed_point, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.entropy.fixed_point_neighbourhood import FixedPointNeighbourhood
from tfclic.layers import in_turn
from tfclic.models.coding import ACTIVE_REVISION, HYPER_LIMIT, HYPER_STRIDE, Coding
from tfclic.models.hyper_coding import exact_hyper_synthesis, table_of

LATENT_LIMIT = 256
RELU = 0.0  # as a slope


def join(fine, coarse):
    """Two levels as one array: `[B, 2h, 2w, F]` and `[B, h, w, G]` to `[B, h, w, 4F + G]`."""
    return tf.concat([tf.nn.space_to_depth(fine, 2), coarse], -1)


def split(hyper_latents, coarse_channels):
    """The two levels of what `join` gave."""
    fine = tf.nn.depth_to_space(hyper_latents[..., :-coarse_channels], 2)
    return fine, hyper_latents[..., -coarse_channels:]


class HierarchicalCoding(Coding):
    """Codes the coarse level, then the fine one, then the latents, into one string.

    The coarse level has a distribution for each channel; those of the others follow from the level
    above by exact networks, so that each level is decoded at once, without context.

    Args:
      codec: a trained `tfclic.models.coarse_to_fine.CoarseToFine`.
      slope: of the leaky ReLU in its predictions.

    Raises:
      ValueError: if a layer's sums could leave the exact integers; names the layer.
    """

    revision = ACTIVE_REVISION

    def __init__(self, codec, slope, name="coding"):
        super().__init__(name=name)
        self.channels = codec.config.latent_channels
        self.fine_channels, self.coarse_channels = codec.fine_channels, codec.coarse_channels
        self.hyper_channels = 4 * self.fine_channels + self.coarse_channels
        self.coarse_synthesis, self.fine_synthesis = (
            exact_hyper_synthesis(network, RELU, network.is_rectified, limit)
            for network, limit in (
                (codec.coarse_synthesis, HYPER_LIMIT),
                (codec.fine_synthesis, LATENT_LIMIT),
            )
        )
        self.fine_prediction, self.prediction = (
            FixedPointNeighbourhood(network, slope, _grids(channels), name=network.name)
            for network, channels in (
                (codec.fine_prediction, self.fine_channels),
                (codec.prediction, self.channels),
            )
        )
        values = tf.range(-HYPER_LIMIT, HYPER_LIMIT + 1, dtype=tf.float32)
        shape = [values.shape[0], self.coarse_channels]
        parameters = codec.coarse_prior.parameters(shape)
        masses = codec.gaussian.likelihood(tf.broadcast_to(values[:, None], shape), parameters)
        table = table_of(masses)
        self.coarse_table = tf.Variable(table, trainable=False, name="coarse_table")
        self.least_bits = self._least_bits(table)

    def restore(self, codec):
        """As `Coding.restore`; the coarse prior follows from how likely its table has zeros."""
        zeros = np.diff(self.coarse_table.numpy()[:, 1:])[:, HYPER_LIMIT] / 2**coders.PRECISION
        inverses = 2 * tf.math.ndtri((1 + zeros) / 2)
        codec.coarse_prior.assign(-tf.math.log(tf.cast(inverses, tf.float32)))
        return [*super().restore(codec), *codec.coarse_prior.variables]

    @property
    def table(self):
        """The rows of the coarse level, one for each channel."""
        return self.coarse_table

    def _least_bits(self, table):
        coarse = coders.least_cost(np.diff(table[:, 1:]).max(1)).numpy().sum()
        # four fine positions for sixteen of latents, which may be silent in all of their channels
        fine = self.least_of_latents() / HYPER_STRIDE * self.fine_channels / self.channels
        return float(coarse + fine) / 2**coders.COST_BITS

    def order(self, height, width):
        """By rows."""
        return wavefront.raster_order(height, width)

    def _distributions(self, prediction, features, last=None):
        """The `distribution_at` of `wavefront.traverse` that a prediction gives."""
        height, width = tf.shape(features)[0], tf.shape(features)[1]
        maps, table = prediction.maps(features), im.normal_table(1)

        def distribution_at(_, chosen):
            found = prediction.rows(maps, height, width, chosen, last)
            return im.distribution_of_rows(mixture.completed(found, 2), 1, table)

        return distribution_at

    def code_side(self, coder, state, hyper_latents, latents, known):
        """Codes the coarse level by its table, and the fine one by what that predicts."""
        fine, coarse = self._levels(hyper_latents)
        shape = tf.shape(coarse)
        rows = tf.tile(tf.range(self.coarse_channels), [shape[0] * shape[1]])
        values = tf.cast(tf.reshape(coarse, [-1]), tf.int32) + HYPER_LIMIT
        state, values = coder.symbols(state, rows, values)
        coarse = tf.reshape(tf.cast(values - HYPER_LIMIT, tf.float32), shape)
        # more than the string can hold shows here, before the networks take time and memory
        with tf.control_dependencies([self.possible(coder, state)]):
            coarse = tf.identity(coarse)
        distribution_at = self._distributions(self.fine_prediction, self.coarse_features(coarse))
        order = self.order(tf.shape(fine)[0], tf.shape(fine)[1])
        state, fine = wavefront.traverse(coder, state, fine, distribution_at, order)
        return state, join(fine[None], coarse[None])[0]

    def distributions(self, side, latents, order, known, used=None):
        """The Gaussians of all latents, by the fine level in `side`."""
        features = self.features(self._levels(side)[0])
        return self._distributions(self.prediction, features, self._prepared(used))

    def _prepared(self, used):
        """What the last layer of the prediction needs for the channels `used` alone."""
        if used is None:
            return None
        return self.prediction.prepare(tf.concat([used, self.channels + used], 0))

    def coarse_features(self, coarse):
        """What the fine level is predicted from, float32 `[2h, 2w, *]`, of coarse `[h, w, G]`."""
        return in_turn(self.coarse_synthesis, coarse)

    def features(self, fine):
        """What latents are predicted from, float32 `[2h, 2w, *]`, of fine `[h, w, F]`."""
        return in_turn(self.fine_synthesis, fine)

    def _levels(self, hyper_latents):
        return [level[0] for level in split(hyper_latents[None], self.coarse_channels)]

    def bits(self, hyper_latents, known, candidates, used=None):
        """As `Coding` has it."""
        shape, features = tf.shape(known), self.features(self._levels(hyper_latents)[0])
        rows = self._rows(self.prediction, features, shape, self._prepared(used))
        dist = im.distribution_of_rows(rows, 1)
        flat = (tf.cast(tf.reshape(latents, [-1]), tf.int32) for latents in candidates)
        return [tf.reshape(im.bits(dist, latents), shape) for latents in flat]

    @compilation.uncompiled
    def round(self, latents, hyper_latents):
        """As `Coding` has it; hyper latents are rounded level by level."""
        low, high = mixture.LATENT_MIN, mixture.LATENT_MAX
        fine, coarse = self._levels(tf.round(hyper_latents))
        coarse = tf.clip_by_value(coarse, -float(HYPER_LIMIT), float(HYPER_LIMIT))
        hyper_latents = join(tf.clip_by_value(fine, low, high)[None], coarse[None])[0]
        bits = functools.partial(self.bits, hyper_latents)
        return self.chosen(latents, bits), hyper_latents

    @compilation.uncompiled
    def explain(self, hyper_latents, latents):
        """What each element costs by its integer probability, and why.

        Returns:
          A dict of float32 arrays: `latents_bits` `[h, w, C]`, `fine_bits` `[h/2, w/2, F]`,
          `coarse_bits` `[h/4, w/4, G]` and `channels_bits` `[h/4, w/4, 1]`; `weights`, `means` and
          `scales` `[h, w, C, 1]`, the Gaussians with their parameters on the grids of the exact
          coder; `fine`, `fine_means` and `fine_scales` `[h/2, w/2, F]`, and `coarse`
          `[h/4, w/4, G]`.
        """
        fine, coarse = self._levels(hyper_latents)
        levels = {
            "fine": (self.fine_prediction, self.coarse_features(coarse), fine),
            "latents": (self.prediction, self.features(fine), latents),
        }
        found = {name: self._explained(*level) for name, level in levels.items()}
        index = tf.cast(coarse, tf.int32) + HYPER_LIMIT + 1
        channels = tf.broadcast_to(tf.range(self.coarse_channels), tf.shape(index))
        above, below = (
            tf.gather_nd(self.coarse_table, tf.stack([channels, index + i], -1)) for i in (1, 0)
        )
        share = tf.cast(above - below, tf.float32) / 2.0**coders.PRECISION
        means, scales = found["latents"]["means"][..., None], found["latents"]["scales"][..., None]
        return {
            "latents_bits": self.as_coded(found["latents"]["bits"], latents),
            "fine_bits": found["fine"]["bits"],
            "coarse_bits": -tf.math.log(share) / tf.math.log(2.0),
            "channels_bits": self.bits_of_channels(latents),
            "weights": tf.ones_like(means),
            "means": means,
            "scales": scales,
            "fine": fine,
            "fine_means": found["fine"]["means"],
            "fine_scales": found["fine"]["scales"],
            "coarse": coarse,
        }

    @staticmethod
    def _rows(prediction, features, shape, last=None):
        """The parameters of all latents of `shape`, `[h * w, 3C]`."""
        positions, maps = tf.range(shape[0] * shape[1]), prediction.maps(features)
        return mixture.completed(prediction.rows(maps, shape[0], shape[1], positions, last), 2)

    def _explained(self, prediction, features, latents):
        """Bits, means and scales of all latents `[h, w, C]`, a dict."""
        shape = tf.shape(latents)
        rows = self._rows(prediction, features, shape)
        flat = tf.cast(tf.reshape(latents, [-1]), tf.int32)
        _, means, scales = im.to_floats(im.parameters_of_rows(rows, 1))
        return {
            "bits": tf.reshape(im.bits(im.distribution_of_rows(rows, 1), flat), shape),
            "means": tf.reshape(means, shape),
            "scales": tf.reshape(tf.exp(scales), shape),
        }


def _grids(channels):
    """Those on which the last layer of a prediction gives the integers of `IntegerParameters`."""
    units, lowest = [2.0**im.MEAN_BITS, 1 / mixture.SCALE_STEP], [0, np.log(mixture.SCALE_MIN)]
    return fixed_point.Grids(*(np.repeat(x, channels) for x in (units, lowest)))
