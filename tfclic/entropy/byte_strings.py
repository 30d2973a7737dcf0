"""Strings of bytes in TensorFlow's ops."""

from __future__ import annotations

import tensorflow as tf

_ALL = [bytes([value]) for value in range(256)]


def of(values: tf.Tensor) -> tf.Tensor:
    """The string, of rank 0, whose bytes are `values`, integers `[n]`, 0..255."""
    return tf.strings.reduce_join(tf.gather(_ALL, values))
