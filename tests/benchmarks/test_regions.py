"""What areas get and take, of the toy model, whose qualities are two."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def regions(load_benchmark):
    return load_benchmark("regions")


def test_areas_are_in_the_middle(regions):
    area, mask = regions.middle(np.zeros([40, 81, 3], np.uint8), 7)
    assert area == (20, 10, 40, 20, 7, True)
    assert mask.sum() == 800 and mask[10, 20] and mask[29, 59] and not mask[9].any()


def test_what_is_measured_is_of_the_files(regions, toy_codec, make_pixels):
    pixels = make_pixels(128, 256)
    found = regions.measured(toy_codec, pixels, 20, 40)
    # the toy's area is without loss, in both
    assert found["inside"] == 0 and found["outside"] > 0
    assert found["low"] < found["area"] < found["high"]
    assert found["low"] == len(toy_codec.compress(pixels, 20))
    assert 0 <= found["missed"] < 1 and 0 < found["map"] < 60


def test_the_tables_have_a_row_for_each_quality(regions, tmp_path, toy_model, make_pixels, capsys):
    Image.fromarray(make_pixels(64, 128)).save(tmp_path / "a.png")
    words = ["--images", tmp_path, "--model", toy_model, "--qualities=27,28", "--rise=10"]
    assert regions.main([str(word) for word in words]) == 0
    told = capsys.readouterr().out
    assert told.count("\n| 27 |") == told.count("\n| 28 |") == 2
    assert "| 27 | 37 | +0.000 | +0.000 | +" in told
