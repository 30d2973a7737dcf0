"""Latents that depend on hyper latents, and on context, as an exported codec codes them."""

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import coders, compilation, fixed_point, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.models.coding import HYPER_LIMIT, Coding

# Hidden activations of the hyper synthesis are some hundredths in size: on the grid of 1/64 that
# suits the other layers they would lose 0.2 % of the rate.
HYPER_ACTIVATION_BITS = 8
LATENT_LIMIT = 256
# where latents are known: enough that elements, not operations, take the time
WAVEFRONTS_TOGETHER = 32


def _table(masses):
    """Rows for the range coder, int32 `[n, m + 2]`, of probabilities `[m, n]`.

    They have no escape code (see `tfclic.entropy.coders`), hence every value is in the table.
    """
    cdf = tfc.pmf_to_quantized_cdf(tf.transpose(masses), coders.PRECISION).numpy()
    return np.pad(cdf, [(0, 0), (1, 0)], constant_values=coders.PRECISION)


class ConditionalCoding(Coding):
    """Codes latents and hyper latents into one string, and back.

    "Hyper synthesis", "context" and "parameter network" are those of the codec, rounded to fixed
    point. Without context all latents can be decoded at once.

    Args:
      codec: a trained `tfclic.models.conditional.ConditionalCodec`.
      slope: of the leaky ReLU in its entropy networks, as in `fixed_point.FixedPointDense`.

    Raises:
      ValueError: if a layer's sums could leave the exact integers; names the layer.
    """

    def __init__(self, codec, slope, name="coding"):
        super().__init__(name=name)
        self.channels = codec.config.latent_channels
        self.mixtures = codec.mixture.mixtures
        self.hyper_channels = codec.config.hyper_channels
        # logits, means and scales, or what the networks give of them; the others are 0
        self.kinds = codec.kinds
        self.mask = self.context = None
        self.network = self._parameter_network(codec, slope)
        self.features = self._hyper_synthesis(codec, slope, last_of_all=not self.network)
        if codec.context is not None:
            self.mask, self.context = codec.context.mask, self._context(codec.context)
            self.together = WAVEFRONTS_TOGETHER
        values = tf.range(-HYPER_LIMIT, HYPER_LIMIT + 1, dtype=tf.float32)
        table = _table(codec.hyper_prior.prob(values[:, None]))
        self.hyper_table = tf.Variable(table, trainable=False, name="hyper_table")
        bits = -codec.hyper_prior.log_prob(values[:, None]) / tf.math.log(2.0)
        self.hyper_bits = tf.Variable(bits, trainable=False, name="hyper_bits")
        self.least_bits = self._least_bits(table)

    @property
    def table(self):
        """The rows of the hyper latents, one for each channel."""
        return self.hyper_table

    def _least_bits(self, table):
        hyper = coders.least_cost(np.diff(table[:, 1:]).max(1)).numpy().sum()
        return float(hyper + self.least_of_latents()) / 2**coders.COST_BITS

    @staticmethod
    def _context(context):
        visible, channels, filters = context.taps.shape
        return fixed_point.FixedPointDense(
            context.taps.numpy().reshape(visible * channels, filters),
            context.bias.numpy(),
            input_bits=0,
            input_limit=LATENT_LIMIT,
            name="context",
        )

    def _hyper_synthesis(self, codec, slope, last_of_all):
        layers, result = codec.hyper_synthesis.layers, []
        for i, layer in enumerate(layers):
            grids = dict(input_bits=HYPER_ACTIVATION_BITS)
            if i == 0:
                grids = dict(input_bits=0, input_limit=HYPER_LIMIT)
            last = i == len(layers) - 1
            output_bits = fixed_point.ACTIVATION_BITS if last else HYPER_ACTIVATION_BITS
            if last and last_of_all:
                grids["convert"], output_bits = self._to_grids, 0
            result.append(
                fixed_point.FixedPointSubpixel(
                    layer,
                    name=f"hyper_synthesis_{i}",
                    output_bits=output_bits,
                    slope=1.0 if last else slope,
                    **grids,
                )
            )
        return result

    def _parameter_network(self, codec, slope):
        if codec.parameter_network is None:
            return []
        layers, result = codec.parameter_network.layers, []
        for i, layer in enumerate(layers):
            kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
            last = i == len(layers) - 1
            if last:
                kernel, bias = self._to_grids(kernel, bias)
            result.append(
                fixed_point.FixedPointDense(
                    kernel,
                    bias,
                    output_bits=0 if last else fixed_point.ACTIVATION_BITS,
                    slope=1.0 if last else slope,
                    name=f"parameter_network_{i}",
                )
            )
        return result

    def _to_grids(self, kernel, bias):
        """Makes the last layer give the integers of `IntegerParameters`."""
        units = [2.0**im.LOGIT_BITS, 2.0**im.MEAN_BITS, 1 / mixture.SCALE_STEP]
        lowest = [0, 0, np.log(mixture.SCALE_MIN)]
        unit, lowest = (
            np.repeat(x[-self.kinds :], self.mixtures * self.channels) for x in (units, lowest)
        )
        return kernel * unit, (bias - lowest) * unit

    def parameters(self, features, known, neighbours, kernels=None):
        """The parameters of the distributions at some positions.

        Args:
          features: float32 `[n, F]`, integers, the hyper synthesis' results at these positions.
          known: float32 `[P + 1, C]`, integers, latents as `wavefront.arrange` gives them.
          neighbours: int32 `[n, V]`, rows of `known` in the context of each position.
          kernels: `prepare()`, to keep the conversion out of loops.

        Returns:
          float32 `[n, 3 * K * C]`, integers: logits, means and scales on their grids.
        """
        x, kernels = features, list(kernels or self.prepare())
        if self.context is not None:
            visible = neighbours.shape[1] * self.channels
            context = tf.reshape(tf.gather(known, neighbours), [-1, visible])
            x = tf.concat([x, self.context(context, kernels.pop(0))], -1)
        for layer, kernel in zip(self.network, kernels):
            x = layer(x, kernel)
        missing = (3 - self.kinds) * self.mixtures * self.channels
        return tf.pad(x, [[0, 0], [missing, 0]]) if missing else x

    def prepare(self):
        """The kernels that `parameters` needs, as float32."""
        context = [] if self.context is None else [self.context]
        return [layer.prepare() for layer in (*context, *self.network)]

    def hyper_features(self, hyper_latents):
        """float32 `[h, w, F]`, integers, of hyper latents `[h/4, w/4, hyper_channels]`."""
        for layer in self.features:
            hyper_latents = layer(hyper_latents)
        return hyper_latents

    def arranged_features(self, hyper_latents, order):
        """`hyper_features` in the coding order, `[P, F]`."""
        features = self.hyper_features(hyper_latents)
        flat = tf.reshape(features, [-1, features.shape[2]])
        return tf.gather(flat, order.raster)

    def order(self, height, width):
        """In wavefronts; without context, in the order of rows."""
        if self.context is None:
            return wavefront.raster_order(height, width)
        return wavefront.order(height, width, self.mask)

    def code_side(self, coder, state, hyper_latents, latents, known):
        """Codes the hyper latents, all channels of a position together."""
        shape = tf.shape(hyper_latents)
        rows = tf.tile(tf.range(self.hyper_channels), [shape[0] * shape[1]])
        values = tf.cast(tf.reshape(hyper_latents, [-1]), tf.int32) + HYPER_LIMIT
        state, values = coder.symbols(state, rows, values)
        return state, tf.reshape(tf.cast(values - HYPER_LIMIT, tf.float32), shape)

    def distributions(self, side, latents, order, known):
        """The mixtures of all latents; where these are known, from one pass of the networks."""
        features = self.arranged_features(side, order)
        kernels, table = self.prepare(), im.normal_table()
        at_once = known and self.context is not None
        if at_once:
            arranged = wavefront.arrange(latents, order)
            rows = self.parameters(features, arranged, order.neighbours, kernels)

        def distribution_at(latents, chosen):
            if at_once:
                found = tf.gather(rows, chosen)
            else:
                neighbours = tf.gather(order.neighbours, chosen)
                found = self.parameters(tf.gather(features, chosen), latents, neighbours, kernels)
            return im.distribution_of_rows(found, self.mixtures, table)

        return distribution_at

    def _rows(self, hyper_latents, latents):
        """The coding order, and all parameters in it, of known latents."""
        order = self.order(tf.shape(latents)[0], tf.shape(latents)[1])
        known = wavefront.arrange(latents, order)
        features = self.arranged_features(hyper_latents, order)
        return order, self.parameters(features, known, order.neighbours)

    def _in_place(self, x, order, latents):
        """Elements `[P * C, ...]` in the coding order, as `latents` `[h, w, C]` have them."""
        found = tf.gather(tf.reshape(x, [-1, self.channels, *x.shape[1:]]), order.rank)
        return tf.reshape(found, tf.concat([tf.shape(latents), x.shape[1:]], 0))

    def _bits(self, rows, order, candidates):
        """Bits of each element of `candidates`, by parameters in the coding order."""
        dist, found = im.distribution_of_rows(rows, self.mixtures), []
        for latents in candidates:
            flat = tf.reshape(wavefront.arrange(latents, order)[:-1], [-1])
            bits = im.bits(dist, tf.cast(flat, tf.int32))
            found.append(self._in_place(bits, order, latents))
        return found

    def bits(self, hyper_latents, known, candidates):
        """As `Coding` has it."""
        order, rows = self._rows(hyper_latents, known)
        return self._bits(rows, order, candidates)

    @compilation.uncompiled
    def explain(self, hyper_latents, latents):
        """What each element costs by its integer probability, and why.

        Returns:
          A dict of float32 arrays: `latents_bits` `[h, w, C]` and `hyper_latents_bits`
          `[h/4, w/4, hyper_channels]`; `weights`, `means` and `scales` `[h, w, C, K]`, the mixtures
          with their parameters on the grids of the exact coder.
        """
        order, rows = self._rows(hyper_latents, latents)
        logits, means, scales = im.to_floats(im.parameters_of_rows(rows, self.mixtures))

        def in_place(x):
            return self._in_place(x, order, latents)

        hyper = tf.cast(hyper_latents, tf.int32) + HYPER_LIMIT
        columns = tf.broadcast_to(tf.range(self.hyper_channels), tf.shape(hyper))
        return {
            "latents_bits": self._bits(rows, order, [latents])[0],
            "hyper_latents_bits": tf.gather_nd(self.hyper_bits, tf.stack([hyper, columns], -1)),
            "weights": in_place(tf.nn.softmax(logits)),
            "means": in_place(means),
            "scales": in_place(tf.exp(scales)),
        }
