import numpy as np
import tensorflow as tf

from tfclic.entropy.fixed_point import ACTIVATION_BITS
from tfclic.entropy.fixed_point_neighbourhood import FixedPointNeighbourhood
from tfclic.layers import NeighbourhoodNetwork

SLOPE = 3 / 16


def networks(unit):
    """A network and its integer form, whose results are multiples of 1 / unit."""
    tf.keras.utils.set_random_seed(1)
    layer = NeighbourhoodNetwork((4, 5, 6), 7, lambda x: tf.nn.leaky_relu(x, SLOPE))
    layer(tf.zeros([1, 4, 4, 3]))
    for bias in layer.biases:
        bias.assign(tf.random.normal(bias.shape))
    return layer, FixedPointNeighbourhood(layer, SLOPE, lambda k, b: (k * unit, b * unit), "net")


def test_it_is_the_network_rounded():
    layer, exact = networks(unit=64)
    x = np.round(np.random.default_rng(0).normal(0, 100, (6, 5, 3)))
    wanted = layer(tf.constant(x[None] / 2**ACTIVATION_BITS, tf.float32))[0]
    x = tf.constant(x, tf.float32)
    rows = exact.rows(exact.maps(x), 6, 5, tf.range(30))
    np.testing.assert_array_equal(rows, np.round(rows))
    found = tf.reshape(rows, [6, 5, 7]) / 64
    np.testing.assert_allclose(found, wanted, atol=0.1)
    assert np.std(wanted) > 0.5


def test_some_positions_get_what_all_positions_get():
    _, exact = networks(unit=16)
    x = tf.round(tf.random.stateless_normal([4, 7, 3], [3, 4], stddev=500.0))
    maps = exact.maps(x)
    every = exact.rows(maps, 4, 7, tf.range(28))
    chosen = tf.constant([3, 9, 20, 27])
    np.testing.assert_array_equal(exact.rows(maps, 4, 7, chosen), tf.gather(every, chosen))
