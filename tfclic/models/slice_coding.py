"""Latents in slices, each with means and scales that follow from those before, coded exactly."""

import numpy as np
import tensorflow as tf

from tfclic.entropy import active, compilation, fixed_point, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.layers import in_turn
from tfclic.models.coding import ACTIVE_REVISION, HYPER_LIMIT, HYPER_STRIDE
from tfclic.models.exact_slices import MEAN_STEP, STEP, ExactSlice
from tfclic.models.hyper_coding import HyperCoding, exact_hyper_synthesis


class SliceCoding(HyperCoding):
    """Codes hyper latents, then the slices of latents one after the other, into one string.

    What is coded of a latent y is the symbol s = round(y - mean), under a Gaussian of mean 0. What
    goes from function to function, to synthesis and to later slices, is

    ```
    latent = s + mean + residual(...),  means being multiples of 1/16, residuals of 1/64,
    ```

    as an integer number of 64ths that fits 16 bits. A residual is less than 1/2, so
    s = round(latent - mean): whoever has all latents knows the inputs of all networks, hence all
    means, hence all symbols, and writes them in one pass. Symbols instead of latents would make
    `synthesise` repeat the networks on windows that are not the coder's tiles, with other results.

    Symbols become binary decisions like those of other systems. TFC's tables, a row for each of the
    64 scales, would need one operation for all symbols of a slice, but every value that can occur
    takes a 2**-16 of each row: 512 of them cost a latent 0.011 bits, and of 192 to 320 channels
    most latents are silent, for which a decision costs 0.0004 bits.

    Args:
      codec: a trained `tfclic.models.cca.Cca`.
      slope: of the leaky ReLU in its entropy networks, as in `fixed_point.FixedPointDense`.

    Raises:
      ValueError: if a layer's sums could leave the exact integers; names the layer.
    """

    latent_step = 1 / STEP
    revision = ACTIVE_REVISION

    def __init__(self, codec, slope, name="coding"):
        super().__init__(codec, name)
        self.sizes = codec.sizes
        self.mean_synthesis = exact_hyper_synthesis(codec.mean_synthesis, slope)
        self.scale_synthesis = exact_hyper_synthesis(codec.scale_synthesis, slope)
        self.slices = [ExactSlice(part, slope, f"slice_{i}") for i, part in enumerate(codec.slices)]

    def features(self, hyper_latents):
        """Those of means and of scales, a pair of float32 `[P, M]`, integers."""
        results = []
        for network in (self.mean_synthesis, self.scale_synthesis):
            features = in_turn(network, hyper_latents)
            results.append(tf.reshape(features, [-1, self.channels]))
        return results

    def walk(self, state, hyper_latents, choose, latents=None):
        """Goes through the slices, whoever asks: the one definition of what depends on what.

        Args:
          state: anything, handed from slice to slice.
          hyper_latents: float32 `[h/4, w/4, Z]`, integers.
          choose: function of (state, number, means, scales) to (state, symbols): the symbols of
            slice `number`, float32 `[P, size]`, given its parameters at all P positions by rows.
          latents: float32 `[h, w, M]`, integers, if they are known.

        Returns:
          `(state, latents)`.
        """
        features, shape = self.features(hyper_latents), HYPER_STRIDE * tf.shape(hyper_latents)[:2]
        around = fixed_point.neighbour_indices(shape[0], shape[1], np.ones((3, 3), bool))
        decoded = tf.zeros([tf.shape(features[0])[0], 0])
        known = decoded if latents is None else tf.reshape(latents, [-1, self.channels])
        for i, part in enumerate(self.slices):
            before = decoded if latents is None else known[:, : sum(self.sizes[:i])]
            means, scales, support = part.parameters(*features, before, around)
            state, symbols = choose(state, i, means, scales)
            if latents is None:
                decoded = tf.concat([decoded, part.decoded(symbols, means, support, around)], -1)
        if latents is None:
            latents = tf.reshape(decoded, [shape[0], shape[1], self.channels])
        return state, latents

    def part(self, latents, number):
        """Slice `number` of latents `[h, w, M]`: `[P, size]`."""
        return tf.reshape(tf.split(latents, self.sizes, -1)[number], [-1, self.sizes[number]])

    def symbols(self, latents, number, means):
        """The symbols of slice `number` of known latents `[h, w, M]`: `[P, size]`."""
        difference = self.part(latents, number) - means * MEAN_STEP
        return tf.floor(difference / STEP + 0.5)

    def code(self, coder, hyper_latents, latents, known):
        """As `Coding.code`; latents are multiples of 1/64."""
        state, side = self.code_side(coder, coder.start(), hyper_latents, latents, known)
        with tf.control_dependencies([self.possible(coder, state)]):
            side = tf.identity(side)
        count, table = tf.shape(latents)[0] * tf.shape(latents)[1], im.normal_table(1)
        order = wavefront.raster_order(1, count)

        def choose(state, number, means, scales):
            size, symbols = self.sizes[number], self.symbols(latents, number, means)[None]
            state, used = active.code(coder, state, size, active.worth_saying(symbols))
            symbols, rows = (tf.gather(x, used, axis=-1) for x in (symbols, scales))

            def distribution_at(_, chosen):
                return _distribution(tf.gather(rows, chosen), table)

            state, symbols = wavefront.traverse(coder, state, symbols, distribution_at, order)
            symbols = active.everywhere(symbols, used, size)
            # the next slice's networks take time, too
            with tf.control_dependencies([self.possible(coder, state)]):
                return state, tf.identity(symbols[0])

        state, latents = self.walk(state, side, choose, latents if known else None)
        return coder.finish(state), side, latents

    @compilation.uncompiled
    def round(self, latents, hyper_latents):
        """Makes of float latents and hyper latents what is coded; see `Coding.round`.

        Returns:
          Latents `[h, w, M]`, multiples of 1/64 as integers, and hyper latents, both float32.
        """
        limit = float(HYPER_LIMIT)
        hyper_latents = tf.clip_by_value(tf.round(hyper_latents), -limit, limit)

        def choose(state, number, means, scales):
            difference = self.part(latents, number) - means / (1 << im.MEAN_BITS)

            def bits(known, candidates, used):
                dist = _distribution(tf.gather(scales, used, axis=-1))
                flat = (tf.cast(tf.reshape(each, [-1]), tf.int32) for each in candidates)
                return [tf.reshape(im.bits(dist, each), tf.shape(known)) for each in flat]

            return state, self.chosen(difference, bits)

        return self.walk(None, hyper_latents, choose)[1], hyper_latents

    @compilation.uncompiled
    def explain(self, hyper_latents, latents):
        """What each element costs by its integer probability, and why.

        Returns:
          A dict of float32 arrays: `latents` `[h, w, M]`, without latent residuals: their
          differences from the means are whole; `latents_bits` `[h, w, M]`, `hyper_latents_bits`
          `[h/4, w/4, hyper_channels]` and `channels_bits` `[h/4, w/4, 1]`; `weights` (ones),
          `means` and `scales` `[h, w, M, 1]`; and int32 `slices`, how many channels each has.
        """
        found = {"latents": [], "latents_bits": [], "means": [], "scales": []}
        parts, shape = [], tf.shape(latents)

        def choose(state, number, means, scales):
            symbols, means = self.symbols(latents, number, means), means / (1 << im.MEAN_BITS)
            bits = im.bits(_distribution(scales), tf.cast(tf.reshape(symbols, [-1]), tf.int32))
            bits = self.as_coded(tf.reshape(bits, tf.shape(symbols)), symbols)
            parts.append(tf.reshape(symbols, [shape[0], shape[1], self.sizes[number]]))
            _, _, log_scales = im.to_floats(im.parameters_of_rows(mixture.completed(scales, 1), 1))
            arrays = symbols + means, bits, means, tf.exp(log_scales)
            for kept, array in zip(found.values(), arrays):
                kept.append(tf.reshape(array, tf.shape(means)))
            return state, symbols

        self.walk(None, hyper_latents, choose, latents)
        found = {name: tf.reshape(tf.concat(parts, -1), shape) for name, parts in found.items()}
        found.update({name: found[name][..., None] for name in ("means", "scales")})
        found["weights"] = tf.ones_like(found["means"])
        found["slices"] = tf.constant(self.sizes)
        found["hyper_latents_bits"] = self.bits_of_hyper_latents(hyper_latents)
        found["channels_bits"] = self.bits_of_channels(*parts)
        return found


def _distribution(rows, table=None):
    return im.distribution_of_rows(mixture.completed(rows, 1), 1, table)
