"""Hyper latents as an exported codec codes them."""

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import coders, fixed_point, mixture
from tfclic.models.coding import HYPER_LIMIT, Coding

# Hidden activations of the hyper synthesis are some hundredths in size: on the grid of 1/64 that
# suits the other layers they would lose 0.2 % of the rate.
HYPER_ACTIVATION_BITS = 8
# of a prior to its table
FIT_STEPS = 1000
FIT_RATE = 0.01


def table_of(masses):
    """Rows for the range coder, int32 `[n, m + 2]`, of probabilities `[m, n]`.

    They have no escape code (see `tfclic.entropy.coders`), hence every value is in the table.
    """
    # differences of a cumulative function may be below 0 by its last bit
    masses = tf.maximum(tf.transpose(masses), 0)
    cdf = tfc.pmf_to_quantized_cdf(masses, coders.PRECISION).numpy()
    return np.pad(cdf, [(0, 0), (1, 0)], constant_values=coders.PRECISION)


def exact_hyper_synthesis(network, slope, rectified=None, input_limit=HYPER_LIMIT, last_grids=None):
    """The layers of a hyper synthesis, rounded to fixed point.

    Args:
      network: a `Sequential` of `SubpixelConv2D`.
      slope: of the leaky ReLU, as in `fixed_point.FixedPointDense`.
      rectified: which layers have a leaky ReLU, list of bools; if missing, all but the last.
      input_limit: largest magnitude of hyper latents.
      last_grids: the last layer's `fixed_point.Grids`; if missing, its results are on the grid of
        activations.

    Returns:
      A list of `fixed_point.FixedPointSubpixel`.

    Raises:
      ValueError: if a layer's sums could leave the exact integers; names the layer.
    """
    last = len(network.layers) - 1
    rectified = rectified or [True] * last + [False]
    result = []
    for i, layer in enumerate(network.layers):
        grids = dict(input_bits=HYPER_ACTIVATION_BITS, output_bits=HYPER_ACTIVATION_BITS)
        if i == 0:
            grids.update(input_bits=0, input_limit=input_limit)
        if i == last:
            grids["output_bits"] = 0 if last_grids else fixed_point.ACTIVATION_BITS
            grids["grids"] = last_grids or fixed_point.PLAIN
        grids.update(name=f"{network.name}_{i}", slope=slope if rectified[i] else 1.0)
        result.append(fixed_point.FixedPointSubpixel(layer, **grids))
    return result


def _fit(prior, bits):
    """Fits a prior to what its values cost, `[n, channels]`; returns its variables."""
    shares, variables = 2.0**-bits, list(prior.trainable_variables)
    values = tf.range(-HYPER_LIMIT, HYPER_LIMIT + 1, dtype=tf.float32)[:, None]
    optimizer = tf.keras.optimizers.Adam(FIT_RATE)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            found = tfc.lower_bound(prior.prob(values), mixture.LIKELIHOOD_FLOOR)
            cost = -tf.reduce_sum(shares * tf.math.log(found))
        optimizer.apply_gradients(zip(tape.gradient(cost, variables), variables))

    for _ in range(FIT_STEPS):
        step()
    return variables


class HyperCoding(Coding):
    """Codes the hyper latents, which come first in a string.

    Args:
      codec: a trained `tfclic.models.hyper.HyperCodec`.
    """

    def __init__(self, codec, name="coding"):
        super().__init__(name=name)
        self.channels = codec.config.latent_channels
        self.hyper_channels = codec.config.hyper_channels
        values = tf.range(-HYPER_LIMIT, HYPER_LIMIT + 1, dtype=tf.float32)
        table = table_of(codec.hyper_prior.prob(values[:, None]))
        self.hyper_table = tf.Variable(table, trainable=False, name="hyper_table")
        bits = -codec.hyper_prior.log_prob(values[:, None]) / tf.math.log(2.0)
        self.hyper_bits = tf.Variable(bits, trainable=False, name="hyper_bits")
        self.least_bits = self._least_bits(table)

    def restore(self, codec):
        """As `Coding.restore`; the prior is fitted to its table."""
        return [*super().restore(codec), *_fit(codec.hyper_prior, self.hyper_bits)]

    @property
    def table(self):
        """The rows of the hyper latents, one for each channel."""
        return self.hyper_table

    def _least_bits(self, table):
        # latents may be silent in all of their channels
        hyper = coders.least_cost(np.diff(table[:, 1:]).max(1)).numpy().sum()
        return float(hyper) / 2**coders.COST_BITS

    def code_side(self, coder, state, hyper_latents, latents, known):
        """Codes the hyper latents, all channels of a position together."""
        shape = tf.shape(hyper_latents)
        rows = tf.tile(tf.range(self.hyper_channels), [shape[0] * shape[1]])
        values = tf.cast(tf.reshape(hyper_latents, [-1]), tf.int32) + HYPER_LIMIT
        state, values = coder.symbols(state, rows, values)
        return state, tf.reshape(tf.cast(values - HYPER_LIMIT, tf.float32), shape)

    def bits_of_hyper_latents(self, hyper_latents):
        """What each of the hyper latents `[h/4, w/4, hyper_channels]` costs, float32."""
        rows = tf.cast(hyper_latents, tf.int32) + HYPER_LIMIT
        columns = tf.broadcast_to(tf.range(self.hyper_channels), tf.shape(rows))
        return tf.gather_nd(self.hyper_bits, tf.stack([rows, columns], -1))
