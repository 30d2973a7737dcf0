"""Random numbers of a batch that several replicas share."""

import tensorflow as tf


def batch_uniform(shape, seed, low, high, dtype=tf.float32):
    """Uniform random numbers, a pure function of `seed` and of a sample's place in the whole batch.

    Under `tf.distribute` each replica holds a part of the batch. It draws the numbers of the whole
    and keeps its rows, so that a sample gets the same numbers however many replicas there are. That
    repeats the drawing on every replica, which is little beside one convolution.

    Args:
      shape: int32 tensor or list, `[B, ...]`, of this replica's part; B is the same on all.
      seed: int32 `[2]`.
      low, high: bounds, `high` excluded.
      dtype: float32 or int32.

    Returns:
      `[B, ...]` of `dtype`.
    """
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync if context else 1
    if replicas == 1:
        return tf.random.stateless_uniform(shape, seed, low, high, dtype)
    rows, rest = tf.split(shape, [1, -1])
    whole = tf.concat([replicas * rows, rest], 0)
    drawn = tf.random.stateless_uniform(whole, seed, low, high, dtype)
    first = context.replica_id_in_sync_group * rows[0]
    return drawn[first : first + rows[0]]
