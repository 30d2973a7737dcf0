"""Maps of qualities: what is coded comes back, and means the same codes to everyone."""

import random
import tracemalloc
import zlib

import numpy as np
import pytest

from tfclic import errors
from tfclic.format import quality_map
from tfclic.format.quality_map import QualityMap


def made(height, width, seed=0, peak=9000):
    nodes = np.random.default_rng(seed).integers(-127, 128, quality_map.sides(height, width))
    return QualityMap(peak, nodes.astype(np.int8))


def deflated(values):
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(bytes(values)) + deflater.flush()


def refuses(content, height=64, width=96):
    with pytest.raises(errors.FileFormatError, match="corrupted"):
        quality_map.decode(content, height, width)
    return True


@pytest.mark.parametrize("size", [(1, 1), (32, 33), (64, 64), (500, 700), (4096, 17)])
@pytest.mark.parametrize("peak", [1, 300, 65535])
def test_what_is_coded_comes_back(size, peak):
    for number, known in enumerate((made(*size, peak=peak), made(*size, 1, peak))):
        if number:
            # of a slope, differences are the shorter
            known = known._replace(nodes=np.sort(np.sort(known.nodes, 0), 1))
        found = quality_map.decode(quality_map.encode(known), *size)
        assert found.peak == peak
        np.testing.assert_array_equal(found.nodes, known.nodes)


def test_a_box_takes_few_bytes_and_noise_as_many_as_there_are_nodes():
    nodes = np.zeros(quality_map.sides(512, 768), np.int8)
    nodes[5:11, 7:15] = 127
    assert len(quality_map.encode(QualityMap(26214, nodes))) < 40
    assert len(quality_map.encode(made(512, 768))) <= 16 * 24 + 16


@pytest.mark.parametrize("way", range(4))
def test_differences_are_summed_up(way):
    known = made(64, 96)
    content = b"\x01\x00" + bytes([way])
    content += deflated(quality_map._differences(known.nodes.astype(np.uint8), way).tobytes())
    np.testing.assert_array_equal(quality_map.decode(content, 64, 96).nodes, known.nodes)


def test_codes_lie_on_lines_between_the_nodes():
    found = QualityMap(1600, np.array([[0, 127]], np.int8)).codes(100, (0, 0, 3, 6))
    np.testing.assert_array_equal(found, [[100, 500, 1300, 1700, 1700, 1700]] * 3)
    down = QualityMap(1600, np.array([[127], [0]], np.int8)).codes(100, (0, 0, 4, 1))
    np.testing.assert_array_equal(down[:, 0], [1700, 1300, 500, 100])


def test_codes_are_rounded_down_and_kept_within_what_there_is():
    nodes = np.array([[-1, 0]], np.int8)
    np.testing.assert_array_equal(QualityMap(1, nodes).codes(7, (0, 0, 1, 4)), [[6, 6, 6, 7]])
    nodes = np.array([[-127, 127]], np.int8)
    codes = QualityMap(65535, nodes).codes(30000, (0, 0, 1, 4))
    np.testing.assert_array_equal(codes, [[0, 0, 62767, 65535]])
    assert codes.dtype == np.int32


def test_codes_of_a_part_are_a_part_of_the_codes():
    known = made(300, 450)
    whole = known.codes(30000, (0, 0, 20, 32))
    assert np.ptp(whole) > 10000
    for box in ((0, 0, 4, 4), (8, 4, 12, 28), (3, 5, 1, 1)):
        top, left, height, width = box
        part = whole[top : top + height, left : left + width]
        np.testing.assert_array_equal(known.codes(30000, np.array(box)), part)


def test_other_content_is_refused():
    content = quality_map.encode(made(64, 96))
    assert all(refuses(content[:length]) for length in range(len(content)))
    assert refuses(content + b"\0")
    assert refuses(b"\0\0" + content[2:])
    assert refuses(content[:2] + b"\4" + content[3:])
    assert refuses(content, 64, 97) and refuses(content, 65, 96) and refuses(content, 64, 64)
    assert refuses(b"\1\0\0" + deflated([128] * 6))
    assert refuses(b"\1\0\0" + zlib.compress(bytes(6)))
    quality_map.decode(b"\1\0\0" + deflated([129] * 6), 64, 96)


def test_changed_content_is_a_map_or_refused():
    content, chance, understood = quality_map.encode(made(64, 96)), random.Random(1), 0
    for _ in range(2000):
        changed = bytearray(content)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(content))] = chance.randrange(256)
        try:
            found = quality_map.decode(bytes(changed), 64, 96)
        except errors.FileFormatError:
            continue
        understood += 1
        assert found.peak > 0 and found.nodes.shape == (2, 3) and found.nodes.min() >= -127
    assert 0 < understood < 2000


def test_a_stream_that_becomes_a_large_one_takes_no_memory():
    bomb = b"\1\0\0" + deflated(bytes(1 << 26))
    tracemalloc.start()
    try:
        assert refuses(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
