"""Latents that depend on hyper latents, and on context, as an exported codec codes them."""

import numpy as np
import tensorflow as tf

from tfclic.entropy import compilation, fixed_point, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.layers import in_turn
from tfclic.models.coding import ACTIVE_REVISION
from tfclic.models.hyper_coding import HyperCoding, exact_hyper_synthesis

LATENT_LIMIT = 256
# where latents are known: enough that elements, not operations, take the time
WAVEFRONTS_TOGETHER = 32


class ConditionalCoding(HyperCoding):
    """Codes latents and hyper latents into one string, and back.

    "Hyper synthesis", "context" and "parameter network" are those of the codec, rounded to fixed
    point. Without context all latents can be decoded at once.

    Args:
      codec: a trained `tfclic.models.conditional.ConditionalCodec`.
      slope: of the leaky ReLU in its entropy networks, as in `fixed_point.FixedPointDense`.

    Raises:
      ValueError: if a layer's sums could leave the exact integers; names the layer.
    """

    revision = ACTIVE_REVISION

    def __init__(self, codec, slope, name="coding"):
        super().__init__(codec, name)
        self.mixtures = codec.mixture.mixtures
        # logits, means and scales, or what the networks give of them; the others are 0
        self.kinds = codec.kinds
        self.mask = self.context = None
        self.network = self._parameter_network(codec, slope)
        last_of_all = None if self.network else self._grids()
        self.features = exact_hyper_synthesis(codec.hyper_synthesis, slope, last_grids=last_of_all)
        if codec.context is not None:
            self.mask, self.context = codec.context.mask, self._context(codec.context)
            self.together = WAVEFRONTS_TOGETHER

    @staticmethod
    def _context(context):
        return fixed_point.FixedPointDense(
            context.taps,
            context.bias,
            input_bits=0,
            input_limit=LATENT_LIMIT,
            name="context",
        )

    def _parameter_network(self, codec, slope):
        if codec.parameter_network is None:
            return []
        layers, result = codec.parameter_network.layers, []
        for i, layer in enumerate(layers):
            last = i == len(layers) - 1
            result.append(
                fixed_point.FixedPointDense(
                    layer.kernel,
                    layer.bias,
                    output_bits=0 if last else fixed_point.ACTIVATION_BITS,
                    slope=1.0 if last else slope,
                    grids=self._grids() if last else fixed_point.PLAIN,
                    name=f"parameter_network_{i}",
                )
            )
        return result

    def _grids(self):
        """Those on which the last layer gives the integers of `IntegerParameters`."""
        units = [2.0**im.LOGIT_BITS, 2.0**im.MEAN_BITS, 1 / mixture.SCALE_STEP]
        lowest = [0, 0, np.log(mixture.SCALE_MIN)]
        count = self.mixtures * self.channels
        return fixed_point.Grids(*(np.repeat(x[-self.kinds :], count) for x in (units, lowest)))

    def parameters(self, features, known, neighbours, prepared=None):
        """The parameters of the distributions at some positions.

        Args:
          features: float32 `[n, F]`, integers, the hyper synthesis' results at these positions.
          known: float32 `[P + 1, C]`, integers, latents as `wavefront.arrange` gives them; all
            channels, or those for which the layers are prepared.
          neighbours: int32 `[n, V]`, rows of `known` in the context of each position.
          prepared: `prepare(used)`, to keep the conversion out of loops.

        Returns:
          float32 `[n, 3 * K * C]`, integers: logits, means and scales on their grids.
        """
        x, prepared = features, list(self.prepare() if prepared is None else prepared)
        if self.context is not None:
            shape = tf.shape(neighbours)
            visible = shape[1] * tf.shape(known)[1]
            context = tf.reshape(tf.gather(known, neighbours), [shape[0], visible])
            x = tf.concat([x, self.context(context, prepared.pop(0))], -1)
        for layer, weights in zip(self.network, prepared):
            x = layer(x, weights)
        return mixture.completed(x, self.kinds)

    def prepare(self, used=None):
        """What the layers of `parameters` need, for latents of the channels `used` alone."""
        context = [] if self.context is None else [self.context]
        if used is None:
            return [layer.prepare() for layer in (*context, *self.network)]
        found = [layer.prepare(rows=self._places(used, layer.kernel, 0)) for layer in context]
        for layer in self.network:
            is_last = layer is self.network[-1]
            columns = self._places(used, layer.kernel, 1) if is_last else None
            found.append(layer.prepare(columns=columns))
        return found

    def _places(self, used, kernel, axis):
        """Where the channels `used` are on an axis that has all of them several times."""
        starts = tf.range(0, kernel.shape[axis], self.channels)
        return tf.reshape(starts[:, None] + used, [tf.size(starts) * tf.size(used)])

    def hyper_features(self, hyper_latents):
        """float32 `[h, w, F]`, integers, of hyper latents `[h/4, w/4, hyper_channels]`."""
        return in_turn(self.features, hyper_latents)

    def arranged_features(self, hyper_latents, order, used=None):
        """`hyper_features` in the coding order, `[P, F]`.

        Where these are the parameters themselves, of the channels `used`.
        """
        features = self.hyper_features(hyper_latents)
        if not self.network and used is not None:
            columns = self._places(used, features, 2)
            features = tf.gather(features, columns, axis=2)
        shape = tf.shape(features)
        flat = tf.reshape(features, [shape[0] * shape[1], features.shape[2] or shape[2]])
        return tf.gather(flat, order.raster)

    def order(self, height, width):
        """In wavefronts; without context, in the order of rows."""
        if self.context is None:
            return wavefront.raster_order(height, width)
        return wavefront.order(height, width, self.mask)

    def distributions(self, side, latents, order, known, used=None):
        """The mixtures of all latents; where these are known, from one pass of the networks."""
        features = self.arranged_features(side, order, used)
        prepared, table = self.prepare(used), im.normal_table(self.mixtures)
        at_once = known and self.context is not None
        if at_once:
            arranged = wavefront.arrange(latents, order)
            rows = self.parameters(features, arranged, order.neighbours, prepared)

        def distribution_at(latents, chosen):
            if at_once:
                found = tf.gather(rows, chosen)
            else:
                neighbours = tf.gather(order.neighbours, chosen)
                found = self.parameters(tf.gather(features, chosen), latents, neighbours, prepared)
            return im.distribution_of_rows(found, self.mixtures, table)

        return distribution_at

    def _rows(self, hyper_latents, latents, used=None):
        """The coding order, and all parameters in it, of known latents."""
        order = self.order(tf.shape(latents)[0], tf.shape(latents)[1])
        known = wavefront.arrange(latents, order)
        features = self.arranged_features(hyper_latents, order, used)
        return order, self.parameters(features, known, order.neighbours, self.prepare(used))

    @staticmethod
    def _in_place(x, order, latents):
        """Elements `[P * C, ...]` in the coding order, as `latents` `[h, w, C]` have them."""
        shape = tf.shape(latents)
        found = tf.reshape(x, [shape[0] * shape[1], shape[2], *x.shape[1:]])
        return tf.reshape(tf.gather(found, order.rank), tf.concat([shape, x.shape[1:]], 0))

    def _bits(self, rows, order, candidates):
        """Bits of each element of `candidates`, by parameters in the coding order."""
        dist, found = im.distribution_of_rows(rows, self.mixtures), []
        for latents in candidates:
            flat = tf.reshape(wavefront.arrange(latents, order)[:-1], [-1])
            bits = im.bits(dist, tf.cast(flat, tf.int32))
            found.append(self._in_place(bits, order, latents))
        return found

    def bits(self, hyper_latents, known, candidates, used=None):
        """As `Coding` has it."""
        order, rows = self._rows(hyper_latents, known, used)
        return self._bits(rows, order, candidates)

    @compilation.uncompiled
    def explain(self, hyper_latents, latents):
        """What each element costs by its integer probability, and why.

        Returns:
          A dict of float32 arrays: `latents_bits` `[h, w, C]`, `hyper_latents_bits`
          `[h/4, w/4, hyper_channels]` and `channels_bits` `[h/4, w/4, 1]`; `weights`, `means` and
          `scales` `[h, w, C, K]`, the mixtures
          with their parameters on the grids of the exact coder.
        """
        order, rows = self._rows(hyper_latents, latents)
        logits, means, scales = im.to_floats(im.parameters_of_rows(rows, self.mixtures))

        def in_place(x):
            return self._in_place(x, order, latents)

        return {
            "latents_bits": self.as_coded(self._bits(rows, order, [latents])[0], latents),
            "hyper_latents_bits": self.bits_of_hyper_latents(hyper_latents),
            "channels_bits": self.bits_of_channels(latents),
            "weights": in_place(tf.nn.softmax(logits)),
            "means": in_place(means),
            "scales": in_place(tf.exp(scales)),
        }
