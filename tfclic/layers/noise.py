"""Random numbers of a batch that several replicas share."""

import tensorflow as tf


def drawn_for_batch(draw, shape):
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
