import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy.fixed_point_neighbourhood import FixedPointNeighbourhood
from tfclic.exact.fixed_point import ACTIVATION_BITS
from tfclic.exact.rounding import Grids
from tfclic.layers import NeighbourhoodNetwork

SLOPE = 3 / 16


def networks(unit):
    """A network and its integer form, whose results are multiples of 1 / unit."""
    tf.keras.utils.set_random_seed(1)
    layer = NeighbourhoodNetwork((4, 5, 6), 7, lambda x: tf.nn.leaky_relu(x, SLOPE))
    layer(tf.zeros([1, 4, 4, 3]))
    for bias in layer.biases:
        bias.assign(tf.random.normal(bias.shape))
    return layer, FixedPointNeighbourhood(
        layer, SLOPE, "net", output_bits=0, grids=Grids(unit, 0.0)
    )


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


def test_too_many_channels_are_refused_by_name():
    layer = NeighbourhoodNetwork((1040, 2, 2), 2, tf.nn.relu)
    layer(tf.zeros([1, 4, 4, 1]))
    layer.kernels[1].assign(tf.ones_like(layer.kernels[1]))
    with pytest.raises(ValueError, match="layer net_1: sums up to .* are not exact"):
        FixedPointNeighbourhood(layer, SLOPE, "net")


def test_large_and_negative_integers_are_exact():
    _, exact = networks(unit=16)
    rng = np.random.default_rng(5)
    x = tf.constant(rng.integers(-(2**15) + 1, 2**15, (3, 4, 3)), tf.float32)
    rows = exact.rows(exact.maps(x), 3, 4, tf.range(12))
    np.testing.assert_array_equal(rows, in_integers(exact, x.numpy()))


def in_integers(exact, x):
    """The same from windows, by numpy in 64 bits."""
    padded = np.pad(x, [(2, 2), (2, 2), (0, 0)]).astype(np.int64)
    results = []
    for row, column in np.ndindex(x.shape[:2]):
        y = padded[row : row + 5, column : column + 5]
        for layer, stride in zip(exact.layers, (1, 2, 1)):
            around = np.pad(y, [(1, 1), (1, 1), (0, 0)])
            size = len(range(0, len(y), stride))
            cells = [
                around[stride * r : stride * r + 3, stride * c : stride * c + 3].reshape(-1)
                for r, c in np.ndindex(size, size)
            ]
            y = dense(layer, np.stack(cells)).reshape(size, size, -1)
        results.append(dense(exact.layers[3], y.reshape(1, -1))[0])
    return np.stack(results)


def dense(layer, x):
    total = (x @ layer.kernel.numpy().astype(np.int64) + layer.bias.numpy()) * layer.scale.numpy()
    total = np.floor(np.maximum(total, total * layer.slope) + 0.5)
    return np.clip(total, -layer.output_limit, layer.output_limit).astype(np.int64)
