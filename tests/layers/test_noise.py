import types

import numpy as np
import pytest
import tensorflow as tf

from tfclic.layers import drawn_for_batch


def drawn(shape):
    def draw(shape):
        return tf.random.stateless_uniform(shape, [3, 5])

    return drawn_for_batch(draw, tf.constant(shape)).numpy()


@pytest.mark.parametrize("rest", [[3, 3, 7], []])
def test_replicas_get_their_rows_of_the_same_numbers(monkeypatch, rest):
    whole = drawn([6, *rest])
    np.testing.assert_array_equal(whole, tf.random.stateless_uniform([6, *rest], [3, 5]))
    parts = []
    for number in range(3):
        replica = types.SimpleNamespace(num_replicas_in_sync=3, replica_id_in_sync_group=number)
        monkeypatch.setattr(tf.distribute, "get_replica_context", lambda replica=replica: replica)
        parts.append(drawn([2, *rest]))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
