"""Layers in turn: what Keras's Sequential gives, and the same names in checkpoints."""

import numpy as np
import tensorflow as tf

from tfclic.layers import Sequential
from tfclic.training import building


def made(kind):
    """A nested network of this kind of Sequential, used once."""
    tf.keras.utils.set_random_seed(1)
    inner = kind([tf.keras.layers.Conv2D(3, 3, padding="same"), tf.keras.layers.ReLU()])
    network = kind([inner, tf.keras.layers.Dense(2)])
    network(tf.zeros([1, 4, 4, 2]))
    return network


def test_results_names_and_first_weights_are_those_of_keras():
    ours, theirs = made(Sequential), made(tf.keras.Sequential)
    x = tf.random.normal([2, 5, 7, 2])
    np.testing.assert_array_equal(ours(x), theirs(x))
    found, wanted = (building.variable_paths(network) for network in (ours, theirs))
    assert list(found) == list(wanted) and len(found) == 4
    assert [v.shape for v in ours.weights] == [v.shape for v in theirs.weights]


def test_no_graph_is_made_of_it():
    network = made(Sequential)
    assert network.inputs is None and made(tf.keras.Sequential).inputs is not None
