"""Fixed-point layers: exact against big integers, close to the float layers, refused if unsafe."""

import fractions
import math

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import lazy, lowering
from tfclic.exact import fixed_point
from tfclic.layers import SubpixelConv2D

LIMIT = fixed_point.ACTIVATION_LIMIT


def dense(rows, columns, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.1, (rows, columns))
    return fixed_point.FixedPointDense(kernel, rng.normal(0, 1, columns), **kwargs), kernel


@pytest.mark.parametrize("slope", [1.0, 3 / 16])
def test_equals_arbitrary_precision_integers(slope):
    layer, _ = dense(700, 8, slope=slope)
    x = np.random.default_rng(1).integers(-LIMIT, LIMIT + 1, (5, 700))
    sums = x.astype(object) @ layer.kernel.numpy().astype(object) + layer.bias.numpy().astype(int)
    scales = layer.scale.numpy()
    for row, got in zip(sums, layer(tf.constant(x, tf.float32)).numpy()):
        for total, scale, value in zip(row, scales, got):
            total = max(total, fractions.Fraction(slope) * total) * fractions.Fraction(scale)
            want = math.floor(total + fractions.Fraction(1, 2))
            assert value == max(-LIMIT, min(LIMIT, want))


def test_order_of_rows_and_batching_do_not_matter():
    layer, _ = dense(640, 16)
    x = tf.constant(np.random.default_rng(2).integers(-LIMIT, LIMIT + 1, (33, 640)), tf.float32)
    together = layer(x).numpy()
    alone = np.concatenate([layer(row[None]).numpy() for row in x])
    np.testing.assert_array_equal(together, alone)


def test_close_to_the_float_layer():
    layer, kernel = dense(100, 10)
    x = np.random.default_rng(3).normal(0, 1, (20, 100))
    integers = np.round(x * 2**fixed_point.ACTIVATION_BITS)
    bias = layer.bias.numpy() * layer.scale.numpy()
    want = integers @ kernel + bias
    np.testing.assert_allclose(layer(integers.astype(np.float32)), want, atol=6)


def test_a_layer_that_cannot_be_exact_is_named():
    with pytest.raises(ValueError, match="greedy"):
        dense(4, 2, input_limit=1 << 16, name="greedy")


@pytest.mark.parametrize("value", [1e12, np.inf, np.nan])
def test_a_layer_whose_bias_cannot_be_exact_is_named(value):
    with pytest.raises(ValueError, match="biased"):
        fixed_point.FixedPointDense(np.ones([3, 1]), np.array([value]), name="biased")


@pytest.mark.parametrize("factor", [1, 2])
def test_subpixel_convolution_close_to_float(factor):
    layer = SubpixelConv2D(4, 3, factor)
    x = np.random.default_rng(5).integers(-20, 21, (1, 3, 5, 8)).astype(np.float32)
    want = layer(tf.constant(x))[0]
    given, wanted = lowering.integers(127), lowering.ACTIVATIONS
    exact = lowering.lower(layer, given, wanted, "exact")
    known = lazy.Known(tf.constant(x[0]), given, lazy.Grid(3, 5))
    value = lazy.Applied(exact, known, wanted)
    got = value.whole() / 2**fixed_point.ACTIVATION_BITS
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=0.5)
