"""The file: what is packed is parsed, and nothing damaged is."""

import pytest
import tensorflow as tf

from tfclic import errors
from tfclic.export import container
from tfclic.format import header

FINGERPRINT = b"\x00\xff\x10\xab"


def pack(width=768, height=512, quality16=32768, grayscale=False, payload=b"payload"):
    return container.pack(FINGERPRINT, width, height, quality16, grayscale, payload).numpy()


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def status_in_graph(data):
    return container.parse(data).status


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def payload_in_graph(data):
    return container.check(container.parse(data), FINGERPRINT).payload


def status(data):
    return int(status_in_graph(tf.constant(data)))


@pytest.mark.parametrize("width, height", [(1, 1), (127, 128), (4096, 4096), (1, 4095)])
@pytest.mark.parametrize("grayscale", [False, True])
def test_parse_returns_what_was_packed(width, height, grayscale):
    data = pack(width, height, 65535, grayscale, b"\x00 any bytes \xff")
    header = container.check(container.parse(tf.constant(data)), FINGERPRINT)
    assert int(header.width) == width
    assert int(header.height) == height
    assert bool(header.grayscale) == grayscale
    assert int(header.quality) == 65535
    assert header.fingerprint.numpy() == FINGERPRINT
    assert header.payload.numpy() == b"\x00 any bytes \xff"


def test_layout_is_the_documented_one():
    data = pack(300, 2, 0x1234, True, b"xy")
    assert data[:5] == b"TFC\x11" + bytes([len(data)])
    assert data[5:11] == FINGERPRINT + b"\x34\x12"
    assert data[11:14] == bytes([300 % 128 + 128, 300 // 128, 2])
    assert data[14:16] == b"xy"
    assert data[16:] == tf.fingerprint([data[:-4]]).numpy()[0, :4].tobytes()


def tiled(width, height, tile_width, tile_height, strings):
    """A file of several tiles."""
    tiles = tile_height, tile_width, tf.constant([len(string) for string in strings])
    return container.pack(FINGERPRINT, width, height, 0, False, b"".join(strings), tiles).numpy()


def test_tiles_are_packed_after_the_size():
    data = tiled(130, 60, 128, 64, [b"first", b"2"])
    assert data[3] == 2
    assert data[11:14] == bytes([130 % 128 + 128, 130 // 128, 60])
    assert data[14:16] == bytes([2, 1]), "in units of 64 pixels"
    assert data[16:24] == b"\x05\0\0\0\x01\0\0\0"
    assert data[24:-4] == b"first2"
    header = container.check(container.parse(tf.constant(data)), FINGERPRINT)
    assert (int(header.tile_width), int(header.tile_height)) == (128, 64)
    assert header.lengths.numpy().tolist() == [5, 1]
    assert header.payload.numpy() == b"first2"


def test_one_tile_needs_no_index():
    assert tiled(130, 60, 192, 64, [b"payload"]) == pack(130, 60, 0)
    header = container.parse(tf.constant(pack(130, 60)))
    assert (int(header.tile_width), int(header.tile_height)) == (192, 64)
    assert header.lengths.numpy().tolist() == [len("payload")]


@pytest.mark.parametrize(
    "index",
    [
        bytes([0, 1]) + 2 * b"\3\0\0\0",  # no tile
        bytes([65, 1]) + 1 * b"\6\0\0\0",  # too large
        bytes([3, 1]) + 1 * b"\6\0\0\0",  # a single tile
        bytes([2, 1]) + 1 * b"\3\0\0\0",  # an index too short
        bytes([2, 1]) + b"\3\0\0\0\4\0\0\0",  # lengths that do not add up
        bytes([2, 1]) + b"\6\0\0\0",
        bytes([2, 1]),
        b"",
    ],
)
def test_impossible_tiles_with_a_right_checksum_are_corrupted(index):
    rest = FINGERPRINT + b"\0\0" + b"\x82\x01\x3c" + index + b"string"
    body = b"TFC\x02" + bytes([5 + len(rest) + 4]) + rest
    data = body + tf.fingerprint([body]).numpy()[0, :4].tobytes()
    assert len(data) == data[4]
    assert status(data) == container.CORRUPTED


def test_more_tiles_than_bytes_are_refused():
    sides = bytes([0xFF, 0xFF, 0x7F, 0xFF, 0x07])  # 2**21 - 1 by 1023
    rest = FINGERPRINT + b"\0\0" + sides + bytes([1, 1]) + 400 * b"\0"
    body = b"TFC\x02" + bytes([(6 + len(rest) + 4) % 128 + 128, (6 + len(rest) + 4) // 128]) + rest
    data = body + tf.fingerprint([body]).numpy()[0, :4].tobytes()
    assert status(data) == container.CORRUPTED


@pytest.mark.parametrize("size", [0, 100, 110, 111, 112, 113, 16360, 16370, 16400, 2_100_000])
def test_length_counts_itself(size):
    data = pack(payload=b"x" * size)
    assert status(data) == container.OK
    assert len(data) - size <= 24


def test_the_largest_image_of_one_tile_costs_24_bytes_at_most():
    data = pack(container.MAX_TILE_SIDE, 4096, payload=b"x" * 3_000_000)
    assert len(data) - 3_000_000 <= 24


@pytest.mark.parametrize(
    "width, height",
    [(0, 1), (1, 0), (-1, 1), (4097, 1), (1, 4097), (2**21, 1), (1, 2**21), (2**16, 2**16)],
)
def test_sizes_that_no_file_holds_are_refused(width, height):
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large for a tfclic file"):
        pack(width, height)


@pytest.mark.parametrize("size", [b"\x00\x05", b"\x05\x00", b"\xff\xff\x7f\xff\xff\x7f"])
def test_impossible_sizes_with_a_right_checksum_are_corrupted(size):
    body = b"TFC\x01" + bytes([15 + len(size)]) + FINGERPRINT + b"\0\0" + size
    data = body + tf.fingerprint([body]).numpy()[0, :4].tobytes()
    assert len(data) == data[4]
    assert status(data) == container.CORRUPTED


def test_a_file_that_ends_inside_its_sizes_is_corrupted():
    body = b"TFC\x01\x11" + FINGERPRINT + b"\0\0\x85\x80"
    data = body + tf.fingerprint([body]).numpy()[0, :4].tobytes()
    assert status(data) == container.CORRUPTED


def test_any_change_of_any_byte_is_refused():
    data = pack(payload=b"some payload")
    for position, byte in enumerate(data):
        for pattern in (0x01, 0x02, 0x10, 0x80, 0x55, 0xFF):
            changed = data[:position] + bytes([byte ^ pattern]) + data[position + 1 :]
            assert status(changed) != container.OK, (position, pattern)


def test_every_truncation_is_refused_as_such():
    data = pack(payload=b"some payload")
    assert status(b"") == container.NOT_TFCLIC
    for length in range(1, len(data)):
        assert status(data[:length]) == container.TRUNCATED, length


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"GIF89a and so on", container.NOT_TFCLIC),
        (b"TFX", container.NOT_TFCLIC),
        (b"X", container.NOT_TFCLIC),
        (b"TFC\x05 with something beside the image", header.HAS_MORE),
        (b"TFC\x06 with qualities that differ from place to place", header.HAS_MAP),
        (b"TFC\x07 in another format, of some length", container.NEWER_VERSION),
        (b"TFC\x00 in no format at all, of some length", container.CORRUPTED),
        (pack() + b"\n", container.CORRUPTED),
        (pack()[:-1] + b"\x00", container.CORRUPTED),
    ],
)
def test_status_tells_what_is_wrong(data, expected):
    assert status(data) == expected
    assert int(container.parse(tf.constant(data)).status) == expected
    with pytest.raises(errors.FileFormatError) as caught:
        container.check(container.parse(tf.constant(data)))
    assert str(caught.value) == container.SENTENCES[expected]


def test_the_graph_refuses_with_the_same_sentences():
    assert payload_in_graph(tf.constant(pack())).numpy() == b"payload"
    with pytest.raises(tf.errors.InvalidArgumentError, match="is truncated"):
        payload_in_graph(tf.constant(pack()[:-1]))
    other = container.pack(b"abcd", 1, 1, 0, False, b"")
    with pytest.raises(tf.errors.InvalidArgumentError, match="fingerprint is 61626364"):
        payload_in_graph(other)


def test_another_model_is_refused():
    header = container.parse(tf.constant(pack()))
    with pytest.raises(errors.ModelError, match="fingerprint is 00ff10ab"):
        container.check(header, b"abcd")


def test_quality_survives_its_code():
    for quality in (0.0, 0.5, 50.0, 99.99, 100.0):
        code = container.quality_code(quality)
        assert abs(float(container.quality_of(code)) - quality) <= 50 / 65535 * 1.01
        assert int(container.quality_code(container.quality_of(code))) == int(code)
    assert int(container.quality_code(100)) == container.MAX_QUALITY_CODE


def test_a_header_of_tensors_has_the_fields_of_one_of_values():
    assert container.Header._fields == ("status", *header.Header._fields)
