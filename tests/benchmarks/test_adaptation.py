"""benchmarks/adaptation.py: stages that learn from decisions of which the truth is known."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfclic import models
from tfclic.cli import common
from tfclic.training import building


@pytest.fixture(scope="module")
def adaptation(without_graphs):
    with without_graphs("adaptation") as module:
        yield module


@pytest.mark.parametrize("name", ["gmm", "hyperprior", "coarse_to_fine_small", "cca_small"])
def test_decisions_are_those_of_a_file(
    adaptation, tiny_system, codec, make_pixels, soft, name, monkeypatch
):
    if name != "gmm":
        codec = models.build(tiny_system(name).model)
        building.build_variables(codec)
    image = tf.constant(soft(make_pixels(70, 130)) / 255.0, tf.float32)
    bits, recording = adaptation.make_record(codec)(image, 100.0)
    # the range coder ends with a whole byte, and its probabilities have 12 bits
    assert recording.bits == pytest.approx(bits, abs=24)
    first = sum(adaptation.cost(each.logits, each.truth).sum() for each in recording.found)
    assert 0.1 * bits < first < bits
    for found in recording.found:
        assert found.starts[0] == 0 and found.starts[-1] == len(found.truth)
        assert len(found.starts) > 2 or len(found.truth) == 96  # the coarse level's four rows
        assert found.channel.max() < found.channels


def test_neighbours_are_those_before(adaptation):
    magnitudes = np.zeros([4, 4, 1])
    magnitudes[1, 2] = 5
    step = np.array([[1, 1, 1, 1]] * 2 + [[2, 2, 2, 2]] * 2)
    around = adaptation._around(magnitudes, step)[..., 0]
    assert around.tolist() == [[0] * 4, [0] * 4, [0, 5, 5, 5], [0, 0, 5, 0]]
    wavefronts = np.arange(4) + 3 * np.arange(4)[:, None]
    around = adaptation._around(magnitudes, wavefronts)[..., 0]
    assert around.tolist() == [[0] * 4, [0, 0, 0, 5], [0, 5, 5, 5], [0, 0, 5, 0]]


def drawn(adaptation, shifts, seed=0, count=20000, together=100):
    """`Decisions` whose logits are wrong by a shift in each channel, and the bits of right ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, count)
    channel = random.integers(0, len(shifts), count)
    right = logits + np.array(shifts)[channel]
    truth = random.random(count) < 1 / (1 + np.exp(-right))
    starts = np.arange(0, count + 1, together)
    # neighbours say nothing
    magnitude = random.integers(0, adaptation.MAGNITUDES, count)
    found = adaptation.Decisions(logits, truth, starts, channel, magnitude, len(shifts))
    return found, adaptation.cost(right, truth).sum()


def shares(adaptation, found, right):
    """How much of what can be saved each stage saves."""
    possible = adaptation.cost(found.logits, found.truth).sum() - right
    return {kind: bits / possible for kind, bits in adaptation.savings([found], {}).items()}


def test_what_is_wrong_everywhere_is_learned_by_all(adaptation):
    found = shares(adaptation, *drawn(adaptation, [1.5, 1.5, 1.5]))
    assert min(found.values()) > 0.85 and max(found.values()) <= 1.02


def test_what_is_wrong_in_channels_is_learned_by_channel(adaptation):
    found = shares(adaptation, *drawn(adaptation, [1.5, 0, -1.5]))
    assert found["channels"] > 0.85 and found["shifts"] > 0.9
    assert found["mixed"] > 0.5
    assert abs(found["one"]) < 0.1 and abs(found["neighbours"]) < 0.1


def test_what_is_right_costs_little(adaptation):
    found, right = drawn(adaptation, [0, 0, 0])
    for kind, bits in adaptation.savings([found], {}).items():
        assert 0 >= bits > -0.02 * right, kind


@pytest.mark.parametrize("kind", ["one", "channels", "neighbours", "mixed", "shifts"])
def test_nobody_learns_of_what_comes_later(adaptation, kind):
    found, _ = drawn(adaptation, [1.5, 0, -1.5], count=1000)
    later = np.arange(1000) >= 500
    other = found._replace(truth=found.truth ^ later)
    earlier = found._replace(truth=found.truth ^ (np.arange(1000) < 100))

    def bits(decisions):
        return adaptation.coded(decisions, *adaptation.make(kind, 3))

    np.testing.assert_array_equal(bits(found)[~later], bits(other)[~later])
    assert np.any(bits(found)[100:200] != bits(earlier)[100:200])


def test_tables_of_other_images_are_fixed_or_go_on(adaptation):
    images = {f"{seed}": seed for seed in range(4)}

    class Recorded:
        def __init__(self, seed):
            self.found = [drawn(adaptation, [1.5, 0, -1.5], seed, count=4000)[0]]

    before = adaptation.learned(lambda seed, _: (0, Recorded(seed)), images, [0.0])
    found, _ = drawn(adaptation, [1.5, 0, -1.5], seed=5, count=1000)
    first, second = (adaptation.savings([found], before) for _ in range(2))
    assert first == second  # what was learned stays as it is
    # what holds for all images is known from the first decision on
    assert first["mixed, fixed"] > 1.2 * first["mixed"] > 0
    assert first["mixed, continued"] > first["mixed"]
    assert abs(first["one, fixed"]) < 0.3 * first["mixed, fixed"]
    opposite, _ = drawn(adaptation, [-1.5, 0, 1.5], seed=6, count=4000)
    against = adaptation.savings([opposite], before)
    assert against["mixed, fixed"] < 0 < against["mixed, continued"]


def test_figures_are_means_over_images(adaptation):
    found = {
        "a": {"pixels": 100, "bits": 100, "first": 50.0, "one": 2.0},
        "b": {"pixels": 100, "bits": 300, "first": 210.0, "one": -3.0},
    }
    figures = adaptation.summary(found)
    assert figures == {"bpp": 2, "first": 60, "one": pytest.approx(0.5)}
    assert adaptation.row(20.0, figures) == "| 20 | 2.0000 | 60.0 | -0.50 |"


def test_the_program(adaptation, codec, make_pixels, soft, tmp_path, capsys, monkeypatch):
    for kind in ("images", "others"):
        (tmp_path / kind).mkdir()
        for seed in range(2):
            Image.fromarray(soft(make_pixels(64, 80, seed=seed))).save(
                tmp_path / kind / f"{seed}.png"
            )
    monkeypatch.setattr(adaptation.ceiling, "restore", lambda _: (codec, "tiny/1", {}))
    words = [f"--images={tmp_path / 'images'}", f"--learn-from={tmp_path / 'others'}"]
    words += ["--learn=1", "--qualities=0,100", f"--json={tmp_path / 'found.json'}"]
    args = adaptation.make_parser().parse_args(["tiny", *words])
    assert common.guarded(adaptation.run, args, "adaptation.py") == 0
    title, head, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "tiny/1, 2 images, tables of 1"
    assert [line.split(" | ")[0] for line in rows] == ["| 0", "| 100", "| mean"]
    assert {line.count("|") for line in [head, *rows]} == {12}
    counts = json.loads((tmp_path / "found.json").read_text())["counts"]
    assert list(counts) == ["0.0", "100.0"] and list(counts["0.0"]) == ["0.png", "1.png"]
