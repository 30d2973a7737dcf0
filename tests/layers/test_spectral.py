"""Convolutions that are trained by their frequencies compute what others do."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.layers import SpectralConv2D
from tfclic.layers.spectral import fourier_basis


@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_the_basis_is_orthonormal_and_each_wave_has_one_frequency(size):
    basis = fourier_basis(size)
    np.testing.assert_allclose(basis @ basis.T, np.eye(size), atol=1e-6)
    spectra = np.abs(np.fft.rfft(basis))
    assert np.all(np.count_nonzero(spectra > 1e-5, axis=1) == 1)
    assert list(spectra.argmax(1)) == [(number + 1) // 2 for number in range(size)]


@pytest.mark.parametrize("transposed", [False, True])
def test_it_is_a_convolution_with_its_kernel(transposed):
    x = tf.random.stateless_normal([2, 6, 8, 3], [1, 2])
    layer = SpectralConv2D(4, 5, 2, transposed)
    got = layer(x)
    kind = tf.keras.layers.Conv2DTranspose if transposed else tf.keras.layers.Conv2D
    plain = kind(4, 5, 2, padding="same")
    assert plain(x).shape == got.shape == ((2, 12, 16, 4) if transposed else (2, 3, 4, 4))
    layer.bias.assign([0.0, 1.0, 2.0, 3.0])
    kernel = layer.kernel().numpy()
    plain.set_weights([kernel.swapaxes(2, 3) if transposed else kernel, layer.bias])
    np.testing.assert_allclose(layer(x), plain(x), atol=1e-5)


def test_kernels_begin_as_those_of_others():
    layer = SpectralConv2D(64, 5, kernel_initializer="glorot_uniform")
    layer(tf.zeros([1, 4, 4, 64]))
    assert layer.kernel().shape == (5, 5, 64, 64)
    limit = np.sqrt(6 / (25 * 128))
    assert 0.99 * limit < np.abs(layer.kernel()).max() < 1.001 * limit


def test_an_update_of_all_frequencies_changes_a_kernel_where_its_waves_meet():
    layer = SpectralConv2D(1, 5, use_bias=False, kernel_initializer="zeros")
    layer(tf.zeros([1, 4, 4, 1]))
    layer.spectrum.assign(tf.one_hot([0], 25)[0][:, None, None])
    np.testing.assert_allclose(layer.kernel()[..., 0, 0], np.full([5, 5], 0.2), atol=1e-6)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(tf.ones([1, 8, 8, 1])))
    gradient = tape.gradient(total, layer.spectrum)
    assert np.abs(gradient).argmax() == 0
