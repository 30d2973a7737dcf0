"""Scalar quantisation to learned centres."""

from __future__ import annotations

import tensorflow as tf


class LearnedCentres(tf.keras.layers.Layer):
    """Values on an axis where the learned centres are the whole numbers, and back.

    Between two centres the axis is linear, so that rounding there finds the nearest centre. Beyond
    the outermost, whose number is `count`, they are at a distance of 1, as all are at first; the
    one in the middle is 0. Source: Mentzer et al., "Conditional Probability Models for Deep Image
    Compression", CVPR 2018, where there are none beyond.

    Args:
      count: of learned centres on each side of 0.

    `[...] -> [...]`
    """

    def __init__(self, count: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.count = count

    def build(self, _: tf.TensorShape) -> None:
        self.log_gaps = self.add_weight(name="log_gaps", shape=(2, self.count), initializer="zeros")

    def gaps(self) -> tf.Tensor:
        """From each centre to the one further from 0: float32 `[2, count]`, above 0 and below."""
        return tf.exp(self.log_gaps)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Where values are, in numbers of centres."""
        above, below = tf.unstack(self.gaps())
        return self._side(values, above, True) - self._side(-values, below, True)

    def inverse(self, numbers: tf.Tensor) -> tf.Tensor:
        """The centres of whole numbers, and what `call` takes to those between."""
        above, below = tf.unstack(self.gaps())
        return self._side(numbers, above, False) - self._side(-numbers, below, False)

    def _side(self, x: tf.Tensor, gaps: tf.Tensor, to_numbers: bool) -> tf.Tensor:
        """Of a side, where it is above 0: `x` taken from one axis to the other."""
        found, start = tf.zeros_like(x), tf.constant(0.0)
        for gap in tf.unstack(gaps):
            long, wide = (gap, 1 / gap) if to_numbers else (1.0, gap)
            found += wide * tf.minimum(tf.nn.relu(x - start), long)
            start += long
        return found + tf.nn.relu(x - start)
