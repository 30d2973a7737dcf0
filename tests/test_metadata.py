"""Colour profiles, Exif and XMP: kept as they are, and the image is turned once."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from tfclic import images, metadata
from tfclic.format.picture import Metadata
from tfclic.images import writing

XMP = (
    b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" rating="5"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
KEEPS = images.Keeps(metadata=True)
KEEPING = ["image.jpg", "image.png", "image.webp", "image.tif"]


def wide_gamut(gray=False):
    """An ICC profile like sRGB's that is called another name, and has other primaries."""
    known = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    place = known.index("sRGB".encode("utf-16-be"))
    known[place : place + 8] = "Wide".encode("utf-16-be")
    # red and green change places, which nothing can take for rounding
    first, second = (known.index(name) for name in (b"rXYZ", b"gXYZ"))
    offsets = bytes(known[first + 4 : first + 12]), bytes(known[second + 4 : second + 12])
    known[first + 4 : first + 12], known[second + 4 : second + 12] = reversed(offsets)
    if gray:
        known[16:20] = b"GRAY"
    return bytes(known)


def linear_gray():
    """An ICC profile of grays that are shares of light, as small as it can be."""
    white = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    parts = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"gray" + bytes(79),
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IHxx", 1, 256),
        b"cprt": b"text" + bytes(4) + b"none" + bytes(4),
    }
    table, body = struct.pack(">I", len(parts)), b""
    for name, part in parts.items():
        table += name + struct.pack(">II", 132 + 12 * len(parts) + len(body), len(part))
        body += part
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI", size, b"lcms", 0x02100000) + b"mntrGRAYXYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white + bytes(48)
    return head + table + body


def exif_of(orientation, order="<"):
    """Exif, bytes, with an orientation, a maker, and a note in a folder of its own."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    exif[0x8769] = {0x927C: b"note at its place", 0x9003: "2026:11:28 12:00:00"}
    return metadata.without_start(exif.tobytes())


def saved(pixels, name, kept):
    """Bytes of an image file as another program writes it."""
    buffer = io.BytesIO()
    kind = images.output_format(name)
    options = {**writing.SAVE_OPTIONS.get(kind, {}), **metadata.options(kept, kind)}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", KEEPING)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_photo_goes_there_and_back_upright_with_all_it_has(make_pixels, name, orientation):
    pixels = make_pixels(16, 24)
    kept = Metadata(wide_gamut(), exif_of(orientation), XMP.replace(b'"6"', b'"%d"' % orientation))
    photo = images.decode(saved(pixels, name, kept), name, keeps=KEEPS)
    assert photo.notes == ()
    turned = np.rot90(pixels, {1: 0, 3: 2, 6: -1}[orientation])
    assert photo.pixels.shape == turned.shape
    assert np.abs(photo.pixels.astype(int) - turned).mean() < (8 if name == "image.jpg" else 1e-9)
    assert photo.metadata.icc_profile == kept.icc_profile
    assert metadata.orientation(photo.metadata) == 1
    if name != "image.tif":
        assert photo.metadata.exif == exif_of(1)
        assert photo.metadata.xmp == XMP.replace(b'"6"', b'"1"')
    # and out again: another reader turns nothing
    for target in KEEPING:
        with Image.open(io.BytesIO(images.encode(photo.pixels, target, photo.metadata))) as image:
            image.load()
            assert image.getexif().get(0x0112, 1) == 1
            assert image.getexif()[0x010F] == "Maker"
            assert image.getexif().get_ifd(0x8769)[0x9003] == "2026:11:28 12:00:00"
            assert image.info["icc_profile"] == kept.icc_profile
            assert bytes(image.info["xmp"]) == photo.metadata.xmp
            assert image.size == photo.pixels.shape[1::-1]


@pytest.mark.parametrize("order", ["<", ">"])
def test_of_exif_the_orientation_alone_changes(order):
    before = exif_of(6, order)
    after = metadata.upright(Metadata(exif=before)).exif
    different = [i for i, (a, b) in enumerate(zip(before, after)) if a != b]
    assert len(before) == len(after) and len(different) == 1
    assert metadata.orientation(Metadata(exif=before)) == 6
    assert metadata.orientation(Metadata(exif=after)) == 1
    assert metadata.upright(Metadata(exif=after)).exif == after


@pytest.mark.parametrize("size", [*range(12), 14, 20, 30])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Truncated")
def test_cut_off_exif_does_no_harm(size):
    cut = Metadata(exif=exif_of(6)[:size])
    assert metadata.orientation(metadata.upright(cut)) == 1


@pytest.mark.parametrize(
    "text", [b'tiff:Orientation="8"', b"<tiff:Orientation>8</tiff:Orientation>"]
)
def test_an_orientation_in_xmp_counts_where_exif_has_none(make_pixels, text):
    xmp = XMP.replace(b'tiff:Orientation="6"', text)
    photo = images.decode(saved(make_pixels(8, 12), "a.png", Metadata(xmp=xmp)), "a", keeps=KEEPS)
    assert np.array_equal(photo.pixels, np.rot90(make_pixels(8, 12)))
    assert photo.metadata.xmp == xmp.replace(b"8", b"1")


def test_without_keeping_colours_become_srgb_and_nothing_else_is_left(make_pixels):
    data = saved(make_pixels(8, 12), "a.png", Metadata(wide_gamut(), exif_of(6), XMP))
    photo = images.decode(data, "a")
    assert photo.metadata == Metadata()
    assert photo.pixels.shape == (12, 8, 3)
    kept = images.decode(data, "a", keeps=KEEPS)
    assert np.array_equal(images.resolved(kept.pixels, kept.metadata), photo.pixels)
    assert np.abs(kept.pixels.astype(int) - photo.pixels).mean() > 5


@pytest.mark.parametrize("name", ["image.bmp", "image.ppm"])
def test_formats_without_metadata_get_what_these_mean(make_pixels, name):
    kept = Metadata(wide_gamut(), exif_of(6), XMP)
    data = images.encode(make_pixels(8, 12), name, kept)
    shown = np.array(Image.open(io.BytesIO(data)))
    assert np.array_equal(shown, images.resolved(make_pixels(8, 12), kept))
    assert shown.shape == (12, 8, 3)
    notes = images.unkept(name, kept)
    assert len(notes) == 3 and all("cannot hold its" in note for note in notes)
    assert images.unkept("image.png", kept) == []


def test_what_jpeg_cannot_hold_is_left_out_and_told(make_pixels):
    kept = Metadata(exif=exif_of(1) + bytes(70_000), xmp=XMP + b" " * 66_000)
    photo = images.decode(images.encode(make_pixels(8, 8), "a.jpg", kept), "a", keeps=KEEPS)
    assert photo.metadata == Metadata()
    assert len(images.unkept("a.jpg", kept)) == 2
    fits = Metadata(exif=exif_of(1).ljust(65_527, b"\0"), xmp=XMP.ljust(65_504))
    photo = images.decode(images.encode(make_pixels(8, 8), "a.jpg", fits), "a", keeps=KEEPS)
    assert photo.metadata == fits and images.unkept("a.jpg", fits) == []


def test_gray_profiles_belong_to_gray_images(make_pixels):
    gray = make_pixels(8, 8, 1)[..., 0]
    assert metadata.describes(wide_gamut(), "RGB")
    assert not metadata.describes(wide_gamut(), "L")
    assert not metadata.describes(wide_gamut(gray=True), "RGB")
    data = saved(gray, "a.png", Metadata(wide_gamut()))
    photo = images.decode(data, "a", keeps=KEEPS)
    assert photo.metadata == Metadata() and photo.pixels.shape == (8, 8)


def test_grays_on_a_colour_are_colours_of_srgb():
    profile, red = linear_gray(), (255, 0, 0)
    assert metadata.describes(profile, "L")
    pixels = np.array([[[0, 0], [100, 255]]], np.uint8)
    kept = Metadata(profile, exif_of(1))
    # 100 of 255 parts of light are 168 in sRGB
    wanted = [[list(red), [168] * 3]]
    photo = images.decode(saved(pixels, "a.png", kept), "a", red, keeps=KEEPS)
    assert photo.pixels.tolist() == wanted
    assert photo.metadata == kept._replace(icc_profile=b"")
    found, held = images.on(pixels, red, kept)
    assert found.tolist() == wanted and held == photo.metadata
    found, held = images.on(pixels, (0, 0, 0), kept)
    assert found.tolist() == [[0, 100]] and held == kept


def test_what_is_damaged_or_too_large_is_left_out_with_a_note(make_pixels, monkeypatch):
    damaged = Metadata(b"no profile", b"nonsense", XMP)
    photo = images.decode(saved(make_pixels(8, 8), "a.png", damaged), "a", keeps=KEEPS)
    assert photo.metadata == Metadata(xmp=photo.metadata.xmp)
    assert photo.notes == ("Its Exif is damaged and left out.",)
    monkeypatch.setattr(metadata, "MAX_METADATA_BYTES", 100)
    photo = images.decode(saved(make_pixels(8, 8), "a.png", Metadata(xmp=XMP)), "a", keeps=KEEPS)
    assert photo.metadata == Metadata()
    assert photo.notes == (f"Its XMP of {len(XMP)} bytes is too large and left out.",)


def test_of_a_tiff_file_its_own_tags_are_left_behind(make_pixels):
    buffer = io.BytesIO()
    Image.fromarray(make_pixels(8, 8)).save(buffer, "TIFF", exif=b"Exif\0\0" + exif_of(1))
    kept = images.decode(buffer.getvalue(), "a", keeps=KEEPS).metadata
    exif = Image.Exif()
    exif.load(kept.exif)
    assert exif[0x010F] == "Maker" and exif.get_ifd(0x8769)[0x9003] == "2026:11:28 12:00:00"
    assert not {256, 257, 273, 279} & set(exif)
