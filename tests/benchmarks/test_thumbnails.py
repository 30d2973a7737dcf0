"""benchmarks/thumbnails.py: it compares with whole decoding, and adds up seconds."""

import math
import sys

import pytest
from PIL import Image


@pytest.fixture
def program(load_benchmark):
    return load_benchmark("thumbnails")


def test_a_row_has_means_the_worst_and_sums(program):
    found = [program.Found(40, (0.5, 1.0), (0.1, 0.2)), program.Found(30, (1.5, 2.0), (0.3, 0.2))]
    row = program.row("toy", 50, 1 / 8, found)
    assert row == "| toy | 50 | 1/8 | 35.00 | 30.00 | 2.00 (3.00) | 0.40 (0.40) | 20 (13) |"


def test_both_are_measured(program, toy_codec, make_pixels):
    found = program.measure(toy_codec, make_pixels(30, 40), 100, [1 / 4, 1 / 8], 2)
    assert list(found) == [1 / 4, 1 / 8]
    for each in found.values():
        # it was not taught, and decodes all both times
        assert math.isinf(each.psnr)
        assert all(seconds > 0 for seconds in (*each.whole, each.small[0]))


def test_a_table_has_a_row_for_each_scale_and_quality(
    program, toy_folder, tmp_path, make_pixels, monkeypatch, capsys
):
    Image.fromarray(make_pixels(30, 40)).save(tmp_path / "a.png")
    words = ["toy", f"--images={tmp_path}", "--qualities=0,100", "--rounds=1"]
    monkeypatch.setattr(sys, "argv", ["thumbnails.py", *words])
    assert program.main() == 0
    header, rule, *rows = capsys.readouterr().out.splitlines()
    assert header.count("|") == rule.count("|") == rows[0].count("|")
    starts = [row.split(" | ")[:3] for row in rows]
    scales = ("1/4", "1/8", "1/16")
    assert starts == [["| `toy`", quality, scale] for quality in ("0", "100") for scale in scales]
    monkeypatch.setattr(sys, "argv", ["thumbnails.py", "nowhere", *words[1:]])
    assert program.main() == 5
