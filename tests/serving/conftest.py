"""Servers in a thread of the tests' process, and small models besides the toy codec."""

import asyncio
import contextlib
import threading
import time

import grpc
import numpy as np
import pytest

from tfclic.serving import protos, repository, server


def export_scaling(folder, name="scaling", version=1, factor=2.0):
    """Exports a model, not of images at all, whose `serving_default` gives `factor` times `x`."""
    import tensorflow as tf

    def scaled(x):
        return {"y": factor * x}

    path = folder / name / str(version)
    signatures = {"serving_default": tf.function(scaled, [tf.TensorSpec([None], tf.float32, "x")])}
    tf.saved_model.save(tf.Module(), str(path), signatures)
    return path


class Running:
    """A server that has started.

    Attributes:
      server: the `server.Server`.
      channel: a gRPC channel to it.
      url: str, of its REST interface.
    """

    def __init__(self, folder, spans=None, **options):
        settings = {"port": 0, "rest_api_port": 0, "poll_seconds": -1, **options}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        models = repository.Repository(folder)
        self.server = server.Server(models, server.Options(**settings), spans)
        self.manager = self.server.manager
        self.wait(self.server.start())
        if settings["poll_seconds"] < 0:
            self.manager.poll()
        unlimited = [("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}", unlimited)
        self.url = f"http://127.0.0.1:{self.server.rest_port}"

    def wait(self, coroutine):
        """Runs a coroutine in the server's loop and returns its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def stop(self):
        """Ends the server in its orderly way."""
        self.wait(self.server.stop())

    def close(self):
        self.channel.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def prediction(self):
        """TensorFlow Serving's stock stub."""
        return protos.prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    @property
    def models(self):
        """TensorFlow Serving's stock stub."""
        return protos.model_service_pb2_grpc.ModelServiceStub(self.channel)


@pytest.fixture(scope="session")
def wait_until():
    """Function that returns once a condition, a function, holds; it fails after a minute."""

    def wait_until(condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    return wait_until


@contextlib.contextmanager
def running(folder, **options):
    """Yields a `Running` server of the models in a folder."""
    started = Running(folder, **options)
    try:
        yield started
        started.stop()
    finally:
        started.close()


@pytest.fixture(scope="session")
def serving():
    """`running`, for tests that want a server of their own."""
    return running


@pytest.fixture(scope="session")
def make_scaling():
    """`export_scaling`, for tests that want models of their own."""
    return export_scaling


@pytest.fixture(scope="session")
def scaling_folder(tmp_path_factory):
    """A folder with the scaling model."""
    return export_scaling(tmp_path_factory.mktemp("scaling")).parents[1]


@pytest.fixture(scope="session")
def toy_server(toy_model):
    """A server of the toy codec, which images of more than 2500 pixels are too large for."""
    with running(toy_model.parents[1], max_pixels=2500, max_bytes=1 << 20) as started:
        yield started


@pytest.fixture
def slow(monkeypatch):
    """Makes models wait; yields (event that one has begun, event that lets them go on, calls)."""
    from tfclic.serving import servable

    begun, go_on, calls = threading.Event(), threading.Event(), []
    run = servable.Servable.run

    def waiting(self, *arguments):
        calls.append(arguments)
        begun.set()
        assert go_on.wait(60)
        return run(self, *arguments)

    monkeypatch.setattr(servable.Servable, "run", waiting)
    yield begun, go_on, calls
    go_on.set()


def scale_request(values, name="scaling"):
    """A PredictRequest for the scaling model."""
    request = protos.predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["x"].dtype = protos.types_pb2.DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=len(values))
    request.inputs["x"].float_val.extend(values)
    return request


@pytest.fixture(scope="session")
def ask():
    """`scale_request`."""
    return scale_request


@pytest.fixture(scope="session")
def pictures(make_pixels):
    """Two images, uint8, one of them grayscale."""
    return make_pixels(30, 40), make_pixels(20, 25, 1)[..., 0]


@pytest.fixture(scope="session")
def pngs(pictures):
    """The same as PNG files."""
    from tfclic import images

    return [images.encode(np.asarray(pixels), "x.png") for pixels in pictures]
