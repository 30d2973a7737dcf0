"""Larger models begin by computing what a smaller one does."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, models
from tfclic.layers import QualityGain
from tfclic.training import checkpoints, growing

LMBDAS = (0.01, 0.04)
# of each system, its configuration made small
SMALL = {
    "mean_scale": {},
    "joint": dict(parameter_channels=(10, 8)),
    "gmm_attention": dict(feature_channels=8, parameter_channels=10),
}


def build(name, **changes):
    """A codec made small, with weights of its own."""
    _, config = configuration.load(name)
    small = dict(latent_channels=6, widths=(4, 4, 4), hyper_channels=4, lmbdas=LMBDAS)
    config.model.update({**small, **SMALL[name], **changes})
    codec = models.build(config.model)
    checkpoints.build_variables(codec)
    return codec


def grow(small, large):
    """Gives `large` what it takes from `small`; returns the paths of what it does not."""
    growth, kept = growing.Growth(small, large), []
    for path, variable in checkpoints.variable_paths(large).items():
        value = growth.value(path, variable)
        if value is None:
            kept.append(path)
        else:
            variable.assign(value)
    return kept


@pytest.fixture(scope="module")
def images():
    return tf.random.stateless_uniform([2, 64, 64, 3], [1, 2])


LARGER = {
    "latents": dict(latent_channels=8),
    "levels": dict(lmbdas=(*LMBDAS, 0.1)),
    "widths": dict(widths=(5, 6, 5)),
    "hyper latents": dict(hyper_channels=6),
    "all": dict(latent_channels=9, widths=(6, 5, 4), lmbdas=(0.005, *LMBDAS), hyper_channels=5),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("what", LARGER)
def test_a_larger_model_computes_what_the_smaller_one_does(name, what, images):
    small, large = build(name), build(name, **LARGER[what])
    for variable in small.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.05))
    assert grow(small, large) == []
    level = large.lmbdas.index(LMBDAS[0])
    qualities = tf.fill([2], small.quality_of(0)), tf.fill([2], large.quality_of(level))
    before, after = small(images, qualities[0]), large(images, qualities[1])
    np.testing.assert_allclose(before.reconstruction, after.reconstruction, atol=2e-5)
    if "latents" not in what and what != "all" and "hyper" not in what:
        np.testing.assert_allclose(before.bits, after.bits, rtol=1e-3)


def test_every_part_of_an_axis_grows_by_itself():
    value, beginning = np.arange(1, 9).reshape(2, 4), np.zeros([3, 6])
    found = growing.grown(value, beginning, [(2,), (2, 2)], [(3,), (3, 3)], False)
    np.testing.assert_array_equal(found, [[1, 2, 0, 3, 4, 0], [5, 6, 0, 7, 8, 0], [0] * 6])
    assert growing.grown(value, beginning, [(2,), (2, 2)], [(3,), (5, 1)], False) is None
    assert growing.grown(value, beginning, [(2,), (2, 2)], [(3,), (2, 2, 2)], False) is None


def test_nothing_listens_to_new_inputs():
    found = growing.grown(np.ones([1, 1]), np.full([2, 2], 7.0), [(1,), (1,)], [(2,), (2,)], True)
    np.testing.assert_array_equal(found, [[1, 7], [0, 0]])


def test_gains_at_other_lambdas():
    gain = QualityGain(2, LMBDAS, 45.0)
    gain.build(None)
    gain.base.assign_add([[0.5, -0.5]])
    gain.correction.assign([[0.0, 1.0], [2.0, 3.0]])
    lmbdas = (0.0025, 0.01, 0.02, 0.04, 0.16)
    other = QualityGain(2, lmbdas, 45.0)
    other.build(None)
    for name, value in gain.weights_at(lmbdas).items():
        getattr(other, name).assign(value)
    logs, own = other.log_gains().numpy(), gain.log_gains().numpy()
    np.testing.assert_allclose(logs[[1, 3]], own, atol=1e-4)
    np.testing.assert_allclose(logs[2], own.mean(0), atol=1e-4)
    # four times the lambda is twice the gain
    np.testing.assert_allclose(logs[4] - logs[3], np.log([2.0, 2.0]), atol=1e-4)
    np.testing.assert_allclose(logs[1] - logs[0], np.log([2.0, 2.0]), atol=1e-4)
    np.testing.assert_allclose(other.correction[2], [1.0, 2.0], atol=1e-5)
