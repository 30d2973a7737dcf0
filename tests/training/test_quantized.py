"""Kernels as an export has them, for training and validation to see."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import models
from tfclic.training import quantized, step, validation
from tfclic.training.levels import draw_levels, targets_of
from tfclic.training.state import State

IMAGE = np.random.default_rng(0).integers(0, 256, [64, 64, 3], np.uint8)


def made(configured, name):
    """A tiny codec whose kernels are far from any grid, its state and its configuration."""
    config = configured(name)
    config.training.update(crop_size=64, batch_size=1)
    tf.keras.utils.set_random_seed(0)
    codec = models.build(config.model)
    return codec, State(codec, config.training), config.training


def values(state):
    return {path: v.numpy() for path, v in state.weights.items()}


@pytest.mark.parametrize("name", ["gmm_attention_small", "cca_small", "coarse_to_fine_small"])
def test_an_export_stands_for_the_same_kernels(tiny_system, name):
    codec, state, _ = made(tiny_system, name)
    layers = codec.entropy_coder().layers()
    kernels, before = quantized.Kernels(codec), values(state)
    assert len(kernels.grids) == len(layers) > 0
    with kernels.rounded(state.weights):
        for layer in layers:
            (kernel, exact), _ = layer.floats()
            np.testing.assert_allclose(kernel, exact, rtol=1e-6)
        changed = {path for path, value in values(state).items() if np.any(value != before[path])}
    assert changed == set(kernels.grids)
    for path, value in values(state).items():
        np.testing.assert_array_equal(value, before[path])


def test_kernels_come_back_from_an_error(tiny_system):
    codec, state, _ = made(tiny_system, "gmm_attention_small")
    kernels, before = quantized.Kernels(codec), values(state)
    with pytest.raises(MemoryError), kernels.rounded(state.weights):
        raise MemoryError
    for path, value in values(state).items():
        np.testing.assert_array_equal(value, before[path])


def test_a_codec_without_networks_has_none(tiny_system):
    codec, _, _ = made(tiny_system, "factorized")
    assert not quantized.Kernels(codec).grids


def test_a_step_has_the_gradients_of_rounded_kernels(tiny_system):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        codec, state, training = made(tiny_system, "gmm_attention_small")
    kernels, before = quantized.Kernels(codec), values(state)
    images, seed = tf.constant(IMAGE[None]), step.seed_of(1, 0)
    with strategy.scope():
        train_step = step.make_step(codec, state, training, kernels)
    metrics = train_step(images, seed)
    (path,) = (path for path in kernels.grids if path.startswith("context/"))
    # Adam's first moment, begun at zero, is a tenth of the gradient, which is clipped by its norm
    found = 10 * state.first_moment[path].numpy()
    found *= max(1.0, float(metrics["gradient_norm"]) / training.clip_norm)
    assert np.any(state.weights[path].numpy() != before[path])
    # where all are as they were, but for that they are rounded
    for each, value in before.items():
        state.weights[each].assign(value)
    for each in kernels.grids:
        state.weights[each].assign(kernels.grids[each].rounded(before[each]))
    levels = draw_levels(seed, len(codec.lmbdas), tf.constant([1]), training.level_sampling)
    targets = targets_of(codec, state, training, levels)
    _, (wanted,) = step.loss_and_gradients(
        codec, [state.weights[path]], step.objectives.get("mse"), images, seed, targets, None, True
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6 * np.abs(wanted).max())


def test_validation_measures_what_is_exported(tiny_system):
    codec, state, training = made(tiny_system, "gmm_attention_small")
    evaluate, kernels = validation.make_evaluate(codec, training), quantized.Kernels(codec)
    arguments = evaluate, state, [IMAGE], codec.lmbdas
    (rounded, _), (before, _) = (
        validation.validate(*arguments, kernels=k) for k in (kernels, None)
    )
    for path, grids in kernels.grids.items():
        state.ema[path].assign(grids.rounded(state.ema[path]))
    wanted, _ = validation.validate(*arguments)
    assert rounded["bpp"] == pytest.approx(wanted["bpp"], rel=1e-6)
    assert rounded["bpp"] != pytest.approx(before["bpp"], rel=1e-6)
