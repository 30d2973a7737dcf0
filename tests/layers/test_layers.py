"""Shapes, causality and starting points of the building blocks."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import layers
from tfclic.layers.block_transform import block_dct, dct_matrix
from tfclic.layers.gain import step_size
from tfclic.layers.masked import causal_mask, checkerboard_mask


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(0, 1, shape), tf.float32)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.ResidualUnit(4), (2, 6, 8, 4)),
        (layers.ResidualBlock(4), (2, 6, 8, 4)),
        (layers.ResidualBlock(6), (2, 6, 8, 6)),
        (layers.ResidualDown(4), (2, 3, 4, 4)),
        (layers.ResidualUp(4), (2, 12, 16, 4)),
        (layers.Attention(4), (2, 6, 8, 4)),
        (layers.Attention(4, non_local=True), (2, 6, 8, 4)),
        (layers.SubpixelConv2D(3, 5, 2), (2, 12, 16, 3)),
        (layers.MaskedConv2D(7), (2, 6, 8, 7)),
    ],
)
def test_shapes(layer, shape):
    assert layer(normal(2, 6, 8, 4)).shape == shape


def test_skip_of_downsampling_equals_a_strided_convolution():
    layer = layers.ResidualDown(4)
    x = normal(1, 6, 8, 4)
    layer(x)
    want = tf.nn.conv2d(x, layer.skip.kernel, 2, "SAME")
    np.testing.assert_allclose(layer.skip(x[:, ::2, ::2]), want, atol=1e-6)


def test_non_local_block_starts_as_identity_and_then_mixes_positions():
    block = layers.NonLocal(4)
    x = normal(1, 3, 5, 4)
    np.testing.assert_array_equal(block(x), x)
    block.out.kernel.assign(normal(1, 1, 2, 4))
    changed = block(tf.tensor_scatter_nd_add(x, [[0, 0, 0]], [[5.0, 0, 0, 0]])) - block(x)
    assert np.abs(changed[0, 2, 4]).max() > 1e-4, "the far corner feels it"


def test_masked_convolution_is_causal():
    want = np.zeros((7, 9), bool)
    want[2:7, 3:8] = causal_mask(5)
    np.testing.assert_array_equal(seen_at(4, 5, layers.MaskedConv2D(3)), want)


def test_masked_convolution_sees_half_of_a_checkerboard_from_the_other_half():
    layer = layers.MaskedConv2D(3, mask="checkerboard")
    assert not seen_at(3, 5, layer).any(), "anchors see nothing"
    want = np.zeros((7, 9), bool)
    want[2:7, 3:8] = checkerboard_mask(5)
    np.testing.assert_array_equal(seen_at(4, 5, layer), want)
    assert want.sum() == 12 and not want[4, 5] and want[4, 4]


def seen_at(row, column, layer):
    """Which positions of an array the result there depends on."""
    x = tf.Variable(normal(1, 7, 9, 2))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(layer(x)[0, row, column])
    return np.abs(tape.gradient(y, x)[0]).max(-1) > 0


def test_dct_and_its_blocks_are_orthonormal():
    np.testing.assert_allclose(dct_matrix(16) @ dct_matrix(16).T, np.eye(16), atol=1e-12)
    basis = block_dct(100, 8).reshape(-1, 100)
    np.testing.assert_allclose(basis.T @ basis, np.eye(100), atol=1e-5)
    assert np.all(block_dct(200, 8)[..., 192:] == 0)
    np.testing.assert_allclose(block_dct(1, 8), 8**-1 / 3**0.5, rtol=1e-5)


def test_block_synthesis_starts_as_the_inverse_of_block_analysis():
    x = normal(1, 16, 24, 3)
    analysis = layers.BlockAnalysis(192, scale=2.0, size=8)
    synthesis = layers.BlockSynthesis(192, scale=2.0, size=8)
    np.testing.assert_allclose(synthesis(analysis(x)), x, atol=1e-5)


LMBDAS = (0.001, 0.01, 0.04)


def test_gains_rise_with_quality_in_every_channel():
    gain = layers.QualityGain(5, LMBDAS, reference=40.0)
    quality = tf.linspace(0.0, 100.0, 41)
    gain(tf.ones([41, 1, 1, 5]), quality)
    gain.rises.assign(normal(*gain.rises.shape) * 3)
    gains = gain(tf.ones([41, 1, 1, 5]), quality)[:, 0, 0]
    assert np.all(np.diff(gains, axis=0) > 0)


def test_gains_start_at_the_step_sizes_and_invert():
    gain = layers.QualityGain(5, LMBDAS, reference=40.0)
    x, quality = normal(3, 2, 2, 5), tf.constant([0.0, 50.0, 100.0])
    scaled = gain(x, quality)
    want = x * (40.0 / step_size(LMBDAS))[:, None, None, None]
    np.testing.assert_allclose(scaled, want, rtol=1e-4)
    np.testing.assert_allclose(gain.inverse(scaled, quality), x, rtol=1e-4, atol=1e-6)


def test_a_single_lambda_has_one_gain_for_every_quality():
    gain = layers.QualityGain(5, (0.01,), reference=40.0)
    gains = gain(tf.ones([3, 1, 1, 5]), tf.constant([0.0, 37.0, 100.0]))
    np.testing.assert_allclose(gains, 40.0 / step_size(0.01), rtol=1e-5)


def test_gains_of_places_are_those_of_their_qualities():
    gain = layers.QualityGain(5, LMBDAS, reference=40.0)
    x = normal(1, 2, 3, 5)
    quality = tf.constant([[[0.0, 20.0, 50.0], [70.0, 99.0, 100.0]]])
    gain.build([])
    gain.correction.assign(normal(*gain.correction.shape))
    for function in (gain, gain.inverse):
        found = function(x, quality).numpy()
        for place in np.ndindex(1, 2, 3):
            one = tf.reshape(x[place], [1, 1, 1, 5])
            want = function(one, tf.constant([quality[place].numpy()]))
            # an exponential of several numbers may be another's neighbour
            np.testing.assert_allclose(found[place], want[0, 0, 0], rtol=1e-6)


def test_masked_convolution_over_channels_is_causal():
    layer, (row, column, channel) = layers.MaskedConv3D(2), (4, 5, 2)
    x = np.zeros([1, 8, 9, 5], np.float32)
    silent = layer(x)
    x[0, row, column, channel] = 1
    seen = np.any(layer(x) != silent, -1)[0]
    assert silent.shape == (1, 8, 9, 5, 2)
    want = np.zeros([8, 9, 5], bool)
    want[3:6, 4:7, channel] = causal_mask(3)[::-1, ::-1]
    want[3:6, 4:7, channel + 1] = True
    np.testing.assert_array_equal(seen, want)
