"""Wavefronts visit every position once, after all that its context sees."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import coders, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.layers.masked import MASKS, causal_mask, volume_mask

SIZES = [(1, 1), (1, 7), (5, 1), (4, 9), (32, 48)]


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("size", SIZES)
def test_visits_every_position_after_its_context(size, name):
    order = wavefront.order(*size, MASKS[name](5))
    assert sorted(order.raster.numpy()) == list(range(np.prod(size)))
    starts = order.starts.numpy()
    assert starts[0] == 0 and starts[-1] == np.prod(size)
    step = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    ranks = order.neighbours.numpy()
    seen = np.where(ranks < np.prod(size), np.append(step, 0)[ranks], -1)
    assert np.all(seen < step[:, None])


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("size", SIZES)
def test_neighbours_are_what_the_mask_shows(size, name):
    mask = MASKS[name](5)
    order = wavefront.order(*size, mask)
    latents = tf.random.stateless_normal([*size, 2], [1, 2])
    found = tf.gather(wavefront.arrange(latents, order), order.neighbours).numpy()
    padded = np.pad(latents, [(2, 2), (2, 2), (0, 0)])
    for row, column in np.ndindex(size):
        visible = padded[row : row + 5, column : column + 5][mask]
        rank = order.rank[row * size[1] + column]
        sees_nothing = name == "checkerboard" and (row + column) % 2 == 0
        np.testing.assert_array_equal(found[rank], 0 if sees_nothing else visible)


@pytest.mark.parametrize("size, steps", [((1, 1), 1), ((1, 2), 2), ((32, 48), 2), ((65, 129), 4)])
def test_a_checkerboard_takes_two_steps_or_a_few(size, steps):
    order = wavefront.order(*map(tf.constant, size), MASKS["checkerboard"](5))
    starts = order.starts.numpy()
    assert len(starts) == steps + 1 and starts[-1] == np.prod(size)
    assert np.all(np.diff(starts) > 0) and -(-np.prod(size) // 2) in starts


def test_a_mask_without_an_order_is_refused():
    with pytest.raises(ValueError, match="checkerboard"):
        wavefront.order(4, 4, np.ones([3, 3], bool))


def test_a_landscape_image_takes_141_steps():
    assert wavefront.steps(32, 48, wavefront.slope(causal_mask(5))) == 141
    assert wavefront.steps(32, 48, wavefront.slope(MASKS["window"](7))) == 110


@pytest.mark.parametrize("size, steps", [((4, 4), 1), ((64, 64), 1), ((64, 65), 2), ((4, 3072), 3)])
def test_independent_positions_take_few_steps_in_the_order_of_rows(size, steps):
    order = wavefront.raster_order(*map(tf.constant, size))
    np.testing.assert_array_equal(order.raster, np.arange(np.prod(size)))
    np.testing.assert_array_equal(order.rank, order.raster)
    starts = order.starts.numpy()
    assert len(starts) == steps + 1 and starts[0] == 0 and starts[-1] == np.prod(size)
    assert np.all(np.diff(starts) > 0)


VOLUMES = [(1, 1, (0,)), (4, 9, (1, 2, 4)), (5, 3, (0, 1, 2, 3, 4, 5)), (1, 7, (5,))]


@pytest.mark.parametrize("height, width, numbers", VOLUMES)
@pytest.mark.parametrize("size", [3, 5])
def test_values_of_a_volume_come_after_all_that_they_see(height, width, numbers, size):
    mask, channels = volume_mask(size), 6
    order = wavefront.volume_order(height, width, tf.constant(numbers), channels, mask)
    count = height * width * len(numbers)
    assert sorted(order.raster.numpy()) == list(range(count))
    starts = order.starts.numpy()
    assert starts[0] == 0 and starts[-1] == count
    step = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    ranks = order.neighbours.numpy()
    assert np.all(np.where(ranks < count, np.append(step, 0)[ranks], -1) < step[:, None])

    values = tf.random.stateless_normal([height, width, len(numbers)], [1, 2])
    volume = wavefront.as_volume(values)
    np.testing.assert_array_equal(wavefront.from_volume(tf.reshape(volume, [-1]), values), values)
    found = tf.gather(wavefront.arrange(volume, order), order.neighbours).numpy()[..., 0]
    every = np.zeros([channels + size // 2, height + size - 1, width + size - 1], np.float32)
    margin, places = size // 2, np.array(numbers) + size // 2
    every[places, margin : margin + height, margin : margin + width] = np.moveaxis(values, 2, 0)
    for number, row, column in np.ndindex(len(numbers), height, width):
        last = numbers[number] + size // 2 + 1
        box = every[last - len(mask) : last, row : row + size, column : column + size]
        rank = order.rank[(number * height + row) * width + column]
        np.testing.assert_array_equal(found[rank], box[mask])


def test_a_volume_takes_four_steps_a_channel():
    order = wavefront.volume_order(32, 48, tf.range(10), 10, volume_mask(3))
    assert len(order.starts) - 1 == 48 + 2 * 31 + 4 * 9


def test_walks_in_one_graph_keep_what_they_write_apart():
    # of equal operations TensorFlow leaves one; both walks begin with zeros, and write in place
    size, channels = (6, 5), 2
    order = wavefront.order(*size, causal_mask(5))
    parameters = tf.constant([0.0] * 2 * channels + [40.0] * channels)

    def distribution_at(_, chosen):
        return im.distribution_of_rows(tf.tile(parameters[None], [tf.size(chosen), 1]), 1)

    def walk(coder, latents):
        return wavefront.traverse(coder, coder.start(), latents, distribution_at, order)

    @tf.function
    def encode(latents):
        coder = coders.RangeEncoder(coders.NO_TABLE)
        state, unchanged = walk(coder, latents)
        return coder.finish(state), unchanged

    @tf.function
    def decode(strings):
        decoders = [coders.RangeDecoder(coders.NO_TABLE, string) for string in strings]
        return [walk(coder, tf.zeros([*size, channels]))[1] for coder in decoders]

    shape = [2, *size, channels]
    arrays = tf.round(4 * tf.random.stateless_normal(shape, [1, 2]))
    strings, kept = zip(*(encode(array) for array in arrays))
    np.testing.assert_array_equal(kept, arrays)
    np.testing.assert_array_equal(decode(strings), arrays)
