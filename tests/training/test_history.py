"""The validations of a run: the file, the picture, and what they are against the start."""

import json
import sys

import pytest
from PIL import Image

from tfclic.training import curve, history

PSNR = [28.0, 31.0, 34.0]
START = {"step": 50, "mean_loss": 1.1, "rounding": "rdo", "bpp": [0.2, 0.4, 0.8], "psnr": PSNR}


def result(step, factor=1.0):
    """A validation that needs `factor` times the start's bits."""
    bpp = [factor * rate for rate in START["bpp"]]
    return {"step": step, "mean_loss": factor, "rounding": "rdo", "bpp": bpp, "psnr": PSNR}


def steps_filed(folder):
    lines = (folder / "validation.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_each_validation_is_filed_drawn_and_compared(tmp_path):
    found = history.History(tmp_path, {}, START)
    assert not list(tmp_path.iterdir())
    assert found.add(result(10, 0.9), 30) == pytest.approx(-10)
    picture = (tmp_path / "curve.png").read_bytes()
    assert found.add(result(20, 0.75), 30) == pytest.approx(-25)
    assert steps_filed(tmp_path) == [10, 20]
    assert (tmp_path / "curve.png").read_bytes() != picture
    assert Image.open(tmp_path / "curve.png").size == (840, 960)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.png", "validation.jsonl"]


def test_without_a_start_there_is_nothing_to_compare_with(tmp_path):
    assert history.History(tmp_path, {}).add(result(10), 30) is None
    assert (tmp_path / "curve.png").exists()


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    before = history.History(tmp_path, {})
    for step in (10, 20, 30):
        before.add(result(step), 30)
    with (tmp_path / "validation.jsonl").open("a") as file:
        file.write('{"step": 40, "mean_lo')
    after = history.History(tmp_path, {"steps": 25, "validation": result(20)})
    assert steps_filed(tmp_path) == [10, 20]
    after.add(result(30, 0.5), 30)
    assert steps_filed(tmp_path) == [10, 20, 30]
    history.History(tmp_path, {})
    assert steps_filed(tmp_path) == []


def test_a_run_from_before_the_file_begins_it_with_its_last_validation(tmp_path):
    history.History(tmp_path, {"steps": 25, "validation": result(20)})
    assert steps_filed(tmp_path) == [20]


def test_what_cannot_be_drawn_is_one_warning(tmp_path, monkeypatch, caplog):
    def failing(*_):
        raise ZeroDivisionError("no ink")

    monkeypatch.setattr(curve, "draw", failing)
    found = history.History(tmp_path, {}, START)
    for step in (10, 20):
        assert found.add(result(step, 0.9), 30) == pytest.approx(-10)
    assert [r.message for r in caplog.records] == ["The run's curve is incomplete (no ink)."]
    assert steps_filed(tmp_path) == [10, 20]


def test_without_the_packages_training_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    assert history.History(tmp_path, {}, START).add(result(10, 0.9), 30) is None
    assert len(caplog.records) == 1


def test_only_a_start_on_the_same_images_is_a_reference():
    start = {"data_fingerprint": "c1", "validation_images": 2, "validation": START}
    assert history.reference({"start": start}, "c1", 2) is START
    assert history.reference({"start": start}, "c2", 2) is None
    assert history.reference({"start": start}, "c1", 3) is None
    assert history.reference({}, "c1", 2) is None
    del start["validation_images"]
    assert history.reference({"start": start}, "c1", 32) is START
    assert history.reference({"start": start}, "c1", 2) is None
    start["validation"] = {k: v for k, v in START.items() if k != "rounding"}
    assert history.reference({"start": start}, "c1", 32) is None


def test_the_picture_shows_both_curves_and_the_loss_where_nothing_compares():
    entries = [result(10, 0.9), result(20, 0.75)]
    upper, lower = curve.draw("run", entries, 30, START, [(10, -10.0), (20, -25.0)]).axes
    assert "BD-rate" in upper.get_ylabel()
    assert [text.get_text() for text in upper.texts] == ["\N{MINUS SIGN}25.0 %"]
    assert [line.get_label() for line in lower.lines] == ["start", "step 20"]
    upper, lower = curve.draw("run", entries, 30).axes
    assert "loss" in upper.get_ylabel()
    assert list(upper.lines[0].get_ydata()) == [0.9, 0.75]
    assert [line.get_label() for line in lower.lines] == ["step 20"]
