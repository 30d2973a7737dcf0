"""Several replicas train as one would: two devices, and two processes that find each other."""

import json
import multiprocessing
import pathlib
import re
import runpy
import signal
import socket
import tempfile
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfclic import errors
from tfclic.training import checkpoints, strategies

WORKER = str(pathlib.Path(__file__).with_name("worker.py"))
FORKS = multiprocessing.get_context("forkserver")
LONGEST = 240  # seconds for a process on a busy machine
CONFIG = """
import ml_collections


def get_config():
    model = dict(name="fake", channels=4, lmbdas=(0.001, 0.01))
    training = dict(objective="mse", steps=6, batch_size=4, crop_size=64, learning_rate=1e-3,
        final_learning_rate=1e-4, warmup_steps=2, decay_share=0.5, clip_norm=1.0, ema_decay=0.9,
        downscale_min=0.5, seed=3, validation_images=1, checkpoint_every=1, validate_every=6,
        log_every=1, precision="float32")
    return ml_collections.ConfigDict(dict(model=model, training=training))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_pixels):
    """A folder with a configuration, and photos."""
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "tiny.py").write_text(CONFIG)
    (folder / "photos").mkdir()
    for i in range(6):
        Image.fromarray(make_pixels(80, 100, seed=i)).save(folder / "photos" / f"{i}.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def forks():
    """What starts processes has imported already what takes them seconds."""
    FORKS.set_forkserver_preload(["tensorflow", "tfclic.cli.train", "tfclic.training.loop"])


def start(folder, workdir, strategy, tf_config=None, **options):
    """Starts a process that trains in `folder`/`workdir`."""
    made = tempfile.mkdtemp(dir=folder)
    given = {"folder": str(folder), "output": f"{made}/output", "log": f"{made}/log", **options}
    given["environment"] = {"TF_CONFIG": json.dumps(tf_config)} if tf_config else {}
    given["arguments"] = ["--model=tiny.py", "--data=photos", f"--workdir={workdir}"]
    given["arguments"].append(f"--strategy={strategy}")
    process = FORKS.Process(target=runpy.run_path, args=(WORKER, {"GIVEN": given}, "__main__"))
    process.printed = [pathlib.Path(given[name]) for name in ("output", "log")]
    process.start()
    return process


def make_two_configs():
    """Returns the TF_CONFIGs of two workers, with free ports of this machine."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    return [
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in (0, 1)
    ]


def start_two(folder, workdir, **options):
    """Starts two workers; `options` are the second's, which has a workdir of its own."""
    configs = make_two_configs()
    return [
        start(folder, workdir, "multiworker", configs[0]),
        start(folder, "elsewhere", "multiworker", configs[1], **options),
    ]


def finish(processes):
    """Waits for processes; returns (exit status, stdout, stderr) of each."""
    deadline = time.monotonic() + LONGEST
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
    for process in processes:
        process.kill()
        process.join()
    return [(p.exitcode, *(file.read_text() for file in p.printed)) for p in processes]


def losses(log):
    """Returns {step: loss} of a log."""
    return {int(n): float(loss) for n, loss in re.findall(r"step (\d+)/6  loss (\S+)", log)}


def assert_same_run(folder, workdir, expected):
    """Asserts that two runs have the same newest checkpoint, all of it."""
    prefixes = []
    for each in (workdir, expected):
        step, path = checkpoints.available(folder / each)[-1]
        assert step == 6
        prefixes.append(str(path / "checkpoint"))
    variables = [dict(tf.train.list_variables(prefix)) for prefix in prefixes]
    assert variables[0] == variables[1]
    names = [n for n in variables[0] if n.startswith("state/")]
    assert len(names) == 4 * 4 + 2
    for name in names:
        values = [tf.train.load_variable(prefix, name) for prefix in prefixes]
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def alone(folder):
    """Losses of one worker that has the whole batch; its workdir is `folder`/alone."""
    ((status, _, log),) = finish([start(folder, "alone", "none")])
    assert status == 0, log
    assert sorted(losses(log)) == [1, 2, 3, 4, 5, 6]
    return losses(log)


def test_two_devices_train_as_one(folder, alone):
    ((status, _, log),) = finish([start(folder, "mirrored", "mirrored", devices=2)])
    assert status == 0, log
    assert losses(log) == pytest.approx(alone, rel=1e-4, abs=2e-4)
    assert_same_run(folder, "mirrored", "alone")


def test_two_workers_train_as_one_though_one_of_them_dies(folder, alone):
    first, second = finish(start_two(folder, "workers", at=3, signal=signal.SIGKILL))
    assert second[0] == -signal.SIGKILL
    assert first[0] == 1
    assert "train: Worker 1 no longer answers" in first[2]
    assert "Traceback" not in first[2]
    before = losses(first[2])
    assert sorted(before) == [1, 2, 3]

    first, second = finish(start_two(folder, "workers"))
    assert first[0] == 0, first[2]
    assert second[0] == 0, second[2]
    assert "goes on at step 3" in first[1]
    assert {**before, **losses(first[2])} == pytest.approx(alone, rel=1e-4, abs=2e-4)
    assert_same_run(folder, "workers", "alone")
    assert not (folder / "elsewhere").exists()
    assert not losses(second[2])


def test_a_signal_to_one_worker_stops_both_and_is_saved(folder):
    processes = finish(start_two(folder, "stopped", at=2, signal=signal.SIGTERM))
    for status, _, log in processes:
        assert status == 128 + signal.SIGTERM, log
        assert "Stopped at step 3 of 6" in log
    assert checkpoints.available(folder / "stopped")[-1][0] == 3


def test_nobody_waits_for_ever(folder):
    lone = start(folder, "lone", "multiworker", make_two_configs()[0], patience=2)
    ((status, _, log),) = finish([lone])
    assert status == 1
    assert "Waiting for the other workers, at most 2 seconds.\n" in log
    assert "Traceback" not in log


def make_tf_config(cluster=None, kind="worker", index=1):
    cluster = cluster or {"worker": ["a:1", "b:2"]}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


def test_the_address_of_this_worker():
    assert strategies.own_address(make_tf_config()) == "b:2"
    mixed = {"chief": ["c:3"], "worker": ["a:1"]}
    assert strategies.own_address(make_tf_config(mixed, "chief", 0)) == "c:3"


@pytest.mark.parametrize(
    ("tf_config", "message"),
    [
        ("", "needs the environment variable TF_CONFIG; docs/training.md"),
        ("{worker", "it is not JSON"),
        ("[]", "must have a cluster"),
        ('{"cluster": {"worker": ["a:1"]}}', "must have a cluster"),
        (make_tf_config(index=2), "must have a cluster"),
        (make_tf_config(index=-1), "negative index"),
        (make_tf_config({"worker": ["a"]}, index=0), "a is not host:port"),
        (make_tf_config({"worker": ["a:1", "b:2"], "ps": ["c:3"]}), "nothing else"),
    ],
)
def test_an_unusable_tf_config_is_explained(tf_config, message):
    with pytest.raises(errors.UsageError, match=re.escape(message)):
        strategies.own_address(tf_config)


@pytest.fixture
def second_of_two():
    """The replicas as the second of two workers sees them."""
    replicas = strategies.Replicas()
    replicas.count, replicas.own, replicas.alone = 2, [1], False
    return replicas


def test_each_worker_has_its_rows(second_of_two):
    assert strategies.Replicas().rows(4) == range(4)
    assert second_of_two.rows(4) == range(2, 4)
    with pytest.raises(errors.UsageError, match="batch_size is 3, and 2 replicas"):
        second_of_two.rows(3)


def test_workers_that_differ_are_told_in_what(second_of_two):
    strategies.Replicas().check_same(configuration={"a": 1}, images="b")
    second_of_two.gather = lambda hashes: np.asarray([hashes, hashes])
    second_of_two.check_same(configuration={"a": 1}, images="b")
    second_of_two.gather = lambda hashes: np.asarray([[hashes[0], 0], hashes])
    with pytest.raises(errors.UsageError, match="do not agree on the images"):
        second_of_two.check_same(configuration={"a": 1}, images="b")


def test_only_errors_of_lost_workers_are_explained(second_of_two):
    lost = tf.errors.UnavailableError(None, None, "from /job:worker/replica:0/task:0: gone")
    with pytest.raises(strategies.WorkerLost, match="^Worker 0 no longer"):
        with second_of_two.guarded():
            raise lost
    with pytest.raises(tf.errors.UnavailableError):
        with strategies.Replicas().guarded():
            raise lost
    with pytest.raises(tf.errors.InvalidArgumentError):
        with second_of_two.guarded():
            raise tf.errors.InvalidArgumentError(None, None, "a shape")


def test_who_parts_does_not_miss_who_has_left_already(second_of_two):
    def gone(numbers):
        raise tf.errors.UnavailableError(None, None, "from /job:worker/replica:0/task:0: gone")

    strategies.Replicas().part()
    second_of_two.gather = gone
    second_of_two.part()
