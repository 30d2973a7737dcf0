"""The networks of `tfclic.models.slices` from integers to integers."""

import numpy as np
import tensorflow as tf

from tfclic.entropy import compilation, fixed_point, mixture
from tfclic.entropy import integer_mixture as im
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


class ExactConv(fixed_point.FixedPointDense):
    """A zero-padded convolution from integers to integers, of positions in a row.

    Args:
      layer: `SubpixelConv2D` of factor 1 and size 1 or 3.
      **kwargs: as `FixedPointDense`.
    """

    def __init__(self, layer, **kwargs):
        self.size = layer.conv.kernel.shape[0]
        super().__init__(layer.conv.kernel, layer.conv.bias, **kwargs)

    def __call__(self, x, around):
        """`[P, C]` to `[P, filters]`; `around` is `fixed_point.neighbour_indices` of 3x3."""
        if self.size > 1:
            x = tf.gather(tf.pad(x, [[0, 1], [0, 0]]), around)
            x = tf.reshape(x, [-1, self.kernel.shape[0]])
        return super().__call__(x)


class ExactStack(tf.Module):
    """Convolutions one after the other, from integers to integers.

    Args:
      layers: list of `SubpixelConv2D`.
      slope: of the leaky ReLU after all of them but the last, as in `fixed_point.FixedPointDense`.
      **last: grids of the last layer, if not those of activations.
    """

    def __init__(self, layers, slope, name, **last):
        super().__init__(name=name)
        *hidden, final = layers
        names = (f"{name}_{i}" for i in range(len(layers)))
        self.layers = [ExactConv(layer, name=next(names), slope=slope) for layer in hidden]
        self.layers.append(ExactConv(final, name=next(names), **last))

    def __call__(self, x, around):
        """`[P, C]` to `[P, ...]`, integers in float32."""
        for layer in self.layers:
            x = layer(x, around)
        return x


def _sum(x, y):
    limit = float(fixed_point.ACTIVATION_LIMIT)
    return tf.clip_by_value(x + y, -limit, limit)


class ExactSupport(tf.Module):
    """`slices.Support` from integers to integers, `[P, C] -> [P, C]`."""

    def __init__(self, support, slope, name):
        super().__init__(name=name)
        self.enter = ExactConv(support.enter, name=f"{name}_enter")
        self.blocks = [
            ExactStack(block.body, slope, f"{name}_block_{i}")
            for i, block in enumerate(support.blocks)
        ]
        self.leave = ExactConv(support.leave, name=f"{name}_leave")

    def __call__(self, x, around):
        y = x = self.enter(x, around)
        for block in self.blocks:
            y = _sum(y, block(y, around))
        return self.leave(_sum(x, y), around)


def _traced(function, *channels):
    """Traces a function of float32 `[P, C]` each and `around`, once for all graphs that call it."""
    specs = [tf.TensorSpec([None, n]) for n in channels] + [tf.TensorSpec([None, 9], tf.int32)]
    trace = tf.function(compilation.uncompiled(function), specs, autograph=False)
    trace = trace.get_concrete_function()
    return lambda *arguments: trace(*arguments)


class ExactSlice(tf.Module):
    """`slices.Slice` from integers to integers.

    - `parameters(mean_features, scale_features, known, around)`, of `[P, M]`, `[P, M]` and
      `[P, C]`, gives `(means, scales, support)`: means are multiples of 1/16, scales rows of the
      table, not clipped, the support has the grid of activations.
    - `decoded(symbols, means, support, around)` gives the slice as others see it, `[P, size]`,
      multiples of 1/64.

    Args:
      part: the `slices.Slice`.
      slope: as in `fixed_point.FixedPointDense`.
    """

    def __init__(self, part, slope, name):
        super().__init__(name=name)
        self.mean_support = ExactSupport(part.mean_support, slope, f"{name}_mean_support")
        self.scale_support = ExactSupport(part.scale_support, slope, f"{name}_scale_support")
        grid = dict(output_bits=im.MEAN_BITS, output_limit=MEAN_LIMIT << im.MEAN_BITS)
        self.mean = ExactStack(part.mean.layers, slope, f"{name}_mean", **grid)
        rows = fixed_point.Grids(1 / mixture.SCALE_STEP, np.log(mixture.SCALE_MIN))
        grid = dict(output_bits=0, grids=rows)
        self.scale = ExactStack(part.scale.layers, slope, f"{name}_scale", **grid)
        grid = dict(output_limit=TANH_RANGE * STEP)
        self.residual = ExactStack(part.residual.layers, slope, f"{name}_residual", **grid)
        channels, size = part.mean_support.leave.conv.filters, part.mean.layers[-1].conv.filters
        sizes = part.features, part.features, channels - part.features
        self.parameters = _traced(self._parameters, *sizes)
        self.decoded = _traced(self._decoded, size, size, channels)

    def _parameters(self, mean_features, scale_features, known, around):
        support = self.mean_support(tf.concat([mean_features, known], -1), around)
        scales = self.scale_support(tf.concat([scale_features, known], -1), around)
        return self.mean(support, around), self.scale(scales, around), support

    def _decoded(self, symbols, means, support, around):
        quantised = symbols * STEP + means * MEAN_STEP
        found = self.residual(tf.concat([support, quantised], -1), around)
        index = tf.cast(found, tf.int32) + TANH_RANGE * STEP
        return quantised + tf.cast(tf.gather(tanh_table(), index), tf.float32)
