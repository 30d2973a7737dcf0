import json

import numpy as np
import pytest
import tensorflow as tf

from tfclic import errors
from tfclic.training import checkpoints, filed
from tfclic.training.state import State


@pytest.fixture
def codec(fake, config):
    return fake.FakeCodec(config.model.lmbdas)


@pytest.fixture
def state(codec, config):
    return State(codec, config.training)


def save_at(workdir, state, number):
    """Saves `state` as step `number`, its weights and averages all of that value (and a half)."""
    state.step.assign(number)
    for name, variable in state.weights.items():
        variable.assign(tf.fill(variable.shape, float(number)))
        state.ema[name].assign(tf.fill(variable.shape, number + 0.5))
    return checkpoints.save(workdir, state, {"steps": number})


def test_the_last_three_checkpoints_are_kept(tmp_path, state):
    for number in (10, 20, 30, 40):
        save_at(tmp_path, state, number)
    assert [s for s, _ in checkpoints.available(tmp_path)] == [20, 30, 40]
    assert json.loads((tmp_path / "record.json").read_text()) == {"steps": 40}
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {
        "step-00000020",
        "step-00000030",
        "step-00000040",
    }


def test_restore_brings_everything_back(tmp_path, state, fake, config):
    state.updates.assign(7)
    state.first_moment["analysis/kernel"].assign_add(tf.ones([9, 9, 3, 4]))
    save_at(tmp_path, state, 10)
    fresh = State(fake.FakeCodec(config.model.lmbdas), config.training)
    assert checkpoints.restore(tmp_path, fresh) == {"steps": 10}
    assert (int(fresh.step), int(fresh.updates)) == (10, 7)
    for kind in ("weights", "ema", "first_moment", "second_moment"):
        for name, variable in getattr(state, kind).items():
            np.testing.assert_array_equal(variable, getattr(fresh, kind)[name])


def test_a_new_workdir_has_nothing_to_restore(tmp_path, state):
    assert checkpoints.restore(tmp_path, state) is None


def test_a_run_killed_while_saving_leaves_the_older_checkpoint(tmp_path, state, monkeypatch):
    save_at(tmp_path, state, 10)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            save_at(tmp_path, state, 20)
    assert [s for s, _ in checkpoints.available(tmp_path)] == [10]
    assert checkpoints.restore(tmp_path, state) == {"steps": 10}
    save_at(tmp_path, state, 20)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("part", ["checkpoint.index", "checkpoint.data-00000-of-00001"])
@pytest.mark.parametrize("damage", [lambda d: d[:-100], lambda d: d[:99] + b"?!" + d[101:]])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, state, caplog, part, damage):
    save_at(tmp_path, state, 10)
    damaged = save_at(tmp_path, state, 20) / part
    damaged.write_bytes(damage(damaged.read_bytes()))
    assert checkpoints.restore(tmp_path, state) == {"steps": 10}
    assert int(state.step) == 10
    assert "step-00000020 cannot be read" in caplog.text
    (tmp_path / "checkpoints" / "step-00000010" / "record.json").unlink()
    with pytest.raises(errors.TfclicError, match="None of the checkpoints"):
        checkpoints.restore(tmp_path, state)


def test_a_disk_that_refuses_is_named(tmp_path, state):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(errors.TfclicError, match="step-00000010 cannot be written"):
        save_at(tmp_path, state, 10)


@pytest.mark.parametrize(("ema", "expected"), [(True, 10.5), (False, 10.0)])
def test_restore_weights(tmp_path, state, fake, config, ema, expected):
    save_at(tmp_path, state, 10)
    codec = fake.FakeCodec(config.model.lmbdas)
    assert checkpoints.restore_weights(codec, tmp_path, ema) == 10
    for variable in codec.variables:
        np.testing.assert_array_equal(variable, np.full(variable.shape, expected))


def test_restore_weights_of_a_run_without_averages(tmp_path, fake, config):
    config.training.ema_decay = 0.0
    state = State(fake.FakeCodec(config.model.lmbdas), config.training)
    checkpoints.save(tmp_path, state, {})
    codec = fake.FakeCodec(config.model.lmbdas)
    checkpoints.restore_weights(codec, tmp_path)
    np.testing.assert_array_equal(codec.analysis.kernel, state.weights["analysis/kernel"])


def test_restore_weights_refuses_another_model(tmp_path, state, fake):
    with pytest.raises(errors.ModelError, match="holds no checkpoint"):
        checkpoints.restore_weights(fake.FakeCodec(), tmp_path)
    save_at(tmp_path, state, 10)
    with pytest.raises(errors.ModelError, match="does not fit this model"):
        checkpoints.restore_weights(fake.FakeCodec(channels=5), tmp_path)
    with pytest.raises(errors.ModelError, match="does not fit this model"):
        checkpoints.restore_weights(make_gained(fake), tmp_path)


def make_gained(fake):
    """The fake codec as newer code may have it: with a variable more in each of two places."""
    codec = fake.FakeCodec()
    codec.analysis.scale = tf.Variable([2.0, 3.0])
    codec.shift = tf.Variable(4.0, trainable=False)
    return codec


def test_variables_that_are_new_begin_as_in_a_new_model(tmp_path, state, fake, config, caplog):
    state.first_moment["analysis/bias"].assign(tf.ones([4]))
    save_at(tmp_path, state, 10)
    newer = State(make_gained(fake), config.training)
    assert checkpoints.restore(tmp_path, newer) == {"steps": 10}
    assert "new variables: 2 (first analysis/scale), which begin" in caplog.text
    assert "no longer used" not in caplog.text
    assert len([r for r in caplog.records if "saved by other code" in r.message]) == 1
    for kind in ("weights", "ema"):
        np.testing.assert_array_equal(getattr(newer, kind)["analysis/scale"], [2.0, 3.0])
    for kind in ("first_moment", "second_moment"):
        np.testing.assert_array_equal(getattr(newer, kind)["analysis/scale"], [0.0, 0.0])
    assert newer.weights["shift"] == 4.0
    np.testing.assert_array_equal(newer.weights["analysis/bias"], [10.0] * 4)
    np.testing.assert_array_equal(newer.ema["analysis/bias"], [10.5] * 4)
    np.testing.assert_array_equal(newer.first_moment["analysis/bias"], [1.0] * 4)


def test_what_is_not_trained_may_be_missing(tmp_path, state, fake):
    save_at(tmp_path, state, 10)
    newer = fake.FakeCodec()
    newer.shift = tf.Variable(4.0, trainable=False)
    assert checkpoints.restore_weights(newer, tmp_path) == 10
    assert newer.shift == 4.0
    np.testing.assert_array_equal(newer.analysis.bias, [10.5] * 4)


def test_variables_that_are_gone_are_left(tmp_path, state, fake, config, caplog):
    older = State(make_gained(fake), config.training)
    older.step.assign(10)
    checkpoints.save(tmp_path, older, {"steps": 10})
    checkpoints.restore(tmp_path, state)
    assert "variables no longer used: 2 (first analysis/scale)." in caplog.text
    assert_same_values(state, older)
    codec = fake.FakeCodec()
    assert checkpoints.restore_weights(codec, tmp_path) == 10
    np.testing.assert_array_equal(codec.analysis.kernel, older.ema["analysis/kernel"])


def assert_same_values(one, other):
    """Asserts that all variables of `one` are those of `other`."""
    for name, variable in one.named().items():
        np.testing.assert_array_equal(variable, other.named()[name])


def test_a_checkpoint_of_another_model_is_refused(tmp_path, state, fake, config):
    save_at(tmp_path, state, 10)
    wider = State(fake.FakeCodec(channels=5), config.training)
    with pytest.raises(errors.ModelError, match=r"fit this model: analysis/bias .*\(4,\)"):
        checkpoints.restore(tmp_path, wider)
    with pytest.raises(errors.ModelError, match="does not fit this model: none of its variables"):
        filed.check_fit("step-00000010", {"encode/kernel": np.zeros(3)}, {"analysis/bias": 0.0})


def test_averages_begin_at_the_weights_and_may_end(tmp_path, state, fake, config):
    save_at(tmp_path, state, 10)
    config.training.ema_decay = 0.0
    without = State(fake.FakeCodec(), config.training)
    checkpoints.restore(tmp_path, without)
    assert not without.ema
    np.testing.assert_array_equal(without.weights["analysis/bias"], [10.0] * 4)
    without.step.assign(20)
    checkpoints.save(tmp_path, without, {"steps": 20})
    config.training.ema_decay = 0.9
    again = State(fake.FakeCodec(), config.training)
    assert checkpoints.restore(tmp_path, again) == {"steps": 20}
    for average in again.ema.values():
        np.testing.assert_array_equal(average, np.full(average.shape, 10.0))


def test_a_workdir_serves_one_run_at_a_time(tmp_path):
    workdir = tmp_path / "new" / "workdir"
    with checkpoints.locked(workdir):
        second = checkpoints.locked(workdir)
        with pytest.raises(errors.UsageError, match="Another run"):
            second.__enter__()
    with checkpoints.locked(workdir):
        pass
    (tmp_path / "file").write_text("")
    in_the_way = checkpoints.locked(tmp_path / "file")
    with pytest.raises(errors.UsageError, match="cannot be used"), in_the_way:
        pass
