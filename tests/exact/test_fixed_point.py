"""Fixed-point layers: exact against big integers, close to the float layers, refused if unsafe."""

import fractions
import math

import numpy as np
import pytest
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view

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


def test_a_step_is_the_smallest_and_has_few_bits():
    rng = np.random.default_rng(6)
    kernel = rng.normal(0, 1, (40, 300)) * 2.0 ** rng.uniform(-8, 8, 300)
    integers, steps = (each.numpy() for each in fixed_point.round_kernel(kernel))
    np.testing.assert_array_equal(np.abs(integers).max(0), fixed_point.KERNEL_LIMIT)
    assert np.all(np.abs(kernel - integers * steps) <= steps / 2)
    mantissas = np.ldexp(np.frexp(steps)[0], fixed_point.STEP_BITS)
    np.testing.assert_array_equal(mantissas, np.round(mantissas))
    again = fixed_point.round_kernel(integers * steps)
    for found, want in zip(again, (integers, steps)):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("value", [0.0, 1e-30, 3e38])
def test_the_smallest_and_the_largest_weights_are_within_8_bits(value):
    integers, steps = fixed_point.round_kernel(np.full((2, 1), value))
    assert np.abs(integers).max() <= fixed_point.KERNEL_LIMIT
    np.testing.assert_allclose(integers * steps, np.full((2, 1), value), rtol=1e-2, atol=1e-6)


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


def test_groups_keep_every_sum_exact():
    kernel = np.full((3000, 2), 127, np.int8)
    groups = fixed_point.row_groups(kernel, 128)
    assert groups[0][0] == 0 and groups[-1][1] == 3000
    assert all(a[1] == b[0] for a, b in zip(groups, groups[1:]))
    worst = max((end - first) * 127 * 128 for first, end in groups)
    assert worst < fixed_point.EXACT_FLOAT32


def test_a_layer_that_cannot_be_exact_is_named():
    with pytest.raises(ValueError, match="greedy"):
        dense(4, 2, input_limit=1 << 16, name="greedy")


@pytest.mark.parametrize("value", [1e12, np.inf, np.nan])
def test_a_layer_whose_bias_cannot_be_exact_is_named(value):
    with pytest.raises(ValueError, match="biased"):
        fixed_point.FixedPointDense(np.ones([3, 1]), np.array([value]), name="biased")


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels, results", [(2, 5), (5, 2), (3, 3), (1200, 2)])
def test_convolutions_are_exact_sums_over_neighbours(size, channels, results):
    generator = np.random.default_rng(4)
    kernel = generator.choice([-127.0, 127.0], (size, size, channels, results))
    x = generator.choice([-1, 1], (4, 6, channels)) * generator.integers(32000, 32768)
    bits, limit = dict(input_bits=0, output_bits=-16), fixed_point.ACTIVATION_LIMIT
    layer = fixed_point.FixedPointConv2D(kernel, np.zeros(results), **bits)
    got = layer.convolve(tf.constant(x.reshape(24, -1), tf.float32), 4, 6)
    margin = [[size // 2] * 2] * 2
    windows = sliding_window_view(np.pad(x, [*margin, [0, 0]]), (size, size), (0, 1))
    want = np.einsum("yxcij,ijcm->yxm", windows, kernel.astype(np.int64))
    rounded = np.clip(np.floor(want / 2**16 + 0.5), -limit, limit)
    np.testing.assert_array_equal(got, rounded.reshape(24, -1))


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
