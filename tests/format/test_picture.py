"""Files with something beside the image: what is put in comes out, and nothing else does."""

import zlib

import pytest

from tfclic import errors
from tfclic.format import header, picture
from tfclic.format.picture import Metadata, Picture

IMAGE = b"TFC\1 what only a model can judge"
METADATA = Metadata(b"profile" * 90, b"II*\0 some Exif", b"<x:xmpmeta/>" * 30)
NEWER, TRUNCATED, CORRUPTED = (
    header.SENTENCES[status]
    for status in (header.NEWER_VERSION, header.TRUNCATED, header.CORRUPTED)
)


def part(kind, content):
    return bytes([kind]) + header.varint(len(content)) + content


def file_of(*parts, flags=picture.VERSION):
    """A file with the length and the checksum that it has to have."""
    rest = b"".join(parts)
    body = b"TFC" + bytes([flags]) + header.length_varint(4 + len(rest) + 4) + rest
    return body + zlib.crc32(body).to_bytes(4, "little")


def refusal(data):
    with pytest.raises(errors.FileFormatError) as caught:
        picture.parse(data)
    return str(caught.value)


@pytest.mark.parametrize(
    "metadata",
    [METADATA, Metadata(exif=b"MM\0*"), Metadata(xmp=bytes(70_000)), Metadata(b"p", b"", b"x")],
)
@pytest.mark.parametrize("image", [IMAGE, IMAGE + bytes(range(256)) * 80])
@pytest.mark.parametrize("alpha", [b"", b"what only `alpha` can judge"])
def test_what_is_packed_is_parsed(image, metadata, alpha):
    data = picture.pack(Picture(image, metadata, alpha))
    assert data[:4] == b"TFC\5"
    assert picture.parse(data) == Picture(image, metadata, alpha)
    assert picture.parse(picture.pack(Picture(image, alpha=b"a"))) == Picture(image, alpha=b"a")


@pytest.mark.parametrize("metadata", [METADATA, Metadata()])
@pytest.mark.parametrize("alpha", [b"", b"what only `alpha` can judge"])
def test_a_map_comes_first(metadata, alpha):
    whole = Picture(IMAGE, metadata, alpha, b"what only `quality_map` can judge")
    data = picture.pack(whole)
    assert data[:4] == b"TFC\6" and data.index(whole.quality_map) < data.index(IMAGE)
    assert picture.parse(data) == whole
    for size in range(len(data)):
        if size >= data.index(IMAGE):
            found = picture.beginning(data[:size])
            assert IMAGE.startswith(found.image) and found.quality_map == whole.quality_map
        elif size >= 4:
            with pytest.raises(errors.FileFormatError, match="truncated"):
                picture.beginning(data[:size])


def test_maps_are_of_their_version_alone():
    assert refusal(file_of(part(0, b"map"), part(1, IMAGE))) == CORRUPTED
    for parts in ((part(1, IMAGE),), (part(0, b""), part(1, IMAGE)), (part(0, b"map"),)):
        assert refusal(file_of(*parts, flags=picture.WITH_MAP)) == CORRUPTED
    within = file_of(part(0, b"map"), part(1, IMAGE), flags=picture.WITH_MAP)
    assert picture.parse(within) == Picture(IMAGE, quality_map=b"map")
    for flags in (5, 6):
        parts = (part(0, b"map"), part(1, within)) if flags == 6 else (part(1, within),)
        assert refusal(file_of(*parts, flags=flags)) == CORRUPTED
    assert refusal(within[:3] + bytes([within[3] | 16]) + within[4:]) == CORRUPTED


def test_an_image_with_nothing_beside_it_is_its_own_file():
    assert picture.pack(Picture(IMAGE)) == IMAGE
    for data in (IMAGE, b"", b"T", b"TFC", b"PNG\5", b"TFC\7..."):
        assert picture.parse(data) == Picture(data)


def test_metadata_take_little():
    assert len(picture.pack(Picture(IMAGE, Metadata(xmp=b" " * 5000)))) < len(IMAGE) + 45
    incompressible = bytes(i * i * i % 251 for i in range(90))
    assert len(picture.pack(Picture(IMAGE, Metadata(incompressible)))) == len(IMAGE) + 90 + 15


@pytest.mark.parametrize("quality_map", [b"", b"a map"])
def test_every_truncation_and_every_changed_byte_is_refused(quality_map):
    data = picture.pack(Picture(IMAGE, METADATA, quality_map=quality_map))
    for size in range(5, len(data)):
        assert refusal(data[:size]) == TRUNCATED
    for place in range(4, len(data)):
        for pattern in (1, 16, 128, 255):
            changed = data[:place] + bytes([data[place] ^ pattern]) + data[place + 1 :]
            assert refusal(changed) in (TRUNCATED, CORRUPTED), (place, pattern)
    assert refusal(data + b"\0") == CORRUPTED
    assert refusal(data[:3] + bytes([data[3] | 32]) + data[4:]) == CORRUPTED


MOST = picture.MAX_METADATA_BYTES


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"\1",),
        (part(1, b""),),
        (part(1, IMAGE), b"\x81"),
        (part(1, IMAGE), b"\x81\x80"),
        (part(1, IMAGE), b"\x81\x05abc"),
        (part(1, IMAGE), b"\x81\xff\xff\xff\xff\x7f"),
        (part(1, IMAGE), part(1, IMAGE)),
        (part(129, b"\0profile"), part(1, IMAGE)),
        (part(1, IMAGE), part(130, b"\0a"), part(130, b"\0b")),
        (part(0, b"nothing"), part(1, IMAGE)),
        (part(129, b"\0profile"),),
        (part(1, file_of(part(1, IMAGE))),),
        (part(1, IMAGE), part(2, b"")),
        (part(2, b"alpha"),),
        (part(1, IMAGE), part(129, b"\0")),
        (part(1, IMAGE), part(129, b"\2profile")),
        (part(1, IMAGE), part(129, b"\1profile")),
        (part(1, IMAGE), part(129, b"\1" + zlib.compress(b""))),
        (part(1, IMAGE), part(129, b"\1" + zlib.compress(b"profile") + b"more")),
        (part(1, IMAGE), part(129, b"\1" + zlib.compress(b"profile")[:-1])),
        (part(1, IMAGE), part(129, b"\1" + zlib.compress(bytes(MOST + 1)))),
    ],
)
def test_forged_parts_are_refused(parts):
    assert refusal(file_of(*parts)) == CORRUPTED


def test_a_small_part_that_becomes_a_large_one_takes_no_memory():
    import tracemalloc

    bomb = zlib.compress(zlib.compress(bytes(1 << 28), 9), 9)
    data = file_of(part(1, IMAGE), part(131, b"\1" + zlib.decompress(bomb)))
    tracemalloc.start()
    try:
        assert refusal(data) == CORRUPTED
        assert tracemalloc.get_traced_memory()[1] < 4 * MOST
    finally:
        tracemalloc.stop()


def test_kinds_of_later_versions_are_passed_over_or_told():
    assert picture.parse(file_of(part(1, IMAGE), part(200, b"?"))) == Picture(IMAGE)
    assert refusal(file_of(part(1, IMAGE), part(9, b"?"))) == NEWER


def test_metadata_that_are_no_bytes_are_refused():
    with pytest.raises(errors.UsageError, match="b'' for none; exif is None"):
        picture.pack(Picture(b"image", Metadata(exif=None)))


def test_metadata_beyond_the_limit_are_not_written():
    with pytest.raises(errors.ImageError, match="too large for a tfclic file"):
        picture.pack(Picture(IMAGE, Metadata(exif=bytes(MOST + 1))))


@pytest.mark.parametrize(
    "quality_map, who",
    [(b"", "bin/decompress do, the latter"), (b"a map", r"bin/serve and bin/decompress do\.")],
)
def test_readers_of_images_alone_say_who_reads_it(quality_map, who):
    data = picture.pack(Picture(IMAGE, METADATA, quality_map=quality_map))
    with pytest.raises(errors.FileFormatError, match=who):
        header.parse(data)
    assert header.claimed_size(data) is None
