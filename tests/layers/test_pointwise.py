"""1x1 convolutions as matrix products against the convolutions that they replace."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.layers import PointwiseConv2D, SubpixelConv2D
from tfclic.layers.residual import conv
from tfclic.training import building


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(0, 1, shape), tf.float32)


@pytest.mark.parametrize("options", [{}, {"activation": "relu"}, {"use_bias": False}])
def test_equals_a_convolution_with_its_gradients(options):
    x, layer = normal(2, 5, 3, 4), PointwiseConv2D(6, **options)
    reference = tf.keras.layers.Conv2D(6, 1, **options)
    reference(x), layer(x)
    for i, (path, variable) in enumerate(building.variable_paths(reference).items()):
        variable.assign(normal(*variable.shape, seed=i))
        building.variable_paths(layer)[path].assign(variable)
    results = []
    for each in (reference, layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = each(x)
        gradients = tape.gradient(y, [x, *each.trainable_variables], normal(2, 5, 3, 6, seed=9))
        results.append([y, *gradients])
    assert len(results[0]) == len(results[1]) >= 3
    for want, got in zip(*results):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_accepts_images_of_unknown_size():
    layer = PointwiseConv2D(6)
    run = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 4])])
    assert run(normal(1, 7, 5, 4)).shape == (1, 7, 5, 6)


def test_serves_where_blocks_ask_for_1x1_kernels():
    assert isinstance(conv(6, 1), PointwiseConv2D)
    assert isinstance(SubpixelConv2D(6, 1).conv, PointwiseConv2D)
    assert not isinstance(conv(6, 1, 2), PointwiseConv2D)
    assert not isinstance(conv(6, 3), PointwiseConv2D)
