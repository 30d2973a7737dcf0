"""The entropy model: its training workflow, and latents through strings and back."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import mixture
from tfclic.entropy.gaussian_mixture import GaussianMixture


def test_split_takes_logits_means_scales_of_each_channel():
    packed = tf.range(2 * 3 * 5, dtype=tf.float32)[None] / 10  # K = 2, C = 5
    logits, means, log_scales = GaussianMixture(2).split(packed)
    assert logits.shape == (1, 5, 2)
    np.testing.assert_allclose(logits[0, 1], [0.1, 0.6])
    np.testing.assert_allclose(means[0, 1], [1.1, 1.6])
    np.testing.assert_allclose(log_scales[0, 1], [2.1, 2.6], rtol=1e-6)


def test_gradients_reach_all_parameters():
    parameters = tf.Variable(tf.random.stateless_normal([1, 3 * 3 * 4], [1, 2]))
    with tf.GradientTape() as tape:
        _, bits = GaussianMixture(3)(tf.constant([[0.3, -1.4, 2.2, 0.1]]), parameters)
        loss = tf.reduce_sum(bits)
    gradient = tf.reshape(tape.gradient(loss, parameters), [3, -1]).numpy()
    assert np.all(np.isfinite(gradient))
    assert np.all(np.abs(gradient).max(1) > 1e-4), "logits, means and scales all matter"


def test_evaluation_rounds_and_clips():
    latents = tf.constant([[0.4, -400.0, 300.0, 1.6]])
    coded, bits = GaussianMixture(3)(latents, tf.zeros([1, 36]), training=False)
    np.testing.assert_array_equal(coded, [[0, -255, 256, 2]])
    assert np.all(bits.numpy() <= -np.log2(mixture.LIKELIHOOD_FLOOR) + 1e-3)


def random_case(shape, spread, seed=0):
    """An entropy model of 3 mixtures, its integer parameters, and latents."""
    rng = np.random.default_rng(seed)
    model = GaussianMixture(3)
    parameters = rng.normal(0, 1.5, (*shape[:-1], 9 * shape[-1]))
    latents = np.round(rng.normal(0, spread, shape))
    integers = model.to_integers(tf.constant(parameters, tf.float32))
    return model, integers, tf.constant(latents, tf.float32)


@pytest.mark.parametrize("shape", [(1, 1, 6), (1, 7, 6), (5, 1, 6), (32, 48, 4)])
@pytest.mark.parametrize("spread", [0, 3])
def test_round_trip(shape, spread):
    model, integers, latents = random_case(shape, spread)
    string = model.compress(latents, integers)
    np.testing.assert_array_equal(model.decompress(string, integers), latents)


def test_latents_outside_of_the_range_are_clipped_and_it_is_said(caplog):
    model, integers, latents = random_case((4, 5, 6), 1000)
    with caplog.at_level(logging.WARNING, logger="absl"):
        string = model.compress(latents, integers)
    assert "clipped" in caplog.text
    decoded = model.decompress(string, integers)
    np.testing.assert_array_equal(decoded, np.clip(latents, -255, 256))


def test_the_number_of_mixtures_is_limited():
    with pytest.raises(ValueError, match="7"):
        GaussianMixture(8)
