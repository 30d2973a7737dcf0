"""Noise that stands for rounding, the same however a batch is spread over replicas."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

PHILOX_KEY = 0x02461E293EC8F720  # with which TensorFlow mixes the seeds of stateless operations


def drawn_for_batch(draw: Callable[[tf.Tensor], tf.Tensor], shape: tf.Tensor) -> tf.Tensor:
    """Draws random numbers that depend on a sample's place in the whole batch.

    Under `tf.distribute` each replica holds a part of the batch. It draws the numbers of the whole
    and keeps its rows, so that a sample gets the same numbers however many replicas there are. That
    repeats the drawing on every replica, which is little beside one convolution.

    Args:
      draw: function of a shape to random numbers of that shape, the same at each call.
      shape: int32 tensor `[B, ...]` of this replica's part; B is the same on all.

    Returns:
      `[B, ...]`: `draw(shape)` where there is one replica.
    """
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync if context else 1
    if replicas == 1:
        return draw(shape)
    whole = draw(tf.concat([replicas * shape[:1], shape[1:]], 0))
    first = context.replica_id_in_sync_group * shape[0]
    return whole[first : first + shape[0]]


def uniform_noise(shape: tf.Tensor, seed: tf.Tensor, salt: int) -> tf.Tensor:
    """Additive noise in [-0.5, 0.5), a pure function of `seed` (int32 `[2]`) and `salt`.

    It is what `tf.random.stateless_uniform` gives, also where XLA compiles it: there that function
    takes negative seeds for others, and makes the floats from other bits of the random integers.
    """
    seed = tf.cast(seed + tf.constant([salt, 0]), tf.int64)
    mixed = _philox([4], tf.constant([PHILOX_KEY], tf.uint64), tf.bitcast(seed, tf.uint64))
    key, counter = tf.unstack(tf.bitcast(tf.reshape(mixed, [2, 2]), tf.uint64))

    def draw(shape: tf.Tensor) -> tf.Tensor:
        bits = _philox(shape, key[None], tf.stack([tf.zeros_like(counter), counter]))
        mantissa = tf.bitwise.bitwise_and(bits, tf.constant(0x7FFFFF, tf.uint32))
        one_to_two = tf.bitwise.bitwise_or(mantissa, tf.constant(0x3F800000, tf.uint32))
        return tf.bitcast(one_to_two, tf.float32) - 1.5

    return drawn_for_batch(draw, shape)


def _philox(shape: tf.Tensor, key: tf.Tensor, counter: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape, key=key, counter=counter, alg=1, dtype=tf.uint32
    )
