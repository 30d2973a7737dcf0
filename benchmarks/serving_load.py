"""What `benchmarks/serving.py` sends to a server, and what it makes of the answers."""

import concurrent.futures
import contextlib
import io
import itertools
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from typing import NamedTuple

import grpc
import numpy as np

from tfclic import images
from tfclic.serving import protos, tensors
from tfclic.serving.client import predict_request

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAME = "measured"
QUALITIES = (10, 35, 60, 85)
SIZES = ((96, 128), (128, 192), (256, 256), (256, 384))
MALFORMED_EVERY = 20
KINDS = ("garbage", "truncated", "header", "type")
CODES = (grpc.StatusCode.INVALID_ARGUMENT,)


class Item(NamedTuple):
    """An image and what the codec makes of it in process."""

    png: bytes
    quality: int
    file: bytes
    pixels: np.ndarray


def made_items(codec):
    """All pairs of a size and a quality."""
    items = []
    for number, (height, width) in enumerate(SIZES):
        rows, columns = np.mgrid[:height, :width] / 30
        waves = [np.sin(rows + number + c) + np.cos(columns * (1 + c / 3)) for c in range(3)]
        noise = np.random.default_rng(number).normal(0, 8, [height, width, 3])
        pixels = np.clip(128 + 45 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)
        for quality in QUALITIES:
            file = codec.compress(pixels, quality)
            png = images.encode(pixels, "x.png")
            items.append(Item(png, quality, file, codec.decompress(file)))
    return items


class Server:
    """bin/serve as a process, with one model.

    Args:
      model: path of the folder of a version, which becomes version 1.
      *options: more options of bin/serve.
      name: of the model at the server.
      within: words of a command that runs the one after it.
    """

    def __init__(self, model, *options, name=NAME, within=()):
        self._folder, self._options = tempfile.TemporaryDirectory(), options
        self._within = within
        self.versions = pathlib.Path(self._folder.name) / name
        self.versions.mkdir()
        (self.versions / "1").symlink_to(pathlib.Path(model).resolve())
        self.port, self.rest_port = free_port(), free_port()
        self.start()

    def start(self):
        command = [sys.executable, "-m", "tfclic.cli.serve", "--model_base_path", self._folder.name]
        ports = ["--port", str(self.port), "--rest_api_port", str(self.rest_port)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = [*self._within, *command, *ports, *self._options]
        self.process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        if not self.process.stdout.readline().startswith("Serving at "):
            raise RuntimeError("The server has not started.")

    def memory(self):
        """Resident memory, MiB."""
        url = f"http://127.0.0.1:{self.rest_port}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        name = "process_resident_memory_bytes "
        return float(next(s for s in lines if s.startswith(name))[len(name) :]) / (1 << 20)

    def files(self):
        """How many files and connections it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self._folder.cleanup()
        return status


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@contextlib.contextmanager
def connected(port):
    """A stub of the server at this port, with a connection of its own."""
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        yield protos.prediction_service_pb2_grpc.PredictionServiceStub(channel)


class Load:
    """Requests to a server, and what came of them.

    Args:
      items: list of `Item`.
      port: int, of the server.
      retries: whether UNAVAILABLE is tried again.
      channels: connections that requests take in turn.
    """

    def __init__(self, items, port, retries=False, channels=1):
        self._items, self._retries = items, retries
        self._open = contextlib.ExitStack()
        stubs = [self._open.enter_context(connected(port)) for _ in range(channels)]
        self._stubs = itertools.cycle(stubs)
        self.seconds, self.wrong, self.refused, self.unavailable = [], 0, 0, 0
        self._answers = {}
        self._lock = threading.Lock()

    def run(self, numbers, clients):
        """Sends requests from so many threads; returns the seconds that all took."""
        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            list(pool.map(self._one, numbers))
        taken = time.perf_counter() - began
        for number in numbers:
            self._compare(number)
        return taken

    def close(self):
        self._open.close()

    def _one(self, number):
        request, began = self._request(number), time.perf_counter()
        try:
            self._answers[number] = self._ask(request)
        except grpc.RpcError as error:
            self._answers[number] = error
        if not is_malformed(number):
            self.seconds.append(time.perf_counter() - began)

    def _request(self, number):
        item = self._items[number % len(self._items)]
        if is_malformed(number):
            kind = malformation(number)
            if kind == "type":
                inputs = {"images": [item.png], "qualities": np.array([item.quality])}
                return predict_request(NAME, "compress", inputs)
            return _compression([_spoilt(kind, item.png), item.png], item.quality)
        if is_compression(number):
            return _compression([item.png], item.quality)
        return predict_request(NAME, "decompress", {"files": [item.file]})

    def _ask(self, request):
        with self._lock:
            stub = next(self._stubs)
        while True:
            try:
                return stub.Predict(request, timeout=600)
            except grpc.RpcError as error:
                again = self._retries and error.code() is grpc.StatusCode.UNAVAILABLE
                if not again:
                    raise
            with self._lock:
                self.unavailable += 1
            time.sleep(0.1)

    def _compare(self, number):
        item, answer = self._items[number % len(self._items)], self._answers.pop(number)
        if isinstance(answer, grpc.RpcError):
            known = is_malformed(number) and answer.code() in CODES
            self.refused += known
            self.wrong += not known
            return
        outputs = {name: tensors.to_array(value).tolist() for name, value in answer.outputs.items()}
        statuses = outputs["statuses"]
        if "files_bytes" in outputs:
            good = outputs["files_bytes"][-1] == item.file
        else:
            found = outputs["images_bytes"][-1]
            good = found and np.array_equal(images.read(io.BytesIO(found)).pixels, item.pixels)
        if is_malformed(number):
            self.refused += len(statuses) == 2 and statuses[0] != b"OK"
        self.wrong += not (good and statuses[-1] == b"OK")


def _compression(pngs, quality):
    qualities = np.full(len(pngs), quality, np.float32)
    return predict_request(NAME, "compress", {"images": pngs, "qualities": qualities})


def _spoilt(kind, png):
    if kind == "garbage":
        return b"garbage" * 100
    if kind == "truncated":
        return png[: len(png) // 2]
    return png[:16] + (1 << 20).to_bytes(4, "big") * 2 + png[24:]


def is_malformed(number):
    return number % MALFORMED_EVERY == MALFORMED_EVERY - 1


def malformation(number):
    """What is wrong with a malformed request."""
    return KINDS[number // MALFORMED_EVERY % len(KINDS)]


def is_good(number):
    """Whether a request has a good element."""
    return not is_malformed(number) or malformation(number) != "type"


def is_compression(number):
    # not every second one: sizes and qualities repeat evenly
    return number // len(SIZES) // len(QUALITIES) % 2 == 0
