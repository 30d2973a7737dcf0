"""Images in: every kind of picture comes to colour or grayscale, 8 bits, alpha if asked."""

import concurrent.futures
import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from tfclic import errors, images
from tfclic.format import header
from tfclic.images import conversion

WHITE = (255, 255, 255)
ALPHA = images.Keeps(alpha=True)


@pytest.fixture
def save(tmp_path):
    """Function that saves a Pillow image (or writes bytes) and returns the path."""

    def save(image, name="image.png", **options):
        path = tmp_path / name
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            image.save(path, **options)
        return path

    return save


def raw_png(rows, width, depth, color_type, transparent=b""):
    """Bytes of a PNG file; `rows` are bytes, `transparent` is the content of its tRNS chunk."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + (chunk(b"tRNS", transparent) if transparent else b"")
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def deep_png(samples, color_type):
    """Bytes of a PNG file with 16 bits per sample; `samples` is uint16 [H, W, C]."""
    return raw_png(
        [row.astype(">u2").tobytes() for row in samples], samples.shape[1], 16, color_type
    )


def gray_ramp():
    return np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (30, 40)])
def test_colour_is_read_as_it_is(save, make_pixels, size):
    pixels = make_pixels(*size)
    photo = images.read(save(Image.fromarray(pixels)))
    assert photo.pixels.dtype == np.uint8
    assert np.array_equal(photo.pixels, pixels)
    assert photo.notes == ()


def test_grayscale_stays_grayscale(save):
    assert np.array_equal(images.read(save(Image.fromarray(gray_ramp()))).pixels, gray_ramp())


def test_one_bit_becomes_grayscale(save):
    image = Image.fromarray(gray_ramp()).point(lambda value: 255 * (value > 99)).convert("1")
    assert np.array_equal(images.read(save(image)).pixels, np.where(gray_ramp() > 99, 255, 0))


def test_palette_becomes_colour(save, make_pixels):
    image = Image.fromarray(make_pixels(8, 8)).quantize(16)
    assert np.array_equal(images.read(save(image)).pixels, np.array(image.convert("RGB")))


def test_cmyk_becomes_colour(save):
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    pixels = images.read(save(image, "image.tif")).pixels
    assert pixels.shape == (4, 4, 3)
    assert pixels[0, 0, 0] > 200 and pixels[0, 0, 2] < 60


@pytest.mark.parametrize("name", ["image.jpg", "image.png", "image.tif", "image.webp"])
def test_orientation_is_applied_once(save, make_pixels, name):
    image = Image.fromarray(make_pixels(16, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by 90 degrees, clockwise when shown.
    options = {"exif": exif.tobytes()} if name != "image.tif" else {"tiffinfo": {274: 6}}
    pixels = images.read(save(image, name, **options)).pixels
    assert pixels.shape == (32, 16, 3)
    error = np.abs(pixels.astype(int) - np.rot90(make_pixels(16, 32), -1)).mean()
    assert error < 12


def test_damaged_exif_does_not_matter(save, make_pixels):
    path = save(Image.fromarray(make_pixels(8, 8)), exif=b"Exif\0\0nonsense")
    assert images.read(path).pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_refused_with_what_to_do(save, mode):
    if mode == "P":
        path = save(Image.fromarray(gray_ramp()).convert("P"), transparency=int(gray_ramp()[0, 1]))
    else:
        path = save(Image.new(mode, (4, 4), (9,) * (len(mode) - 1) + (128,)))
    with pytest.raises(errors.ImageError, match=r"image.png is transparent.*--background COLOR"):
        images.read(path)


def test_a_transparent_colour_is_refused(save):
    path = save(Image.new("RGB", (4, 4), (1, 2, 3)), transparency=(1, 2, 3))
    with pytest.raises(errors.ImageError, match="is transparent"):
        images.read(path)


@pytest.mark.parametrize(
    "file, alpha",
    [
        (raw_png([bytes([0b00011011])], 4, 2, 0, b"\0\2"), [255, 255, 0, 255]),
        (raw_png([bytes([0x0F, 0x30])], 4, 4, 0, b"\0\x0f"), [255, 0, 255, 255]),
        (
            raw_png([bytes([7, 0, 9, 1, 8, 2, 1, 0, 5, 0, 5, 0])], 2, 16, 2, b"\7\0\11\1\10\2"),
            [0, 255],
        ),
        # whose low bytes are those of black
        (raw_png([bytes(6) + bytes([1, 0] * 3)], 2, 16, 2, bytes([1, 0] * 3)), [255, 0]),
    ],
    ids=["2 bits", "4 bits", "16 bits", "16 bits, low ones"],
)
def test_a_transparent_colour_is_found_in_whatever_bits(save, file, alpha):
    pixels = images.read(save(file), keeps=ALPHA).pixels
    assert pixels[0, :, -1].tolist() == alpha


@pytest.mark.parametrize("mode, shape", [("RGBA", (4, 4, 4)), ("LA", (4, 4, 2)), ("P", (4, 6, 4))])
def test_transparency_is_kept_where_one_wants_it(save, mode, shape):
    if mode == "P":
        image = Image.fromarray(gray_ramp()).convert("P")
        path = save(image, transparency=int(gray_ramp()[0, 1]))
    else:
        path = save(Image.new(mode, (4, 4), (9,) * (len(mode) - 1) + (128,)))
    photo = images.read(path, keeps=ALPHA)
    assert photo.pixels.shape == shape and photo.notes == ()
    assert photo.pixels[..., -1].min() == (0 if mode == "P" else 128)
    # a colour that is given is used all the same
    assert images.read(path, WHITE, ALPHA).pixels.shape[2:] in ((), (3,))
    opaque = save(Image.new("RGBA", (4, 4), (9, 9, 9, 255)), "opaque.png")
    assert images.read(opaque, keeps=ALPHA).pixels.shape == (4, 4, 3)


@pytest.mark.parametrize("mode, shape", [("RGBA", (4, 4, 3)), ("LA", (4, 4))])
def test_opaque_alpha_is_dropped(save, mode, shape):
    path = save(Image.new(mode, (4, 4), (9,) * (len(mode) - 1) + (255,)))
    photo = images.read(path)
    assert photo.pixels.shape == shape
    assert (photo.pixels == 9).all()
    assert photo.notes == ()


def test_transparent_images_are_put_on_the_background(save):
    path = save(Image.new("RGBA", (4, 4), (0, 0, 0, 51)))
    assert (images.read(path, (255, 0, 100)).pixels == [204, 0, 80]).all()


@pytest.mark.parametrize("background, shape", [(WHITE, (4, 4)), ((255, 0, 0), (4, 4, 3))])
def test_transparent_gray_stays_gray_on_gray(save, background, shape):
    path = save(Image.new("LA", (4, 4), (0, 0)))
    pixels = images.read(path, background).pixels
    assert pixels.shape == shape
    assert (pixels == background[: pixels.ndim if pixels.ndim == 3 else 1]).all()


@pytest.mark.parametrize("kind", ["png", "tif", "pgm"])
def test_16_bit_gray_is_reduced_with_a_note(save, kind):
    samples = gray_ramp().astype(np.uint16) * 257 + 100
    if kind == "pgm":
        path = save(b"P5\n6 4\n65535\n" + samples.astype(">u2").tobytes(), "image.pgm")
    else:
        path = save(Image.fromarray(samples), f"image.{kind}")
    photo = images.read(path)
    assert np.array_equal(photo.pixels, gray_ramp())
    assert photo.notes == ("Its samples of more than 8 bits are reduced to 8.",)


@pytest.mark.parametrize("kind", ["png", "ppm"])
def test_16_bit_colour_is_reduced_with_a_note(save, make_pixels, kind):
    pixels = make_pixels(4, 6)
    deep = pixels.astype(np.uint16) * 257
    if kind == "png":
        path = save(deep_png(deep, 2))
    else:
        path = save(b"P6\n6 4\n65535\n" + deep.astype(">u2").tobytes(), "image.ppm")
    photo = images.read(path)
    assert np.array_equal(photo.pixels, pixels)
    assert len(photo.notes) == 1


def test_12_bits_are_reduced_by_their_own_range(save, tiff_of_12_bits):
    photo = images.read(save(tiff_of_12_bits([0, 1028, 2056, 4095]), "image.tif"))
    assert photo.pixels.tolist() == [[0, 64, 128, 255]]
    assert len(photo.notes) == 1


def test_floats_from_0_to_1_are_images(save):
    image = Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4))
    photo = images.read(save(image, "image.tif"))
    assert photo.pixels[0, 0] == 0 and photo.pixels[-1, -1] == 255
    assert len(photo.notes) == 1


@pytest.mark.parametrize("worst", [np.float32(1.5), np.float32("nan"), np.int32(-1), np.int32(1e6)])
def test_samples_without_a_known_range_are_refused(save, worst):
    path = save(Image.fromarray(np.full([3, 4], worst)), "image.tif")
    with pytest.raises(errors.ImageError, match="image.tif has samples outside"):
        images.read(path)


def test_of_several_frames_the_first_is_read_with_a_note(save):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    path = save(frames[0], "image.gif", save_all=True, append_images=frames[1:])
    photo = images.read(path)
    assert (photo.pixels == [255, 0, 0]).all()
    assert photo.notes == ("Only the first of its 2 frames is used.",)


def test_other_profiles_are_converted_to_srgb(save, make_pixels):
    pixels = make_pixels(8, 8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = save(Image.fromarray(pixels), icc_profile=srgb)
    assert np.array_equal(images.read(path).pixels, pixels)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    converted = conversion.to_srgb(Image.new("LAB", (2, 2), (255, 128, 128)), lab)
    assert converted.mode == "RGB"
    assert min(converted.getpixel((0, 0))) > 245


@pytest.mark.parametrize("profile", [b"no profile at all", None])
def test_a_profile_that_does_not_fit_is_ignored(save, profile):
    if profile is None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    path = save(Image.fromarray(gray_ramp()), icc_profile=profile)
    assert np.array_equal(images.read(path).pixels, gray_ramp())


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.bmp", "image.tif", "image.webp"])
def test_truncated_images_are_refused(save, make_pixels, name):
    path = save(Image.fromarray(make_pixels(40, 40)), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(errors.ImageError, match=f"{name} "):
        images.read(path)


def test_what_is_no_image_is_refused(save, tmp_path):
    with pytest.raises(errors.ImageError, match="is not an image of a known kind"):
        images.read(save(b"some text"))
    with pytest.raises(errors.ImageError, match="missing.png .*No such file"):
        images.read(tmp_path / "missing.png")
    with pytest.raises(errors.ImageError, match="is a folder; name the images in it"):
        images.read(tmp_path)


def test_images_larger_than_pillow_likes_are_read(save, make_pixels, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert images.read(save(Image.fromarray(make_pixels(40, 40)))).pixels.shape == (40, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("most", [1599, 1])
def test_images_of_more_pixels_than_are_allowed_are_refused(save, make_pixels, most):
    path = save(Image.fromarray(make_pixels(40, 40)))
    sentence = f"photo.* has more than {most:,} pixels; --max-pixels allows more."
    with pytest.raises(errors.ImageError, match=sentence.replace("photo", "")):
        images.read(path, max_pixels=most)
    with open(path, "rb") as file, pytest.raises(errors.ImageError, match="it has more than"):
        images.decode(file.read(), "it", max_pixels=most)
    assert images.read(path, max_pixels=1600).pixels.shape == (40, 40, 3)


def test_threads_that_read_do_not_change_what_others_allow(save, make_pixels, monkeypatch):
    """One that begins first ends first; the other has then still to open its image."""
    small, large = (save(Image.fromarray(make_pixels(n, n)), f"{n}.png") for n in (10, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    began, ended, opened = threading.Event(), threading.Event(), Image.open

    def in_turn(path):
        if path == small:
            assert began.wait(60)
        else:
            began.set()
            assert ended.wait(60)
        return opened(path)

    monkeypatch.setattr(Image, "open", in_turn)
    with concurrent.futures.ThreadPoolExecutor(2) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        first = pool.submit(images.read, small, max_pixels=99)
        second = pool.submit(images.read, large, max_pixels=1600)
        with pytest.raises(errors.ImageError, match="has more than 99 pixels"):
            first.result(60)
        ended.set()
        assert second.result(60).pixels.shape == (40, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_as_many_pixels_are_allowed_as_by_pillow():
    assert header.DEFAULT_MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


def test_a_file_in_memory_is_read_like_one_on_disk(save, make_pixels):
    path = save(Image.fromarray(make_pixels(7, 9)))
    assert np.array_equal(images.decode(path.read_bytes(), "it").pixels, images.read(path).pixels)
    with pytest.raises(errors.ImageError, match="^it is not an image of a known kind.$"):
        images.decode(b"junk", "it")
    clear = io.BytesIO()
    Image.new("RGBA", (1, 1)).save(clear, "PNG")
    assert images.decode(clear.getvalue(), "it", WHITE).pixels.tolist() == [[[255] * 3]]
