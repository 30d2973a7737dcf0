"""The file in Python and in TensorFlow's ops: what one writes or refuses, the other does too."""

import random
import struct

import pytest
import tensorflow as tf

from tfclic import errors
from tfclic.export import container
from tfclic.format import header

PATTERNS = (0x01, 0x02, 0x10, 0x40, 0x80, 0xFF)
OF_ONE_TILE = header.Header(
    grayscale=False,
    fingerprint=b"\x00\xff\x10\xab",
    quality=32768,
    width=768,
    height=512,
    tile_height=512,
    tile_width=768,
    lengths=(14,),
    payload=b"any bytes \x00\xff..",
)


def one_tile(width, height, payload=OF_ONE_TILE.payload, **changes):
    sides = header.whole_side(height), header.whole_side(width)
    return OF_ONE_TILE._replace(
        width=width,
        height=height,
        tile_height=sides[0],
        tile_width=sides[1],
        lengths=(len(payload),),
        payload=payload,
        **changes,
    )


def tiled(width, height, tile_width, tile_height, lengths):
    return OF_ONE_TILE._replace(
        width=width,
        height=height,
        tile_height=tile_height,
        tile_width=tile_width,
        lengths=lengths,
        payload=bytes(i % 251 for i in range(sum(lengths))),
    )


HEADERS = [
    *(one_tile(width, height) for width, height in [(1, 1), (127, 128), (4096, 4096), (1, 4095)]),
    one_tile(300, 20, b"", grayscale=True, quality=0),
    one_tile(64, 64, b"x", quality=65535, fingerprint=b"abcd"),
    # the length in as many bytes as it needs, and where more would do
    *(one_tile(9, 9, bytes(size)) for size in (105, 106, 107, 108, 109, 110, 111, 112)),
    *(one_tile(9, 9, bytes(size)) for size in (16_360, 16_362, 16_364, 16_366, 16_400)),
    tiled(130, 60, 128, 64, (5, 1)),
    tiled(100, 150, 64, 64, (3, 0, 2, 0, 0, 4)),
    tiled(2**21 - 1, 900, 4096, 1024, (0,) * 511 + (7,)),
    tiled(1, 2**21 - 1, 64, 4096, (1,) * 512),
    one_tile(300, 20, b"12", interleaved=True),
    tiled(130, 60, 128, 64, (5, 1))._replace(interleaved=True, grayscale=True),
]


def checksum(body):
    return tf.fingerprint([body]).numpy()[0].tobytes()


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def parsed_in_graph(data):
    return container.parse(data)


def of_graph(data):
    """(status, `Header` in Python's types) as the graph has it."""
    status, *fields = parsed_in_graph(tf.constant(data))
    found = header.Header(*(field.numpy() for field in fields))
    return int(status), found._replace(lengths=tuple(found.lengths))


def status_of(data, given=checksum):
    try:
        header.parse(data, given)
    except errors.FileFormatError as error:
        return next(code for code, text in header.SENTENCES.items() if text == str(error))
    return header.OK


def with_checksum(body):
    """A file with the length and the checksum that it has to have, of what is between them."""
    start = body[:4]
    for count in range(1, 6):
        length = 4 + count + len(body) - 4 + 4
        if len(header.varint(length)) == count:
            data = start + header.varint(length) + body[4:]
    return data + checksum(data)[:4]


def without_length(data):
    """What `with_checksum` takes."""
    end = 4
    while data[end] & 128:
        end += 1
    return data[:4] + data[end + 1 : -4]


@pytest.mark.parametrize("index", range(len(HEADERS)))
def test_both_write_the_same_and_read_it(index):
    known = HEADERS[index]
    tiles = known.tile_height, known.tile_width, tf.constant(known.lengths, tf.int32)
    size = known.width, known.height
    arguments = known.fingerprint, *size, known.quality, known.grayscale, known.payload, tiles
    data = header.pack(known, checksum)
    assert container.pack(*arguments, known.interleaved).numpy() == data
    assert header.parse(data, checksum) == header.parse(data) == known
    assert of_graph(data) == (header.OK, known)
    assert known.version == data[3] & 15


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (4097, 1), (1, 2**21), (2**16, 2**16)])
def test_sizes_that_no_file_holds_are_refused(size):
    with pytest.raises(errors.ImageError, match="too large for a tfclic file"):
        header.pack(one_tile(*size), checksum)


@pytest.mark.parametrize("index", [0, 4, 14, 19, 20])
def test_changed_bytes_have_one_status(index):
    data = header.pack(HEADERS[index], checksum)
    for place in range(min(len(data), 60)):
        for pattern in PATTERNS:
            changed = data[:place] + bytes([data[place] ^ pattern]) + data[place + 1 :]
            status, _ = of_graph(changed)
            assert status_of(changed) == status != header.OK, (place, pattern)


@pytest.mark.parametrize("index", [0, 4, 19, 20])
def test_changed_bytes_with_a_right_checksum_have_one_status_and_meaning(index):
    body, seen = without_length(header.pack(HEADERS[index], checksum)), set()
    for place in range(3, min(len(body), 46)):
        for pattern in PATTERNS:
            changed = body[:place] + bytes([body[place] ^ pattern]) + body[place + 1 :]
            data = with_checksum(changed)
            status, known = of_graph(data)
            assert status_of(data) == status, (place, pattern)
            # what has a right checksum is what it claims
            assert status_of(data, None) == status
            seen.add(status)
            if status == header.OK:
                assert header.parse(data, checksum) == known
    assert seen >= {header.OK, header.NEWER_VERSION, header.CORRUPTED}


def test_truncated_files_have_one_status():
    for known in (HEADERS[0], HEADERS[19]):
        data = header.pack(known, checksum)
        for length in range(len(data)):
            cut = data[:length]
            expected = header.TRUNCATED if length else header.NOT_TFCLIC
            assert status_of(cut) == status_of(cut, None) == of_graph(cut)[0] == expected
            # all there by its length, but not by what it has to hold
            if 4 <= length < len(data) - 4:
                short = with_checksum(without_length(data)[:length])
                assert status_of(short) == of_graph(short)[0], length
        longer = data + b"\n"
        assert status_of(longer) == of_graph(longer)[0] == header.CORRUPTED


@pytest.mark.parametrize("sizes", [b"\0\5", b"\5\0", b"\x85\0\5", b"\x80\x80\x80\x01\1", b"\5\x85"])
@pytest.mark.parametrize("rest", [b"", b"\1", b"\1\1", b"\1\1\1\0\0\0", 12 * b"\xff"])
@pytest.mark.parametrize("version", [1, 2])
def test_odd_sizes_have_one_status(version, sizes, rest):
    data = with_checksum(b"TFC" + bytes([version]) + b"abcd\0\0" + sizes + rest)
    status, known = of_graph(data)
    assert status_of(data) == status
    if status == header.OK:
        assert header.parse(data, checksum) == known


def test_made_headers_have_one_status_and_meaning():
    rng, seen = random.Random(7), set()
    for _ in range(300):
        side = [rng.choice([1, 63, 64, 65, 128, 4096, 4097, 2**21 - 1, 2**21]) for _ in range(2)]
        tile, count = [rng.choice([0, 1, 2, 3, 64, 65]) for _ in range(2)], rng.randrange(1, 9)
        version = rng.choice([1, 2, 2, 2])
        lengths = [rng.randrange(4) for _ in range(count)]
        index = bytes(tile) + struct.pack(f"<{count}I", *lengths)
        payload = bytes(sum(lengths) + rng.choice([0, 0, 0, 1]))
        sizes = b"".join(map(header.varint, side))
        body = b"TFC" + bytes([version]) + b"abcd\1\2" + sizes
        data = with_checksum(body + (index if version == 2 else b"") + payload)
        status, known = of_graph(data)
        assert status_of(data) == status, data
        seen.add((version, status))
        if status == header.OK:
            assert header.parse(data, checksum) == known
    assert seen >= {(version, status) for version in (1, 2) for status in (0, header.CORRUPTED)}


def test_only_a_checksum_that_is_given_is_checked():
    data = header.pack(OF_ONE_TILE, checksum)
    changed = data[:-1] + bytes([data[-1] ^ 1])
    assert header.parse(changed) == OF_ONE_TILE
    with pytest.raises(errors.FileFormatError, match="corrupted"):
        header.parse(changed, checksum)
