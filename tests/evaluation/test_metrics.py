"""Metrics against their definitions."""

import math

import numpy as np
import pytest

from tfclic.evaluation import metrics

CURVE = {"bpp": [0.2, 0.4, 0.8, 1.6], "psnr-rgb": [26.0, 29.0, 32.0, 35.0]}


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


def test_bd_rate_of_half_the_bits_is_minus_50_percent():
    pytest.importorskip("bjontegaard")
    half = {"bpp": [rate / 2 for rate in CURVE["bpp"]], "psnr-rgb": CURVE["psnr-rgb"]}
    percent, lowest, highest = metrics.bd_rate(CURVE, half)
    assert percent == pytest.approx(-50)
    assert (lowest, highest) == (26, 35)


def test_bd_rate_is_over_the_overlap_in_any_order_of_points():
    pytest.importorskip("bjontegaard")
    curve = {"bpp": [3.2, 0.8, math.inf], "psnr-rgb": [38.0, 32.0, None]}
    percent, lowest, highest = metrics.bd_rate(CURVE, curve)
    assert percent == pytest.approx(0, abs=1e-9)
    assert (lowest, highest) == (32, 35)


def test_bd_rate_without_overlap_is_none():
    pytest.importorskip("bjontegaard")
    above = {"bpp": [1.0, 2.0], "psnr-rgb": [40.0, 42.0]}
    assert metrics.bd_rate(CURVE, above)[0] is None
    assert metrics.bd_rate(CURVE, {"bpp": [1.0], "psnr-rgb": [30.0]})[0] is None
