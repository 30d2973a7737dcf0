"""What is told and drawn of a file: figures that add up, choices that are what they say."""

import json

import numpy as np
import pytest

from tfclic import errors
from tfclic.entropy import integer_mixture, mixture
from tfclic.evaluation import inspection


@pytest.fixture(scope="module")
def data(toy_codec, make_pixels):
    return toy_codec.compress(make_pixels(90, 130), 60, tile=64)


@pytest.fixture
def report(toy_codec, data):
    """Function that makes the report of `data`, given what its parts take."""
    return lambda parts: inspection.report(toy_codec, data, toy_codec.statistics(data), parts)


@pytest.fixture
def view(explanation, make_pixels):
    """Function that makes a View of the image, given channel and places."""

    def view(*choices):
        return inspection.view("made", make_pixels(90, 130), explanation, 200, *choices)

    return view


def test_the_report_adds_up(report, data, explanation):
    found = report(explanation.parts)
    assert found == json.loads(json.dumps(found))
    assert found["file"]["format_version"] == 2 and found["file"]["quality"] == pytest.approx(60)
    named = {"name": "toy", "version": 1, "fingerprint": "00ff10ab"}
    assert found["model"] == {**named, "transforms": "float32", "pixels": None}
    header = found["parts"]["header"]
    assert header == 8 * (len(data) - sum(string["bytes"] for string in found["strings"]))
    for name, part in explanation.parts.items():
        in_strings = sum(string["bits"][name] for string in found["strings"])
        assert found["parts"][name] == pytest.approx(in_strings) == pytest.approx(part.bits)
    assert found["estimated_bits"] == sum(found["parts"].values())
    last = found["strings"][-1]
    assert [last[side] for side in ("x", "y", "width", "height")] == [128, 64, 2, 26]


def test_the_text_is_aligned_and_says_the_same(report, data, explanation):
    lines = inspection.lines(report(explanation.parts))
    text = "\n".join(lines)
    assert "130x90, colour" in text and "00ff10ab" in text
    assert "version 2, strings of the range coder" in text
    assert f"{len(data):,} bytes" in text and "6 of at most 64x64" in text
    assert any(line.startswith("2x26 at 128,64 ") for line in lines)
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("part ")) :]
    assert len({len(line) for line in table}) == 1
    assert [line.split("  ")[0] for line in table[1:4]] == ["hyper latents", "latents", "header"]


def test_without_probabilities_only_sizes_are_told(report):
    found = report(None)
    assert found["parts"] is None and found["estimated_bits"] is None
    text = "\n".join(inspection.lines(found))
    assert "2x26 at 128,64" in text and "bits" not in text


def test_the_map_has_all_bits(view, explanation):
    rate = view().bits_per_pixel()
    total = sum(part.bits for part in explanation.parts.values())
    assert rate.shape == (8, 12)
    assert 256 * rate.sum() == pytest.approx(total, rel=1e-5)


def test_the_channel_of_highest_entropy_is_taken(view, explanation):
    assert view().channel == np.argmax(explanation.parts["latents"].channels)
    other = view(3)
    assert other.channel == 3
    np.testing.assert_array_equal(other.found["latents"], explanation.channel(3)["latents"])


def test_positions_go_from_the_most_bits_down_and_lie_inside(view):
    chosen = view()
    bits = chosen.found["latents_bits"]
    taken = [bits[place.row, place.column] for place in chosen.positions]
    assert taken == sorted(taken, reverse=True) and len(taken) == len(inspection.QUANTILES)
    assert taken[0] == bits[:6, :9].max()
    for place in chosen.positions:
        assert 0 <= place.x < 130 and 0 <= place.y < 90
        assert (place.y // 16, place.x // 16) == (place.row, place.column)


def test_places_asked_for_are_the_latents_there(view):
    assert view(None, [(0, 0), (129, 31)]).positions == [(0, 0, 0, 0), (129, 31, 1, 8)]


@pytest.mark.parametrize("choice", [(6,), (-1,), (None, [(130, 0)]), (None, [(0, 90)])])
def test_what_there_is_not_is_refused(view, choice):
    with pytest.raises(errors.UsageError, match="no channel|not inside of the image, 130x90"):
        view(*choice)


@pytest.mark.parametrize("mean, scale", [(0.3, 0.11), (-254.0, 30.0), (300.0, 256.0)])
def test_mixtures_sum_to_1_and_are_those_of_training(mean, scale):
    parameters = np.array([0.7, 0.3]), np.array([mean, 4.0]), np.array([scale, 2.0])
    masses = inspection.mixture_masses(*parameters)
    assert masses.sum() == pytest.approx(1, abs=1e-12)
    weights, means, scales = (np.float32(x) for x in parameters)
    values = np.arange(mixture.LATENT_MIN, mixture.LATENT_MAX + 1, dtype=np.float32)
    floats = np.concatenate([np.log(weights), means, np.log(scales)])
    found = mixture.likelihood(values[:, None], np.tile(floats, [512, 1]), 2)[:, 0]
    np.testing.assert_allclose(masses, found, atol=1e-5)


def test_no_latent_takes_more_than_the_coder_gives_it():
    unit = 2.0**integer_mixture.MASS_BITS
    assert inspection.LEAST_PROBABILITY == integer_mixture.FLOOR / unit
    assert inspection.bits(0.125) == 3 and inspection.bits(0.0) == 25


def test_moments_are_those_of_the_masses():
    parameters = np.array([0.6, 0.4]), np.array([-3.0, 10.0]), np.array([2.0, 5.0])
    mean, deviation = inspection.moments(*parameters)
    masses = inspection.mixture_masses(*parameters)
    values = np.arange(inspection.LATENT_MIN, inspection.LATENT_MAX + 1)
    assert mean == pytest.approx(np.dot(masses, values), abs=1e-6)
    # whole numbers spread a little more
    spread = np.dot(masses, np.square(values - mean))
    assert deviation**2 == pytest.approx(spread - 1 / 12, rel=1e-3)
