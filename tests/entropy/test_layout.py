"""Streams side by side: what is joined comes apart again."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import layout
from tfclic.entropy.program import LATENTS


@pytest.fixture
def described():
    """A layout with two streams of side information and two of latents."""
    made = layout.Layout()
    made.describe("coarse", 3, 4)
    made.describe("fine", 2, 2)
    made.describe("slice_1", 5, 1, 10)
    made.describe("slice_2", 6, 1)
    return made


def test_side_information_is_joined_from_fine_to_coarse(described):
    assert described.sides == ("fine", "coarse") and described.latents == ("slice_1", "slice_2")
    rng = np.random.default_rng(0)
    streams = {
        "fine": tf.constant(rng.integers(-9, 10, [4, 6, 2]), tf.float32),
        "coarse": tf.constant(rng.integers(-9, 10, [2, 3, 3]), tf.float32),
    }
    joined = described.join(streams)
    assert joined.shape == (2, 3, described.hyper_channels) and described.hyper_channels == 11
    np.testing.assert_array_equal(joined[..., 8:], streams["coarse"])
    found = described.split(joined)
    assert list(found) == ["fine", "coarse"]
    for name, array in found.items():
        np.testing.assert_array_equal(array, streams[name])


def test_boxes_are_those_of_the_streams_positions(described):
    box = np.array([8, 4, 12, 16])
    assert described.box(LATENTS, box).tolist() == [8, 4, 12, 16]
    assert described.box("fine", box).tolist() == [4, 2, 6, 8]
    # what a program makes side information of, before that is a stream
    assert described.box("hyper", box).tolist() == [2, 1, 3, 4]


def test_columns_are_told_where_all_streams_of_latents_have_them(described):
    assert described.told_columns is None
    described.describe("slice_2", 6, 1, 12)
    assert described.told_columns == [10, 12]
