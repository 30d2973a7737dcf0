import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import float_runners, mixture
from tfclic.layers import uniform_noise


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("seed", [(5, 7), (-1371266664, -1083463874), (2**31 - 1, -1)])
def test_noise_is_that_of_tensorflow_also_where_xla_compiles_it(seed, compiled):
    seed, shape = tf.constant(seed), [2, 3, 5, 7]
    noise = tf.function(lambda s: uniform_noise(shape, s, 2), jit_compile=compiled)(seed)
    expected = tf.random.stateless_uniform(shape, seed + tf.constant([2, 0]), -0.5, 0.5)
    np.testing.assert_array_equal(noise, expected)
    assert len(np.unique(noise)) == noise.shape.num_elements()


def test_latents_stay_within_what_can_be_coded_and_are_led_back(make_codec):
    codec = make_codec()
    images = tf.constant(np.random.default_rng(0).random((1, 64, 64, 3)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        latents = codec.analyse(100 * images, tf.constant([100.0]))
        too_large = tf.reduce_sum(latents[latents == mixture.LATENT_MAX])
        larger = -too_large
    assert latents.numpy().min() == mixture.LATENT_MIN
    assert latents.numpy().max() == mixture.LATENT_MAX
    # what lessens latents passes, what enlarges them does not
    assert np.any(tape.gradient(too_large, images))
    assert not np.any(tape.gradient(larger, images))


def test_hyper_latents_do_so_too(make_codec):
    codec = make_codec()
    latents = tf.random.stateless_normal([1, 8, 8, 6], [1, 2])
    bias = codec.hyper_analysis.layers[-1].bias
    bias.assign([-1e3, 0.0, 1e3, 0.0])
    with tf.GradientTape(persistent=True) as tape:
        code = float_runners.Training(codec.sources(latents), None, tf.constant([1, 2]))
        rounded, noisy = codec.coded_hyper_latents(code), code.noisy["hyper_latents"]
        found = codec.hyper_latents(latents)
        smaller, larger = tf.reduce_sum(found[..., 2]), -tf.reduce_sum(found[..., 2])
    for hyper_latents in (found, rounded):
        np.testing.assert_array_equal(hyper_latents[0, ..., 0], np.full((2, 2), -127))
        np.testing.assert_array_equal(hyper_latents[0, ..., 2], np.full((2, 2), 127))
    assert 126.5 <= noisy[..., 2].numpy().min() <= noisy[..., 2].numpy().max() < 127.5
    assert tape.gradient(smaller, bias)[2] > 0 and tape.gradient(larger, bias)[2] == 0
