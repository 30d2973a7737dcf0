"""What parses files, on mutations of real ones that have the right length and checksum again."""

import random
import zlib

import numpy as np
import pytest

from tfclic import errors
from tfclic.format import alpha, header, picture


def checksum(body):
    return zlib.crc32(body).to_bytes(4, "little")


def files():
    """A file with one tile, one with several, and one with all that may be beside an image."""
    plane = (np.arange(300 * 200) % 251).astype(np.uint8).reshape(200, 300)
    for tile, lengths in (((256, 320), (18,)), ((128, 192), (3, 4, 5, 6))):
        fields = header.Header(False, b"\1\2\3\4", 300, 300, 200, *tile, lengths, bytes(18))
        yield header.pack(fields, checksum)
    metadata = picture.Metadata(b"icc" * 50, b"II*\0" + b"e" * 60, b"<x>" * 40)
    yield picture.pack(
        picture.Picture(header.pack(fields, checksum), metadata, alpha.encode(plane))
    )


def mutated(data, chance):
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 3, 6])):
        place = chance.randrange(max(1, len(data)))
        several = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
        kind = chance.randrange(4)
        if kind == 0:
            data[place : place + 1] = several[:1]
        elif kind == 1:
            data[place:place] = several
        elif kind == 2:
            del data[place : place + len(several)]
        else:
            data[place : place + 5] = b"\xff\xff\xff\xff\x07"
    return bytes(data)


def sealed(data):
    """The same with the length and the checksum that it should have."""
    if len(data) < header.SHORTEST_FILE or not data.startswith(header.MAGIC):
        return data
    _, start = header.read_varint(data, header.START)
    rest = data[start : -header.CHECKSUM_BYTES]
    length = header.length_varint(header.START + len(rest) + header.CHECKSUM_BYTES)
    body = data[: header.START] + length + rest
    return body + checksum(body)


@pytest.mark.parametrize("number", range(3))
def test_whatever_a_file_says_is_understood_or_refused(number):
    chance, whole = random.Random(number), list(files())[number]
    found = {True: 0, False: 0}
    for _ in range(1500):
        data = sealed(mutated(whole, chance))
        header.claimed_size(data)
        try:
            parts = picture.parse(data)
            fields = header.parse(parts.image, checksum)
            assert header.is_size(fields.width, fields.height)
            assert sum(fields.lengths) == len(fields.payload) <= len(data)
            assert all(len(each) <= picture.MAX_METADATA_BYTES for each in parts.metadata)
            if parts.alpha and fields.width * fields.height < 1 << 20:
                plane = alpha.decode(parts.alpha, fields.height, fields.width)
                assert plane.shape == (fields.height, fields.width)
            found[True] += 1
        except errors.FileFormatError:
            found[False] += 1
    assert min(found.values()) > 0
