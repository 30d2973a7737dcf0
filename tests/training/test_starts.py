"""New runs begin with the weights of other runs, or of exported models."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, errors, models
from tfclic.export import stored
from tfclic.training import building, checkpoints, starts
from tfclic.training.state import State


@pytest.fixture
def codec(fake, config):
    return fake.FakeCodec(config.model.lmbdas)


@pytest.fixture
def run(codec, config, tmp_path):
    """The folder of a run whose weights are 10 and whose averages are 10.5."""
    state = State(codec, config.training)
    state.step.assign(10)
    for name, variable in state.weights.items():
        variable.assign(tf.fill(variable.shape, 10.0))
        state.ema[name].assign(tf.fill(variable.shape, 10.5))
    checkpoints.save(tmp_path / "run", state, {"steps": 10})
    return tmp_path / "run"


def test_averages_are_taken(run, fake, config):
    codec = fake.FakeCodec(config.model.lmbdas)
    record, kept, larger = starts.start_from(codec, run)
    assert (record, kept, larger) == ({"steps": 10}, [], [])
    np.testing.assert_array_equal(codec.synthesis.bias, [10.5] * 3)

    codec = fake.FakeCodec(config.model.lmbdas)
    _, kept, _ = starts.start_from(codec, run, fresh=("synthesis",))
    assert kept == ["synthesis/bias", "synthesis/kernel"]
    np.testing.assert_array_equal(codec.analysis.bias, [10.5] * 4)
    np.testing.assert_array_equal(codec.synthesis.bias, [0] * 3)


def test_what_is_no_start_is_refused(run, codec, tmp_path):
    with pytest.raises(errors.ModelError, match="nowhere holds no checkpoint. There is no model"):
        starts.start_from(codec, "nowhere")
    with pytest.raises(errors.ModelError, match="not the folder of an exported model"):
        starts.start_from(codec, tmp_path)
    with pytest.raises(errors.UsageError, match="no part 'synth'; there are: analysis, synthesis"):
        starts.start_from(codec, run, fresh=("synth",))
    with pytest.raises(errors.ModelError, match="Nothing in"):
        starts.start_from(codec, run, fresh=("analysis", "synthesis"))
    (checkpoints.available(run)[-1][1] / "checkpoint.index").write_bytes(b"")
    with pytest.raises(errors.ModelError, match="cannot be read"):
        starts.start_from(codec, run)


def tiny(**changes):
    _, config = configuration.load("mean_scale")
    config.model.update(latent_channels=6, widths=(4, 4, 4), hyper_channels=4)
    config.model.update(changes)
    tf.keras.utils.set_random_seed(5)
    codec = models.build(config.model)
    building.build_variables(codec)
    return codec, config


def test_an_exported_model_is_a_start(tmp_path, monkeypatch, write_weights):
    codec, config = tiny()
    for variable in codec.trainable_variables:
        variable.assign(tf.random.normal(variable.shape, stddev=0.1))
    path = tmp_path / "tiny" / "1"
    of_card = {"config": checkpoints.as_plain(config), "training": {"steps": 7}}
    weights = write_weights(codec, path, **of_card).weights
    monkeypatch.setenv("TFCLIC_MODELS", str(tmp_path))
    for source in (path, "tiny"):
        found, _ = tiny()
        record, kept, _ = starts.start_from(found, source)
        assert (record, kept) == ({"steps": 7}, [])
        for layer, other in zip(weights, stored.StoredCodec(found).weights):
            np.testing.assert_array_equal(layer, other)
    wider, _ = tiny(hyper_channels=5)
    _, kept, larger = starts.start_from(wider, "tiny", fresh=("gain",))
    assert {path.split("/")[0] for path in kept} == {"gain"}
    parts = {path.split("/")[0] for path in larger}
    assert parts == {"hyper_analysis", "hyper_prior", "hyper_synthesis"}
    narrower, _ = tiny(hyper_channels=3)
    _, kept, larger = starts.start_from(narrower, "tiny")
    assert {path.split("/")[0] for path in kept} == parts
    assert not larger
    for index in path.glob("variables/*.index"):
        index.write_bytes(b"")
    with pytest.raises(errors.ModelError, match="cannot be read"):
        starts.start_from(tiny()[0], "tiny")


@pytest.fixture
def tiny_run(tmp_path):
    """The folder of a tiny run for lambdas 0.01 and 0.04, and a codec with its averages."""
    codec, config = tiny(lmbdas=(0.01, 0.04))
    state = State(codec, config.training)
    for average in state.ema.values():
        average.assign_add(tf.random.normal(average.shape, stddev=0.1))
    checkpoints.save(tmp_path, state, {"steps": 3})
    checkpoints.write_config(tmp_path, "mean_scale", config)
    for path, average in state.ema.items():
        state.weights[path].assign(average)
    return tmp_path, codec


def test_a_run_grows(tiny_run):
    run, codec = tiny_run
    larger, _ = tiny(latent_channels=8, lmbdas=(0.005, 0.01, 0.04))
    record, kept, grown = starts.start_from(larger, str(run))  # as a command line gives it
    assert (record, kept) == ({"steps": 3}, [])
    parts = ("activity", "gain/", "hyper_analysis/layer-0/kernel", "hyper_synthesis/")
    ends = "nonlinear_analysis/layer-6/kernel", "nonlinear_synthesis/layer-0/conv/kernel"
    paths = [path for path in building.variable_paths(larger) if path.startswith(parts + ends)]
    assert grown == sorted(paths)
    images = tf.random.stateless_uniform([1, 64, 64, 3], [1, 2])
    before, after = codec(images, tf.constant([0.0])), larger(images, tf.constant([50.0]))
    assert np.abs(before.reconstruction).max() > 0.1
    np.testing.assert_allclose(before.reconstruction, after.reconstruction, atol=1e-4)


def test_other_levels_have_the_gains_of_their_lambdas(tiny_run):
    run, codec = tiny_run
    other, _ = tiny(lmbdas=(0.005, 0.01, 0.04))
    _, kept, grown = starts.start_from(other, run)
    assert (kept, grown) == ([], ["activity", "gain/correction", "gain/rises"])
    np.testing.assert_allclose(other.gain.log_gains()[1:], codec.gain.log_gains(), atol=1e-4)


def test_as_many_other_levels_follow_their_lambdas_unless_these_are_of_another_objective(tiny_run):
    run, codec = tiny_run
    shifted, _ = tiny(lmbdas=(0.02, 0.04))
    assert starts.start_from(shifted, run)[1:] == ([], [])
    logs = codec.gain.log_gains().numpy()
    np.testing.assert_allclose(shifted.gain.log_gains(), [logs.mean(0), logs[1]], atol=1e-4)
    other, _ = tiny(lmbdas=(3.0, 120.0))
    assert starts.start_from(other, run)[1:] == ([], [])
    np.testing.assert_allclose(other.gain.log_gains(), logs, atol=1e-4)
