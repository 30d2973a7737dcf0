"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import tensorflow as tf


def in_turn(layers: Iterable[Callable[[tf.Tensor], tf.Tensor]], x: tf.Tensor) -> tf.Tensor:
    """What a list of layers makes of `x`, one after the other."""
    for layer in layers:
        x = layer(x)
    return x


class Sequential(tf.keras.Sequential):
    """Keras's Sequential, whose layers are simply called in turn.

    Keras makes a graph of a Sequential for every new shape of its input, and of each Sequential in
    it once more: most of the time that an attention takes to be made, and nothing that anyone uses.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return in_turn(self.layers, x)
