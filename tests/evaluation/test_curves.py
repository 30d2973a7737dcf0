"""Curves, measured and published, and their differences."""

import json
import math

import pytest

from tfclic import errors
from tfclic.evaluation import codecs, curves, evaluate

CURVE = {"results": {"bpp": [0.2, 0.4, 0.8, 1.6], "psnr-rgb": [26.0, 29.0, 32.0, 35.0]}}


def curve(rates, decibels):
    return {"results": {"bpp": rates, "psnr-rgb": decibels}}


def test_half_the_bits_are_minus_50_percent():
    half = curve([rate / 2 for rate in CURVE["results"]["bpp"]], CURVE["results"]["psnr-rgb"])
    found = curves.difference(CURVE, half)
    assert found.rate == pytest.approx(-50)
    # 3 dB for twice the bits
    assert found.decibels == pytest.approx(3)
    assert (found.lowest, found.highest) == (26, 35)


def test_order_does_not_matter_and_what_is_no_number_is_left_out():
    found = curves.difference(CURVE, curve([3.2, 0.8, 0.4, math.inf], [38.0, 32.0, 29.0, None]))
    assert found.rate == pytest.approx(0, abs=1e-9)
    assert (found.lowest, found.highest) == (29, 35)


def test_a_point_whose_rate_is_not_known_is_left_out():
    found = curves.difference(CURVE, curve([None, 0.4, 0.8], [26.0, 29.0, 32.0]))
    assert (found.lowest, found.highest) == (29, 32)


@pytest.mark.parametrize(
    "other, lowest, highest",
    [
        (curve([1.0, 2.0], [40.0, 42.0]), 40, 35),
        (curve([1.0, 2.0, 4.0], [34.0, 38.0, 42.0]), 34, 35),
        (curve([1.0], [30.0]), None, None),
    ],
)
def test_too_little_overlap_gives_no_number(other, lowest, highest):
    assert curves.difference(CURVE, other) == (None, None, lowest, highest)


def test_a_point_that_costs_more_for_less_is_left_out():
    found = curves.difference(CURVE, curve([0.2, 0.4, 0.5, 0.8], [26.0, 29.0, 28.0, 32.0]))
    assert found.rate == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "name, percent",
    [
        ("bpg_444_x265_ycbcr", 22.0),
        ("paper-cca-2024_mse", -13.7),
        ("paper-mbt2018-mean", 16.4),
        ("webp", 78.7),
    ],
)
def test_published_curves_have_their_known_distance_from_vtm(name, percent):
    found = curves.difference(curves.read("vtm"), curves.read(name))
    assert found.rate == pytest.approx(percent, abs=0.1)


def test_every_stored_curve_can_be_read_and_names_its_source():
    for name in curves.stored():
        found = curves.read(name)
        assert any(curves.has(found, metric) for metric in curves.METRICS)
        assert found["meta"]["source"] and found["meta"]["dataset"] == "kodak"


def test_what_is_no_curve_is_told(tmp_path):
    path = tmp_path / "curve.json"
    results = {"bpp": [1, 2], "psnr-rgb": [30, 40]}
    wrong = (
        {"results": {**results, "psnr-rgb": [30]}},
        {"results": {**results, "psnr-rgb": [30, "forty"]}},
        {"results": results, "meta": None},
    )
    for content in ("", "[]", "{}", *map(json.dumps, wrong)):
        path.write_text(content)
        with pytest.raises(errors.UsageError, match="is not a rate-distortion curve"):
            curves.read(path)
    with pytest.raises(errors.UsageError, match="There is no curve nothing; there are .*vtm"):
        curves.read("nothing")


def test_a_measured_curve_has_averages_and_images_and_no_infinity(toy_model, tmp_path):
    codec = codecs.Model(toy_model, [0, 100])
    levels = [evaluate.Measurement(1.0, 30.0, 0.99, 0.1, 0.1, 0.2)]
    levels.append(levels[0]._replace(psnr=math.inf, ms_ssim=None, more={"vif": 0.9}))
    made = curves.from_measurements(codec, "made", {"a": levels, "b": levels}, threads=1)
    path = tmp_path / "toy.json"
    curves.write(made, path)
    found = curves.read(path)
    assert (found["name"], found["title"]) == ("toy", "toy/1")
    assert found["meta"]["dataset"] == "made" and found["meta"]["opt_metric"] == "mse"
    assert found["results"]["psnr-rgb"] == [30.0, None]
    assert found["results"]["ms-ssim-db"] == [pytest.approx(20), None]
    assert found["results"]["quality"] == [0, 100]
    assert found["images"]["b"]["bpp"] == [1.0, 1.0]
    assert found["results"]["vif"] == found["images"]["a"]["vif"] == [None, 0.9]
    assert "vmaf" not in found["results"]


@pytest.mark.parametrize(
    "metric, values, ends",
    [
        ("flip", [0.1, 0.05, 0.01], (10, 20)),
        ("fsim", [0.9, 0.95, 0.99], (10, 20)),
        ("vif", [0.4, 0.6, 0.8], (0.4, 0.8)),
        ("vmaf", [60, 80, 90], (60, 90)),
        ("psnr-hvs-m", [30, 35, 40], (30, 40)),
    ],
)
def test_half_the_bits_are_minus_50_percent_by_every_metric(metric, values, ends):
    one, half = (
        {"results": {"bpp": [rate * 0.2, rate * 0.4, rate * 0.8], metric: values}}
        for rate in (1, 0.5)
    )
    found = curves.difference(one, half, metric)
    assert found.rate == pytest.approx(-50)
    assert (found.lowest, found.highest) == pytest.approx(ends)
