"""Images out: formats hold what they can, and refuse the rest."""

import errno
import io
import os

import numpy as np
import pytest
from PIL import Image

from tfclic import errors, images
from tfclic.format.picture import NO_METADATA

WHITE = (255, 255, 255)
ALPHA = images.Keeps(alpha=True)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.tga", "a.jp2"])
@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_pixels_are_written_and_read_again(make_pixels, name, channels):
    pixels = make_pixels(9, 12, channels)
    photo = images.decode(images.encode(pixels, name), name, keeps=ALPHA)
    found = photo.pixels if photo.pixels.shape == pixels.shape else photo.pixels[..., [0, 3]]
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize("name", ["a.jpg", "a.bmp", "a.ppm", "a.gif"])
def test_formats_without_alpha_do_not_lose_it_silently(make_pixels, name):
    pixels = make_pixels(9, 12, 4)
    with pytest.raises(errors.UsageError, match="cannot hold a transparent image.*--background"):
        images.encode(pixels, name)
    assert images.encode(images.on(pixels, WHITE, NO_METADATA)[0], name)


@pytest.mark.parametrize("name", ["image.png", "image", "image.PNG", "image.bmp", "image.webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_hold_the_pixels(make_pixels, name, channels):
    pixels = make_pixels(9, 5, channels)
    pixels = pixels[..., 0] if channels == 1 else pixels
    decoded = Image.open(io.BytesIO(images.encode(pixels, name)))
    assert np.array_equal(np.array(decoded.convert("L" if channels == 1 else "RGB")), pixels)


@pytest.mark.parametrize("name, form", [("image.jpeg", "JPEG"), ("image.mpo", "JPEG")])
def test_jpeg_is_written_with_high_quality(make_pixels, name, form):
    pixels = make_pixels(32, 32)
    decoded = Image.open(io.BytesIO(images.encode(pixels, name)))
    assert decoded.format == form
    assert np.abs(np.array(decoded).astype(int) - pixels).mean() < 2


def test_icons_are_of_the_images_size_or_refused(make_pixels):
    for sides in ((1, 1), (20, 30), (256, 200)):
        pixels = make_pixels(*sides)
        decoded = Image.open(io.BytesIO(images.encode(pixels, "image.ico")))
        assert np.array_equal(np.array(decoded.convert("RGB")), pixels)
    for name, most in (("image.ico", 256), ("image.icns", 1024)):
        with pytest.raises(errors.UsageError, match=f"cannot hold this image .*{most} pixels"):
            images.encode(make_pixels(257, 20), name)
    decoded = Image.open(io.BytesIO(images.encode(np.zeros([1024, 1024], np.uint8), "image.icns")))
    assert decoded.size == (1024, 1024)


def test_unknown_extensions_and_unfitting_images_are_refused(make_pixels):
    with pytest.raises(errors.UsageError, match="image.xyz: .xyz files cannot be written"):
        images.output_format("image.xyz")
    with pytest.raises(errors.UsageError, match="JPEG cannot hold this image .70000x1"):
        images.encode(np.zeros([1, 70000], np.uint8), "image.jpg")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full")
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif"])
def test_a_full_disk_is_the_systems_error_and_not_the_formats(make_pixels, name):
    with pytest.raises(OSError) as caught, open("/dev/full", "wb") as file:
        images.save(make_pixels(64, 48), file, name)
    assert caught.value.errno == errno.ENOSPC
