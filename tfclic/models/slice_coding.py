"""Latents in slices, each with means and scales that follow from those before, coded exactly."""

import numpy as np
import tensorflow as tf

from tfclic.entropy import compilation, fixed_point, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.models.coding import HYPER_LIMIT
from tfclic.models.hyper_coding import HyperCoding, exact_hyper_synthesis
from tfclic.models.slices import RESIDUAL_LIMIT

# what coded latents are multiples of: that of the activations, so that networks take them as inputs
STEP = 1 << fixed_point.ACTIVATION_BITS
MEAN_STEP = STEP >> im.MEAN_BITS
# with symbols up to 256 and latent residuals, latents stay within the 16 bits of activations
MEAN_LIMIT = -mixture.LATENT_MIN
TANH_RANGE = 4  # beyond it, tanh is 1 to a part in 1000


def tanh_table():
    """`RESIDUAL_LIMIT * tanh` at multiples of 1/64 from -4 to 4, in units of 1/64, int32."""
    ends = TANH_RANGE * STEP
    arguments = np.arange(-ends, ends + 1) / STEP
    return np.round(RESIDUAL_LIMIT * STEP * np.tanh(arguments)).astype(np.int32)


class ExactStack(tf.Module):
    """Convolutions one after the other, from integers to integers.

    Args:
      layers: list of `SubpixelConv2D`.
      slope: of the leaky ReLU after all of them but the last, as in `fixed_point.FixedPointDense`.
      **last: grids of the last layer, if not those of activations.
    """

    def __init__(self, layers, slope, name, **last):
        super().__init__(name=name)
        final = len(layers) - 1
        self.layers = [
            fixed_point.FixedPointSubpixel(
                layer,
                name=f"{name}_{i}",
                slope=1.0 if i == final else slope,
                **(last if i == final else {}),
            )
            for i, layer in enumerate(layers)
        ]

    def __call__(self, x):
        """`[h, w, C]` to `[h, w, ...]`, integers in float32."""
        for layer in self.layers:
            x = layer(x)
        return x


def _sum(x, y):
    limit = float(fixed_point.ACTIVATION_LIMIT)
    return tf.clip_by_value(x + y, -limit, limit)


class ExactSupport(tf.Module):
    """`slices.Support` from integers to integers, `[h, w, C] -> [h, w, C]`."""

    def __init__(self, support, slope, name):
        super().__init__(name=name)
        self.enter = ExactStack([support.enter], slope, f"{name}_enter")
        self.blocks = [
            ExactStack(block.body.layers, slope, f"{name}_block_{i}")
            for i, block in enumerate(support.blocks)
        ]
        self.leave = ExactStack([support.leave], slope, f"{name}_leave")

    def __call__(self, x):
        y = x = self.enter(x)
        for block in self.blocks:
            y = _sum(y, block(y))
        return self.leave(_sum(x, y))


class ExactSlice(tf.Module):
    """`slices.Slice` from integers to integers."""

    def __init__(self, part, slope, name):
        super().__init__(name=name)
        self.mean_support = ExactSupport(part.mean_support, slope, f"{name}_mean_support")
        self.scale_support = ExactSupport(part.scale_support, slope, f"{name}_scale_support")
        grid = dict(output_bits=im.MEAN_BITS, output_limit=MEAN_LIMIT << im.MEAN_BITS)
        self.mean = ExactStack(part.mean.layers, slope, f"{name}_mean", **grid)
        grid = dict(output_bits=0, convert=self._to_rows)
        self.scale = ExactStack(part.scale.layers, slope, f"{name}_scale", **grid)
        grid = dict(output_limit=TANH_RANGE * STEP)
        self.residual = ExactStack(part.residual.layers, slope, f"{name}_residual", **grid)

    @staticmethod
    def _to_rows(kernel, bias):
        """Makes the last layer give rows of the scale table."""
        return kernel / mixture.SCALE_STEP, (bias - np.log(mixture.SCALE_MIN)) / mixture.SCALE_STEP

    def parameters(self, features, known):
        """As `slices.Slice.parameters`, without the batch.

        Returns:
          `(means, scales, support)`: float32, integers: means are multiples of 1/16, scales rows
          of the table, not clipped, the support has the grid of activations.
        """
        mean_features, scale_features = features
        support = self.mean_support(tf.concat([mean_features, *known], -1))
        scales = self.scale(self.scale_support(tf.concat([scale_features, *known], -1)))
        return self.mean(support), scales, support

    def decoded(self, symbols, means, support):
        """The slice as others see it, float32 `[h, w, size]`, integers, multiples of 1/64."""
        quantised = symbols * STEP + means * MEAN_STEP
        found = self.residual(tf.concat([support, quantised], -1))
        index = tf.cast(found, tf.int32) + TANH_RANGE * STEP
        return quantised + tf.cast(tf.gather(tanh_table(), index), tf.float32)


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

    def __init__(self, codec, slope, name="coding"):
        super().__init__(codec, name)
        self.sizes = codec.sizes
        self.mean_synthesis = exact_hyper_synthesis(codec.mean_synthesis, slope)
        self.scale_synthesis = exact_hyper_synthesis(codec.scale_synthesis, slope)
        self.slices = [ExactSlice(part, slope, f"slice_{i}") for i, part in enumerate(codec.slices)]

    def features(self, hyper_latents):
        """Those of means and of scales, a pair of float32 `[h, w, M]`, integers."""
        results = []
        for network in (self.mean_synthesis, self.scale_synthesis):
            x = hyper_latents
            for layer in network:
                x = layer(x)
            results.append(x)
        return results

    def walk(self, state, hyper_latents, choose, latents=None):
        """Goes through the slices, whoever asks: the one definition of what depends on what.

        Args:
          state: anything, handed from slice to slice.
          hyper_latents: float32 `[h/4, w/4, Z]`, integers.
          choose: function of (state, number, means, scales) to (state, symbols): the symbols of
            slice `number`, float32 `[h, w, size]`, given its parameters.
          latents: float32 `[h, w, M]`, integers, if they are known.

        Returns:
          `(state, latents)`.
        """
        features = self.features(hyper_latents)
        known = None if latents is None else tf.split(latents, self.sizes, -1)
        decoded = []
        for i, part in enumerate(self.slices):
            before = (decoded if known is None else known)[:i]
            means, scales, support = part.parameters(features, before)
            state, symbols = choose(state, i, means, scales)
            if known is None:
                decoded.append(part.decoded(symbols, means, support))
        return state, tf.concat(decoded, -1) if known is None else latents

    def symbols(self, latents, number, means):
        """The symbols of slice `number` of known latents."""
        part = tf.split(latents, self.sizes, -1)[number]
        return tf.floor((part - means * MEAN_STEP) / STEP + 0.5)

    def code(self, coder, hyper_latents, latents, known):
        """As `Coding.code`; latents are multiples of 1/64."""
        state, side = self.code_side(coder, coder.start(), hyper_latents, latents, known)
        with tf.control_dependencies([self.possible(coder, state)]):
            side = tf.identity(side)
        order, table = self.order(tf.shape(latents)[0], tf.shape(latents)[1]), im.normal_table()

        def choose(state, number, means, scales):
            symbols = self.symbols(latents, number, means)
            rows = tf.reshape(scales, [-1, scales.shape[2]])

            def distribution_at(_, chosen):
                return _distribution(tf.gather(rows, chosen), table)

            state, symbols = wavefront.traverse(coder, state, symbols, distribution_at, order)
            # the next slice's networks take time, too
            with tf.control_dependencies([self.possible(coder, state)]):
                return state, tf.identity(symbols)

        state, latents = self.walk(state, side, choose, latents if known else None)
        return coder.finish(state), side, latents

    def order(self, height, width):
        """By rows, in each slice."""
        return wavefront.raster_order(height, width)

    @compilation.uncompiled
    def round(self, latents, hyper_latents):
        """Makes of float latents and hyper latents what can be coded.

        Returns:
          Latents `[h, w, M]`, multiples of 1/64 as integers, and hyper latents, both float32.
        """
        limit = float(HYPER_LIMIT)
        hyper_latents = tf.clip_by_value(tf.round(hyper_latents), -limit, limit)
        exact = tf.split(latents, self.sizes, -1)

        def choose(state, number, means, scales):
            rounded = tf.round(exact[number] - means / (1 << im.MEAN_BITS))
            return state, tf.clip_by_value(rounded, mixture.LATENT_MIN, mixture.LATENT_MAX)

        return self.walk(None, hyper_latents, choose)[1], hyper_latents

    @compilation.uncompiled
    def explain(self, hyper_latents, latents):
        """What each element costs by its integer probability, and why.

        Returns:
          A dict of float32 arrays: `latents` `[h, w, M]`, without latent residuals: their
          differences from the means are whole; `latents_bits` `[h, w, M]` and `hyper_latents_bits`
          `[h/4, w/4, hyper_channels]`; `weights` (ones), `means` and `scales` `[h, w, M, 1]`.
        """
        found = {"latents": [], "latents_bits": [], "means": [], "scales": []}

        def choose(state, number, means, scales):
            symbols = self.symbols(latents, number, means)
            rows = tf.reshape(scales, [-1, scales.shape[2]])
            parameters = im.parameters_of_rows(_padded(rows), 1)
            shape, means = tf.shape(symbols), means / (1 << im.MEAN_BITS)
            bits = im.bits(_distribution(rows), tf.cast(tf.reshape(symbols, [-1]), tf.int32))
            found["latents"].append(symbols + means)
            found["latents_bits"].append(tf.reshape(bits, shape))
            found["means"].append(means)
            found["scales"].append(tf.reshape(tf.exp(im.to_floats(parameters)[2]), shape))
            return state, symbols

        self.walk(None, hyper_latents, choose, latents)
        found = {name: tf.concat(parts, -1) for name, parts in found.items()}
        found.update({name: found[name][..., None] for name in ("means", "scales")})
        found["weights"] = tf.ones_like(found["means"])
        found["hyper_latents_bits"] = self.bits_of_hyper_latents(hyper_latents)
        return found


def _padded(rows):
    """Parameters of a single Gaussian of mean 0, `[n, 3 * C]`, with scales `[n, C]`."""
    return tf.pad(rows, [[0, 0], [2 * rows.shape[1], 0]])


def _distribution(rows, table=None):
    return im.distribution_of_rows(_padded(rows), 1, table)
