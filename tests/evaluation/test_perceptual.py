"""Measures of what people see: what is equal, what is worse, what is not there."""

import sys

import numpy as np
import pytest
from PIL import Image

from tfclic import errors
from tfclic.evaluation import perceptual


@pytest.fixture
def pixels(make_pixels):
    return make_pixels(180, 190)


def blurred(pixels, by):
    small = Image.fromarray(pixels).reduce(by)
    return np.array(small.resize(pixels.shape[1::-1], Image.Resampling.BICUBIC))


def measured(name, image, other):
    if perceptual.KNOWN[name].extra == "metrics-torch":
        pytest.importorskip("piq")  # PyTorch is not for all who test
    return perceptual.measured([name], image, other)[name]


@pytest.mark.parametrize(
    "name, equal",
    [("vif", 1), ("psnr-hvs-m", 100), ("vmaf", 97), ("fsim", 1), ("iw-ssim", 1)],
)
def test_equal_images_are_best_and_blurred_ones_are_worse(pixels, name, equal):
    found = [measured(name, pixels, blurred(pixels, by)) for by in (1, 2, 30)]
    # VMAF of a still is not quite 100
    assert found[0] == pytest.approx(equal, abs=3 if name == "vmaf" else 1e-3)
    assert found[0] > found[1] > found[2] >= 0


def test_every_known_measure_has_its_turn_above():
    assert list(perceptual.KNOWN) == ["vif", "psnr-hvs-m", "vmaf", "fsim", "iw-ssim"]


def test_luma_of_grey_is_grey():
    grey = np.full([3, 4, 3], 77, np.uint8)
    np.testing.assert_allclose(perceptual.luma(grey), np.full([3, 4], 77.0))
    assert perceptual.luma(np.array([[[0, 255, 0]]], np.uint8))[0, 0] == pytest.approx(149.685)


def test_psnr_hvs_m_of_a_constant_difference_is_that_of_its_weight():
    dark, light = (np.full([13, 17, 3], value, np.uint8) for value in (100, 110))
    weight = 1.608443  # of the mean of a block
    wanted = 20 * np.log10(255 / 10 / weight)
    assert perceptual.psnr_hvs_m(dark, light) == pytest.approx(wanted, abs=1e-3)


def test_what_is_fine_is_seen_less():
    grey = np.full([64, 64, 3], 128, np.uint8)
    rows = np.arange(64)[:, None, None] % 8
    found = []
    for frequency in (1, 7):  # of a block, with as much power
        wave = 8 * np.cos(np.pi * frequency * (2 * rows + 1) / 16)
        other = np.broadcast_to(np.round(128 + wave), grey.shape).astype(np.uint8)
        found.append(perceptual.psnr_hvs_m(grey, other))
    assert found[1] > found[0] + 6


def test_small_images_have_none():
    small = np.zeros([16, 300, 3], np.uint8)
    names = ["vif", "vmaf", "iw-ssim"]
    assert perceptual.measured(names, small, small) == dict.fromkeys(names)
    assert perceptual.measured(["psnr-hvs-m"], small, small) == {"psnr-hvs-m": 100}


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda _: None)
    for name, package, extra in (("vif", "sewar", "metrics"), ("fsim", "piq", "metrics-torch")):
        with pytest.raises(errors.UsageError) as caught:
            perceptual.check([name])
        assert f"needs the package {package}; pip install 'tfclic[{extra}]'" in str(caught.value)
    perceptual.check([])


def test_what_stops_ffmpeg_is_told(pixels, monkeypatch):
    import imageio_ffmpeg

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: sys.executable)
    with pytest.raises(errors.TfclicError, match="FFmpeg does not compute VMAF: ."):
        perceptual.vmaf(pixels, pixels)
