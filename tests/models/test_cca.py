"""The model: slices, where the gradients of the gap go, and that quality orders the rate."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, errors
from tfclic.export import saving
from tfclic.models.slices import RESIDUAL_LIMIT, Slice, slice_sizes
from tfclic.training import building, step
from tfclic.training.state import State

IMAGES = tf.constant(np.random.default_rng(0).random((2, 64, 128, 3)), tf.float32)
QUALITY = tf.constant([0.0, 80.0])
SEED = tf.constant([1, 2])


def total(terms):
    """Of all terms and images."""
    return tf.reduce_sum(list(terms.values()))


@pytest.fixture(scope="module")
def codec(make_cca):
    return make_cca()


def test_the_schedules_of_the_paper():
    assert slice_sizes(320, 5, 1.7) == (8, 28, 56, 92, 136)
    assert slice_sizes(320, 5, 0) == (64,) * 5
    assert slice_sizes(320, 3, 1) == (53, 106, 161)
    assert slice_sizes(320, 3, -1) == (174, 87, 59)
    assert slice_sizes(10, 5, 1.7, (1, 2, 7)) == (1, 2, 7)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ((320, 5, 1.7, (8, 28, 56, 92, 135)), "8, 28, 56, 92, 135 make 319 channels, not 320"),
        ((12, 5, 1.7), "Every slice needs a channel; the sizes are 0, 1, 2, 3, 6"),
        ((12, 3, 0, (-1, 6, 7)), "Every slice needs a channel"),
        ((12, 3, 0, (1.5, 3.5, 7)), "Every slice needs a channel"),
        ((12, 0, 0), "There have to be slices, not 0"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(schedule, message):
    with pytest.raises(errors.UsageError, match=message):
        slice_sizes(*schedule)


def test_a_configuration_whose_slices_do_not_add_up_is_refused(make_cca):
    with pytest.raises(errors.UsageError, match="make 11 channels, not 12"):
        make_cca(slice_sizes=(3, 8))


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(gap_weight=0.0),
        dict(block_transform=False, slice_power=-1.0, support_blocks=0),
        dict(slice_sizes=(12,)),
        dict(support_block="naf"),
    ],
    ids=str,
)
def test_every_ablation_has_finite_losses_and_gradients(make_cca, changes):
    codec = make_cca(**changes)
    with tf.GradientTape() as tape:
        out = codec(IMAGES, QUALITY, seed=SEED, training=True)
        error = tf.reduce_sum(tf.square(out.reconstruction - IMAGES))
        loss = tf.reduce_sum(out.bits) + total(out.auxiliary_losses) + error
    assert out.reconstruction.shape == IMAGES.shape
    assert out.bits.shape == (2,) and np.all(out.bits > 0)
    gradients = tape.gradient(loss, codec.trainable_variables)
    assert all(g is not None and np.all(np.isfinite(g)) for g in gradients)
    paths = building.variable_paths(codec)
    trained = {id(v) for v in codec.trainable_variables}
    assert {id(v) for path, v in paths.items() if path != "activity"} == trained
    has_gap = len(codec.sizes) > 1 and codec.config.gap_weight
    assert bool(out.auxiliary_losses) == has_gap
    assert any(path.startswith("auxiliary") for path in paths) == has_gap


def test_real_rounding_needs_no_help(codec):
    out = codec(IMAGES, QUALITY)
    assert out.auxiliary_losses == {}
    assert list(out.parts) == ["hyper_latents", "slice_1", "slice_2", "slice_3"]
    assert all(np.all(bits > 0) for bits in out.parts.values())
    assert out.bits[0] < out.bits[1]


@pytest.fixture(scope="module")
def given(codec):
    """Random features and slices, and bits that depend on the slices."""
    rng = np.random.default_rng(0)

    def normal(channels, spread):
        return tf.constant(rng.normal(0, spread, (2, 4, 8, channels)), tf.float32)

    noisy, decoded = ([normal(size, 3) for size in codec.sizes] for _ in range(2))
    return [normal(12, 1) for _ in range(2)], noisy, decoded


def test_where_each_gradient_goes(codec, given):
    features, noisy, decoded = given
    weights = [v for part in codec.auxiliary for v in part.trainable_variables]
    assert len(weights) > 20
    inputs = [*noisy, *decoded]

    def main_bits():
        # anything that depends on latents
        return tf.add_n([tf.reduce_sum(tf.square(x), [1, 2, 3]) for x in inputs])

    def helping():
        halves = {"slice_2": main_bits() / 2, "slice_3": main_bits() / 2}
        code = types.SimpleNamespace(noisy={"latents": tf.concat(noisy, -1)}, bits=halves)
        return codec.auxiliary_losses(code, features, decoded)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([*features, *inputs])
        terms = helping()
        all_terms = total(terms)
        auxiliary = codec.auxiliary_bits(features, noisy, decoded)
        gap = (main_bits() - auxiliary) / (64 * 128)
        rate = auxiliary / (64 * 128)
    np.testing.assert_allclose(terms["rate"], rate, rtol=1e-5)
    np.testing.assert_allclose(terms["gap"], codec.config.gap_weight * gap, rtol=1e-5)
    zero = tf.UnconnectedGradients.ZERO
    # weights of the auxiliary model: of its rate alone, though the gap depends on them
    found, of_rate, of_gap = (tape.gradient(x, weights) for x in (all_terms, rate, gap))
    for a, b, c in zip(found, of_rate, of_gap):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
        assert np.abs(c).max() > 0
    # latents: of the gap alone, though the rate depends on them
    found, of_gap = (tape.gradient(x, inputs, unconnected_gradients=zero) for x in (all_terms, gap))
    for a, b in zip(found, of_gap):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
    of_rate = tape.gradient(rate, [*noisy[1:], *decoded[:1]])
    assert all(np.abs(g).max() > 0 for g in of_rate)
    # features of hyper latents: of neither
    assert tape.gradient(all_terms, features) == [None, None]


def test_the_gap_reaches_the_analysis_and_not_the_auxiliary_model(codec):
    def of_training(alpha):
        codec.config.gap_weight = alpha
        with tf.GradientTape(persistent=True) as tape:
            helping = total(codec(IMAGES, QUALITY, seed=SEED, training=True).auxiliary_losses)
        found = []
        for part in (codec.nonlinear_analysis.layers[-1], codec.auxiliary[-1]):
            found.append(tape.gradient(helping, part.trainable_variables))
        return found

    try:
        # an auxiliary model whose gap has no weight: its own rate is left
        analysis, auxiliary = of_training(0.0)
        assert all(np.all(g == 0) for g in analysis if g is not None)
        assert all(np.abs(g).max() > 0 for g in auxiliary)
        analysis, same = of_training(1.0)
        assert all(np.abs(g).max() > 0 for g in analysis)
        for a, b in zip(auxiliary, same):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
    finally:
        codec.config.gap_weight = 1.0


def test_a_slice_depends_on_those_before_it_and_the_auxiliary_one_on_all_but_the_last(codec):
    channels = [part.mean_support.leave.conv.filters for part in codec.slices]
    assert codec.sizes == (1, 3, 8)
    assert channels == [12, 12 + 1, 12 + 4]
    channels = [part.mean_support.leave.conv.filters for part in codec.auxiliary]
    assert channels == [12, 12 + 1]


def test_what_is_coded_is_counted_and_not_the_latents(make_cca):
    codec = make_cca(slice_sizes=(12,))
    bias = codec.slices[0].mean.layers[-1].weights[-1]
    bias.assign(tf.fill(bias.shape, 3.0))
    for value, count in ((3.0, 0), (0.0, 16)):
        latents = tf.fill([1, 4, 4, 12], value)
        found = codec.coded(latents, tf.constant([50.0])).counts
        np.testing.assert_array_equal(found, np.full([1, 12], count))


def test_latent_residuals_are_less_than_half_a_step():
    _, config = configuration.load("cca_small")
    part = Slice(config.model, 2, 0)
    rng = np.random.default_rng(0)
    quantised = tf.constant(rng.normal(0, 1000, (1, 4, 4, 2)), tf.float32)
    support = tf.constant(rng.normal(0, 1000, (1, 4, 4, 192)), tf.float32)
    added = part.residual(support, quantised)
    assert 0.4 < np.abs(added).max() <= RESIDUAL_LIMIT + 1e-3 < 0.5


def test_a_few_steps_lessen_the_loss_and_the_help_is_told(make_cca):
    codec = make_cca()
    _, config = configuration.load("cca_small")
    config.training.update(steps=40, warmup_steps=1, learning_rate=2e-3, decay_share=0.0)
    state = State(codec, config.training)
    train_step = step.make_step(codec, state, config.training)
    images = tf.cast(tf.image.resize(IMAGES, [64, 64]) * 64 + 96, tf.uint8)
    with saving.unoptimized():
        metrics = [train_step(images, step.seed_of(1, 0)) for _ in range(40)]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    gaps = [float(m["auxiliary/gap"]) for m in metrics]
    assert np.all(np.isfinite(gaps)) and len(set(gaps)) == 40
    found = {name: float(value) for name, value in metrics[-1].items()}
    parts = [found[f"bpp/{name}"] for name in ("slice_1", "slice_2", "slice_3", "hyper_latents")]
    assert sum(parts) == pytest.approx(found["bpp"], rel=1e-5)
    assert found["auxiliary"] == pytest.approx(found["auxiliary/gap"] + found["auxiliary/rate"])


def test_the_configuration_has_the_papers_sizes():
    _, config = configuration.load("cca")
    model = config.model
    assert slice_sizes(model.latent_channels, model.slices, model.slice_power) == (
        *(8, 28, 56),
        *(92, 136),
    )
    assert model.widths == (192, 224, 256)
    assert (model.bottleneck_blocks, model.naf_blocks, model.hyper_channels) == (3, 4, 192)
