"""Alpha planes: without loss, small, and nothing forged takes memory."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tfclic import errors
from tfclic.format import alpha


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


def test_opaque_planes_take_nothing():
    assert alpha.encode(np.full([3, 4], 255, np.uint8)) == b""
    assert (alpha.decode(b"", 3, 4) == 255).all()
    assert alpha.decode(b"", 30, 40, (1, 2, 3, 4)).shape == (4, 3)


@pytest.mark.parametrize("index", range(3))
def test_planes_take_at_most_a_tenth_more_than_with_webp(index):
    plane = list(planes())[index]
    picture = Image.new("RGB", plane.shape[::-1], (90, 90, 90))
    picture.putalpha(Image.fromarray(plane))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80, method=6, alpha_quality=100)
    data = buffer.getvalue()
    theirs = 8 + struct.unpack_from("<I", data, data.index(b"ALPH") + 4)[0]
    # of the smallest planes, by some bytes more
    assert len(alpha.encode(plane)) <= max(1.1 * theirs, theirs + 80)


def forged():
    coded = alpha.encode(ellipse(20, 30))
    yield coded[:-1]
    yield coded + b"\0"
    yield coded[:1]
    yield bytes([coded[0] | 32]) + coded[1:]
    yield bytes([5 << 2]) + coded[1:]
    yield coded[:1] + bytes(40)
    yield coded[:1] + b"\xff" * 40
    yield alpha.encode(ellipse(20, 31))
    yield alpha.encode(ellipse(21, 30))
    yield alpha.encode(ellipse(19, 30))


@pytest.mark.parametrize("index", range(10))
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
