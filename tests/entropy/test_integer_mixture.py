"""The integer CDF: strictly monotone whatever the parameters, and close to the float mixture."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import integer_mixture as im
from tfclic.entropy import mixture


def masses(parameters):
    """int64 `[E, 512]`: every symbol's mass."""
    dist = im.distribution(parameters)
    elements = parameters.means.shape[0]
    ends = [im.cumulative(dist, tf.fill([elements], b)) for b in range(im.SYMBOLS + 1)]
    cdf = tf.cast(tf.stack(ends, 1), tf.int64)
    assert np.all(cdf[:, 0] == 0)
    np.testing.assert_array_equal(cdf[:, -1], dist.total)
    return np.diff(cdf.numpy(), axis=1)


EXTREMES = {
    "narrowest": ([0, 0, 0], [0, 8, -8], [0, 0, 0]),
    "widest": ([0, 0, 0], [0, 0, 0], [63, 63, 63]),
    "below the range": ([0, 0, 0], [-4800, -4800, -4800], [0, 63, 31]),
    "above the range": ([0, 0, 0], [4800, 4800, 4800], [0, 63, 31]),
    "one weight near 1": ([1 << 20, -(1 << 20), 0], [0, 100, 200], [10, 20, 30]),
    "far apart": ([0, 16, -16], [-4000, 0, 4000], [5, 5, 5]),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_strictly_monotone_at_extremes(name):
    rows = [tf.constant([x], tf.float32) for x in EXTREMES[name]]
    assert masses(im.clip(*rows)).min() >= im.FLOOR


def test_strictly_monotone_for_random_parameters():
    rng = np.random.default_rng(1)
    shape = (200, 5)
    parameters = im.clip(
        tf.constant(np.round(rng.normal(0, 50, shape)), tf.float32),
        tf.constant(np.round(rng.normal(0, 2000, shape)), tf.float32),
        tf.constant(rng.integers(0, 64, shape), tf.float32),
    )
    assert masses(parameters).min() >= im.FLOOR


def test_seven_mixtures_do_not_overflow():
    shape = (4, im.MAX_MIXTURES)
    parameters = im.clip(tf.zeros(shape), tf.zeros(shape), tf.zeros(shape))
    assert masses(parameters).min() >= im.FLOOR
    assert np.all(im.distribution(parameters).total > 0)


def test_close_to_the_float_mixture(likelihood):
    rng = np.random.default_rng(2)
    logits = tf.constant(rng.normal(0, 1, (50, 3)), tf.float32)
    means = tf.constant(rng.normal(0, 10, (50, 3)), tf.float32)
    log_scales = tf.constant(rng.uniform(-2, 3, (50, 3)), tf.float32)
    parameters = im.to_integers(logits, means, log_scales)
    mass = masses(parameters)
    share = mass / mass.sum(1, keepdims=True)
    y = tf.range(mixture.LATENT_MIN, mixture.LATENT_MAX + 1, dtype=tf.float32)
    floats = (x[:, None, :] for x in im.to_floats(parameters))
    want = np.maximum(likelihood(tf.tile(y[None], [50, 1]), *floats), 0)
    np.testing.assert_allclose(share, want, atol=2e-3)
    divergence = (want * np.log2((want + 1e-30) / share)).sum(1)
    assert divergence.max() < 2e-3, "bits lost per symbol"


def test_a_single_gaussian_is_exact_far_into_its_tails(likelihood):
    scales = tf.constant([[0.0], [12.0], [30.0], [63.0]])
    parameters = im.clip(tf.zeros([4, 1]), tf.constant([[3.0], [-24.0], [5.0], [0.0]]), scales)
    mass = masses(parameters)
    assert mass.min() >= im.FLOOR and np.all(im.distribution(parameters).total < 2**31 - 1)
    share = mass / mass.sum(1, keepdims=True)
    y = tf.range(mixture.LATENT_MIN, mixture.LATENT_MAX + 1, dtype=tf.float32)
    _, means, log_scales = (x[:, None, :] for x in im.to_floats(parameters))
    floats = tf.zeros_like(means), means, log_scales
    want = likelihood(tf.tile(y[None], [4, 1]), *floats).numpy()
    seen = want > 1e-6
    assert seen.sum(1).min() >= 2
    lost = np.log2(want / share)
    assert np.abs(lost[want > 1e-4]).max() < 0.03, "bits"
    assert np.abs(lost[seen]).max() < 0.2, "bits"


@pytest.mark.parametrize("name", EXTREMES)
def test_a_single_gaussian_is_strictly_monotone_at_extremes(name):
    rows = [tf.constant([x[1:2]], tf.float32) for x in EXTREMES[name]]
    assert masses(im.clip(*rows)).min() >= im.FLOOR


def test_grids_round_trip():
    parameters = im.clip(tf.constant([[3.0]]), tf.constant([[-37.0]]), tf.constant([[12.0]]))
    again = im.to_integers(*im.to_floats(parameters))
    for a, b in zip(parameters, again):
        np.testing.assert_array_equal(a, b)
