"""Refinement of latents, for every system that has it."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import models
from tfclic.entropy import float_runners, program
from tfclic.export import container, refining, stored
from tfclic.export.transforming import everywhere
from tfclic.format import beside
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


def refined(codec, pixels, latents, quality, steps):
    return refining.refine(codec, pixels, latents, quality, 0.0, *steps).latents


@pytest.mark.parametrize("name", SYSTEMS)
def test_integers_that_miss_come_back(make, name, pixels):
    codec = make(name)
    latents = analysed(codec, pixels)
    away = latents + tf.random.stateless_normal(tf.shape(latents), [1, 2], stddev=0.5)
    each = latents, away, refined(codec, pixels, away, tf.constant([[80.0]]), (0, 8))
    best, before, after = (cost(codec, pixels, one, 80.0) for one in each)
    assert before - after > 0.5 * (before - best) > 0, (best, before, after)


def test_images_of_any_size_have_one_graph(make, pixels):
    # of which TensorFlow loses shapes where latents are taken apart
    codec, quality = make("elic_small"), tf.constant([[80.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, None, codec.config.latent_channels])])
    def refine(latents):
        return refined(codec, pixels, latents, quality, (0, 1))

    latents = analysed(codec, pixels)
    expected = refined(codec, pixels, latents, quality, (0, 1))
    np.testing.assert_allclose(refine(latents), expected, atol=1e-3)


def coded(codec, latents, quality):
    """Latents as a file has them, by the float model."""
    sources = codec.sources(codec.gained(latents[None], quality))
    code = float_runners.RDORounding(sources, quality)
    codec.entropy(code)
    return code.quantized()[program.LATENTS].numpy()


@pytest.mark.parametrize("name", ["gmm_attention_small", "coarse_to_fine_small"])
def test_what_it_finds_is_coded_and_stays_where_no_more_steps_are_taken(make, name, pixels):
    codec, quality = make(name), tf.constant([[80.0]])
    latents = analysed(codec, pixels)
    found = refined(codec, pixels, latents, quality, (0, 3))
    again = refined(codec, pixels, found, quality, (3, 3))
    of_both = [coded(codec, each, quality[None]) for each in (found, again)]
    np.testing.assert_array_equal(*of_both)
    assert np.abs(of_both[0] - coded(codec, latents, quality[None])).max() >= 1
    # side information is hardly another: latents that did not move are near where they were
    is_same = of_both[0] == coded(codec, latents, quality[None])
    assert np.abs(codec.gained(found[None] - latents[None], quality[None]))[is_same].mean() < 0.1


def test_channels_that_are_silent_stay_so(make, pixels):
    codec, quality = make("hyperprior"), tf.constant([[80.0]])
    latents = analysed(codec, pixels).numpy()
    latents[..., 2:5] = 0.0
    found = coded(codec, refined(codec, pixels, latents, quality, (0, 5)), quality[None])
    assert not found[..., 2:5].any() and found.any((0, 1, 2)).sum() == latents.shape[-1] - 3


def test_changes_are_those_of_the_bits(make, pixels):
    codec, quality = make("hyperprior"), tf.constant([80.0])
    sources = codec.sources(codec.gained(analysed(codec, pixels)[None], quality))
    integers = tf.round(sources[program.LATENTS])

    def bits(integers):
        code = float_runners.Moving(sources, quality, integers)
        codec.entropy(code)
        return float(tf.add_n(list(code.bits.values()))[0]), code.joined_changes()

    before, changes = bits(integers)
    one = np.zeros(integers.shape, np.float32)
    one[0, 1, 2, 3] = 1.0
    for sign, change in zip((-1.0, 1.0), changes):
        expected = float(change[0, 1, 2, 3])
        assert bits(integers + sign * one)[0] - before == pytest.approx(expected, abs=0.02)
        assert abs(expected) > 0.1


def test_an_export_refines_as_its_codec_would_but_for_what_it_rounds(make, pixels):
    codec = make("coarse_to_fine_small")
    kept = stored.StoredCodec(codec)
    function = refining.Refinement(kept, codec).functions[beside.REFINE.name]
    kept.restore(codec)
    latents, quality = analysed(codec, pixels), tf.constant(80.0)
    image = tf.cast(tf.round(pixels * 255.0), tf.uint8)
    steps = tf.constant(0), tf.constant(2)
    of_export = function(latents, image, quality, tf.constant(0.0), *steps)["latents"]
    snapped = container.quality_of(everywhere(quality))
    exact = refined(codec, pixels, latents, snapped, steps)
    moved = np.abs(exact - refined(codec, pixels, latents, snapped, (0, 0))) > 0
    assert moved.any()
    # where it is undecided whether a move pays, the last bits of floats decide
    assert np.mean(np.abs(of_export - exact) > 1e-3) < 0.02 * moved.mean()


def test_steps_may_be_taken_in_parts(make, pixels):
    codec, quality = make("hyperprior"), tf.constant([[80.0]])
    latents, curvature = analysed(codec, pixels), 0.0
    costs, curvatures = [cost(codec, pixels, latents, 80.0)], []
    for first in (0, 3):
        state = curvature, first, first + 3
        latents, curvature = refining.refine(codec, pixels, latents, quality, *state)
        costs.append(cost(codec, pixels, latents, 80.0))
        curvatures.append(float(curvature))
    assert costs[2] < costs[1] < costs[0]
    assert refining.CURVATURE not in curvatures and len(set(curvatures)) == len(curvatures)


def test_lambdas_are_those_of_places(make, pixels):
    codec = make("hyperprior")
    latents = analysed(codec, pixels)
    shape = latents.shape[:2]

    def of(quality):
        return refined(codec, pixels, latents, quality, (0, 3)).numpy()

    even = of(tf.constant([[80.0]]))
    np.testing.assert_array_equal(of(tf.fill(shape, 80.0)), even)
    # a position from which those far away have all else
    other = of(tf.concat([tf.fill([shape[0], 1], 0.0), tf.fill([shape[0], 7], 80.0)], 1))
    differ = (np.abs(other - even) > 1e-3).mean((0, 2))
    assert differ[0] > 10 * differ[-1]


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
