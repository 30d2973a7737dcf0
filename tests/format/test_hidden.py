"""Colours below an alpha of 0: what is seen stays, what is not is smooth, in bounded memory."""

import tracemalloc

import numpy as np
import pytest

from tfclic.format import hidden


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (37, 41), (300, 20)])
def test_what_is_seen_stays_as_it_is(make_pixels, size, channels):
    pixels = make_pixels(*size, channels)
    covered = np.random.default_rng(0).random(size) < 0.5
    before = pixels.copy()
    found = hidden.filled(pixels, covered)
    assert np.array_equal(found[~covered], pixels[~covered])
    assert np.array_equal(pixels, before)


def test_nothing_is_done_where_all_is_seen(make_pixels):
    pixels = make_pixels(9, 9)
    assert hidden.filled(pixels, np.zeros([9, 9], bool)) is pixels


def test_one_colour_goes_on_everywhere():
    pixels = np.zeros([270, 290, 3], np.uint8)
    pixels[100:120, 200:203] = [200, 100, 7]
    found = hidden.filled(pixels, pixels[..., 0] == 0)
    assert (found == [200, 100, 7]).all()
    assert not hidden.filled(pixels, np.ones([270, 290], bool)).any()


def test_edges_to_what_is_hidden_go_away(make_pixels):
    pixels = make_pixels(120, 160)
    rows, columns = np.mgrid[:120, :160]
    covered = np.hypot(rows - 60, columns - 80) > 40
    pixels[covered] = 0
    found = hidden.filled(pixels, covered)

    def step(array):
        return np.abs(np.diff(array.astype(int), axis=1)).max()

    assert step(pixels) > 150
    assert step(found) < 100
    means = found[covered].mean(), found[~covered].mean()
    assert abs(means[0] - means[1]) < 20


def test_memory_is_bounded():
    pixels = np.full([4096, 2048, 3], 9, np.uint8)
    covered = np.zeros([4096, 2048], bool)
    covered[::2] = True
    tracemalloc.start()
    try:
        hidden.filled(pixels, covered)
        assert tracemalloc.get_traced_memory()[1] < 3 * pixels.nbytes
    finally:
        tracemalloc.stop()
