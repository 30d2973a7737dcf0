"""Alpha planes: without loss, small, and nothing forged takes memory."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tfclic import errors
from tfclic.format import alpha, vp8l


def ellipse(height=120, width=160):
    """A plane with a soft edge, uint8 [H, W]."""
    image = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(image).ellipse((width, height, 3 * width, 3 * height), fill=255)
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS))


def planes():
    soft = ellipse()
    yield soft
    yield np.array(Image.fromarray(soft).filter(ImageFilter.GaussianBlur(9)))
    yield np.where(soft > 99, 255, 0).astype(np.uint8)
    yield np.zeros([7, 5], np.uint8)
    yield np.array([[3]], np.uint8)
    yield np.arange(300, dtype=np.uint32).astype(np.uint8)[None]
    yield np.arange(300, dtype=np.uint32).astype(np.uint8)[:, None]
    yield np.random.default_rng(0).integers(0, 256, [40, 50]).astype(np.uint8)


@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("at_once", [1, 700, 1 << 22])
def test_planes_come_back_whole_and_in_regions(index, at_once, monkeypatch):
    plane = list(planes())[index]
    height, width = plane.shape
    coded = alpha.encode(plane)
    # so that rows come in several pieces, which have to fit each other
    monkeypatch.setattr(alpha, "_AT_ONCE", at_once)
    assert np.array_equal(alpha.decode(coded, height, width), plane)
    x, y = width // 3, height // 4
    box = x, y, max(1, width // 2), max(1, height // 2)
    region = plane[y : y + box[3], x : x + box[2]]
    assert np.array_equal(alpha.decode(coded, height, width, box), region)


@pytest.mark.parametrize("way", range(4))
@pytest.mark.parametrize("lc", [0, 3, 4])
def test_all_that_a_writer_may_choose_is_read(way, lc):
    plane = ellipse(20, 30)
    coded = bytes([way | lc << 2]) + alpha._coded(plane, way, lc, 1)
    assert np.array_equal(alpha.decode(coded, 20, 30), plane)
    coded = bytes([way | 5 << 2]) + vp8l.encode(alpha._differences(plane, way))
    assert np.array_equal(alpha.decode(coded, 20, 30), plane)


def test_what_pillow_may_open_is_no_limit(monkeypatch):
    plane = ellipse(20, 30)
    coded = bytes([5 << 2]) + vp8l.encode(plane)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert np.array_equal(alpha.decode(coded, 20, 30), plane)


def test_opaque_planes_take_nothing():
    assert alpha.encode(np.full([3, 4], 255, np.uint8)) == b""
    assert (alpha.decode(b"", 3, 4) == 255).all()
    assert alpha.decode(b"", 30, 40, (1, 2, 3, 4)).shape == (4, 3)


def of_webp(plane):
    """Bytes that WebP takes for a plane."""
    picture = Image.new("RGB", plane.shape[::-1], (90, 90, 90))
    picture.putalpha(Image.fromarray(plane))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80, method=6, alpha_quality=100)
    data = buffer.getvalue()
    return 8 + struct.unpack_from("<I", data, data.index(b"ALPH") + 4)[0]


@pytest.mark.parametrize("index, most", [(0, 1), (1, 1), (2, 1), (7, 1.1)])
def test_small_planes_take_at_most_a_tenth_more_than_with_webp(index, most):
    plane = list(planes())[index]
    # its kind and length too
    assert len(alpha.encode(plane)) + 3 <= most * of_webp(plane)


def test_large_planes_are_left_to_lzma(monkeypatch):
    hard = list(planes())[2]
    assert alpha.encode(hard)[0] >> 2 == 5
    monkeypatch.setattr(alpha, "_SMALL_PIXELS", hard.size - 1)
    coded = alpha.encode(hard)
    assert coded[0] >> 2 < 5 and np.array_equal(alpha.decode(coded, *hard.shape), hard)


def test_webp_is_not_asked_for_what_it_cannot_hold():
    content = vp8l.encode(ellipse(20, 30))
    for height, width in ((1, vp8l.MAX_SIDE + 1), (1 << 11, (1 << 11) + 1)):
        with pytest.raises(ValueError, match="so large"):
            vp8l.decode(content, height, width)
    long = np.zeros([1, vp8l.MAX_SIDE + 1], np.uint8)
    assert np.array_equal(alpha.decode(alpha.encode(long), *long.shape), long)
    longest = np.tile(ellipse(1, 127), vp8l.MAX_SIDE // 127)
    assert np.array_equal(vp8l.decode(vp8l.encode(longest), *longest.shape), longest)


def test_a_pillow_without_webp_writes_lzma_and_says_what_it_cannot_read(monkeypatch):
    hard = list(planes())[2]
    coded = alpha.encode(hard)
    monkeypatch.setattr(vp8l, "is_there", lambda: False)
    assert alpha.encode(hard)[0] >> 2 < 5
    with pytest.raises(errors.TfclicError, match="which this Pillow was built without"):
        alpha.decode(coded, *hard.shape)


def lzma(plane):
    return bytes([4]) + alpha._coded(plane, 0, 1, 1)


def forged():
    coded = lzma(ellipse(20, 30))
    yield coded[:-1]
    yield coded + b"\0"
    yield coded[:1]
    yield bytes([coded[0] | 32]) + coded[1:]
    yield bytes([5 << 2]) + coded[1:]
    yield bytes([6 << 2]) + coded[1:]
    yield coded[:1] + bytes(40)
    yield coded[:1] + b"\xff" * 40
    yield lzma(ellipse(20, 31))
    yield lzma(ellipse(21, 30))
    yield lzma(ellipse(19, 30))
    coded = b"\x14" + vp8l.encode(ellipse(20, 30))
    yield coded[:-9]
    yield coded[:1]
    yield coded[:1] + b"\xff" * 40


@pytest.mark.parametrize("index", range(14))
def test_what_is_no_plane_of_this_size_is_refused(index):
    with pytest.raises(errors.FileFormatError, match="corrupted"):
        alpha.decode(list(forged())[index], 20, 30)


def test_a_region_of_a_huge_plane_takes_little():
    row = np.zeros([1, 1 << 16], np.uint8)
    coded = alpha.encode(np.repeat(row, 1 << 8, 0))
    tracemalloc.start()
    try:
        # what follows is missing, and nobody looks
        assert not alpha.decode(coded, 1 << 15, 1 << 16, (9, 9, 5, 4)).any()
        with pytest.raises(errors.FileFormatError):
            alpha.decode(coded, 1 << 15, 1 << 16, (9, 32_000, 5, 4))
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_pixels_are_split_and_joined(make_pixels):
    for channels in (2, 4):
        pixels = make_pixels(20, 30, channels).clip(1, 255)
        colours, coded = alpha.split(pixels)
        assert np.array_equal(alpha.joined(colours, alpha.decode(coded, 20, 30)), pixels)
    gray = make_pixels(20, 30, 1)
    assert alpha.split(gray)[0] is gray and alpha.split(gray)[1] == b""
    assert alpha.joined(gray[..., 0], ellipse(20, 30)).shape == (20, 30, 2)


def test_a_python_without_lzma_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(errors.TfclicError, match="need Python's module lzma"):
        alpha.encode(ellipse(4, 4))
