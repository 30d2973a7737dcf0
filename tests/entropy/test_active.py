"""What says which channels are in use comes back, and takes few bytes."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import active, coders


def coded(channels, chosen):
    """What is read of channels that were written, and the string."""
    encoder = coders.RangeEncoder(coders.NO_TABLE)
    state, _ = active.code(encoder, encoder.start(), channels, tf.constant(chosen, tf.int32))
    string = encoder.finish(state)
    decoder = coders.RangeDecoder(coders.NO_TABLE, string)
    state, found = active.code(decoder, decoder.start(), channels, tf.zeros([0], tf.int32))
    assert decoder.finish(state)
    return found.numpy().tolist(), string.numpy()


@pytest.mark.parametrize("channels", [1, 3, 8, 24, 56, 192, 384])
def test_channels_come_back(channels):
    random = np.random.default_rng(channels)
    cases = [[0], [channels - 1], list(range(channels)), list(range((channels + 1) // 2))]
    cases += [np.flatnonzero(random.random(channels) < share).tolist() for share in (0.3, 0.9)]
    for chosen in filter(None, cases):
        found, string = coded(channels, chosen)
        assert found == chosen
        bits = float(active.bits(channels, tf.constant(chosen, tf.int32)))
        assert 8 * len(string) <= bits + 8 + 8 * coders.SPARE_BYTES


def test_what_there_is_to_say_is_little():
    every = tf.range(384)
    assert active.bits(384, every) == 6
    # 18 groups of which all channels are in use, then one with some
    assert active.bits(384, tf.concat([every[:144], [146]], 0)) == 6 + 19 + 19 + 8


def test_one_channel_is_in_use_at_least():
    assert coded(24, [])[0] == [0]
    assert active.of(tf.zeros([2, 3, 5])).numpy().tolist() == [0]
    latents = tf.constant([[0, 0, 1, 0], [0, -2, 0, 0]])
    assert active.of(latents).numpy().tolist() == [1, 2]


def test_small_images_say_nothing_of_channels():
    latents = np.zeros([32, 32, 5], np.float32)
    latents[3, 4, 2] = 1
    assert active.worth_saying(tf.constant(latents)).numpy().tolist() == [2]
    assert active.worth_saying(tf.constant(latents[:31])).numpy().tolist() == [0, 1, 2, 3, 4]


def test_silent_channels_are_zero_everywhere():
    latents = tf.reshape(tf.range(6.0), [3, 2])
    found = active.everywhere(latents, tf.constant([1, 3]), 5)
    np.testing.assert_array_equal(found[:, 1], latents[:, 0])
    np.testing.assert_array_equal(found[:, 3], latents[:, 1])
    np.testing.assert_array_equal(tf.reduce_sum(tf.abs(found), 0)[::2], [0, 0, 0])
