"""Levels of hyper latents: what is found of them, and what neighbours have in common."""

import numpy as np
import pytest

from tfclic.evaluation import levels


def test_a_level_is_the_channel_of_highest_entropy(explanation):
    (level,) = levels.of(explanation).values()
    assert level.channel == np.argmax(explanation.parts["hyper_latents"].channels)
    assert level.values.shape == level.bits.shape == (2, 3)
    total = explanation.parts["hyper_latents"].channels[level.channel]
    assert level.bits.sum() == pytest.approx(total)
    assert level.means is None and level.normalised is None


def test_mixtures_are_normalised_by_their_moments():
    found = {
        "weights": np.array([0.25, 0.75]),
        "means": np.array([4.0, 0.0]),
        "scales": np.array([2.0, 1.0]),
    }
    mean, deviation = levels.expected(found, "latents")
    assert (mean, deviation**2) == pytest.approx((1.0, 0.25 * (4 + 9) + 0.75 * (1 + 1)))


def test_noise_has_no_correlation_and_a_wave_has_its_own():
    rng, noise, wave = np.random.default_rng(0), levels.Correlation(), levels.Correlation()
    columns = np.arange(400) + rng.uniform(0, 100, (100, 1))
    for _ in range(2):
        noise.add(rng.normal(3, 2, (100, 80, 2)))
        wave.add(np.sin(columns * np.pi / 4)[..., None] + 7)
    assert noise.of_neighbours() < 0.02
    found = wave.map()
    assert found.shape == (9, 9)
    expected = np.cos(np.arange(-4, 5) * np.pi / 4)
    np.testing.assert_allclose(found[4], expected, atol=0.02)
    # rows have phases of their own
    assert np.abs(found[5]).max() < 0.3
    np.testing.assert_array_equal(found, found[::-1, ::-1])


def test_correlation_is_numpys(explanation):
    rng, found = np.random.default_rng(1), levels.Correlation()
    array = np.cumsum(rng.normal(0, 1, (60, 70)), 1)
    array -= array.mean(1, keepdims=True)
    found.add(array[..., None])
    one, other = array[:-1, :-2], array[1:, 2:]
    assert found.map()[5, 6] == pytest.approx(
        np.corrcoef(one.ravel(), other.ravel())[0, 1], abs=0.05
    )


def test_silent_channels_do_not_count_even_if_something_was_expected():
    coded = levels.Correlation()
    normalised = levels.Correlation(coded)
    array, left = np.zeros([30, 30, 2]), np.random.default_rng(0).normal(0, 1, [30, 30, 2])
    array[..., 0] = np.arange(30) - 14.5
    left[..., 1] = np.arange(30)
    coded.add(array)
    normalised.add(left)
    assert coded.of_neighbours() > 0.9
    assert normalised.of_neighbours() < 0.1


def test_where_nothing_varies_nothing_is_in_common():
    found = levels.Correlation()
    found.add(np.ones([8, 8, 3]))
    assert found.of_neighbours() == 0 and not found.map().any()


def test_files_add_up(explanation):
    once = levels.correlations(explanation)
    twice = levels.correlations(explanation, levels.correlations(explanation))
    assert set(once) == {"latents", "hyper_latents"} and once["hyper_latents"][1] is None
    for one, two in zip(once["latents"], twice["latents"]):
        np.testing.assert_allclose(one.map(), two.map())
