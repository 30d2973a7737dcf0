import numpy as np
import pytest
import tensorflow as tf

from tfclic.training import step
from tfclic.training.levels import LEVEL_SAMPLINGS
from tfclic.training.state import State


def make_images(seed=0):
    return tf.constant(np.random.default_rng(seed).integers(0, 256, [2, 64, 64, 3], np.uint8))


@pytest.fixture
def made(fake, config):
    """(codec, its state, its step function)."""
    tf.keras.utils.set_random_seed(1)
    codec = fake.FakeCodec(config.model.lmbdas)
    state = State(codec, config.training)
    return codec, state, step.make_step(codec, state, config.training)


def values(variables):
    return {name: v.numpy() for name, v in variables.items()}


def test_a_step_is_a_function_of_state_images_and_seed(fake, config):
    results = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(1)
        codec = fake.FakeCodec(config.model.lmbdas)
        state = State(codec, config.training)
        train_step = step.make_step(codec, state, config.training)
        metrics = [train_step(make_images(i), step.seed_of(3, i)) for i in range(3)]
        results.append((float(metrics[-1]["loss"]), values(state.weights)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(value, results[1][1][name], atol=1e-6)


def test_another_seed_gives_other_noise_and_levels(made):
    _, state, train_step = made
    losses = []
    start = values(state.weights)
    for i in range(8):
        for name, value in start.items():
            state.weights[name].assign(value)
        losses.append(float(train_step(make_images(), step.seed_of(3, i))["loss"]))
    assert len(set(losses)) == 8


def test_levels_are_sampled_as_configured(fake, config):
    losses = {}
    for sampling in LEVEL_SAMPLINGS:
        tf.keras.utils.set_random_seed(1)
        codec = fake.FakeCodec(config.model.lmbdas)
        config.training.level_sampling = sampling
        train_step = step.make_step(codec, State(codec, config.training), config.training)
        losses[sampling] = [float(train_step(make_images(), step.seed_of(3, 0))["loss"])]
    assert losses["independent"] != losses["stratified"]


def test_adam_equals_keras(made, config):
    codec, state, train_step = made
    config.training.clip_norm = 0.0
    train_step = step.make_step(codec, state, config.training)
    reference = {name: tf.Variable(v) for name, v in state.weights.items()}
    keras = tf.keras.optimizers.legacy.Adam(epsilon=step.EPSILON)
    random = np.random.default_rng(0)
    for _ in range(3):
        grads = [tf.constant(random.normal(size=v.shape), tf.float32) for v in state.parameters]
        norm = tf.linalg.global_norm(grads)
        step.apply_gradients(state, grads, norm, tf.constant(1e-3), config.training)
        keras.apply_gradients(zip(grads, reference.values()))
    for name, expected in reference.items():
        np.testing.assert_allclose(state.weights[name], expected, atol=1e-6)
    assert train_step(make_images(), step.seed_of(3, 0))["gradient_norm"] > 0


def test_clipping_and_averages(made, config):
    _, state, _ = made
    before = values(state.weights)
    grads = [100.0 * tf.ones_like(v) for v in state.parameters]
    norm = tf.linalg.global_norm(grads)
    step.apply_gradients(state, grads, norm, tf.constant(1e-3), config.training)
    moments = tf.linalg.global_norm(list(state.first_moment.values()))
    assert float(moments) == pytest.approx((1 - step.BETA_1) * config.training.clip_norm, rel=1e-4)
    keep = 2.0 / 11.0
    for name, average in state.ema.items():
        expected = keep * before[name] + (1 - keep) * state.weights[name].numpy()
        np.testing.assert_allclose(average, expected, atol=1e-6)


def test_a_gradient_that_is_not_finite_changes_nothing_but_the_step(fake, config):
    @tf.custom_gradient
    def poisoned(x):
        return x, lambda upstream: upstream * np.nan

    class Poisoned(fake.FakeCodec):
        def call(self, images, quality, seed=None, training=True, rdo=False):
            out = super().call(images, quality, seed=seed, training=training)
            return out._replace(bits=poisoned(out.bits))

    codec = Poisoned()
    state = State(codec, config.training)
    train_step = step.make_step(codec, state, config.training)
    kinds = (state.weights, state.ema, state.first_moment, state.second_moment)
    before = [values(kind) for kind in kinds]
    metrics = train_step(make_images(), step.seed_of(3, 0))
    assert np.isfinite(metrics["loss"])
    assert float(metrics["skipped"]) == 1.0
    assert (int(state.step), int(state.updates)) == (1, 0)
    for kind, old in zip(kinds, before):
        for name, value in old.items():
            np.testing.assert_array_equal(kind[name], value)


def test_ms_ssim_trains_from_a_random_start(fake, config):
    config.training.update(objective="ms_ssim", ema_decay=0.0)
    codec = fake.FakeCodec((3.0, 12.0))
    state = State(codec, config.training)
    assert not state.ema
    train_step = step.make_step(codec, state, config.training)
    images = np.random.default_rng(0).integers(0, 256, [2, 192, 192, 3], np.uint8)
    assert float(train_step(images, step.seed_of(3, 0))["skipped"]) == 0.0
    assert int(state.updates) == 1


def test_the_phase_is_told(made, config):
    codec, state, _ = made
    config.training.update(first_share=0.5, first_lmbda=0.008)
    train_step = step.make_step(codec, state, config.training)
    # of six steps three
    for number, phase in [(0, 1), (2, 1), (3, 2)]:
        state.step.assign(number)
        assert train_step(make_images(), step.seed_of(3, 0))["phase"] == phase
