"""The portable step on jax, against the ordinary step of TensorFlow, and the way back."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf

from tfclic import errors
from tfclic.portable import folder, hlo, packs
from tfclic.portable.runner import device, files, inputs
from tfclic.training import checkpoints, loop, schedule, sources, step
from tfclic.training.levels import draw_levels
from tfclic.training.state import State

# The tests wait for the compiler, not for the steps.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


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
    state = State(codec, training)
    lowered = hlo.lower(hlo.make_step(codec, state, training), state)
    module, params, results, constants = lowered
    (tmp_path / "step.hlo").write_bytes(module)
    meta = {"batch": 2, "crop": training.crop_size, "params": params, "results": results}
    arrays = {**{n: v.numpy() for n, v in state.named().items()}, **constants}
    engine = device.Engine(tmp_path, meta, arrays, "cpu", QUICK)

    random = np.random.default_rng(0)
    shape = [10, 2, training.crop_size, training.crop_size, 3]
    images = random.integers(0, 256, shape).astype(np.uint8)
    seeds = np.stack([step.seed_of(training.seed, i) for i in range(10)])
    drawing = len(codec.lmbdas), tf.constant([2]), training.level_sampling
    levels = np.stack([draw_levels(seed, *drawing) for seed in seeds])
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
    codec = make_codec(residual=False, attention="none", mixtures=2, block_transform=False)
    arrays, losses, state, expected = ten_steps_of_both(codec, config, tmp_path, 1)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert_close(arrays, state, 1e-3)


def make_folder(fake, config, photos, path, workdir=None, **changes):
    """Exports a portable folder of the fake codec; returns its images' store."""
    store = sources.open_source(str(photos), 64)
    tf.keras.utils.set_random_seed(1)
    codec = fake.FakeCodec(config.model.lmbdas)
    options = packs.Options(side=72, file_bytes=40_000, pack_bytes=300_000, **changes)
    folder.export_folder(path, "fake", config, codec, "float32", store, options, workdir)
    return store


def test_a_folder_is_whole_and_its_files_are_small(fake, config, photos, tmp_path):
    make_folder(fake, config, photos, tmp_path / "out")
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "out").iterdir()}
    data = {n: size for n, size in sizes.items() if n.startswith(("pack-", "state-"))}
    assert max(data.values()) <= 40_000
    assert sum(size for n, size in data.items() if n.startswith("pack-")) <= 300_000
    assert {"portable.json", "state.json", "step.hlo", "portable_run.py"} <= set(sizes)
    found = sorted((tmp_path / "out").glob("pack-*.zip"))
    images = files.read_packs(found, 64)
    assert {image.shape for image in images} == {(72, 72, 3)}
    assert len(files.read_packs(found[:1], 64)) < len(images)


@pytest.mark.parametrize("name", [".", "mounted"])
def test_an_empty_folder_that_is_there_stays(fake, config, photos, tmp_path, monkeypatch, name):
    there = tmp_path / "here" / name
    # what a killed program left
    (there / folder.UNFINISHED).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    before = there.stat().st_ino
    make_folder(fake, config, photos, name)
    assert there.stat().st_ino == before
    assert files.read_meta(there)["name"] == "fake"
    assert not list(there.glob(".*"))


def test_a_workdir_goes_out_trains_elsewhere_and_comes_back(fake, config, photos, tmp_path):
    def codec_of(_):
        return fake.FakeCodec((0.001, 0.01))

    store = sources.open_source(str(photos), 64)
    (tmp_path / "run").mkdir()
    first = loop.Run(codec_of(None), config, store, tmp_path / "run")
    checkpoints.write_config(tmp_path / "run", "fake", config)
    config.training.steps = 4
    first.train(io.StringIO())
    config.training.update(steps=8, learning_rate=5e-4)
    make_folder(fake, config, photos, tmp_path / "out", tmp_path / "run")

    arrays, progress = files.read_state(tmp_path / "out")
    assert progress["step"] == 4
    assert_close(arrays, first.state, 0)
    arrays["step"] = np.array(6)
    arrays["ema/analysis/bias"] = arrays["ema/analysis/bias"] + np.float32(1)
    elsewhere = {"device": "some GPU", "first_step": 4, "steps": 2, "seconds": 1.5, "images": 4}
    progress = {"step": 6, "runs": [{**elsewhere, "skipped_steps": 1}]}
    files.write_state(tmp_path / "out", arrays, progress)
    folder.adopt(tmp_path / "out", tmp_path / "new", codec_of)

    again = loop.Run(codec_of(None), config, store, tmp_path / "new")
    assert again.step == 6
    assert not again.data_changed
    assert_close(arrays, again.state, 0)
    record = json.loads((tmp_path / "new" / "record.json").read_text())
    assert (record["steps"], record["images_seen"], record["skipped_steps"]) == (6, 12, 1)
    assert record["seconds"] == pytest.approx(first.record()["seconds"] + 1.5)
    assert record["hardware"].endswith("; some GPU")
    assert record["portable"][0]["device"] == "some GPU"
    assert json.loads((tmp_path / "new" / "config.json").read_text())["name"] == "fake"
    again.train(io.StringIO())
    record = json.loads((tmp_path / "new" / "record.json").read_text())
    assert (record["steps"], record["images_seen"]) == (8, 16)
    assert record["portable"][0]["device"] == "some GPU"
    with pytest.raises(errors.UsageError, match="holds a run already"):
        folder.adopt(tmp_path / "out", tmp_path / "new", codec_of)


def test_folders_by_code_without_a_variable_that_is_not_trained_come_back(
    fake, config, photos, tmp_path
):
    def newer(_):
        codec = fake.FakeCodec((0.001, 0.01))
        codec.shift = tf.Variable(4.0, trainable=False)
        return codec

    make_folder(fake, config, photos, tmp_path / "out")
    folder.adopt(tmp_path / "out", tmp_path / "new", newer)
    codec = newer(None)
    checkpoints.restore_weights(codec, tmp_path / "new")
    assert codec.shift == 4.0
    arrays, _ = files.read_state(tmp_path / "out")
    np.testing.assert_array_equal(codec.analysis.kernel, arrays["ema/analysis/kernel"])


def test_a_step_that_xla_cannot_compile_is_refused(fake, config, photos, tmp_path):
    class Python(fake.FakeCodec):
        def call(self, images, quality, seed=None, training=True):
            out = super().call(images, quality, seed=seed, training=training)
            bits = tf.numpy_function(lambda b: b, [out.bits], tf.float32)
            return out._replace(bits=tf.ensure_shape(bits, [images.shape[0]]))

    store = sources.open_source(str(photos), 64)
    options = packs.Options(side=72)
    with pytest.raises(errors.UsageError, match="This configuration has no portable step"):
        folder.export_folder(tmp_path / "out", "fake", config, Python(), "float32", store, options)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_packed_or_is_in_the_way_is_refused(fake, config, photos, tmp_path):
    with pytest.raises(errors.UsageError, match="is not empty"):
        make_folder(fake, config, photos, photos)
    with config.unlocked():
        config.training.stage_shares = (0.5,)
    # which the ordinary run would refuse that the folder comes back to
    with pytest.raises(errors.UsageError, match="has to have 0 shares, all but the last stage's"):
        make_folder(fake, config, photos, tmp_path / "o")
    config.training.stage_shares = ()
    store = sources.open_source(str(photos), 64)
    options = packs.Options(side=512)
    codec = fake.FakeCodec(config.model.lmbdas)
    with pytest.raises(errors.UsageError, match="sides of at least 512"):
        folder.export_folder(tmp_path / "o", "fake", config, codec, "float32", store, options)
    assert not [p for p in tmp_path.iterdir() if "o" == p.name or p.name.startswith(".")]


def test_the_learning_rate_is_that_of_the_ordinary_loop(config):
    config.training.update(steps=50, warmup_steps=7)
    for decay_share in (0.0, 0.4):
        config.training.decay_share = decay_share
        expected = [float(schedule.learning_rate(s, config.training)) for s in range(50)]
        rates = [inputs.learning_rate(s, config.training.to_dict()) for s in range(50)]
        np.testing.assert_allclose(rates, expected, rtol=1e-6)
