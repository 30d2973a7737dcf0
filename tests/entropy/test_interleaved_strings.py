"""How lanes are put together to a string."""

import tensorflow as tf

from tfclic.entropy import interleaved_strings


def test_carries_go_as_far_as_they_must():
    words = tf.constant([5, 0xFFFF, 0xFFFF, 0x10003, 0, 0xFFFF, 0x1FFFF], tf.int64)
    assert interleaved_strings._carried(words).numpy().tolist() == [6, 0, 0, 3, 1, 0, 0xFFFF]
