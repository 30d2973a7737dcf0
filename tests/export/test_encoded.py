"""Encoded images in the graph: decoded in their own kind, or refused in a sentence."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfclic.export import encoded


@pytest.fixture(scope="module")
def decode():
    """`encoded.decoded` as a graph, since that is how it runs; gives (array, sentence)."""
    graph = tf.function(encoded.decoded, [tf.TensorSpec([], tf.string)])

    def decode(data):
        image, status = graph(tf.constant(data))
        return image.numpy(), status.numpy().decode()

    return decode


def file(pixels, format_="PNG", **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format_", ["PNG", "BMP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_images_are_what_they_were(decode, make_pixels, format_, channels):
    pixels = make_pixels(20, 31, channels)
    image, status = decode(file(pixels[..., 0] if channels == 1 else pixels, format_))
    assert status == "OK"
    # TensorFlow makes colours of a BMP's palette, which a grayscale one has
    expected = pixels if format_ == "PNG" or channels == 3 else image
    assert image.dtype == np.uint8 and np.array_equal(image, expected)


@pytest.mark.parametrize("mode, channels", [("L", 1), ("RGB", 3), ("CMYK", 3)])
def test_jpegs_stay_grayscale_or_are_colours(decode, make_pixels, mode, channels):
    pixels = Image.fromarray(make_pixels(33, 20)).convert(mode)
    image, status = decode(file(pixels, "JPEG", quality=95))
    assert (image.shape, status) == ((33, 20, channels), "OK")
    difference = image.astype(int) - np.array(pixels.convert("L" if channels == 1 else "RGB"))[
        ..., None
    ].reshape(33, 20, channels)
    assert np.abs(difference).mean() < 6


def test_the_first_frame_of_a_gif(decode, make_pixels):
    frames = [Image.fromarray(make_pixels(12, 9)).convert("P") for _ in range(2)]
    image, status = decode(file(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (image.shape, status) == ((12, 9, 3), "OK")


def test_16_bits_become_the_upper_8(decode):
    image, status = decode(file(np.full([4, 5], 0x12FF, np.uint16)))
    assert (image.shape, status) == ((4, 5, 1), "OK") and (image == 0x12).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_goes_if_all_is_opaque_and_is_refused_if_not(decode, make_pixels, mode):
    picture = Image.fromarray(make_pixels(6, 7)).convert(mode)
    image, status = decode(file(picture))
    assert (image.shape, status) == ((6, 7, 1 if mode == "LA" else 3), "OK")
    assert np.array_equal(image, np.array(picture)[..., :-1])
    picture.putpixel((3, 3), (1, 254) if mode == "LA" else (1, 2, 3, 254))
    image, status = decode(file(picture))
    assert image.size == 0 and status == encoded.TRANSPARENT


def test_what_is_no_image_is_told(decode):
    for data in (b"", b"x", b"garbage" * 100, b"TFC", b"RIFF....WEBP"):
        image, status = decode(data)
        assert image.size == 0 and status == encoded.NOT_AN_IMAGE


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "BMP"])
def test_damaged_images_are_told(decode, make_pixels, format_):
    data = file(Image.fromarray(make_pixels(40, 40)), format_)
    # of a GIF TensorFlow keeps the rows that are there
    for length in (12, 30, 31 if format_ == "GIF" else len(data) // 2):
        image, status = decode(data[:length])
        assert image.size == 0 and status == encoded.DAMAGED


def test_sizes_are_judged_by_headers_alone(decode, make_pixels):
    pixels, side = Image.fromarray(make_pixels(8, 8)), 8193
    big, little = side.to_bytes(4, "big"), side.to_bytes(4, "little")
    png, bmp, gif = (bytearray(file(pixels, format_)) for format_ in ("PNG", "BMP", "GIF"))
    png[16:24], bmp[18:26], gif[6:10] = 2 * big, 2 * little, 2 * little[:2]
    jpeg = bytearray(file(pixels, "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = 2 * big[2:]
    for data in (png, bmp, gif, jpeg):
        assert decode(bytes(data))[1] == encoded.TOO_LARGE
    # upside down, as the sign says
    bmp[18:26] = little + (-side).to_bytes(4, "little", signed=True)
    assert decode(bytes(bmp))[1] == encoded.TOO_LARGE
    # both sides at their largest, whose product does not fit into 32 bits
    png[16:24] = b"\x7f\xff\xff\xff" * 2
    assert decode(bytes(png))[1] == encoded.TOO_LARGE
