"""The pictures in README are of what is measured, and crops are at equal bytes."""

import pathlib

import numpy as np
import pytest

from tfclic import runtime
from tfclic.runtime import catalog

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def figures(load_benchmark):
    return load_benchmark("figures")


def test_the_drawn_curve_is_that_of_the_shipped_model(figures):
    name = runtime.DEFAULT_MODEL
    results = catalog.find(name).card.results["kodak"]
    (axes,) = figures.draw_curves([name]).axes
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert set(lines) == {name, *(label for label, _ in figures.STORED.values())}
    np.testing.assert_array_equal(lines[name].T, [results["bpp"], results["psnr-rgb"]])
    # python benchmarks/figures.py curves docs/rate_distortion.svg
    told = f"{name}: {figures.points_of(results)}"
    assert told in (DOCS / "rate_distortion.svg").read_text()


def test_crops_are_of_files_that_are_not_larger(figures, toy_model, monkeypatch):
    monkeypatch.setattr(figures, "SIDE", 128)
    monkeypatch.setattr(figures, "CROP", 60)
    pixels = figures.hills()
    assert pixels.shape == (128, 128, 3) and 20 < pixels.std() < 90
    for name in ("JPEG", "WEBP"):
        size, shown = figures.as_peer(pixels, name, 2000)
        assert 1000 < size <= 2000 and shown.shape == pixels.shape
        with pytest.raises(SystemExit, match="cannot be so small"):
            figures.as_peer(pixels, name, 100)
    sheet = figures.side_by_side(pixels, toy_model, 100, (10, 20))
    assert sheet.size == (4 * 60, 60 + figures.LABEL)
    crops = np.split(np.array(sheet)[figures.LABEL :], 4, 1)
    assert np.array_equal(crops[0], pixels[20:80, 10:70])
    assert np.array_equal(crops[3], crops[0]) and not np.array_equal(crops[1], crops[0])
