"""A small network over the 5x5 neighbourhood of every position."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tfclic.layers.parts import Axes

Taps = list[tuple[int, int]]

WINDOW = 5  # positions, each way
HALF = 3  # of them are left by the layer with stride 2


def edge(i: int) -> int:
    """0 for the first row (or column) of a window, 2 for the last, 1 for the others."""
    return (i > 0) + (i == WINDOW - 1)


def _kept(kind: int) -> tuple[int, ...]:
    """Which of 3 taps are inside of the window, by what `edge` says."""
    return ((1, 2), (0, 1, 2), (0, 1))[kind]


def halving_taps(a: int) -> Taps:
    """(tap, row of the window) of row `a` after the layer with stride 2, a list of pairs."""
    return [(tap, 2 * a + tap - 1) for tap in range(3) if 0 <= 2 * a + tap - 1 < WINDOW]


def last_taps(a: int) -> Taps:
    """(tap, row) of row `a` after the last convolution, a list of pairs."""
    return [(tap, a + tap - 1) for tap in range(3) if 0 <= a + tap - 1 < HALF]


def taps_side_by_side(kernel: tf.Tensor) -> tf.Tensor:
    """A kernel `[3, 3, C, c]` as `[C, 9 * c]`, whose product with a position has one part a tap."""
    return tf.reshape(tf.transpose(kernel, [2, 0, 1, 3]), [kernel.shape[2], -1])


def _moved(x: tf.Tensor, row: int, column: int, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """`[B, height, width, c]` of `x`, from a row and a column on.

    Not as a strided slice, whose gradient is slow.
    """
    return tf.slice(x, [0, row, column, 0], [-1, height, width, -1])


def _at_positions(rows: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Rows `[B * h * w, c]`, one for each position of `x` `[B, h, w, *]`, as `[B, h, w, c]`."""
    return tf.reshape(rows, tf.concat([tf.shape(x)[:3], [rows.shape[-1]]], 0))


def sums_inside(products: tf.Tensor) -> list[list[tf.Tensor]]:
    """3x3 convolutions of the taps that stay inside of a window, for all ways to be cut off.

    Args:
      products: `[B, h + 2, w + 2, 9 * c]`, of positions and `taps_side_by_side`.

    Returns:
      What `edge` says of row and column to `[B, h, w, c]`, a list of lists.
    """
    height, width = tf.shape(products)[1] - 2, tf.shape(products)[2] - 2
    taps = tf.split(products, 9, -1)

    def summed(u: int, v: int) -> tf.Tensor:
        return tf.add_n([by_rows[u][j] for j in _kept(v)])

    moved = [[_moved(taps[3 * i + j], i, j, height, width) for j in range(3)] for i in range(3)]
    by_rows = [[tf.add_n([moved[i][j] for i in _kept(u)]) for j in range(3)] for u in range(3)]
    return [[summed(u, v) for v in range(3)] for u in range(3)]


class NeighbourhoodNetwork(tf.keras.layers.Layer):
    """Three 3x3 convolutions and a dense layer on the 5x5 neighbourhood of each position.

    The second convolution has stride 2, so that 5x5 become 3x3, which the dense layer sees at once.
    What is outside of the array is zero, and so is what is outside of each *window* for the later
    layers. Source: Hu, Yang, Liu, "Coarse-to-Fine Hyper-Prior Modeling for Learned Image
    Compression", AAAI 2020, the prediction of means and scales.

    Windows would be 25 times the input. There are none here: the first layer at a position depends
    on the window alone through which of its taps are cut off, so that nine sums of each position's
    products with the taps serve all windows.

    Args:
      widths: channels of the three convolutions.
      outputs: channels of the result.
      activation: after each of the convolutions.

    `[B, h, w, C] -> [B, h, w, outputs]`
    """

    def __init__(
        self,
        widths: Iterable[int],
        outputs: int,
        activation: Callable[[tf.Tensor], tf.Tensor],
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.widths, self.outputs, self.activation = tuple(widths), outputs, activation

    def build(self, shape: tf.TensorShape) -> None:
        self.kernels, self.biases = [], []
        channels = (shape[-1], *self.widths)
        shapes: list[tuple[int, ...]] = [(3, 3, *pair) for pair in zip(channels, channels[1:])]
        shapes.append((HALF**2 * channels[-1], self.outputs))
        for i, kernel in enumerate(shapes):
            self.kernels.append(self.add_weight(name=f"kernel_{i}", shape=kernel))
            self.biases.append(
                self.add_weight(name=f"bias_{i}", shape=kernel[-1:], initializer="zeros")
            )

    def axes(self) -> Axes:
        """How weights are put together (see `tfclic.training.growing`): a part for a position."""
        if self.built:
            yield self.kernels[-1], {0: (self.widths[-1],) * HALF**2}

    def call(self, x: tf.Tensor) -> tf.Tensor:
        first, second, third, dense = self.kernels
        height, width = tf.shape(x)[1], tf.shape(x)[2]
        maps = self._first(x, first)

        @functools.cache
        def seen(i: int, j: int) -> tf.Tensor:
            # what row i and column j of each window holds
            found = _moved(maps[edge(i)][edge(j)], i, j, height, width)
            return tf.reshape(found, [-1, self.widths[0]])

        def grid(
            kernel: tf.Tensor,
            bias: tf.Tensor,
            taps: Callable[[int], Taps],
            source: Callable[[int, int], tf.Tensor],
        ) -> dict[tuple[int, int], tf.Tensor]:
            return {(a, b): self._cell(kernel, bias, taps(a), taps(b), source)
                    for a in range(HALF) for b in range(HALF)}  # fmt: skip

        halved = grid(second, self.biases[1], halving_taps, seen)
        last = grid(third, self.biases[2], last_taps, lambda a, b: halved[a, b])
        return _at_positions(tf.concat(list(last.values()), -1) @ dense + self.biases[-1], x)

    def _first(self, x: tf.Tensor, kernel: tf.Tensor) -> list[list[tf.Tensor]]:
        """The first layer where windows reach, by what `edge` says of row and column."""
        margin = WINDOW // 2 + 1
        x = tf.pad(x, [[0, 0], [margin] * 2, [margin] * 2, [0, 0]])
        products = tf.reshape(x, [-1, x.shape[-1]]) @ taps_side_by_side(kernel)
        sums = sums_inside(_at_positions(products, x))
        return [[self.activation(y + self.biases[0]) for y in row] for row in sums]

    def _cell(
        self,
        kernel: tf.Tensor,
        bias: tf.Tensor,
        rows: Taps,
        columns: Taps,
        source: Callable[[int, int], tf.Tensor],
    ) -> tf.Tensor:
        x = tf.concat([source(i, j) for _, i in rows for _, j in columns], -1)
        first, size = (rows[0][0], columns[0][0], 0, 0), (len(rows), len(columns), -1, -1)
        taps = tf.reshape(tf.slice(kernel, first, size), [-1, kernel.shape[-1]])
        return self.activation(x @ taps + bias)
