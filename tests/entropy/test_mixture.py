"""The mixture's likelihood against scipy, TFC and the paper's edge cases."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_compression as tfc
from scipy import stats

from tfclic.entropy import float_runners, mixture, program

EVERY_LATENT = np.arange(mixture.LATENT_MIN, mixture.LATENT_MAX + 1)


def random_parameters(mixtures, channels=4, seed=0):
    """logits, means, log scales `[channels, K]`, from narrow to wide."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (channels, mixtures))
    means = rng.normal(0, 20, (channels, mixtures))
    log_scales = rng.uniform(np.log(0.11), np.log(60), (channels, mixtures))
    return [x.astype(np.float32) for x in (logits, means, log_scales)]


def scipy_likelihood(y, logits, means, log_scales):
    weights = np.exp(logits.astype(float))
    weights /= weights.sum(-1, keepdims=True)
    upper = stats.norm.cdf(y[..., None] + 0.5, means, np.exp(log_scales))
    lower = stats.norm.cdf(y[..., None] - 0.5, means, np.exp(log_scales))
    return (weights * (upper - lower)).sum(-1)


@pytest.mark.parametrize("mixtures", [1, 2, 3, 4, 5])
def test_probabilities_of_all_latents_sum_to_one(likelihood, mixtures):
    logits, means, log_scales = random_parameters(mixtures)
    means[0] = 250  # most of the mass at the edge
    y = np.broadcast_to(EVERY_LATENT[:, None], (len(EVERY_LATENT), 4)).astype(np.float32)
    total = tf.reduce_sum(likelihood(y, logits, means, log_scales), 0)
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_agrees_with_scipy(likelihood):
    logits, means, log_scales = random_parameters(3)
    y = np.arange(-100, 101).astype(np.float32)[:, None] * np.ones(4, np.float32)
    got = likelihood(y, logits, means, log_scales)
    np.testing.assert_allclose(got, scipy_likelihood(y, logits, means, log_scales), atol=1e-6)


def test_edges_take_what_lies_beyond(likelihood):
    logits, means, log_scales = np.zeros((2, 1)), np.array([[-300.0], [300.0]]), np.zeros((2, 1))
    parameters = [x.astype(np.float32) for x in (logits, means, log_scales)]
    np.testing.assert_allclose(likelihood([-255.0, 256.0], *parameters), 1, atol=1e-6)


def test_single_gaussian_is_noisy_normal(likelihood):
    _, means, log_scales = random_parameters(1)
    y = means[:, 0] + np.float32([0.3, -1.2, 2.5, 0.0])
    got = likelihood(y, np.zeros_like(means), means, log_scales)
    want = tfc.NoisyNormal(loc=means[:, 0], scale=np.exp(log_scales[:, 0])).prob(y)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def plain_likelihood(y, logits, means, log_scales):
    """Equation 8 in float64, differentiated by TensorFlow."""
    inverse = tf.exp(-log_scales)
    y = y[..., None]
    upper, lower = (
        0.5 + 0.5 * tf.math.erf((y + edge - means) * inverse / np.sqrt(2.0)) for edge in (0.5, -0.5)
    )
    upper = tf.where(y >= mixture.LATENT_MAX, tf.ones_like(upper), upper)
    lower = tf.where(y <= mixture.LATENT_MIN, tf.zeros_like(lower), lower)
    return tf.reduce_sum(tf.nn.softmax(logits) * (upper - lower), -1)


@pytest.mark.parametrize("mixtures", [1, 3])
def test_gradients_are_those_of_the_equation(likelihood, mixtures):
    logits, means, log_scales = random_parameters(mixtures, channels=60)
    y = means[:, 0] + np.random.default_rng(1).normal(0, 3, 60).astype(np.float32)
    y[:2], means[:2] = (mixture.LATENT_MIN, mixture.LATENT_MAX), [[-254], [255]]
    results = []
    for function, dtype in ((likelihood, "float32"), (plain_likelihood, "float64")):
        arguments = [tf.constant(x, dtype) for x in (y, logits, means, log_scales)]
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = function(*arguments)
        weights = tf.constant(np.random.default_rng(2).normal(size=60), dtype)
        results.append([value, *tape.gradient(value, arguments, weights)])
    for got, want in zip(*results):
        np.testing.assert_allclose(got, want, atol=3e-6)


def test_parameters_are_logits_means_and_scales_of_all_channels_in_turn(likelihood):
    logits, means, log_scales = random_parameters(2, channels=5)
    y = means[:, 0] + 1
    packed = np.concatenate([kind.T.reshape(-1) for kind in (logits, means, log_scales)])
    found = mixture.likelihood(y[None], packed[None], 2)[0]
    np.testing.assert_allclose(found, likelihood(y, logits, means, log_scales), rtol=1e-6)


def test_gradients_reach_all_parameters():
    parameters = tf.Variable(tf.random.stateless_normal([1, 3 * 3 * 4], [1, 2]))
    with tf.GradientTape() as tape:
        likelihoods = mixture.likelihood(tf.constant([[0.3, -1.4, 2.2, 0.1]]), parameters, 3)
        loss = program.bits(likelihoods[None, None])
    gradient = tf.reshape(tape.gradient(loss, parameters), [3, -1]).numpy()
    assert np.all(np.isfinite(gradient))
    assert np.all(np.abs(gradient).max(1) > 1e-4), "logits, means and scales all matter"


def test_no_latent_costs_more_than_the_floor():
    likelihoods = mixture.likelihood(tf.constant([[0.0, -400.0, 300.0, 2.0]]), tf.zeros([1, 36]), 3)
    for each in tf.unstack(likelihoods, axis=1):
        found = program.bits(tf.reshape(each, [1, 1, 1, 1])).numpy()
        assert np.all(found <= -np.log2(mixture.LIKELIHOOD_FLOOR) + 1e-3)


def test_the_number_of_mixtures_is_limited():
    runner = float_runners.Rounding({"latents": tf.zeros([1, 1, 1, 2])}, None)
    with pytest.raises(ValueError, match="7"):
        runner.conditional("latents", 2, tf.zeros([1, 1, 1, 48]), mixtures=8, num_parameters=3)


def test_parameters_of_values_are_those_of_positions():
    x = tf.random.stateless_normal([2, 3, 4, 5, 6], [1, 2])
    found = mixture.of_volume(x)
    assert found.shape == (2, 3, 4, 30)
    np.testing.assert_array_equal(found[1, 2, 3], tf.reshape(tf.transpose(x[1, 2, 3]), [-1]))
