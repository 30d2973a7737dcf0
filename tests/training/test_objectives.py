import collections

import numpy as np
import pytest
import tensorflow as tf

from tfclic import errors
from tfclic.training import objectives

Output = collections.namedtuple("Output", "reconstruction bits")


def random_images(seed, shape=(2, 192, 192, 3)):
    return tf.random.stateless_uniform(shape, [seed, 0])


def test_mse_is_on_the_scale_of_255_and_not_clipped():
    images = tf.zeros([2, 8, 8, 3])
    reconstruction = images + tf.reshape([1 / 255.0, -2.0], [2, 1, 1, 1])
    np.testing.assert_allclose(
        objectives.mse(images, reconstruction), [1.0, 4 * 255.0**2], rtol=1e-5
    )


def test_psnr_is_of_the_clipped_reconstruction():
    images = tf.zeros([2, 8, 8, 3])
    reconstruction = images + tf.reshape([0.1, -2.0], [2, 1, 1, 1])
    psnr = objectives.psnr(images, reconstruction).numpy()
    assert psnr[0] == pytest.approx(20.0, abs=1e-4)
    assert psnr[1] > 100


def test_ms_ssim_is_one_minus_tensorflow_s():
    images = random_images(1)
    reconstruction = 0.8 * images + 0.2 * random_images(2)
    expected = 1 - tf.image.ssim_multiscale(images, reconstruction, 1.0)
    np.testing.assert_allclose(objectives.ms_ssim(images, reconstruction), expected, atol=1e-6)


def test_half_of_a_mixed_distortion_is_each_of_both():
    images = random_images(1)
    reconstruction = 0.8 * images + 0.2 * random_images(2)
    found = objectives.mixed(images, reconstruction)
    error, structure = (f(images, reconstruction) for f in (objectives.mse, objectives.ms_ssim))
    np.testing.assert_allclose(found, error / 2 + 800 * structure, rtol=1e-6)
    # which is that of a squared error when there is a wrong brightness alone
    shifted = objectives.mixed(images, images + 0.05) / objectives.mse(images, images + 0.05)
    np.testing.assert_allclose(shifted, 0.5, atol=0.1)


def test_ms_ssim_has_tensorflow_s_gradient_where_that_is_finite():
    images, weight = random_images(1), tf.constant([1.0, 3.0])
    reconstruction = 0.8 * images + 0.2 * random_images(2)
    gradients = []
    for function in (
        objectives.ms_ssim,
        lambda x, y: 1 - tf.image.ssim_multiscale(x, y, 1.0),
    ):
        with tf.GradientTape() as tape:
            tape.watch(reconstruction)
            loss = tf.reduce_sum(weight * function(images, reconstruction))
        gradients.append(tape.gradient(loss, reconstruction))
    largest = float(tf.reduce_max(tf.abs(gradients[1])))
    np.testing.assert_allclose(*gradients, atol=1e-2 * largest)


def test_ms_ssim_pulls_an_unrelated_image_towards_the_original():
    images = random_images(1)
    reconstruction = tf.concat([1.0 - images[:1], 0.9 * images[1:]], 0)
    with tf.GradientTape() as tape:
        tape.watch(reconstruction)
        loss = objectives.ms_ssim(images, reconstruction)
    gradient = tape.gradient(loss, reconstruction)
    assert float(loss[0]) == 1.0
    assert np.all(np.isfinite(gradient))
    moved = objectives.mse(images, reconstruction - 1000.0 * gradient)
    assert float(moved[0]) < float(objectives.mse(images, reconstruction)[0])


def test_loss_is_bits_per_pixel_plus_weighted_distortion():
    images = tf.zeros([2, 8, 4, 3])
    out = Output(images + 1 / 255.0, tf.constant([64.0, 32.0]))
    loss, bpp, error = objectives.rate_distortion(
        out, images, tf.constant([0.5, 2.0]), objectives.mse
    )
    np.testing.assert_allclose(bpp, [2.0, 1.0])
    np.testing.assert_allclose(error, [1.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(loss, [2.5, 3.0], rtol=1e-5)


def test_an_unknown_objective_is_refused():
    assert objectives.get("mse") is objectives.mse
    with pytest.raises(errors.UsageError, match="mse, ms_ssim"):
        objectives.get("psnr")
