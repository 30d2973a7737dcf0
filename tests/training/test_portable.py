"""The portable step on jax, against the ordinary step of TensorFlow, and the way back."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfclic import errors
from tfclic.training import (
    checkpoints,
    loop,
    portable,
    portable_data,
    portable_device,
    portable_files,
    portable_inputs,
    schedule,
    sources,
    step,
)

KINDS = ("weights", "ema", "first_moment", "second_moment")


def assert_close(arrays, state, tolerance):
    """Asserts that every array is near the state's variable, as a share of the largest value."""
    for name, variable in state.named().items():
        scale = max(float(np.abs(variable.numpy()).max()), 1e-3)
        np.testing.assert_allclose(arrays[name], variable, atol=tolerance * scale, err_msg=name)


def ten_steps_of_both(codec, config, tmp_path, per_call):
    """Takes ten steps with jax and with TensorFlow, with the same images, levels and noise.

    Returns:
      (arrays, jax's losses, state, TensorFlow's losses).
    """
    training = config.training
    state = step.State(codec, training)
    lowered = portable.lower(portable.make_step(codec, state, training), state)
    hlo, params, results, constants = lowered
    (tmp_path / "step.hlo").write_bytes(hlo)
    meta = {"batch": 2, "crop": training.crop_size, "params": params, "results": results}
    arrays = {**{n: v.numpy() for n, v in state.named().items()}, **constants}
    engine = portable_device.Engine(tmp_path, meta, arrays, "cpu")

    random = np.random.default_rng(0)
    shape = [10, 2, training.crop_size, training.crop_size, 3]
    images = random.integers(0, 256, shape).astype(np.uint8)
    seeds = np.stack([step.seed_of(training.seed, i) for i in range(10)])
    levels = np.stack([step.draw_levels(s, len(codec.lmbdas), tf.constant([2])) for s in seeds])
    rates = [float(schedule.learning_rate(i, training)) for i in range(10)]
    train_step = step.make_step(codec, state, training)
    expected = [float(train_step(x, s)["loss"]) for x, s in zip(images, seeds)]
    losses = []
    for first in range(0, 10, per_call):
        now = slice(first, first + per_call)
        metrics = engine.call([images[now], seeds[now], levels[now]], rates[now])
        losses += np.asarray(metrics["loss"]).tolist()
    return engine.arrays(), losses, state, expected


@pytest.mark.parametrize("per_call", [1, 5])
def test_ten_portable_steps_equal_ten_steps_of_tensorflow(fake, config, tmp_path, per_call):
    config.training.update(steps=20, ema_decay=0.99)
    codec = fake.FakeCodec(config.model.lmbdas)
    arrays, losses, state, expected = ten_steps_of_both(codec, config, tmp_path, per_call)
    assert len(set(expected)) == 10
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert_close(arrays, state, 1e-4)
    assert int(arrays["step"]) == int(arrays["updates"]) == 10


def test_ten_portable_steps_of_gmm_attention_equal_those_of_tensorflow(
    make_codec, config, tmp_path
):
    config.training.steps = 20
    codec = make_codec(residual=False, attention="none", mixtures=2)
    arrays, losses, state, expected = ten_steps_of_both(codec, config, tmp_path, 10)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert_close(arrays, state, 1e-3)
