"""The server as a process and its end; clients that need nothing of TensorFlow."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tfclic.serving import protos

ROOT = pathlib.Path(__file__).parents[2]


def start(folder, *words):
    """Starts bin/serve's program; returns it and its gRPC port once it serves."""
    port = free_port()
    command = [sys.executable, "-m", "tfclic.cli.serve", "--model_base_path", str(folder)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--rest_api_port", "0", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == f"Serving at gRPC port {port}.\n"
    return process, port


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(scaling_folder, ask, number):
    process, port = start(scaling_folder)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = protos.prediction_service_pb2_grpc.PredictionServiceStub(channel)
        (value,) = np.frombuffer(stub.Predict(ask([4])).outputs["y"].tensor_content, np.float32)
        assert value == 8
        process.send_signal(number)
        assert process.wait(60) == 0
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(ask([4]))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    process.communicate()


def test_what_was_begun_is_answered_when_the_server_ends(serving, scaling_folder, ask, slow):
    begun, go_on, _ = slow
    with serving(scaling_folder) as started:
        health = health_pb2_grpc.HealthStub(started.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        first = started.prediction.Predict.future(ask([1]))
        assert begun.wait(60)
        end = threading.Thread(target=started.stop)
        end.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as caught:
                started.prediction.Predict(ask([2]))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == "The server is ending; ask another one."
        body = json.dumps({"inputs": {"x": [2.0]}}).encode()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{started.url}/v1/models/scaling:predict", body, 60)
        assert refused.value.code == 503
        go_on.set()
        answer = first.result(60)
        end.join(60)
        assert np.frombuffer(answer.outputs["y"].tensor_content, np.float32)[0] == 2


def test_what_does_not_end_is_given_up_after_its_time(serving, scaling_folder, ask, slow):
    begun, go_on, _ = slow
    with serving(scaling_folder, drain_seconds=0.2) as started:
        future = started.prediction.Predict.future(ask([1]))
        assert begun.wait(60)
        # the model itself is waited for
        timer = threading.Timer(1.0, go_on.set)
        timer.start()
        started.stop()
        with pytest.raises(grpc.RpcError):
            future.result(60)


def test_a_rest_port_in_use_is_told_in_a_sentence_and_nothing_else(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "tfclic.cli.serve", "--model_base_path", str(tmp_path)]
        command += ["--port", "0", "--rest_api_port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"serve: 127.0.0.1:{port} cannot be listened at: ")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_told_in_a_sentence(scaling_folder):
    process, port = start(scaling_folder)
    command = [sys.executable, "-m", "tfclic.cli.serve", "--model_base_path", str(scaling_folder)]
    command += ["--port", str(port), "--rest_api_port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"serve: 127.0.0.1:{port} cannot be listened at."


def test_no_folder_is_told_in_a_sentence(tmp_path):
    command = [sys.executable, "-m", "tfclic.cli.serve", "--model_base_path", str(tmp_path / "no")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert done.stderr == f"serve: {tmp_path / 'no'} is not a folder.\n"


def test_messages_need_nothing_of_tensorflow_which_can_be_imported_later():
    program = """if True:
        import sys
        from tfclic.serving import client, protos, tensors
        assert "tensorflow" not in sys.modules
        request = client.predict_request("toy/2", "info", {"files": [b"x"]})
        assert request.model_spec.version.value == 2
        import tensorflow as tf
        assert tf.make_ndarray(request.inputs["files"]).tolist() == [b"x"]
        assert tf.constant(1) + 1 == 2
    """
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
