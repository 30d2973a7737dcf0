"""The last phase of training: latents and kernels as exports round them, a decoder that learns."""

import io

import numpy as np
import pytest
import tensorflow as tf

from tfclic import errors, models
from tfclic.portable import folder
from tfclic.training import building, checkpoints, loop, quantized, sources, step
from tfclic.training.levels import draw_levels, targets_of
from tfclic.training.state import KINDS, State

# what stays in each system, by the first attribute that leads to it
ENCODER = {"nonlinear_analysis", "block_analysis", "gain", "activity"}
STAYING = {
    "gmm_attention_small": {*ENCODER, "hyper_analysis"},
    "cca_small": {*ENCODER, "hyper_analysis", "auxiliary"},  # an auxiliary loss's, which is over
    "coarse_to_fine_small": {
        *ENCODER,
        "fine_analysis",
        "coarse_analysis",
        "fine_prior",
        "head",
        "projection",
        "fine_projection",
    },  # of earlier stages
    "factorized": ENCODER,
}
IMAGES = tf.constant(np.random.default_rng(0).integers(0, 256, [2, 128, 128, 3], np.uint8))


@pytest.fixture
def make(tiny_system):
    """A function of a name to a tiny codec, and its configuration: the last 3 of 6 steps are so."""

    def made(name):
        config = tiny_system(name)
        config.training.update(
            steps=6, rounded_share=0.5, rounded_learning_rate=1e-3, warmup_steps=0, log_every=1,
            crop_size=64, batch_size=2, validation_images=1, checkpoint_every=5,
            precision="float32",
        )  # fmt: skip
        if config.training.stage_shares:
            config.training.stage_shares = (0.1, 0.2, 0.2)
        tf.keras.utils.set_random_seed(0)
        return models.build(config.model), config

    return made


def values(variables):
    return {path: v.numpy() for path, v in variables.items()}


@pytest.mark.parametrize("name", STAYING)
def test_the_encoder_stays_and_the_decoder_learns_what_is_coded(make, name):
    codec, config = make(name)
    state = State(codec, config.training)
    for average in state.ema.values():
        average.assign_add(1e-3 * tf.ones_like(average))
    state.step.assign(3)
    step.begin_rounded(codec, state)
    before, averages = values(state.weights), values(state.ema)
    for path, average in averages.items():
        np.testing.assert_array_equal(before[path], average)
    kernels = quantized.Kernels(codec)
    train_step = step.make_step(codec, state, config.training, kernels)
    metrics = [train_step(IMAGES, step.seed_of(1, 0)) for _ in range(3)]
    losses = [float(each["loss"]) for each in metrics]
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]
    after = values(state.weights)
    moved = {path for path in before if np.any(before[path] != after[path])}
    parts, moving = ({path.split("/")[0] for path in paths} for paths in (before, moved))
    assert parts - moving == parts & set(STAYING[name])
    for path, average in state.ema.items():
        assert (path in moved) == np.any(average.numpy() != averages[path])

    levels = draw_levels(step.seed_of(1, 0), len(codec.lmbdas), tf.constant([2]), "independent")
    qualities, _ = targets_of(codec, state, config.training, levels)
    with kernels.rounded(state.weights):
        coded = codec(tf.cast(IMAGES, tf.float32) / 255.0, qualities, training=False, rdo=True)
    measured = train_step(IMAGES, step.seed_of(1, 0))["bpp"]
    np.testing.assert_allclose(tf.reduce_mean(coded.bits) / 128**2, measured, rtol=1e-3)


def test_a_run_that_is_resumed_within_the_phase_equals_one_that_was_not(
    make, tmp_path, photos, monkeypatch
):
    store = sources.open_source(str(photos), 64)

    def start(name):
        codec, config = make("factorized")
        return loop.Run(codec, config, store, tmp_path / name)

    whole, stream = start("whole"), io.StringIO()
    whole.train(stream)
    assert stream.getvalue().count("Latents and kernels are rounded") == 1

    def stop():
        loop.Run.save(first)
        raise MemoryError

    first = start("parts")
    monkeypatch.setattr(first, "save", stop)
    with pytest.raises(MemoryError):
        first.train(io.StringIO())
    second = start("parts")
    assert second.step == 5
    second.train(io.StringIO())
    for kind in KINDS:
        for path, value in getattr(whole.state, kind).items():
            np.testing.assert_allclose(getattr(second.state, kind)[path], value, atol=1e-6)

    # what an export takes is what the decoder has learned of
    codec, _ = make("factorized")
    checkpoints.restore_weights(codec, tmp_path / "whole")
    for path, value in building.variable_paths(codec).items():
        if path.split("/")[0] in STAYING["factorized"]:
            np.testing.assert_array_equal(value, whole.state.weights[path])


def test_a_portable_folder_has_no_such_phase(fake, config, photos, tmp_path):
    config.training.update(rounded_share=0.5, rounded_learning_rate=1e-4)
    store = sources.open_source(str(photos), 64)
    arguments = fake.FakeCodec(), "float32", store, None
    with pytest.raises(errors.UsageError, match="rounded_share has to be 0"):
        folder.export_folder(tmp_path / "out", "fake", config, *arguments)
