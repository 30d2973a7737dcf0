"""The C API: what goes in comes out, and what TensorFlow refuses is told."""

import concurrent.futures
import os
import resource
import signal

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from tfclic import errors
from tfclic.export import saving
from tfclic.runtime import c_api, session

KINDS = {
    "floats": tf.TensorSpec([None, None], tf.float32),
    "doubles": tf.TensorSpec([None], tf.float64),
    "integers": tf.TensorSpec([], tf.int32),
    "longs": tf.TensorSpec([None], tf.int64),
    "pixels": tf.TensorSpec([None, None, None], tf.uint8),
    "truths": tf.TensorSpec([None], tf.bool),
    "text": tf.TensorSpec([], tf.string),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A SavedModel whose `echo` returns its arguments and whose `refuse` never succeeds."""

    def echo(**arguments):
        return {name: tf.identity(value) for name, value in arguments.items()}

    def refuse(text):
        with tf.control_dependencies([tf.debugging.Assert(False, [text])]):
            return {"text": tf.identity(text)}

    folder = tmp_path_factory.mktemp("echo") / "1"
    signatures = {
        "echo": tf.function(echo).get_concrete_function(**KINDS),
        "refuse": tf.function(refuse, [KINDS["text"]]),
    }
    tf.saved_model.save(tf.Module(), str(folder), signatures)
    return folder


@pytest.fixture(scope="module")
def loaded(path):
    return session.Session(path, saving.functions(path))


def arguments(text=b"\0 text \xff"):
    """One argument of each kind."""
    return {
        "floats": np.array([[1.5, np.inf], [-0.0, 3]], np.float32),
        "doubles": np.array([], np.float64),
        "integers": np.int32(-7),
        "longs": np.array([1 << 40, -1]),
        "pixels": np.arange(24, dtype=np.uint8).reshape(2, 3, 4).transpose(1, 0, 2),
        "truths": np.array([True, False, True]),
        "text": text,
    }


@pytest.mark.parametrize("size", [0, 1, 22, 23, 100_000])
def test_every_kind_comes_back(loaded, size):
    sent = arguments(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    got = loaded.run("echo", **sent)
    assert got["text"] == sent["text"]
    for name in set(sent) - {"text"}:
        assert got[name].dtype == sent[name].dtype and got[name].shape == sent[name].shape
        np.testing.assert_array_equal(got[name], sent[name])


def test_a_refusal_carries_its_code_and_message(loaded):
    with pytest.raises(c_api.SessionError, match="no reason at all") as caught:
        loaded.run("refuse", text=b"no reason at all")
    assert caught.value.code == c_api.INVALID_ARGUMENT


def test_threads_share_a_session(loaded):
    texts = [str(i).encode() * 1000 for i in range(40)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda text: loaded.run("echo", **arguments(text)), texts))
    assert [result["text"] for result in results] == texts


def test_memory_is_given_back(loaded, path):
    text = bytes(1 << 20)
    loaded.run("echo", **arguments(text))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        loaded.run("echo", **arguments(text))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 100 << 10


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(c_api.SessionError, match="No such file or directory: saved_model.pb"):
        session.Session(tmp_path, {})


def test_a_tensor_that_is_not_in_the_graph_is_refused(path):
    functions = {"echo": {"inputs": {"text": "nowhere:0"}, "outputs": {}}}
    with pytest.raises(c_api.SessionError, match="no nowhere:0"):
        session.Session(path, functions)


def test_a_forked_process_is_told_instead_of_waiting_for_ever(path, loaded):
    loaded.run("echo", **arguments())
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(20)  # the default ends the process
            tries = (
                lambda: loaded.run("echo", **arguments()),
                lambda: session.Session(path, saving.functions(path)),
            )
            for attempt in tries:
                with pytest.raises(errors.ModelError, match="forked"):
                    attempt()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    loaded.run("echo", **arguments())


@pytest.mark.parametrize("limited, told, threads", [(3, None, 3), (8, None, 0), (3, "2", 0)])
def test_containers_have_as_many_threads_as_they_have_time_for(monkeypatch, limited, told, threads):
    monkeypatch.setattr(session.machine, "schedulable_cores", lambda: 8)
    monkeypatch.setattr(session.machine, "cores", lambda: limited)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    if told:
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", told)
    found = config_pb2.ConfigProto.FromString(session._config())
    assert found.graph_options.rewrite_options.disable_meta_optimizer
    # 0: as many as there are cores
    assert found.intra_op_parallelism_threads == found.inter_op_parallelism_threads == threads
