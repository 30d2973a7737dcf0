"""Wavefronts visit every position once, after all that its context sees."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import wavefront
from tfclic.layers.masked import causal_mask

SIZES = [(1, 1), (1, 7), (5, 1), (4, 9), (32, 48)]


@pytest.mark.parametrize("size", SIZES)
def test_visits_every_position_after_its_context(size):
    mask = causal_mask(5)
    order = wavefront.order(*size, mask)
    assert sorted(order.raster.numpy()) == list(range(np.prod(size)))
    starts = order.starts.numpy()
    assert starts[0] == 0 and starts[-1] == np.prod(size)
    step = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    when = np.zeros(size, int)
    when.flat[order.raster.numpy()] = step
    padded = np.pad(when, 2, constant_values=-1)
    for row, column in np.ndindex(size):
        assert padded[row : row + 5, column : column + 5][mask].max() < when[row, column]


@pytest.mark.parametrize("size", SIZES)
def test_neighbours_are_what_the_mask_shows(size):
    mask = causal_mask(5)
    order = wavefront.order(*size, mask)
    latents = tf.random.stateless_normal([*size, 2], [1, 2])
    found = tf.gather(wavefront.arrange(latents, order), order.neighbours).numpy()
    padded = np.pad(latents, [(2, 2), (2, 2), (0, 0)])
    for row, column in np.ndindex(size):
        visible = padded[row : row + 5, column : column + 5][mask]
        rank = order.rank[row * size[1] + column]
        np.testing.assert_array_equal(found[rank], visible)


def test_a_landscape_image_takes_141_steps():
    assert wavefront.steps(32, 48, wavefront.slope(causal_mask(5))) == 141


@pytest.mark.parametrize("size, steps", [((4, 4), 1), ((64, 64), 1), ((64, 65), 2), ((4, 3072), 3)])
def test_independent_positions_take_few_steps_in_the_order_of_rows(size, steps):
    order = wavefront.raster_order(*map(tf.constant, size))
    np.testing.assert_array_equal(order.raster, np.arange(np.prod(size)))
    np.testing.assert_array_equal(order.rank, order.raster)
    starts = order.starts.numpy()
    assert len(starts) == steps + 1 and starts[0] == 0 and starts[-1] == np.prod(size)
    assert np.all(np.diff(starts) > 0)
