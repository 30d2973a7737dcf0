"""Bytes: rounded, moved and multiplied as the floats that they stand for."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.exact import octets
from tfclic.export import saving


def run(function, *arguments):
    """What a function gives as it runs in a model that is exported."""
    with saving.unoptimized():
        return tf.function(function, autograph=False)(*arguments).numpy()


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("form", [octets.SIGNED, octets.UNSIGNED], ids=["signed", "unsigned"])
def test_floats_become_bytes_with_their_offset(form, channels, has_bytes):
    if not has_bytes:
        pytest.skip("This machine has no products of bytes, and may have other roundings.")
    given = np.random.default_rng(0).integers(-1200, 1200, [1, 4, 4, channels]) / 4
    found = run(lambda x: octets.rounded(x, form), tf.constant(given, tf.float32))
    assert found.dtype == np.uint8
    want = np.clip(np.round(given), form.least, form.largest) + form.offset
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [8, 12, 32])
def test_depth_to_space_moves_several_at_once(channels, dtype):
    x = np.random.default_rng(0).integers(0, 256, [2, 3, 5, channels]).astype(dtype)
    found = run(lambda x: octets.depth_to_space(x, 2), tf.constant(x))
    np.testing.assert_array_equal(found, tf.nn.depth_to_space(x, 2))


def test_factors_are_snapped_to_what_no_order_of_operations_rounds():
    times = np.random.default_rng(0).uniform(1e-7, 2, 1000)
    for form in (octets.SIGNED, octets.UNSIGNED):
        found = octets.snapped(times, form)
        np.testing.assert_allclose(found, times, rtol=2**-15)
        largest, unit = np.float32(form.largest), np.float32(found / form.largest)
        assert np.all(largest * unit == found)
        assert np.all(np.float32(unit * np.float32(2**31)) / np.float32(2**31) * largest == found)
        np.testing.assert_array_equal(np.float32(found), found)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_sums_are_those_of_integers(size, strides, has_bytes):
    if not has_bytes:
        pytest.skip("This machine has no products of bytes.")
    random = np.random.default_rng(size)
    kernel, bias = random.integers(-127, 128, [size, size, 8, 6]), random.integers(-9999, 9999, 6)
    for form in (octets.SIGNED, octets.UNSIGNED):
        values = random.integers(form.least, form.largest + 1, [1, 8, 12, 8])
        x = tf.constant(values + form.offset, tf.uint8)
        found = run(lambda x, form=form: octets.convolved(x, kernel, bias, form, strides), x)
        want = tf.nn.conv2d(tf.constant(values, tf.float64), kernel, strides, "SAME") + bias
        np.testing.assert_array_equal(found, want)


def test_a_product_that_saturates_is_not_sound(monkeypatch):
    def saturating(x, kernel, bias, form, strides=1):
        sums = tf.nn.conv2d(tf.cast(x, tf.float32) - form.offset, kernel, strides, "SAME")
        return tf.cast(tf.clip_by_value(sums + bias, -(2.0**20), 2.0**20), tf.int32)

    monkeypatch.setattr(octets, "convolved", saturating)
    assert not run(octets.sound)
