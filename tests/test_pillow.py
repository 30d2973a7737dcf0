"""The plug-in for Pillow, in the manner of its own for WebP and AVIF."""

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

import tfclic
import tfclic.pillow
from tfclic import metadata

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


@pytest.fixture
def saved(toy_folder):
    """Function that saves a Pillow image with the toy model; returns a file object of the bytes."""

    def save(image, **options):
        buffer = io.BytesIO()
        image.save(buffer, "TFCLIC", model="toy", **{"quality": 100, **options})
        buffer.seek(0)
        return buffer

    return save


@pytest.fixture
def image(make_pixels):
    return Image.fromarray(make_pixels(30, 40))


def test_a_file_is_opened_and_saved_by_its_name(image, tmp_path, toy_folder):
    path = tmp_path / "photo.tfclic"
    image.save(path, model="toy", quality=100)
    with Image.open(path) as opened:
        assert (opened.format, opened.size, opened.mode) == ("TFCLIC", (40, 30), "RGB")
        assert opened.get_format_mimetype() == "image/x-tfclic"
        assert opened.format_description.startswith("tfclic")
        assert np.array_equal(np.array(opened), np.array(image))
    assert Image.registered_extensions()[".tfclic"] == "TFCLIC"


def test_opening_needs_neither_model_nor_tensorflow(image, saved, tmp_path):
    path = tmp_path / "a.tfclic"
    path.write_bytes(saved(image, xmp=XMP).read())
    program = (
        "import sys, tfclic.pillow; from PIL import Image; image = Image.open(sys.argv[1]); "
        "print(image.size, image.mode, sorted(image.info)); assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.stdout == "(40, 30) RGB ['xmp']\n", done.stderr


@pytest.mark.parametrize(
    "mode, kept",
    [
        ("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("PA", "RGBA"), ("RGB", "RGB"),
        ("RGBA", "RGBA"), ("RGBX", "RGB"), ("RGBa", "RGBA"), ("CMYK", "RGB"), ("YCbCr", "RGB"),
        ("HSV", "RGB"), ("I;16", "L"), ("I", "L"), ("F", "L"),
    ],
)  # fmt: skip
def test_all_modes_are_saved(saved, make_pixels, mode, kept):
    if mode == "F":
        made = Image.fromarray(np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40))
    elif mode.startswith("I"):
        made = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
        made = made.convert("I") if mode == "I" else made
    else:
        clear = mode in ("LA", "RGBA", "RGBa")
        made = Image.fromarray(make_pixels(30, 40, 4 if clear else 3))
        made = made.convert("P" if mode == "PA" else mode)
        if mode == "PA":
            made = made.convert("PA")
            made.putalpha(90)
    with Image.open(saved(made)) as opened:
        assert opened.mode == kept and opened.size == (40, 30)
        opened.load()
        if not mode.startswith(("I", "F")):
            assert np.array_equal(np.array(opened), np.array(made.convert(kept)))
    assert mode != "F" or np.array(opened).max() == 255


def test_samples_without_a_known_range_are_told(saved):
    with pytest.raises(ValueError, match="^The image has samples outside 0..1;"):
        saved(Image.fromarray(np.full([30, 40], 2.0, np.float32)))


def test_a_transparent_colour_becomes_alpha(saved, image):
    palette = image.quantize(16)
    palette.info["transparency"] = 3
    with Image.open(saved(palette)) as opened:
        assert opened.mode == "RGBA"
        found, known = np.array(opened), np.array(palette.convert("RGBA"))
    assert np.array_equal(found[..., 3], known[..., 3]) and not known[..., 3].all()
    assert np.array_equal(found[known[..., 3] > 0], known[known[..., 3] > 0])


def test_opaque_alpha_is_left_out(saved, image):
    with_alpha = image.copy()
    with_alpha.putalpha(255)
    assert Image.open(saved(with_alpha)).mode == "RGB"


def test_quality_and_targets_are_arguments(saved, image, toy_codec):
    pixels = np.array(image)
    assert saved(image, quality=10).read() == toy_codec.compress(pixels, 10)
    assert saved(image, quality=None).read() == toy_codec.compress(pixels)
    size = len(toy_codec.compress(pixels, 0)) + 5
    assert len(saved(image, quality=None, file_bytes=size).read()) <= size
    tiled = saved(image.resize((130, 70)), tile=64).read()
    assert toy_codec.info(tiled)["tiles"] == 6


def test_qualities_may_differ_from_place_to_place(saved, image, toy_codec):
    pixels, mask = np.array(image), np.array([[10, 90]])
    by_mask, by_area = saved(image, quality=mask), saved(image, quality=10, areas=[(0, 0, 9, 9)])
    assert by_mask.getvalue() == toy_codec.compress(pixels, mask)
    assert by_area.getvalue() == toy_codec.compress(pixels, 10, areas=[(0, 0, 9, 9)])
    for data in (by_mask, by_area):
        with Image.open(data) as opened:
            assert opened.mode == "RGB" and opened.size == (40, 30)
            assert np.array_equal(np.array(opened), toy_codec.decompress(data.getvalue()))


@pytest.mark.parametrize(
    "options",
    [{"quality": 101}, {"quality": -1}, {"effort": 10}, {"tile": 63}, {"bpp": 1}, {"psnr": 0}]
    + [{"quality": np.ones(3)}, {"areas": [(0, 0, 41, 1)]}],
)
def test_arguments_out_of_range_raise_value_errors(saved, image, options):
    with pytest.raises(ValueError):
        saved(image, **options)


def test_a_model_that_is_not_there_raises_an_os_error(image, toy_folder):
    with pytest.raises(OSError, match="There is no model nowhere"):
        image.save(io.BytesIO(), "TFCLIC", model="nowhere")


def test_the_profile_of_an_image_goes_along(saved, image):
    image.info["icc_profile"] = SRGB
    assert Image.open(saved(image)).info["icc_profile"] == SRGB
    assert "icc_profile" not in Image.open(saved(image, icc_profile=None)).info
    # to another kind of image it does not belong
    assert "icc_profile" not in Image.open(saved(image.convert("L"))).info
    image.info.clear()
    assert Image.open(saved(image, icc_profile=SRGB)).info["icc_profile"] == SRGB
    with pytest.raises(ValueError, match="not a profile of RGB images"):
        saved(image, icc_profile=b"nothing of the kind")


@pytest.mark.parametrize("as_bytes", [True, False])
def test_exif_is_kept_as_it_is_given(saved, image, as_bytes):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    image.info["exif"] = b"not asked for"
    with Image.open(saved(image, exif=exif.tobytes() if as_bytes else exif)) as opened:
        assert opened.info["exif"] == exif.tobytes()
        assert dict(opened.getexif()) == dict(exif)
        # the pixels are as they were, and turned when one says so
        assert opened.size == (40, 30)
        turned = ImageOps.exif_transpose(opened)
        assert turned.size == (30, 40) and 0x0112 not in turned.getexif()
    assert "exif" not in Image.open(saved(image)).info


@pytest.mark.parametrize("xmp", [XMP, XMP.decode()])
def test_xmp_is_kept(saved, image, xmp):
    with Image.open(saved(image, xmp=xmp)) as opened:
        assert opened.info["xmp"] == XMP
        assert opened.getxmp() in ({}, {"xmpmeta": None}) or "xmpmeta" in opened.getxmp()
    assert "xmp" not in Image.open(saved(image)).info


def test_files_go_to_other_formats_with_all_they_have(saved, image, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    opened = Image.open(saved(image, exif=exif, xmp=XMP, icc_profile=SRGB))
    opened.save(tmp_path / "a.png", exif=opened.getexif())
    with Image.open(tmp_path / "a.png") as png:
        assert png.info["icc_profile"] == SRGB and png.getexif()[0x010F] == "Maker"
        assert np.array_equal(np.array(png), np.array(image))


def test_truncated_and_damaged_files_say_why(saved, image):
    data = saved(image).read()
    with pytest.raises(UnidentifiedImageError, match="truncated"):
        Image.open(io.BytesIO(data[:30]))
    with pytest.raises(UnidentifiedImageError, match="newer format"):
        Image.open(io.BytesIO(b"TFC\x07" + data[4:]))
    opened = Image.open(io.BytesIO(data[:40] + bytes([data[40] ^ 1]) + data[41:]))
    with pytest.raises(OSError, match="corrupted"):
        opened.load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"TFC"))


def test_pillow_judges_how_many_pixels_are_too_many(saved, image, monkeypatch):
    data = saved(image).read()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    with pytest.warns(Image.DecompressionBombWarning):
        opened = Image.open(io.BytesIO(data))
    opened.load()
    assert opened.size == (40, 30)


def test_a_missing_model_is_told_when_pixels_are_asked_for(image, saved, monkeypatch):
    opened = Image.open(saved(image))
    monkeypatch.delenv("TFCLIC_MODELS")
    with pytest.raises(OSError, match="needs the model with fingerprint 00ff10ab"):
        opened.load()


def test_pillow_closes_what_it_has_opened_and_nothing_else(image, saved, tmp_path):
    buffer = saved(image)
    opened = Image.open(buffer)
    opened.load()
    assert not buffer.closed
    (tmp_path / "a.tfclic").write_bytes(buffer.getvalue())
    opened = Image.open(tmp_path / "a.tfclic")
    file = opened.fp
    opened.load()
    assert file.closed
    opened.load()
    assert np.array_equal(np.array(opened.copy()), np.array(image))


def test_images_are_pickled_and_thumbnails_made(image, saved):
    opened = Image.open(saved(image))
    again = pickle.loads(pickle.dumps(opened))
    assert np.array_equal(np.array(again), np.array(image))
    opened = Image.open(saved(image))
    opened.thumbnail((10, 10))
    assert opened.size == (10, 8)


@pytest.mark.parametrize(
    "size, by", [((160, 120), 1), ((80, 60), 1), ((41, 30), 1), ((40, 30), 4), ((20, 1), 8)]
)
def test_a_draft_is_not_smaller_than_asked_for(saved, make_pixels, size, by):
    image = Image.fromarray(make_pixels(121, 163))
    opened = Image.open(saved(image))
    assert opened.draft("L", size) == ("RGB", (0, 0, 163 / by, 121 / by))
    assert opened.size == (-(-163 // by), -(-121 // by))
    assert np.array_equal(np.array(opened), np.array(image.reduce(by)))
    # as with other formats, it is too late now
    assert opened.draft(None, (1, 1)) is None


def test_a_draft_is_made_once(saved, make_pixels):
    opened = Image.open(saved(Image.fromarray(make_pixels(64, 64))))
    assert opened.draft(None, None) is None and opened.size == (64, 64)
    assert opened.draft(None, (4, 4))[1] == (0, 0, 4, 4)
    assert opened.draft(None, (4, 4)) is None
    assert np.array(opened).shape == (4, 4, 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_thumbnails_are_made_of_drafts(saved, make_pixels, monkeypatch, channels):
    pixels = make_pixels(170, 200, channels)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    asked = []
    original = tfclic.pillow._decoded
    monkeypatch.setattr(
        tfclic.pillow, "_decoded", lambda *given: asked.append(given[1]) or original(*given)
    )
    opened = Image.open(saved(image))
    opened.thumbnail((20, 20))
    assert asked == [1 / 4]
    image.thumbnail((20, 20))
    assert (opened.size, opened.mode) == (image.size, image.mode) == ((20, 17), image.mode)
    # of what is hardly opaque colours are rounded most
    found, wanted = (
        each.convert("RGBa" if channels == 4 else each.mode) for each in (opened, image)
    )
    assert np.abs(np.array(found).astype(int) - np.array(wanted)).max() <= 4


def test_what_the_programs_write_is_what_pillow_reads(image, saved, toy_codec):
    exif = metadata.without_start(Image.Exif().tobytes())
    pixels = np.dstack([np.array(image), np.full([30, 40], 77, np.uint8)])
    data = toy_codec.compress(pixels, 100, metadata=tfclic.Metadata(SRGB, exif, XMP))
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(np.array(opened), pixels)
        assert set(opened.info) == {"icc_profile", "exif", "xmp"}
    assert opened.mode == "RGBA"
