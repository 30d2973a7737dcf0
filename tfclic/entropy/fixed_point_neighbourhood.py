"""`NeighbourhoodNetwork` from integers to integers."""

import numpy as np
import tensorflow as tf

from tfclic.entropy import fixed_point
from tfclic.layers import neighbourhood

CELLS = [(a, b) for a in range(neighbourhood.HALF) for b in range(neighbourhood.HALF)]
KINDS = [(u, v) for u in range(3) for v in range(3)]
_NONE = -1


def _grid(taps, place):
    """Where each of nine cells finds its nine taps, int32 `[9, 9]`; -1 for those that are cut off.

    Args:
      taps: function of a row (or column) to its (tap, source) pairs.
      place: function of the source's row and column to where it is.
    """
    found = np.full([len(CELLS), 9], _NONE, np.int32)
    for cell, (a, b) in enumerate(CELLS):
        for row, i in taps(a):
            for column, j in taps(b):
                found[cell, 3 * row + column] = place(i, j)
    return found


class FixedPointNeighbourhood(tf.Module):
    """The network, its layers rounded to fixed point; every sum is exact.

    Args:
      layer: the built `NeighbourhoodNetwork`.
      slope: of its leaky ReLU, as in `fixed_point.FixedPointDense`.
      convert: function of the last layer's kernel and bias to those to take instead, in float.

    Raises:
      ValueError: if a layer's sums could leave the exact integers; names the layer.
    """

    def __init__(self, layer, slope, convert, name=None):
        super().__init__(name=name)
        self.outputs, self.layers = layer.outputs, []
        for i, (kernel, bias) in enumerate(zip(layer.kernels, layer.biases)):
            kernel, bias = kernel.numpy().reshape(-1, kernel.shape[-1]), bias.numpy()
            last = i == len(layer.kernels) - 1
            if last:
                kernel, bias = convert(kernel, bias)
            self.layers.append(
                fixed_point.FixedPointDense(
                    kernel,
                    bias,
                    output_bits=0 if last else fixed_point.ACTIVATION_BITS,
                    slope=1.0 if last else slope,
                    name=f"{self.name}_{i}",
                )
            )

    def maps(self, x):
        """The first layer wherever windows reach.

        Args:
          x: float32 `[h, w, C]`, integers.

        Returns:
          float32 `[(h + 4) * (w + 4) * 9 + 1, c]`, integers: nine kinds for each position, by which
          taps are cut off, and zeros.
        """
        margin = neighbourhood.WINDOW // 2
        x = tf.pad(x, [[margin] * 2, [margin] * 2, [0, 0]])
        seen = fixed_point.neighbours(x, np.ones((3, 3), bool))
        kernels, channels = self.layers[0].prepare(), x.shape[2]

        def kind(inside):
            return self.layers[0](seen * tf.repeat(inside, channels), kernels)

        masks = [
            np.outer(*(neighbourhood.inside_taps(k) for k in pair)).reshape(-1) for pair in KINDS
        ]
        masks = tf.constant(np.stack(masks), tf.float32)
        found = tf.map_fn(kind, masks, parallel_iterations=1)
        width = self.layers[0].kernel.shape[1]
        found = tf.reshape(tf.transpose(found, [1, 0, 2]), [-1, width])
        return tf.pad(found, [[0, 1], [0, 0]])

    def rows(self, maps, height, width, chosen):
        """The results at some positions.

        Args:
          maps: of an input `[height, width, C]`.
          height, width: int32.
          chosen: int32 `[n]`, raster indices.

        Returns:
          float32 `[n, outputs]`, integers.
        """
        across, count = width + neighbourhood.WINDOW - 1, tf.size(chosen)
        first = chosen // width * across + chosen % width

        def place(i, j):
            kind = 3 * neighbourhood.edge(i) + neighbourhood.edge(j)
            return (i * neighbourhood.WINDOW + j) * len(KINDS) + kind

        windows = _grid(neighbourhood.halving_taps, place)
        # of (row, column, kind) in a window to the index in `maps`, from that of the first position
        position, kind = windows // len(KINDS), windows % len(KINDS)
        row, column = (tf.constant(x) for x in np.divmod(position, neighbourhood.WINDOW))
        offsets = (row * across + column) * len(KINDS) + kind
        nowhere = tf.shape(maps)[0] - 1

        def halved(taps):
            offset, cut = taps
            index = tf.where(cut, nowhere, first[:, None] * len(KINDS) + offset)
            return self._dense(1, tf.gather(maps, index), kernels[1])

        def last(taps):
            return self._dense(2, tf.transpose(tf.gather(found, taps), [1, 0, 2]), kernels[2])

        kernels = [layer.prepare() for layer in self.layers]
        found = self._mapped(halved, (offsets, tf.constant(windows == _NONE)))
        found = tf.pad(found, [[0, 1], [0, 0], [0, 0]])
        inner = _grid(neighbourhood.last_taps, lambda a, b: neighbourhood.HALF * a + b)
        found = self._mapped(last, tf.constant(np.where(inner == _NONE, len(CELLS), inner)))
        flat = tf.reshape(tf.transpose(found, [1, 0, 2]), [count, self.layers[3].kernel.shape[0]])
        return self.layers[3](flat, kernels[3])

    def _dense(self, i, taps, kernels):
        """Layer `i` of `[n, 9, c]`, the nine taps of n positions."""
        layer = self.layers[i]
        return layer(tf.reshape(taps, [-1, layer.kernel.shape[0]]), kernels)

    @staticmethod
    def _mapped(function, items):
        return tf.map_fn(function, items, fn_output_signature=tf.float32, parallel_iterations=1)
