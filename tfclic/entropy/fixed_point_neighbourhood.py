"""`NeighbourhoodNetwork` from integers to integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfclic.exact import exact_sums, fixed_point
from tfclic.layers import neighbourhood

if TYPE_CHECKING:
    from tfclic.exact.fixed_point import FixedPointDense, Prepared
    from tfclic.layers.neighbourhood import NeighbourhoodNetwork, Taps

SIDE = range(neighbourhood.HALF)
CELLS = [(a, b) for a in SIDE for b in SIDE]
KINDS = len(CELLS)  # of ways in which a window cuts off taps: three for rows, three for columns


class FixedPointNeighbourhood(tf.Module):
    """The network, its layers rounded to fixed point; every sum is exact.

    It goes the way of `NeighbourhoodNetwork.call`. Activations are taken apart into bytes before
    they are collected for many positions, which would multiply the work.

    Args:
      layer: the built `NeighbourhoodNetwork`.
      slope: of its leaky ReLU, as in `fixed_point.FixedPointDense`.
      **results: `output_bits`, `output_limit` and `grids` of the last layer.

    Raises:
      ValueError: if a layer's sums could leave the exact integers; names the layer.
    """

    def __init__(
        self, layer: NeighbourhoodNetwork, slope: float, name: str | None = None, **results: Any
    ) -> None:
        super().__init__(name=name)
        self.layers: list[FixedPointDense] = []
        for i, (kernel, bias) in enumerate(zip(layer.kernels, layer.biases)):
            last = i == len(layer.kernels) - 1
            self.layers.append(
                fixed_point.FixedPointDense(
                    kernel,
                    bias,
                    slope=1.0 if last else slope,
                    name=f"{self.name}_{i}",
                    **(results if last else {}),
                )
            )
        for dense, at_once in zip(self.layers[:3], (1, 3, 3)):
            # the taps that are summed in one product, side by side
            kernel = np.abs(dense.kernel.numpy().astype(np.int64))
            kernel = kernel.reshape(9 // at_once, -1, kernel.shape[1])
            largest = kernel.sum(1).max() * exact_sums.BYTE // 2
            if largest >= exact_sums.EXACT_FLOAT32:
                raise ValueError(f"layer {dense.name}: sums up to {largest:.3g} are not exact")

    def maps(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The first layer wherever windows reach.

        Args:
          x: float32 `[h, w, C]`, integers.

        Returns:
          The bytes, a pair of float32 `[(h + 4) * (w + 4) * 9, c]`, of nine kinds for each
          position, by which taps are cut off.
        """
        layer, margin = self.layers[0], neighbourhood.WINDOW // 2 + 1
        x = tf.pad(x, [[margin] * 2, [margin] * 2, [0, 0]])
        kernel = tf.reshape(tf.cast(layer.kernel, tf.float32), [3, 3, x.shape[2], -1])
        taps, (high, low) = neighbourhood.taps_side_by_side(kernel), exact_sums.to_bytes(x)
        # few channels have large values
        large = exact_sums.in_use(high)
        products = [tf.gather(high, large, axis=-1) @ tf.gather(taps, large), low @ taps]
        products = tf.stack(products)
        # what is exact for all taps together is exact for some of them
        if len(layer.groups) > 1:
            products = tf.cast(products, tf.float64)
        sums = neighbourhood.sums_inside(products)
        sums = tf.cast(tf.stack([each for row in sums for each in row], -2), tf.float64)
        total = exact_sums.of_bytes(tf.reshape(sums, [-1, layer.kernel.shape[1]]))
        return exact_sums.to_bytes(layer.rounded(total))

    def prepare(self, columns: tf.Tensor) -> Prepared:
        """What `rows` needs for some of the outputs, int32 `[m]`: a `fixed_point.Prepared`."""
        return self.layers[-1].prepare(columns=columns)

    def rows(
        self,
        maps: Sequence[tf.Tensor],
        height: tf.Tensor,
        width: tf.Tensor,
        chosen: tf.Tensor,
        last: Prepared | None = None,
    ) -> tf.Tensor:
        """The results at some positions.

        Args:
          maps: of an input `[height, width, C]`.
          height, width: int32.
          chosen: int32 `[n]`, raster indices.
          last: `prepare(columns)`; None: all outputs.

        Returns:
          float32 `[n, outputs]`, integers.
        """
        across = width + neighbourhood.WINDOW - 1
        first = chosen // width * across + chosen % width

        def seen(i: int, j: int) -> list[tf.Tensor]:
            kind = len(SIDE) * neighbourhood.edge(i) + neighbourhood.edge(j)
            index = (first + i * across + j) * KINDS + kind
            return [tf.gather(byte, index) for byte in maps]

        halved = self._cells(self.layers[1], neighbourhood.halving_taps, seen)
        bytes_ = [tf.split(byte, KINDS) for byte in exact_sums.to_bytes(halved)]

        def cell(a: int, b: int) -> list[tf.Tensor]:
            return [byte[len(SIDE) * a + b] for byte in bytes_]

        found = self._cells(self.layers[2], neighbourhood.last_taps, cell)
        return self.layers[3](tf.concat(tf.split(found, KINDS), 1), last)

    @staticmethod
    def _cells(
        layer: FixedPointDense,
        taps: Callable[[int], Taps],
        source: Callable[[int, int], list[tf.Tensor]],
    ) -> tf.Tensor:
        """A 3x3 convolution at nine cells, `[9 * n, c]`.

        Args:
          layer: its `FixedPointDense`.
          taps: function of a row (or column) to (tap, row of the source) pairs.
          source: function of row and column to the bytes there, a pair of `[n, *]`.
        """
        kernel, sums = tf.cast(layer.kernel, tf.float32), []
        known: dict[tuple[int, int], tf.Tensor] = {}
        kernel = tf.reshape(kernel, [3, 3, -1, kernel.shape[1]])
        for a, b in CELLS:
            products = []
            for row, i in taps(a):
                places = [(i, j) for _, j in taps(b)]
                for place in places:
                    if place not in known:
                        known[place] = tf.concat(source(*place), 0)
                columns = [column for column, _ in taps(b)]
                part = kernel[row, columns[0] : columns[-1] + 1]
                x = tf.concat([known[place] for place in places], 1)
                products.append(tf.matmul(x, tf.reshape(part, [-1, kernel.shape[3]])))
            sums.append(exact_sums.of_bytes(exact_sums.exact_sum(products)))
        return layer.rounded(tf.concat(sums, 0))
