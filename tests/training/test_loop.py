import io
import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from tfclic import errors
from tfclic.training import checkpoints, data, history, loop, sources, step


@pytest.fixture
def store(photos):
    return sources.open_source(str(photos), 64)


@pytest.fixture
def start(fake, config, store):
    """Makes a Run in a workdir, of a new codec, as a new process would."""

    def make(workdir, steps=None, codec=None, changed=(), **extra):
        config.training.steps = steps or config.training.steps
        tf.keras.utils.set_random_seed(config.training.seed)
        codec = codec or fake.FakeCodec(config.model.lmbdas)
        return loop.Run(codec, config, store, workdir, extra, changed=changed)

    return make


class Signalling(io.StringIO):
    """A log that sends this process a signal when a certain line is written."""

    def __init__(self, number, text):
        super().__init__()
        self._signal, self._text = number, text

    def write(self, text):
        if self._text in text:
            os.kill(os.getpid(), self._signal)
        return super().write(text)


def assert_same_state(one, other):
    for kind in ("weights", "ema", "first_moment", "second_moment"):
        for name, variable in getattr(one, kind).items():
            np.testing.assert_allclose(variable, getattr(other, kind)[name], atol=1e-6)
    assert int(one.updates) == int(other.updates)


@pytest.mark.parametrize("killed_while_saving", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path, start, monkeypatch, killed_while_saving
):
    whole = start(tmp_path / "whole")
    whole.train(io.StringIO())

    first, saves = start(tmp_path / "parts"), []
    real = checkpoints.save

    def save(*arguments):
        saves.append(arguments)
        if len(saves) > 1 or not killed_while_saving:
            raise MemoryError
        return real(*arguments)

    # Killed at step 2 (nothing saved) or at step 4 (step 2 saved).
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", save)
        with pytest.raises(MemoryError):
            first.train(io.StringIO())
    second = start(tmp_path / "parts")
    assert second.step == (2 if killed_while_saving else 0)
    second.train(io.StringIO())
    assert second.step == whole.step == 6
    assert_same_state(second.state, whole.state)
    assert second.record()["validation"]["mean_loss"] == pytest.approx(
        whole.record()["validation"]["mean_loss"], rel=1e-4
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_first_and_the_run_goes_on_later(tmp_path, start, number, status):
    whole = start(tmp_path / "whole")
    whole.train(io.StringIO())
    handler = signal.getsignal(number)
    stream = Signalling(number, "step 3/6")
    run = start(tmp_path / "parts")
    with pytest.raises(loop.Interrupted, match="Stopped at step 3 of 6") as raised:
        run.train(stream)
    assert raised.value.exit_status == status
    assert signal.getsignal(number) is handler
    assert checkpoints.available(tmp_path / "parts")[-1][0] == 3
    assert json.loads((tmp_path / "parts" / "record.json").read_text())["steps"] == 3
    run = start(tmp_path / "parts")
    run.train(io.StringIO())
    assert_same_state(run.state, whole.state)


def test_a_last_validation_that_a_signal_ended_is_made_up(tmp_path, start, monkeypatch):
    whole = start(tmp_path / "whole")
    whole.train(io.StringIO())
    run, validate = start(tmp_path / "parts"), loop.Run._validate

    def stopped(self, done, caught):
        if done == 6:
            os.kill(os.getpid(), signal.SIGINT)
        validate(self, done, caught)

    monkeypatch.setattr(loop.Run, "_validate", stopped)
    with pytest.raises(loop.Interrupted, match="Stopped at step 6 of 6"):
        run.train(io.StringIO())
    # again, while it is made up
    with pytest.raises(loop.Interrupted, match="Stopped at step 6 of 6"):
        start(tmp_path / "parts").train(io.StringIO())
    monkeypatch.undo()
    run = start(tmp_path / "parts")
    run.train(io.StringIO())
    assert_same_state(run.state, whole.state)
    for found in (run.record(), json.loads((tmp_path / "parts" / "record.json").read_text())):
        assert found["validation"] == whole.record()["validation"]
        assert found["images_seen"] == whole.record()["images_seen"]


def test_a_done_run_does_nothing_and_more_steps_can_follow(tmp_path, start):
    start(tmp_path).train(io.StringIO())
    again = start(tmp_path)
    stream = io.StringIO()
    again.train(stream)
    assert stream.getvalue() == ""
    longer = start(tmp_path, steps=8)
    longer.train(io.StringIO())
    assert longer.step == 8


def make_breaking(fake, config, after):
    """A fake codec whose loss is NaN once `after` updates have been counted in `codec.calls`."""

    class Breaking(fake.FakeCodec):
        def __init__(self):
            super().__init__(config.model.lmbdas)
            self.calls = tf.Variable(0.0, trainable=False)

        def call(self, images, quality, seed=None, training=True, rdo=False):
            out = super().call(images, quality, seed=seed, training=training)
            bad = self.calls.assign_add(1.0) > after if training else False
            return out._replace(bits=tf.where(bad, np.nan, out.bits))

    return Breaking()


def test_a_nan_names_the_step_and_the_last_good_checkpoint(tmp_path, start, fake, config):
    # One call makes the variables.
    run = start(tmp_path, codec=make_breaking(fake, config, after=1 + 4))
    with pytest.raises(loop.Diverged, match=r"step 5: the loss is nan.*step-00000004") as raised:
        run.train(io.StringIO())
    assert raised.value.exit_status == 1
    assert checkpoints.available(tmp_path)[-1][0] == 4
    for variable in run.state.weights.values():
        assert np.all(np.isfinite(variable))


def test_a_nan_before_any_checkpoint_says_so(tmp_path, start, fake, config):
    run = start(tmp_path, codec=make_breaking(fake, config, after=1))
    with pytest.raises(loop.Diverged, match="there is no checkpoint yet"):
        run.train(io.StringIO())


def test_a_run_that_only_skips_is_stopped(tmp_path, start, monkeypatch):
    monkeypatch.setattr(loop, "MOST_SKIPPED_IN_A_ROW", 3)
    metrics = {"loss": 1.0, "bpp": 1.0, "psnr": 1.0, "skipped": 1.0}

    def make_step(codec, state, training, kernels):
        def train_step(images, seed):
            state.step.assign_add(1)
            return metrics

        return train_step

    monkeypatch.setattr(step, "make_step", make_step)
    with pytest.raises(loop.Diverged, match="step 3: no gradient is finite"):
        start(tmp_path).train(io.StringIO())


def test_the_record_says_what_a_model_card_needs(tmp_path, start):
    start(tmp_path, steps=4, precision="float32").train(io.StringIO())
    first = json.loads((tmp_path / "record.json").read_text())
    run = start(tmp_path, steps=6, precision="float32")
    run.train(io.StringIO())
    record = json.loads((tmp_path / "record.json").read_text())
    assert record == run.record()
    assert record["steps"] == 6
    assert record["images_seen"] == 12
    assert record["precision"] == "float32"
    assert record["seconds"] >= first["seconds"]
    assert "8 images" in record["data"]
    assert "core" in record["hardware"]
    assert record["validation"]["step"] == 6
    assert len(record["validation"]["psnr"]) == 2


def test_changes_are_kept_from_the_step_on_at_which_they_came(tmp_path, start):
    rate = {"field": "training.learning_rate", "before": 5e-4, "after": 1e-4}
    start(tmp_path, steps=2, changed=[rate]).train(io.StringIO())
    assert "changes" not in json.loads((tmp_path / "record.json").read_text())
    # killed before its first step, and started again
    start(tmp_path, steps=4, changed=[rate])
    start(tmp_path, steps=4, changed=[rate])
    expected = [{"step": 2, **rate}]
    assert json.loads((tmp_path / "record.json").read_text())["changes"] == expected
    start(tmp_path, steps=4).train(io.StringIO())
    back = {"field": "training.learning_rate", "before": 1e-4, "after": 5e-4}
    start(tmp_path, steps=6, changed=[back]).train(io.StringIO())
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["changes"] == [*expected, {"step": 4, **back}]


def test_another_batch_size_goes_on_where_the_stream_of_crops_was(
    tmp_path, start, config, monkeypatch
):
    seen, crop = [], data.RandomCrops.crop
    monkeypatch.setattr(
        data.RandomCrops, "crop", lambda self, number: (seen.append(number), crop(self, number))[1]
    )
    for steps, size in ((2, 4), (4, 2), (6, 3)):
        config.training.batch_size = size
        run = start(tmp_path, steps=steps)
        run.train(io.StringIO())
    assert sorted(seen) == list(range(2 * 4 + 2 * 2 + 2 * 3))
    assert run.record()["images_seen"] == 18


def test_validations_are_drawn_against_the_start(tmp_path, start, monkeypatch):
    monkeypatch.setattr(history, "against", lambda anchor, result: anchor["step"] - 100.0)
    start(tmp_path / "old").train(io.StringIO())
    old = json.loads((tmp_path / "old" / "record.json").read_text())
    assert old["validation_images"] == 2
    for steps in (3, 6):
        stream = io.StringIO()
        start(tmp_path / "new", steps=steps, start=old).train(stream)
        assert f"step {steps}  validation loss" in stream.getvalue()
        assert "-94.0 % against its start" in stream.getvalue()
    lines = (tmp_path / "new" / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6]
    assert json.loads(lines[-1]) == start(tmp_path / "new").record()["validation"]
    assert (tmp_path / "new" / "curve.png").exists()


def test_other_images_are_noticed(tmp_path, start, store, photos, fake, config):
    start(tmp_path).train(io.StringIO())
    assert not start(tmp_path).data_changed
    (photos / "p0.jpg").unlink()
    fewer = sources.open_source(str(photos), 64)
    assert loop.Run(fake.FakeCodec(config.model.lmbdas), config, fewer, tmp_path).data_changed


def test_images_that_vanish_end_the_run_with_a_sentence(tmp_path, start, store):
    run = start(tmp_path)
    store.load = lambda index: None
    with pytest.raises(errors.ImageError, match="can no longer be read"):
        run.train(io.StringIO())
