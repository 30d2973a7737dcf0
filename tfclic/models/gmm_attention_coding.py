"""The entropy model of gmm_attention as an exported codec runs it: exact, in integers."""

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import coders, compilation, fixed_point, mixture, wavefront
from tfclic.entropy import integer_mixture as im

HYPER_LIMIT = 127
HYPER_STRIDE = 4  # latents per hyper latent, each way
# Hidden activations of the hyper synthesis are some hundredths in size: on the grid of 1/64 that
# suits the other layers they would lose 0.2 % of the rate.
HYPER_ACTIVATION_BITS = 8
LATENT_LIMIT = 256
# where latents are known: enough that elements, not operations, take the time
WAVEFRONTS_TOGETHER = 32
TOO_SHORT = "The image is too large for so few bytes."
NOT_OF_THIS_SIZE = "What is coded is not an image of this size."


def total_bits(explained):
    """All bits in what an entropy model's `explain` returns, float32."""
    bits = (array for name, array in explained.items() if name.endswith("_bits"))
    return tf.add_n([tf.reduce_sum(array) for array in bits])


def _table(masses):
    """Rows for the range coder, int32 `[n, m + 2]`, of probabilities `[m, n]`.

    They have no escape code (see `tfclic.entropy.coders`), hence every value is in the table.
    """
    cdf = tfc.pmf_to_quantized_cdf(tf.transpose(masses), coders.PRECISION).numpy()
    return np.pad(cdf, [(0, 0), (1, 0)], constant_values=coders.PRECISION)


class GmmAttentionCoding(tf.Module):
    """Codes latents and hyper latents into one string, and back.

    "Hyper synthesis", "context" and "parameter network" are those of the codec, rounded to fixed
    point.

    Args:
      codec: a trained `GmmAttention`.
      slope: of the leaky ReLU in its entropy networks.

    Raises:
      ValueError: if a layer's sums could leave the exact integers; names the layer.
    """

    def __init__(self, codec, slope, name="coding"):
        super().__init__(name=name)
        self.channels = codec.config.latent_channels
        self.mixtures = codec.config.mixtures
        self.hyper_channels = codec.config.hyper_channels
        self.mask = codec.context.mask
        self.features = self._hyper_synthesis(codec, slope)
        visible, channels, filters = codec.context.taps.shape
        self.context = fixed_point.FixedPointDense(
            codec.context.taps.numpy().reshape(visible * channels, filters),
            codec.context.bias.numpy(),
            input_bits=0,
            input_limit=LATENT_LIMIT,
            name="context",
        )
        self.network = self._parameter_network(codec, slope)
        values = tf.range(-HYPER_LIMIT, HYPER_LIMIT + 1, dtype=tf.float32)
        table = _table(codec.hyper_prior.prob(values[:, None]))
        self.hyper_table = tf.Variable(table, trainable=False, name="hyper_table")
        bits = -codec.hyper_prior.log_prob(values[:, None]) / tf.math.log(2.0)
        self.hyper_bits = tf.Variable(bits, trainable=False, name="hyper_bits")
        self.least_bits = self._least_bits(table)

    def _least_bits(self, table):
        """The least that one position of the hyper latents, and what it stands for, can take."""
        hyper = coders.least_cost(np.diff(table[:, 1:]).max(1)).numpy().sum()
        # a latent takes one decision at least, of a probability of 4095 / 4096 at most
        decision = coders.least_cost(((1 << coders.DECISION_BITS) - 1) << 4).numpy()
        return float(hyper + HYPER_STRIDE**2 * self.channels * decision) / 2**coders.COST_BITS

    @staticmethod
    def _hyper_synthesis(codec, slope):
        layers, result = codec.hyper_synthesis.layers, []
        for i, layer in enumerate(layers):
            grids = dict(input_bits=HYPER_ACTIVATION_BITS)
            if i == 0:
                grids = dict(input_bits=0, input_limit=HYPER_LIMIT)
            last = i == len(layers) - 1
            result.append(
                fixed_point.FixedPointSubpixel(
                    layer,
                    name=f"hyper_synthesis_{i}",
                    output_bits=fixed_point.ACTIVATION_BITS if last else HYPER_ACTIVATION_BITS,
                    slope=1.0 if last else slope,
                    **grids,
                )
            )
        return result

    def _parameter_network(self, codec, slope):
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
        unit = np.repeat(
            [2.0**im.LOGIT_BITS, 2.0**im.MEAN_BITS, 1 / mixture.SCALE_STEP],
            self.mixtures * self.channels,
        )
        lowest = np.repeat([0, 0, np.log(mixture.SCALE_MIN)], self.mixtures * self.channels)
        return kernel * unit, (bias - lowest) * unit

    def parameters(self, features, known, neighbours, kernels=None):
        """The parameter network's results of some positions.

        Args:
          features: float32 `[n, F]`, integers, the hyper synthesis' results at these positions.
          known: float32 `[P + 1, C]`, integers, latents as `wavefront.arrange` gives them.
          neighbours: int32 `[n, V]`, rows of `known` in the context of each position.
          kernels: `prepare()`, to keep the conversion out of loops.

        Returns:
          float32 `[n, 3 * K * C]`, integers: logits, means and scales on their grids.
        """
        context_kernel, *kernels = kernels or self.prepare()
        visible = neighbours.shape[1] * self.channels
        context = tf.reshape(tf.gather(known, neighbours), [-1, visible])
        x = tf.concat([features, self.context(context, context_kernel)], -1)
        for layer, kernel in zip(self.network, kernels):
            x = layer(x, kernel)
        return x

    def prepare(self):
        """The kernels that `parameters` needs, as float32."""
        return [layer.prepare() for layer in (self.context, *self.network)]

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

    def code(self, coder, hyper_latents, latents, known):
        """Walks hyper latents, then latents: the one definition of what is in a string.

        Args:
          coder: see `tfclic.entropy.coders`.
          hyper_latents: float32 `[h/4, w/4, hyper_channels]`, integers; a decoder needs the shape.
          latents: float32 `[h, w, C]`, integers; a decoder needs the shape.
          known: whether the latents are known, so that all parameters are computed in one pass.

        Returns:
          `(coder.finish(), hyper_latents, latents)`.
        """
        state, hyper_latents = self._code_hyper(coder, coder.start(), hyper_latents)
        # more than the string can hold shows here, before the networks take time and memory
        possible = tf.debugging.Assert(~coder.exhausted(state), [NOT_OF_THIS_SIZE])
        with tf.control_dependencies([possible]):
            hyper_latents = tf.identity(hyper_latents)
        order = wavefront.order(tf.shape(latents)[0], tf.shape(latents)[1], self.mask)
        features = self.arranged_features(hyper_latents, order)
        kernels, table = self.prepare(), im.normal_table()
        if known:
            arranged = wavefront.arrange(latents, order)
            rows = self.parameters(features, arranged, order.neighbours, kernels)

        def distribution_at(latents, chosen):
            if known:
                found = tf.gather(rows, chosen)
            else:
                neighbours = tf.gather(order.neighbours, chosen)
                found = self.parameters(tf.gather(features, chosen), latents, neighbours, kernels)
            return im.distribution_of_rows(found, self.mixtures, table)

        together = WAVEFRONTS_TOGETHER if known else 1
        state, latents = wavefront.traverse(coder, state, latents, distribution_at, order, together)
        return coder.finish(state), hyper_latents, latents

    def _code_hyper(self, coder, state, hyper_latents):
        shape = tf.shape(hyper_latents)
        rows = tf.tile(tf.range(self.hyper_channels), [shape[0] * shape[1]])
        values = tf.cast(tf.reshape(hyper_latents, [-1]), tf.int32) + HYPER_LIMIT
        state, values = coder.symbols(state, rows, values)
        return state, tf.reshape(tf.cast(values - HYPER_LIMIT, tf.float32), shape)

    @compilation.uncompiled
    def compress(self, hyper_latents, latents):
        """The string of integer-valued hyper latents and latents (shapes as in `code`)."""
        encoder = coders.RangeEncoder(self.hyper_table)
        return self.code(encoder, hyper_latents, latents, True)[0]

    def can_hold(self, length, rows, columns):
        """Whether strings of so many bytes can hold so many rows and columns of hyper latents."""
        count = tf.cast(rows, tf.float64) * tf.cast(columns, tf.float64)
        bits = 8 * tf.cast(length + coders.SPARE_BYTES, tf.float64)
        return bits >= count * self.least_bits

    @compilation.uncompiled
    def decompress(self, string, height, width):
        """Latents float32 `[height, width, C]` of a string; see `read`."""
        return self.read(string, height, width)[1]

    @compilation.uncompiled
    def read(self, string, height, width):
        """Hyper latents and latents of a string, as `compress` took them.

        Args:
          string: of rank 0.
          height, width: int32, of the latents, multiples of 4.

        Raises:
          tf.errors.InvalidArgumentError: the string is too short for so many latents, which is
            found out before memory is taken for them; or it turns out not to hold them.
        """
        rows, columns = height // HYPER_STRIDE, width // HYPER_STRIDE
        possible = self.can_hold(tf.strings.length(string), rows, columns)
        enough = tf.debugging.Assert(possible, [TOO_SHORT])
        with tf.control_dependencies([enough]):
            rows, columns = tf.identity(rows), tf.identity(columns)
        decoder = coders.RangeDecoder(self.hyper_table, string)
        hyper_latents = tf.zeros([rows, columns, self.hyper_channels])
        latents = tf.zeros([rows * HYPER_STRIDE, columns * HYPER_STRIDE, self.channels])
        sound, *coded = self.code(decoder, hyper_latents, latents, False)
        with tf.control_dependencies([tf.debugging.Assert(sound, [NOT_OF_THIS_SIZE])]):
            return [tf.identity(array) for array in coded]

    def estimate(self, hyper_latents, latents):
        """The sum of the bits of `explain`, float32; what `compress` should come to."""
        return total_bits(self.explain(hyper_latents, latents))

    @compilation.uncompiled
    def explain(self, hyper_latents, latents):
        """What each element costs by equation 8 and the prior's density, and why.

        Returns:
          A dict of float32 arrays: `latents_bits` `[h, w, C]` and `hyper_latents_bits`
          `[h/4, w/4, hyper_channels]`; `weights`, `means` and `scales` `[h, w, C, K]`, the mixtures
          with their parameters on the grids of the exact coder.
        """
        order = wavefront.order(tf.shape(latents)[0], tf.shape(latents)[1], self.mask)
        known = wavefront.arrange(latents, order)
        features = self.arranged_features(hyper_latents, order)
        rows = self.parameters(features, known, order.neighbours)
        logits, means, scales = im.to_floats(im.parameters_of_rows(rows, self.mixtures))
        likelihood = mixture.likelihood(tf.reshape(known[:-1], [-1]), logits, means, scales)
        # training's floor would hide what improbable latents really cost
        likelihood = tf.maximum(likelihood, im.FLOOR / 2.0 ** (im.WEIGHT_BITS + im.CDF_BITS))

        def in_place(x):
            found = tf.gather(tf.reshape(x, [-1, self.channels, *x.shape[1:]]), order.rank)
            return tf.reshape(found, tf.concat([tf.shape(latents), x.shape[1:]], 0))

        rows = tf.cast(hyper_latents, tf.int32) + HYPER_LIMIT
        columns = tf.broadcast_to(tf.range(self.hyper_channels), tf.shape(rows))
        return {
            "latents_bits": in_place(-tf.math.log(likelihood) / tf.math.log(2.0)),
            "hyper_latents_bits": tf.gather_nd(self.hyper_bits, tf.stack([rows, columns], -1)),
            "weights": in_place(tf.nn.softmax(logits)),
            "means": in_place(means),
            "scales": in_place(tf.exp(scales)),
        }

    def round(self, latents, hyper_latents):
        """Rounds and clips float latents and hyper latents to what can be coded."""
        latents = tf.clip_by_value(tf.round(latents), mixture.LATENT_MIN, mixture.LATENT_MAX)
        limit = float(HYPER_LIMIT)
        return latents, tf.clip_by_value(tf.round(hyper_latents), -limit, limit)
