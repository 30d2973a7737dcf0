"""The baselines and elic: each trains, is exported, and codes files as its probabilities say."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, errors, models, runtime
from tfclic.entropy import exact_runners, float_runners
from tfclic.entropy import integer_mixture as im
from tfclic.layers.masked import checkerboard_mask
from tfclic.models import conditional_probability
from tfclic.training import building

NAMES = (
    "factorized",
    "nonlinear_transforms",
    "hyperprior",
    "mean_scale",
    "joint",
    "context_adaptive",
    "conditional_probability",
    "elic",
)
TRANSFORMS = {"nonlinear_analysis", "nonlinear_synthesis", "gain"}
HYPER = {"hyper_analysis", "hyper_synthesis", "hyper_prior"}
PARTS = {
    "factorized": {"prior"},
    "nonlinear_transforms": {"prior"},
    "hyperprior": HYPER,
    "mean_scale": HYPER,
    "joint": HYPER | {"context", "parameter_network"},
    "context_adaptive": HYPER | {"bit_consuming", "bit_free", "estimator"},
    "conditional_probability": {"centres", "context", "probability"},
    "elic": HYPER | {"groups"},
}
SMALL = dict(
    hyper_channels=4,
    parameter_channels=(10, 8),
    context_channels=8,
    probability_channels=(6,),
    residual_groups=1,
    bottleneck_blocks=1,
    latent_attention=False,
    feature_channels=8,
    group_sizes=(1, 2, 3),
    channel_widths=(6,),
)
TINY = dict(latent_channels=6, widths=(4, 4, 4), lmbdas=(0.0016, 0.0075, 0.045))
IMAGES = tf.constant(np.random.default_rng(0).random((2, 64, 128, 3)), tf.float32)
QUALITY = tf.constant([0.0, 80.0])


def tiny(name, **changes):
    """A codec of that name, small enough for tests."""
    _, config = configuration.load(name)
    config.model.update({k: v for k, v in SMALL.items() if k in config.model})
    config.model.update({**TINY, **changes})
    tf.keras.utils.set_random_seed(0)
    codec = models.build(config.model)
    building.build_variables(codec)
    return codec


@pytest.fixture(scope="module", params=NAMES)
def codec(request):
    """Each baseline; its latents are those of a block transform, since nothing is trained."""
    fewer = {"group_sizes": (2, 4)} if request.param == "elic" else {}
    codec = tiny(request.param, block_transform=True, **fewer)
    for network in parameter_networks(codec):
        last = getattr(network.layers[-1], "conv", network.layers[-1])
        last.kernel.assign(0.1 * last.kernel)
        count = last.bias.shape[0]
        wide = np.repeat([0, np.log(8)], max(count // 2, 6))
        last.bias.assign(wide[-count:].astype(np.float32))
    return codec


def parameter_networks(codec):
    """What makes the parameters of each stream of latents."""
    if codec.name == "elic":
        return [group.aggregation for group in codec.groups]
    names = ("parameter_network", "estimator", "probability", "hyper_synthesis")
    return [getattr(codec, name) for name in names if hasattr(codec, name)][:1]


@pytest.fixture(scope="module")
def loaded(codec, export_for_reading, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    # all of what has no side information; others have all of what has
    is_whole = codec.name == "factorized"
    return runtime.load(export_for_reading(codec, folder, codec.name, is_whole=is_whole))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_has_a_finite_loss_and_gradients_for_every_variable(name):
    codec = tiny(name)
    with tf.GradientTape() as tape:
        out = codec(IMAGES, QUALITY, seed=tf.constant([1, 2]), training=True)
        loss = tf.reduce_sum(out.bits) + tf.reduce_sum(tf.square(out.reconstruction - IMAGES))
    assert out.reconstruction.shape == IMAGES.shape
    assert out.bits.shape == (2,) and np.all(out.bits > 0)
    gradients = tape.gradient(loss, codec.trainable_variables)
    assert all(g is not None and np.all(np.isfinite(g)) for g in gradients)
    paths = building.variable_paths(codec)
    trained = {id(v) for v in codec.trainable_variables}
    assert {id(v) for path, v in paths.items() if path != "activity"} == trained
    parts = {"activity"} | TRANSFORMS | PARTS[name]
    assert {path.split("/")[0] for path in paths} == parts


def test_files_decode_to_what_the_encoder_knows(loaded, make_pixels, soft, assert_files_agree):
    assert_files_agree(loaded, soft(make_pixels(70, 130)), (8, 12, 6))


def test_exact_probabilities_are_close_to_the_trained_ones(codec):
    rng, coding = np.random.default_rng(0), codec.entropy_coder()
    if hasattr(codec, "prior"):
        # the untrained density is logistic
        latents = rng.logistic(0, 1, (32, 48, 6)) * codec.gains(tf.constant([100.0]))[0]
    else:
        latents = rng.normal(0, 5, (32, 48, 6))
    hyper_latents = tf.constant(rng.normal(0, 3, (8, 12, coding.layout.hyper_channels)), tf.float32)
    sources = {"latents": tf.cast(latents, tf.float32), **coding.layout.split(hyper_latents)}
    latents, hyper_latents = coding.quantize(sources)
    sides = {name: x[None] for name, x in coding.layout.split(hyper_latents).items()}
    floor = im.FLOOR / 2.0**im.MASS_BITS
    want = float(codec.rate(latents[None], sides, tf.constant([100.0]), floor)[0])
    found = coding.total_bits(coding.statistics(hyper_latents, latents))
    assert float(found) == pytest.approx(want, rel=0.005)


def test_tiles_and_targets(loaded, assert_tiles_and_targets):
    assert_tiles_and_targets(loaded)


def test_qualities_may_differ_from_place_to_place(loaded, assert_maps):
    assert_maps(loaded)


def codec_sources(codec, height, width):
    """Silent ones, as a runner takes them."""
    found = codec.sources(tf.zeros([1, height, width, 6]))
    return {name: tf.round(array[0]) for name, array in found.items()}


def test_all_latents_take_one_step_without_a_context(codec):
    class Noting(exact_runners.Statistics):
        steps = 0

        def _conditional(self, stream, name):
            self.steps += len(stream.order.starts) - 1
            return super()._conditional(stream, name)

    runner = Noting(codec.entropy_coder(), (8, 12), codec_sources(codec, 8, 12))
    codec.entropy(runner)
    wanted = {
        "factorized": 0,
        "nonlinear_transforms": 0,
        "joint": 12 + 3 * 7,
        "context_adaptive": 12 + 2 * 7,
        "conditional_probability": 12 + 2 * 7 + 4 * 5,
        "elic": 2 * 2,
    }
    assert runner.steps == wanted.get(codec.name, 1)


def test_the_level_of_a_factorized_prior_is_that_of_the_quality():
    codec = tiny("factorized")
    coding = codec.entropy_coder()
    stream = coding.streams["latents"]
    assert stream.levels == 9
    rng = np.random.default_rng(0)
    # as the untrained density has them before the gain: logistic
    latents = rng.logistic(0, 1, (64, 64, 6)).astype(np.float32)
    found = []
    for quality in (0.0, 50.0, 100.0):
        gained = latents * codec.gains(tf.constant([quality]))[0]
        found.append(int(stream.best_level(coding.quantize({"latents": gained})[0])[0]))
    assert found[0] <= 1 and abs(found[1] - 4) <= 1 and found[2] >= 7


def test_one_rate_needs_one_level():
    coding = tiny("factorized", lmbdas=(0.01,)).entropy_coder()
    latents = tf.round(8 * tf.random.stateless_normal([4, 8, 6], [1, 2]))
    string = coding.compress(tf.zeros([1, 2, 0]), latents)
    np.testing.assert_array_equal(coding.decompress(string, 4, 8), latents)


def likelihoods_of_zero(codec, channel, place, value):
    """Of all groups, where one latent is `value` and all others are zero, `[8, 12, 6]`."""
    latents = np.zeros([1, 8, 12, 6], np.float32)
    latents[0, place[0], place[1], channel] = value
    found = []

    class Noting(float_runners.Rounding):
        def _coded(self, name, piece, likelihood, means=0.0):
            if name != "hyper_latents":
                found.append(likelihood(tf.zeros_like(piece(self.sources)))[0])
            return super()._coded(name, piece, likelihood, means)

    sources = {"hyper_latents": tf.zeros([1, 2, 3, 4]), "latents": tf.constant(latents)}
    codec.entropy(Noting(sources, tf.constant([50.0])))
    return np.concatenate(found, -1)


def test_groups_of_elic_follow_from_those_before_and_from_anchors_of_their_own():
    codec, anchor, other = tiny("elic"), (4, 4), (4, 5)
    groups = [slice(0, 1), slice(1, 3), slice(3, 6)]
    silent = likelihoods_of_zero(codec, 0, anchor, 0)
    for number, group in enumerate(groups):
        for place in (anchor, other):
            changed = likelihoods_of_zero(codec, group.start, place, 9) != silent
            assert not changed[..., : group.start].any()
            own = changed[..., group].any(-1)
            if place == anchor:
                np.testing.assert_array_equal(own[2:7, 2:7], checkerboard_mask(5))
            assert own.sum() == (12 if place == anchor else 0)
            assert all(changed[..., after].any() for after in groups[number + 1 :])


def test_configurations_have_the_papers_widths():
    for name in set(NAMES) - {"conditional_probability"}:
        stem, config = configuration.load(name)
        assert stem == config.model.name == name
        assert config.model.widths == (192, 192, 192)
        assert config.model.latent_channels == 320


def test_parts_are_read_where_latents_have_several(codec, loaded, make_pixels, soft):
    data = loaded.compress(soft(make_pixels(64, 128)), 60)
    if codec.name != "elic":
        assert loaded.slices == 1
        with pytest.raises(errors.ModelError, match="slices"):
            loaded.decompress(data, slices=1)
        return
    count = len(codec.groups)
    assert loaded.slices == count
    images = [loaded.decompress(data, slices=n) for n in (0, 1, count)]
    np.testing.assert_array_equal(images[-1], loaded.decompress(data))
    assert np.any(images[0] != images[1]) and np.any(images[1] != images[2])


@pytest.mark.parametrize("coder", ["range", "interleaved"])
def test_a_volume_has_the_channels_that_are_in_use(coder):
    codec = tiny("conditional_probability")
    codec.probability.layers[-1].bias.assign(np.repeat([0, np.log(4)], [6, 3]))
    coding = codec.entropy_coder()
    latents = np.round(np.random.default_rng(0).normal(0, 3, (32, 32, 6)))
    latents[..., [1, 4, 5]] = 0
    latents, side = tf.constant(latents, tf.float32), tf.zeros([8, 8, 0])
    string = tf.function(coding.compress)(side, latents, coder)
    sound, _, found = tf.function(coding.try_read)(string, 32, 32, tf.constant(True), coder)
    assert sound
    np.testing.assert_array_equal(found, latents)
    explained = coding.statistics(side, latents)
    assert not np.any(explained["latents_bits"].numpy()[..., [1, 4, 5]])
    bits = float(coding.total_bits(explained))
    assert 8 * len(string.numpy()) == pytest.approx(bits, rel=0.005, abs=8 * 24)


def test_an_importance_map_keeps_the_first_channels():
    importance = tf.constant([-np.inf, -4.0, -5.0, np.inf])[None, None, :, None]
    found = conditional_probability.importance_mask(importance, 5)[0, 0].numpy()
    kept = 5 / (1 + np.e)
    np.testing.assert_allclose(found[0], np.zeros(5))
    np.testing.assert_allclose(found[1], [1, 1, 0.5, 0, 0])
    np.testing.assert_allclose(found[2], [1, kept - 1, 0, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(found[3], np.ones(5))
