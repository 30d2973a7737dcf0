"""GDN against TFC's, whose checkpoints it has to read."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.layers import GDN
from tfclic.training import building


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(0, 1, shape), tf.float32)


def results(layer, x, upstream):
    """The layer's output, and the gradients by its input and its variables, inside a graph."""

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return y, tape.gradient(y, [x, *layer.trainable_variables], upstream)

    y, gradients = run(x)
    return [y, *gradients]


def results_of_tfc(layer, x, upstream):
    """As `results`, outside of graphs, where TFC's layer knows its exponents."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    return [y, *tape.gradient(y, [x, *layer.trainable_variables], upstream)]


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("squares", [False, True])
def test_values_gradients_and_variables_are_those_of_tfc(inverse, squares):
    x, upstream = normal(2, 5, 3, 4), normal(2, 5, 3, 4, seed=1)
    exponents = dict(alpha_parameter=2, epsilon_parameter=0.5) if squares else {}
    reference = tfc.GDN(inverse=inverse, **exponents)
    layer = GDN(inverse=inverse, squares=squares)
    reference(x), layer(x)
    for i, (path, variable) in enumerate(building.variable_paths(reference).items()):
        value = variable + 0.1 * tf.abs(normal(*variable.shape, seed=i))
        variable.assign(value)
        building.variable_paths(layer)[path].assign(value)
    assert len(building.variable_paths(layer)) == 2
    got, want = results(layer, x, upstream), results_of_tfc(reference, x, upstream)
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_zeros_stay_zero_and_take_a_gradient():
    y, by_x, *_ = results(GDN(), tf.zeros([1, 2, 2, 3]), tf.ones([1, 2, 2, 3]))
    np.testing.assert_array_equal(y, np.zeros([1, 2, 2, 3]))
    np.testing.assert_allclose(by_x, np.ones([1, 2, 2, 3]), rtol=1e-5)
