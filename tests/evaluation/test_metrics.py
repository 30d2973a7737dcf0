"""Metrics against their definitions."""

import math

import numpy as np
import pytest

from tfclic.evaluation import metrics


def test_psnr_is_that_of_the_mean_square_error():
    zeros = np.zeros([4, 5, 3], np.uint8)
    assert metrics.psnr(zeros, zeros + 255) == 0
    assert metrics.psnr(zeros + 255, zeros) == 0
    assert metrics.psnr(zeros, zeros + 1) == pytest.approx(20 * math.log10(255))
    assert metrics.psnr(zeros, zeros) == math.inf
    with pytest.raises(ValueError, match="differ"):
        metrics.psnr(zeros, zeros[..., 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_ms_ssim_is_1_for_equal_images_and_falls_with_noise(make_pixels, channels):
    pixels = make_pixels(176, 180, channels)
    pixels = pixels[..., 0] if channels == 1 else pixels
    noise = np.random.default_rng(0).integers(0, 60, pixels.shape)
    worse = np.clip(pixels.astype(int) + noise, 0, 255).astype(np.uint8)
    assert metrics.ms_ssim(pixels, pixels) == pytest.approx(1, abs=1e-6)
    assert metrics.ms_ssim(pixels, worse) < 0.98


def test_ms_ssim_is_not_defined_for_small_images(make_pixels):
    pixels = make_pixels(175, 300)
    assert metrics.ms_ssim(pixels, pixels) is None


def test_flip_is_0_for_equal_images_and_grows_with_the_difference(make_pixels):
    pixels = make_pixels(40, 50)
    found = [metrics.flip(pixels, np.clip(pixels.astype(int) + d, 0, 255)) for d in (0, 5, 40)]
    assert found[0] == 0
    assert 0 < found[1] < found[2] < 1


def test_decibels_of_a_similarity():
    assert metrics.decibels(0.9) == pytest.approx(10)
    assert metrics.decibels(1) == math.inf
