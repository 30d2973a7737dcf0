"""Hierarchical hyper priors: what each stage trains, and exact files of all levels."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, models, runtime
from tfclic.entropy import mixture
from tfclic.training import building
from tfclic.training.state import State

IMAGES = tf.constant(np.random.default_rng(0).random((2, 64, 128, 3)), tf.float32)
QUALITY = tf.constant([0.0, 80.0])
TINY = dict(
    latent_channels=6,
    widths=(4, 4, 4),
    fine_widths=(8, 8, 5),
    coarse_widths=(6, 6, 4),
    coarse_features=8,
    prediction_widths=(6, 7, 8),
    lmbdas=(0.0016, 0.0075, 0.045),
)
ALWAYS = {"nonlinear_analysis", "nonlinear_synthesis", "gain"}
ALWAYS |= {"fine_analysis", "fine_synthesis", "prediction"}
COARSE = {"coarse_analysis", "coarse_synthesis", "coarse_prior", "fine_prediction"}
# what each stage trains beside ALWAYS
STAGES = [
    {"head", "fine_prior", "projection"},
    COARSE | {"head", "projection", "fine_projection"},
    COARSE | {"aggregation", "projection", "fine_projection"},
    COARSE | {"aggregation"},
]


def tiny(**changes):
    _, config = configuration.load("coarse_to_fine_small")
    config.model.update({**TINY, **changes})
    tf.keras.utils.set_random_seed(0)
    codec = models.build(config.model)
    building.build_variables(codec)
    return codec


@pytest.fixture(scope="module")
def codec():
    """Its latents are those of a block transform, since nothing is trained."""
    made = tiny()
    # wide enough for them
    bias = made.prediction.biases[-1]
    bias.assign(np.repeat([0, np.log(8)], 6).astype(np.float32))
    # among them one at which a difference of erf is negative
    made.coarse_prior.assign([-3.0, 0.1, 1.7, 4.0])
    return made


def test_transforms_can_be_in_bfloat16(codec):
    mixed = tiny(compute_dtype="bfloat16")
    # the weights of both are the same
    found, want = (each(IMAGES, QUALITY).reconstruction for each in (mixed, codec))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, want, atol=0.1)
    assert mixed.aggregation.compute_dtype == "bfloat16"


@pytest.fixture(scope="module")
def loaded(codec, export_for_reading, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return runtime.load(export_for_reading(codec, folder, codec.name))


def gradients(codec, stage):
    stage = None if stage is None else tf.constant(stage)
    with tf.GradientTape() as tape:
        out = codec(IMAGES, QUALITY, seed=tf.constant([1, 2]), training=True, stage=stage)
        error = tf.reduce_mean(tf.square(out.reconstruction - IMAGES))
        auxiliary = tf.reduce_sum(list(out.auxiliary_losses.values()))
        loss = tf.reduce_sum(out.bits) + 1e4 * error + auxiliary
    paths = building.variable_paths(codec)
    return out, dict(zip(paths, tape.gradient(loss, list(paths.values()))))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_each_stage_trains_its_parts(stage):
    out, found = gradients(tiny(block_transform=False), stage)
    assert out.reconstruction.shape == IMAGES.shape
    assert np.all(out.parts["coarse"] > 0) == (stage > 0)
    helped = [np.all(out.auxiliary_losses[name] > 0) for name in ("fine", "coarse")]
    assert helped == [stage < 3, 0 < stage < 3]
    assert all(np.all(np.isfinite(g)) for g in found.values() if g is not None)
    trained = {path.split("/")[0] for path, g in found.items() if g is not None and np.any(g)}
    assert trained == ALWAYS | STAGES[stage]


def test_training_has_the_variables_of_all_stages():
    _, config = configuration.load("coarse_to_fine_small")
    trained = State(tiny(), config.training).trained
    parts = ALWAYS.union(*STAGES) | {"block_analysis", "block_synthesis"}
    assert {path.split("/")[0] for path in trained} == parts


def test_without_a_stage_it_is_in_the_last():
    codec = tiny()
    seed = tf.constant([1, 2])
    last, usual = (
        codec(IMAGES, QUALITY, seed=seed, training=True, **stage)
        for stage in ({"stage": tf.constant(3)}, {})
    )
    np.testing.assert_allclose(usual.reconstruction, last.reconstruction, atol=1e-5)
    np.testing.assert_allclose(usual.bits, last.bits, rtol=1e-5)


@pytest.mark.parametrize("changes", [{"coarse": False}, {"aggregation": False}])
def test_ablations_train_and_are_coded(changes):
    codec = tiny(block_transform=False, **changes)
    _, config = configuration.load("coarse_to_fine_small")
    State(codec, config.training)  # needs all variables
    _, found = gradients(codec, 2)
    trained = {path.split("/")[0] for path, g in found.items() if g is not None and np.any(g)}
    assert ("aggregation" in trained) == codec.config.aggregation
    assert ("coarse_prior" in trained) == codec.config.coarse
    coding = codec.entropy_coder()
    assert set(coding.layout.sides) == ({"fine", "coarse"} if codec.config.coarse else {"fine"})
    sources = codec.sources(tf.random.stateless_normal([1, 8, 8, 6], [1, 2], stddev=3.0))
    latents, hyper = coding.quantize({name: x[0] for name, x in sources.items()})
    for found, expected in zip(
        coding.read(coding.compress(hyper, latents), 8, 8), (hyper, latents)
    ):
        np.testing.assert_array_equal(found, expected)


def test_levels_are_kept_together_and_taken_apart(codec):
    levels = {"fine": tf.random.normal([6, 8, 5]), "coarse": tf.random.normal([3, 4, 4])}
    coding = codec.entropy_coder()
    joined = coding.layout.join(levels)
    assert joined.shape == (3, 4, 24) and coding.layout.hyper_channels == 24
    for name, found in coding.layout.split(joined).items():
        np.testing.assert_array_equal(found, levels[name])


def test_files_decode_to_what_the_encoder_knows(loaded, make_pixels, soft, assert_files_agree):
    assert_files_agree(loaded, soft(make_pixels(70, 130)), (8, 12, 6))


def test_qualities_may_differ_from_place_to_place(loaded, assert_maps):
    assert_maps(loaded)


def test_tiles_regions_and_targets(loaded, make_pixels):
    pixels = make_pixels(150, 130)
    known = loaded.evaluate(pixels, 60, tile=64)
    assert loaded.info(known["file"])["tiles"] == 9
    whole = loaded.decompress(known["file"])
    np.testing.assert_array_equal(whole, known["reconstruction"])
    region = loaded.decompress(known["file"], region=(70, 70, 20, 30)).astype(int)
    assert np.abs(region - whole[70:100, 70:90]).max() <= 1
    sizes = [len(loaded.compress(pixels, quality)) for quality in (0, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_explanation_has_a_part_for_each_level(loaded, make_pixels):
    parts = loaded.statistics(loaded.compress(make_pixels(70, 130), 50)).parts
    shapes = {name: part.positions.shape for name, part in parts.items()}
    assert shapes == {"latents": (8, 12), "fine": (4, 6), "coarse": (2, 3), "channels": (2, 3)}
    assert [len(parts[name].channels) for name in ("latents", "fine", "coarse")] == [6, 5, 4]


def test_exact_probabilities_are_close_to_the_trained_ones(codec):
    rng, coding = np.random.default_rng(0), codec.entropy_coder()
    latents = tf.constant(rng.normal(0, 5, (32, 48, 6)), tf.float32)
    fine, coarse = rng.normal(0, 1, (16, 24, 5)), rng.normal(0, 1, (8, 12, 4))
    levels = {"fine": tf.cast(fine, tf.float32), "coarse": tf.cast(coarse, tf.float32)}
    latents, hyper = coding.quantize({"latents": latents, **levels})
    sides = {name: x[None] for name, x in coding.layout.split(hyper).items()}
    want = float(codec.rate(latents[None], sides, None, 1e-9)[0])
    found = float(coding.total_bits(coding.statistics(hyper, latents)))
    assert found == pytest.approx(want, rel=0.005)


def test_both_levels_are_known_within_what_can_be_coded():
    codec = tiny()
    for analysis in (codec.fine_analysis, codec.coarse_analysis):
        last = analysis.layers[-1]
        last.bias.assign(tf.fill(last.bias.shape, -1e6))
    found = codec.sources(tf.zeros([1, 8, 8, 6]))
    assert np.all(found["fine"] == mixture.LATENT_MIN) and np.all(found["coarse"] == -127)


def test_rounding_clips_each_level_to_its_range(codec):
    coding = codec.entropy_coder()
    far = coding.layout.split(tf.fill([2, 2, 24], -1e6))
    latents, hyper = coding.quantize({"latents": tf.fill([8, 8, 6], 1e6), **far})
    levels = coding.layout.split(hyper)
    assert np.all(latents == mixture.LATENT_MAX)
    assert np.all(levels["fine"] == mixture.LATENT_MIN) and np.all(levels["coarse"] == -127)
    found = coding.read(coding.compress(hyper, latents), 8, 8)
    for array, expected in zip(found, (hyper, latents)):
        np.testing.assert_array_equal(array, expected)
