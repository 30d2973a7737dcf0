"""What says which channels are in use comes back, and takes few bytes."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import active, coders


def coded(names, chosen):
    """What is read of channels that were written, and the string."""
    encoder = coders.RangeEncoder(coders.NO_TABLE)
    state, _ = names.code(encoder, encoder.start(), tf.constant(chosen, tf.int32))
    string = encoder.finish(state)
    decoder = coders.RangeDecoder(coders.NO_TABLE, string)
    state, found = names.code(decoder, decoder.start(), tf.zeros([0], tf.int32))
    assert decoder.finish(state)
    return found.numpy().tolist(), string.numpy()


def names_like(channels, activity):
    """Names of channels of a codec of two levels."""
    return active.Names(np.broadcast_to(activity, [2, channels]).astype(np.float32))


@pytest.mark.parametrize("activity", [0.0, 0.5, 1.0, "assumed"])
@pytest.mark.parametrize("channels", [1, 3, 8, 192, 384])
def test_channels_come_back(channels, activity):
    activity = active.assumed(2, channels) if activity == "assumed" else activity
    names = names_like(channels, activity)
    random = np.random.default_rng(channels)
    cases = [[0], [channels - 1], list(range(channels)), list(range((channels + 1) // 2))]
    cases += [np.flatnonzero(random.random(channels) < share).tolist() for share in (0.3, 0.9)]
    for chosen in filter(None, cases):
        found, string = coded(names, chosen)
        assert found == chosen
        bits = float(names.bits(tf.constant(chosen, tf.int32)))
        assert 8 * len(string) == pytest.approx(bits, rel=1e-3, abs=8 + 8)


def test_what_there_is_to_say_is_little():
    even = names_like(384, 0.5)
    # the three digits of a row's number
    assert even.bits(tf.range(384)) == 3
    assert even.bits(tf.range(383)) == 3 + 384
    activity = np.full([9, 384], 0.5, np.float32)
    activity[4, :150], activity[4, 150:] = 1, 0
    bits = active.Names(activity).bits(tf.range(150))
    assert float(bits) == pytest.approx(4 - 384 * np.log2(1 - 2**-12), rel=1e-4)


def test_one_level_is_enough():
    names = active.Names(np.full([1, 6], 0.5, np.float32))
    assert coded(names, [1, 5])[0] == [1, 5]
    assert float(names.bits(tf.range(5))) == pytest.approx(2 + 6)


def test_the_row_with_the_fewest_bits_is_taken():
    activity = np.array([[0.1, 0.1, 0.1], [0.9, 0.1, 0.1], [0.9, 0.9, 0.1]], np.float32)
    names = active.Names(activity)
    for chosen in ([0], [0, 1]):
        assert float(names.bits(tf.constant(chosen))) == pytest.approx(3 + 3 * -np.log2(0.9), 1e-3)
    # the sixth number is no row's
    assert names.bits(tf.range(3)) == 3


def test_images_with_fewer_channels_than_others_have_rows_too():
    names = names_like(100, 0.3)
    for count, share in ((1, 0.3**4), (10, 0.3**2), (30, 0.3)):
        bits = -count * np.log2(share) - (100 - count) * np.log2(1 - share)
        assert float(names.bits(tf.range(count))) == pytest.approx(3 + bits, rel=1e-2)


def test_probabilities_are_whole_and_possible():
    names = active.Names(np.array([[0.0, 1e-6, 0.25, 1.0]], np.float32))
    np.testing.assert_array_equal(names.table[:2], [[1, 1, 1024, 4095], [1, 1, 256, 4094]])
    np.testing.assert_array_equal(active.Names(names.activity()).table, names.table)


def test_estimates_keep_to_what_was_assumed_while_images_are_few():
    assumed = active.assumed(3, 8)
    assert np.all(np.diff(assumed, axis=0) > 0) and np.all(np.diff(assumed, axis=1) < 0)
    assert assumed[1].mean() == pytest.approx(0.5)
    shares = np.ones([3, 8])
    np.testing.assert_allclose(active.estimated(shares, 1), (1 + assumed) / 2)
    assert active.estimated(shares, 1000).min() > 0.998
    assert active.in_use(tf.constant([3.0, 4.0])).numpy().tolist() == [False, True]


def test_one_channel_is_in_use_at_least():
    assert coded(names_like(24, 0.5), [])[0] == [0]
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
