import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfclic.layers import NeighbourhoodNetwork

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def network():
    tf.keras.utils.set_random_seed(0)
    made = NeighbourhoodNetwork((4, 5, 6), 7, tf.nn.leaky_relu)
    made(tf.zeros([1, 8, 8, 3]))
    # with biases, what is outside of a window differs from what is outside of the array
    for bias in made.biases:
        bias.assign(tf.random.normal(bias.shape))
    return made


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (9, 6)])
def test_it_gives_what_windows_give(network, size, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import neighbourhood

    x = tf.random.stateless_normal([2, *size, 3], [1, 2])
    found, expected = network(x), neighbourhood.windowed(network, x)
    assert found.shape == (2, *size, 7)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.std(expected) > 0.1


def test_it_sees_two_positions_each_way(network):
    x = tf.zeros([1, 9, 9, 3])
    touched = tf.tensor_scatter_nd_update(x, [[0, 4, 4, 0]], [1.0])
    differs = np.any(network(x) != network(touched), -1)[0]
    expected = np.zeros([9, 9], bool)
    expected[2:7, 2:7] = True
    np.testing.assert_array_equal(differs, expected)
