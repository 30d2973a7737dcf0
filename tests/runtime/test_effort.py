"""Efforts: better latents for more time at encoding."""

import dataclasses

import numpy as np
import pytest

from tfclic import errors, runtime
from tfclic.evaluation import evaluate
from tfclic.runtime import checks, encoder


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return runtime.load(tiny_model)


@pytest.fixture(scope="module")
def pixels(make_pixels, soft):
    return soft(make_pixels(60, 90))


@pytest.fixture
def few_steps(monkeypatch):
    """Efforts of as many steps as they say, or few more."""
    monkeypatch.setattr(checks, "EFFORTS", (0, 1, 2, 3, 4, 7, 11, 12, 13, 100))


def cost(codec, pixels, effort):
    """What a refinement makes small: bits + lambda * error, at quality 100 of the tiny model."""
    found = codec.evaluate(pixels, 100, effort=effort)
    error = np.square(found["reconstruction"].astype(np.float64) - pixels).sum() / 3
    return found["estimated_bits"] + 0.045 * error


def test_more_effort_lowers_the_cost_and_the_file_still_holds_what_the_encoder_knew(
    loaded, pixels, few_steps
):
    assert cost(loaded, pixels, 9) < 0.998 * cost(loaded, pixels, 0)
    assert evaluate.verify(loaded, pixels, 100, effort=4).passed


def test_a_file_is_the_same_again_and_differs_from_that_of_another_effort(
    loaded, pixels, few_steps
):
    files = [loaded.compress(pixels, 100, effort=effort) for effort in (0, 5, 5.0)]
    assert files[1] == files[2] != files[0]
    assert loaded.compress(pixels, 100) == files[0]


def test_no_effort_does_not_wait_for_the_refinements_of_others(loaded, pixels, monkeypatch):
    class Taken:
        def __enter__(self):
            raise AssertionError

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(encoder, "_REFINEMENT", Taken())
    loaded.compress(pixels, 100)
    with pytest.raises(AssertionError):
        loaded.compress(pixels, 100, effort=1)


def test_tiles_and_grayscale_are_refined_too(loaded, pixels, few_steps):
    gray = pixels[..., 0]
    files = [loaded.compress(gray, 100, effort=effort, tile=64) for effort in (0, 5)]
    assert files[0] != files[1] and loaded.info(files[1])["tiles"] == 2
    assert loaded.decompress(files[1]).shape == gray.shape


@pytest.mark.parametrize("kind", ["file_bytes", "bpp", "psnr"])
def test_targets_are_met_by_refined_files(loaded, pixels, few_steps, kind):
    area = pixels.shape[0] * pixels.shape[1]
    plain = loaded.compress(pixels, 60)
    psnr = 10 * np.log10(255**2 / np.square(1.0 * loaded.decompress(plain) - pixels).mean())
    target = {"file_bytes": len(plain), "bpp": 8 * len(plain) / area, "psnr": psnr}[kind]
    data = loaded.compress(pixels, effort=5, **{kind: target})
    if kind == "psnr":
        found = 10 * np.log10(255**2 / np.square(1.0 * loaded.decompress(data) - pixels).mean())
        assert target <= found <= target + 0.05
    else:
        assert 0.98 * len(plain) <= len(data) <= len(plain)
    assert data != loaded.compress(pixels, **{kind: target})


def test_progress_goes_from_one_to_all_of_its_steps(loaded, pixels, few_steps):
    told = []
    loaded.compress(pixels, 100, effort=6, tile=64, progress=lambda *step: told.append(step))
    parts = -(-11 // encoder.AT_ONCE)
    assert told == [(n, 2 * (1 + parts)) for n in range(1, 2 * (1 + parts) + 1)]


def test_whoever_stops_waiting_stops_the_work(loaded, pixels, monkeypatch):
    monkeypatch.setattr(checks, "EFFORTS", (0, 10**6))

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaded.compress(pixels, 100, effort=1, progress=stop)


@pytest.mark.parametrize("effort", [-1, 10, 1.5])
def test_efforts_that_there_are_not_are_refused(loaded, pixels, effort):
    with pytest.raises(errors.UsageError, match="from 0 to 9"):
        loaded.compress(pixels, effort=effort)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"refinement": None}, "export it again"),
        ({"refinement": {"refine": ({}, {})}}, "export it again"),  # of earlier exports
        ({"training": {"objective": "ms_ssim"}}, "ms_ssim"),
    ],
)
def test_models_that_cannot_refine_say_so(loaded, pixels, monkeypatch, change, message):
    card = dataclasses.replace(loaded.model.card, **change)
    monkeypatch.setattr(loaded, "model", dataclasses.replace(loaded.model, card=card))
    with pytest.raises(errors.ModelError, match=message):
        loaded.compress(pixels, effort=1)
    assert loaded.compress(pixels, effort=0)
