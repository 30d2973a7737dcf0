"""Refinement of latents, for every system that has it."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import models
from tfclic.entropy import float_runners, program
from tfclic.export import container, refining, stored
from tfclic.export.transforming import everywhere
from tfclic.training import building

SYSTEMS = (
    "gmm_attention_small",
    "cca_small",
    "coarse_to_fine_small",
    "elic_small",
    "hyperprior",
)


@pytest.fixture
def make(tiny_system):
    """A function of a system's name to a tiny codec of it."""

    def made(name):
        tf.keras.utils.set_random_seed(0)
        codec = models.build(tiny_system(name).model)
        building.build_for_training(codec)
        return codec

    return made


@pytest.fixture(scope="module")
def pixels(make_pixels, soft):
    return tf.constant(soft(make_pixels(50, 70)), tf.float32) / 255.0


def analysed(codec, pixels):
    margins = [[0, 64 - pixels.shape[0]], [0, 128 - pixels.shape[1]], [0, 0]]
    return codec.analysis(4.0 * (tf.pad(pixels, margins)[None] - 0.5))[0]


def cost(codec, pixels, latents, quality):
    """Bits and lambda times the error of rounded latents, by the float model, without the sides."""
    quality = tf.constant([quality])
    sources = codec.sources(codec.gained(latents[None], quality))
    code = float_runners.Rounding(sources, quality)
    decoded = codec.entropy(code)
    found = codec.synthesise(decoded, code.y_hat, quality)[0, : pixels.shape[0], : pixels.shape[1]]
    bits = sum(b for n, b in code.bits.items() if n not in sources or n == program.LATENTS)
    weight = refining.lambda_of(codec, quality) * 255.0**2 / 3
    return float((bits + weight * tf.reduce_sum(tf.square(found - pixels)))[0])


@pytest.mark.parametrize("name", SYSTEMS)
def test_latents_that_miss_come_back(make, name, pixels, monkeypatch):
    monkeypatch.setattr(refining, "LEARNING_RATE", 0.1)
    codec, steps = make(name), 30
    latents = analysed(codec, pixels)
    away = latents + tf.random.stateless_normal(tf.shape(latents), [1, 2], stddev=0.2)
    moments = tf.zeros([2, *latents.shape])
    # of any size, as exports have it
    quality = tf.constant([[80.0]])
    sizes = [[None, None, latents.shape[2]], [2, None, None, latents.shape[2]]]

    @tf.function(input_signature=[tf.TensorSpec(shape) for shape in sizes])
    def refine(latents, moments):
        return refining.refine(codec, pixels, latents, quality, moments, (0, steps, steps))

    found, _ = refine(away, moments)
    best, before, after = (cost(codec, pixels, each, 80.0) for each in (latents, away, found))
    assert before - after > 0.5 * (before - best) > 0, (best, before, after)


def test_an_export_refines_as_its_codec_would_but_for_what_it_rounds(make, pixels):
    codec = make("coarse_to_fine_small")
    kept = stored.StoredCodec(codec)
    function = refining.Refinement(kept, codec).functions["refine"]
    kept.restore(codec)
    latents, quality = analysed(codec, pixels), tf.constant(80.0)
    moments = tf.zeros([2, *latents.shape])
    image = tf.cast(tf.round(pixels * 255.0), tf.uint8)
    steps = [tf.constant(n) for n in (0, 6, 6)]
    of_export = function(latents, image, quality, moments, *steps)
    snapped = container.quality_of(everywhere(quality))
    exact = refining.refine(codec, pixels, latents, snapped, moments, steps)
    moved = np.abs(exact.latents - latents).max()
    assert moved > 0
    difference = np.abs(of_export["latents"] - exact.latents)
    assert np.quantile(difference, 0.99) <= 2e-3 * moved
    # where annealing is undecided, steps make the last bits of floats larger
    assert difference.max() <= 2e-2 * moved


def test_steps_may_be_taken_in_parts(make, pixels):
    codec = make("hyperprior")
    latents = analysed(codec, pixels)
    # with the side information held, which is anew that of the latents in each part
    monkey = codec.hyper_latents
    fixed = monkey(codec.gained(latents[None], tf.constant([80.0])))
    codec.hyper_latents = lambda _: fixed
    moments = tf.zeros([2, *latents.shape])

    def run(latents, moments, first, last):
        quality = tf.constant([[80.0]])
        return refining.refine(codec, pixels, latents, quality, moments, (first, last, 6))

    at_once = run(latents, moments, 0, 6)
    parts = run(*run(latents, moments, 0, 4), 4, 6)
    for one, other in zip(at_once, parts):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_lambdas_are_those_of_places(make, pixels, monkeypatch):
    monkeypatch.setattr(refining, "LEARNING_RATE", 0.1)
    codec = make("hyperprior")
    latents = analysed(codec, pixels)
    moments, steps = tf.zeros([2, *latents.shape]), (0, 8, 8)
    shape = latents.shape[:2]

    def refined(quality):
        return refining.refine(codec, pixels, latents, quality, moments, steps)[0].numpy()

    even = refined(tf.constant([[80.0]]))
    np.testing.assert_array_equal(refined(tf.fill(shape, 80.0)), even)
    # a position from which those far away have all else
    other = refined(tf.concat([tf.fill([shape[0], 1], 0.0), tf.fill([shape[0], 7], 80.0)], 1))
    moved, near = (np.abs(other - each).max((0, 2)) for each in (latents, even))
    assert near[0] > 0.1 * moved.max() and near[-1] < 0.05 * near[0]


def test_the_temperature_stays_and_then_falls():
    found = [float(refining.temperature(tf.constant(share))) for share in (0.0, 0.2, 0.6, 1.0)]
    assert found[0] == found[1] == refining.WARMEST
    assert found[1] > found[2] > found[3] > 0
    assert found[2] / found[3] == pytest.approx(found[1] / found[2])


def test_lambdas_are_those_of_the_levels_and_between_them_interpolated(make):
    codec = make("hyperprior")
    levels = len(codec.lmbdas)
    found = [
        float(refining.lambda_of(codec, tf.constant([codec.quality_of(n)]))[0])
        for n in range(levels)
    ]
    np.testing.assert_allclose(found, codec.lmbdas, rtol=1e-5)
    between = (codec.quality_of(0) + codec.quality_of(1)) / 2
    expected = np.sqrt(codec.lmbdas[0] * codec.lmbdas[1])
    np.testing.assert_allclose(refining.lambda_of(codec, tf.constant([between])), expected, 1e-5)


def test_a_codec_whose_latents_have_tables_has_none(make):
    assert not stored.StoredCodec(make("factorized")).coding.is_differentiable
