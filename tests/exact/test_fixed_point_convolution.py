"""Convolutions in integers, against big integers."""

import numpy as np
import pytest
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view

from tfclic.exact import fixed_point, fixed_point_convolution


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels, results", [(2, 5), (5, 2), (3, 3), (1200, 2)])
def test_convolutions_are_exact_sums_over_neighbours(size, channels, results):
    generator = np.random.default_rng(4)
    kernel = generator.choice([-127.0, 127.0], (size, size, channels, results))
    x = generator.choice([-1, 1], (4, 6, channels)) * generator.integers(32000, 32768)
    bits, limit = dict(input_bits=0, output_bits=-16), fixed_point.ACTIVATION_LIMIT
    layer = fixed_point_convolution.FixedPointConv2D(kernel, np.zeros(results), **bits)
    got = layer.convolve(tf.constant(x.reshape(24, -1), tf.float32), 4, 6)
    margin = [[size // 2] * 2] * 2
    windows = sliding_window_view(np.pad(x, [*margin, [0, 0]]), (size, size), (0, 1))
    want = np.einsum("yxcij,ijcm->yxm", windows, kernel.astype(np.int64))
    rounded = np.clip(np.floor(want / 2**16 + 0.5), -limit, limit)
    np.testing.assert_array_equal(got, rounded.reshape(24, -1))
