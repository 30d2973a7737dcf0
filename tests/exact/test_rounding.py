"""Kernels in integers: near to what they were, and of few bits."""

import numpy as np
import pytest

from tfclic.exact import rounding


def test_a_step_is_the_smallest_and_has_few_bits():
    rng = np.random.default_rng(6)
    kernel = rng.normal(0, 1, (40, 300)) * 2.0 ** rng.uniform(-8, 8, 300)
    integers, steps = (each.numpy() for each in rounding.round_kernel(kernel))
    np.testing.assert_array_equal(np.abs(integers).max(0), rounding.KERNEL_LIMIT)
    assert np.all(np.abs(kernel - integers * steps) <= steps / 2)
    mantissas = np.ldexp(np.frexp(steps)[0], rounding.STEP_BITS)
    np.testing.assert_array_equal(mantissas, np.round(mantissas))
    again = rounding.round_kernel(integers * steps)
    for found, want in zip(again, (integers, steps)):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("value", [0.0, 1e-30, 3e38])
def test_the_smallest_and_the_largest_weights_are_within_8_bits(value):
    integers, steps = rounding.round_kernel(np.full((2, 1), value))
    assert np.abs(integers).max() <= rounding.KERNEL_LIMIT
    np.testing.assert_allclose(integers * steps, np.full((2, 1), value), rtol=1e-2, atol=1e-6)
