"""Corpora on clusters of Dask, whose scheduler and workers are processes of their own."""

import dataclasses
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("apache_beam")
pytest.importorskip("distributed")

from tfclic import errors
from tfclic.corpora import attempts, cluster, coding, records
from tfclic.corpora.job import Job
from tfclic.corpora.ledger import Ledger, Unit
from tfclic.corpora.work import Work

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 60  # seconds, of what takes a few


class Shown:
    """A progress that can be waited for."""

    def __init__(self):
        self.expected, self.made, self.kept = None, 0, 0

    def expect(self, images):
        self.expected = images

    def add(self, made, kept):
        self.made += made
        self.kept += kept


class Processes:
    """A scheduler and workers, which are killed in the end."""

    def __init__(self, folder):
        self.file, self.all = folder / "scheduler.json", []
        quiet = ["--no-dashboard", f"--scheduler-file={self.file}"]
        self.scheduler = self._start("dask_scheduler", "--port=0", *quiet)
        await_(self.file.exists)
        self.address = json.loads(self.file.read_text())["address"]

    def worker(self, **environment):
        words = [self.address, "--no-nanny", "--nthreads=1", "--no-dashboard"]
        return self._start("dask_worker", *words, "--death-timeout=60", **environment)

    def _start(self, program, *words, **environment):
        command = [sys.executable, "-m", f"distributed.cli.{program}", *words]
        settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process = subprocess.Popen(command, cwd=self.file.parent, env=settings, **quiet)
        self.all.append(process)
        return process

    def end(self):
        for process in self.all:
            process.kill()
            process.wait()


def await_(condition):
    """Waits until a function returns something true, and returns that."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise TimeoutError(condition)


def run(job, address, shown=None, anew=False):
    """Works through a corpus; returns the totals."""
    job.prepare(anew)
    where = cluster.Cluster(address, 1)
    return cluster.run(job, where, shown or Shown(), lambda line: None)


def manifest(job):
    """The manifest of a job, a dict by the names of the inputs below its folder."""
    with open(job.manifest) as file:
        found = [json.loads(line) for line in file]
    return {job.relative(record["input"]): record for record in found}


def begun(job, address):
    """A thread that works through a corpus, what came of it, and its progress."""
    shown, results = Shown(), []

    def work():
        try:
            results.append(run(job, address, shown))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, results, shown


@pytest.fixture
def processes(toy_folder, tmp_path):
    made = Processes(tmp_path)
    yield made
    made.end()


@pytest.fixture
def photos(tmp_path, make_pixels):
    """A folder with eight photographs, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i in range(8):
        Image.fromarray(make_pixels(20 + i, 30, seed=i)).save(folder / "sub" / f"{i}.png")
    (folder / "bad.png").write_bytes(b"not an image")
    return folder


@pytest.fixture
def compression(toy_folder):
    return coding.Compression("toy", "00ff10ab", quality=10)


@pytest.fixture
def job(photos, tmp_path, compression):
    return Job(compression, f"{photos}/**", str(tmp_path / "coded"))


def feed(path, data):
    """Gives bytes to whoever reads a named pipe, once somebody does."""

    def opened():
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads
            return None

    file = await_(opened)
    yield

    def written():
        try:
            return os.write(file, data)
        except BrokenPipeError:  # the reader is gone, and another one has not come yet
            return 0

    assert await_(written) == len(data)
    os.close(file)
    yield


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_killed_worker_and_a_lost_scheduler(job, photos, processes, toy_codec):
    first, _ = processes.worker(), processes.worker()
    pipe = photos / "sub" / "7.png"
    data = pipe.read_bytes()
    pipe.unlink()
    os.mkfifo(pipe)

    # a worker that has units in hand is killed while the last image keeps the other, or itself, busy
    feeding = feed(pipe, data)
    thread, results, shown = begun(job, processes.address)
    next(feeding)
    first.kill()
    first.wait()
    next(feeding)
    thread.join(LIMIT)
    assert results[0] == {**results[0], "made": 8, "kept": 0, "failed": 1, "exit_status": 3}
    assert (shown.expected, shown.made, shown.kept) == (9, 9, 0)
    found = manifest(job)
    assert list(found) == ["bad.png", *(f"sub/{i}.png" for i in range(8))]
    assert "is not an image of a known kind." in found["bad.png"]["error"]
    expected = {}
    for i in range(8):
        name = f"sub/{i}.png"
        pixels = np.array(Image.open(photos / name) if i < 7 else Image.open(io.BytesIO(data)))
        expected[name] = toy_codec.compress(pixels, 10)
        output = pathlib.Path(job.output, found[name]["output"])
        assert output.read_bytes() == expected[name]
        assert found[name]["bytes"] == len(expected[name])
    assert results[0]["bytes"] == sum(map(len, expected.values()))

    # all again, but that the scheduler is killed before the last image is done
    feeding = feed(pipe, data)
    other = dataclasses.replace(job, output=job.output + "-again")
    thread, results, shown = begun(other, processes.address)
    next(feeding)
    await_(lambda: shown.made >= 2)
    processes.scheduler.kill()
    thread.join(LIMIT)
    assert isinstance(results[0], errors.TfclicError)
    sentence = "The cluster's scheduler is lost; the same command goes on from there."
    assert str(results[0]) == sentence and results[0].exit_status == 1
    assert not os.path.exists(other.manifest)
    processes.end()  # the worker that waits for the last image
    pipe.unlink()
    pipe.write_bytes(data)

    # the same job, on processes that the program itself starts
    totals = run(other, None, shown)
    assert totals["kept"] >= 1 and totals["made"] + totals["kept"] == 8
    assert (totals["failed"], totals["bytes"]) == (1, sum(map(len, expected.values())))
    assert manifest(other) == found
    assert sorted(os.listdir(other.state)) == ["settings.json", "unfinished"]
    assert os.listdir(other.unfinished) == []
