"""Learned centres: rounding finds the nearest one, and everything learns."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.layers import LearnedCentres

CENTRES = np.array([-5.5, -4.5, -3.5, -1, 0, 0.5, 2.5, 3.5, 4.5])


@pytest.fixture
def layer():
    layer = LearnedCentres(2)
    values = tf.linspace(-6.0, 6.0, 101)
    np.testing.assert_allclose(layer(values), values, atol=1e-5)
    layer.log_gaps.assign(np.log([[0.5, 2], [1, 2.5]]))
    return layer


def test_rounding_finds_the_nearest_centre(layer):
    np.testing.assert_allclose(layer.inverse(tf.range(-4.0, 5.0)), CENTRES, atol=1e-6)
    np.testing.assert_allclose(layer(tf.constant(CENTRES, tf.float32)), range(-4, 5), atol=1e-6)
    values = np.random.default_rng(0).uniform(-5.4, 4.4, 1000).astype(np.float32)
    nearest = CENTRES[np.abs(values[:, None] - CENTRES).argmin(1)]
    np.testing.assert_allclose(layer.inverse(tf.round(layer(values))), nearest, atol=1e-6)
    np.testing.assert_allclose(layer.inverse(layer(values)), values, atol=1e-5)


def test_centres_learn_from_both_ways(layer):
    for way in (layer, layer.inverse):
        with tf.GradientTape() as tape:
            y = way(tf.constant([-3.0, -0.5, 0.25, 1.7]))
        assert np.all(tape.gradient(y, layer.log_gaps) != 0)
