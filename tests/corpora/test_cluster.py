"""Corpora on clusters of Dask, whose scheduler and workers are processes of their own."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("apache_beam")
pytest.importorskip("distributed")

import distributed

from tfclic import errors
from tfclic.cli import common, compress_corpus
from tfclic.corpora import attempts, cluster, coding, ledger, records, storage
from tfclic.corpora.job import Job
from tfclic.corpora.ledger import Ledger, Unit
from tfclic.corpora.work import Work

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 180  # seconds, of what takes a few


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


def reader(workers, path):
    """The process that has a file open, where the system tells; else any."""
    for worker in workers:
        folder = pathlib.Path("/proc", str(worker.pid), "fd")
        with contextlib.suppress(OSError):
            if any(os.readlink(each) == str(path) for each in folder.iterdir()):
                return worker
    return workers[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_killed_worker_and_a_lost_scheduler(job, photos, processes, toy_codec, capsys):
    workers = [processes.worker() for _ in range(2)]
    with distributed.Client(processes.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=LIMIT)
    pipe = photos / "sub" / "7.png"
    data = pipe.read_bytes()
    pipe.unlink()
    os.mkfifo(pipe)

    # the worker that reads the last image is killed, and the other one does it
    feeding = feed(pipe, data)
    thread, results, shown = begun(job, processes.address)
    next(feeding)
    killed = reader(workers, pipe)
    killed.kill()
    killed.wait()
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

    # the same job, on a process that the program itself starts
    words = [f"--input={job.pattern}", f"--output={other.output}", "--model=toy", "--quality=10"]
    parser = compress_corpus.make_parser()
    args, args.rest = parser.parse_args([*words, "--runner=dask", "--workers=1"]), []
    assert common.guarded(compress_corpus.compress_corpus, args, "compress_corpus") == 3
    told = capsys.readouterr()
    made, kept = (int(told.out.split(f" {word}")[0].split()[-1]) for word in ("made", "kept"))
    assert kept >= 1 and made + kept == 8 and " 1 failed, " in told.out
    assert told.err.startswith("compress_corpus: The cluster's dashboard is at http://")
    assert manifest(other) == found
    assert sorted(os.listdir(other.state)) == ["settings.json", "unfinished"]
    assert os.listdir(other.unfinished) == []


def test_records_there_and_back_and_who_is_refused(
    job, photos, processes, tmp_path, toy_codec, compression
):
    worker = processes.worker()
    sharded = dataclasses.replace(job, to_records=True, shards=2)
    totals = run(sharded, processes.address)
    assert (totals["made"], totals["failed"]) == (8, 1)
    pattern = os.path.join(job.output, "*.tfrecord")
    back = Job(coding.Decompression(), pattern, str(tmp_path / "back"), from_records=True)
    shown = Shown()
    assert run(back, processes.address, shown)["made"] == 8
    assert (shown.expected, shown.made) == (None, 8)
    by_key = {record["key"]: record for record in manifest(back).values()}
    assert sorted(by_key) == [f"sub/{i}.png" for i in range(8)]
    for key, record in by_key.items():
        pixels = np.array(Image.open(photos / key))
        made = np.array(Image.open(os.path.join(back.output, record["output"])))
        assert np.array_equal(made, toy_codec.decompress(toy_codec.compress(pixels, 10)))

    other = dataclasses.replace(compression, fingerprint="00000000")
    output = str(tmp_path / "other")
    with pytest.raises(errors.ModelError, match="has the fingerprint 00ff10ab where the work is"):
        run(dataclasses.replace(job, coding=other, output=output), processes.address)

    # a worker whose package differs
    changed = tmp_path / "changed"
    ignore = shutil.ignore_patterns("__pycache__", "training", "models", "layers", "entropy")
    shutil.copytree(ROOT / "tfclic", changed / "tfclic", ignore=ignore)
    with open(changed / "tfclic" / "corpora" / "work.py", "a") as file:
        file.write("# changed\n")
    worker.terminate()
    worker.wait()
    processes.worker(PYTHONPATH=str(changed))
    expected = r"A worker has tfclic 0\.\S+ \(\w{8}\), and the program that gives it work 0\."
    with pytest.raises(errors.UsageError, match=expected):
        run(dataclasses.replace(job, output=output), processes.address, anew=True)
    assert not os.path.exists(os.path.join(output, "manifest.jsonl"))


class Future:
    """What the engine needs of Dask's."""

    def __init__(self, work):
        try:
            self.status, self._result = "finished", work()
        except Exception as error:
            self.status, self._error = "error", error

    def result(self):
        return self._result

    def exception(self):
        return self._error

    def add_done_callback(self, function):
        function(self)


class Client:
    """Does everything at once, with two threads to give; some images kill who tries them."""

    status = "running"

    def __init__(self, deadly=()):
        self.deadly, self.batches = deadly, []

    def nthreads(self):
        return {"here": 2}

    def submit(self, function, version, pickled, batch, pure):
        self.batches.append([unit.name for unit in batch])

        def work():
            if any(path.endswith(self.deadly) for unit in batch for path in unit.sources):
                raise cluster.KilledWorker("attempt", None, 3)
            return function(version, pickled, batch)

        return Future(work)


def engine(job, client, told=None):
    job.prepare(False)
    with Ledger(job) as made:
        made.fill()
        cluster._Engine(job, made, client, Shown(), told or print).work()
        return made.write_manifest()


def test_an_image_that_kills_workers_is_a_failure_and_takes_no_other_along(job):
    client = Client(deadly=("4.png",))
    totals = engine(job, client)
    assert (totals["made"], totals["failed"], totals["exit_status"]) == (7, 2, 3)
    record = manifest(job)["sub/4.png"]
    assert record["exit_status"] == 1 and "tried it were killed" in record["error"]
    # the first pieces are small; those that follow are as large as they are fast
    sizes = [len(batch) for batch in client.batches]
    assert sizes[:4] == [1, 1, 1, 1] and max(sizes) > 1
    assert client.batches.count(["sub/4.png.tfclic"]) == 1


def test_what_is_known_is_looked_at_in_large_pieces(job):
    engine(job, Client())
    client = Client()
    totals = engine(job, client)
    assert (totals["made"], totals["kept"], totals["failed"]) == (0, 8, 1)
    assert [len(batch) for batch in client.batches] == [1, 8]


def test_that_no_worker_is_left_is_told(job, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 0)
    waiting, sentences = [], []

    class Deserted(Client):
        def nthreads(self):
            return {}

        def submit(self, *arguments, **options):
            future = super().submit(*arguments, **options)
            if len(self.batches) == 1:  # it is done, but nobody knows of it
                future.add_done_callback = lambda function: waiting.append((function, future))
            return future

    def told(sentence):
        sentences.append(sentence)
        function, future = waiting.pop()
        function(future)

    totals = engine(job, Deserted(), told)
    assert sentences == ["No worker is left; others may come."]
    assert (totals["made"], totals["failed"]) == (8, 1)


class Noise:
    """A coding that takes its time and never makes the same."""

    suffix, fatal = ".noise", ()

    def __init__(self):
        self.both, self.made = threading.Barrier(2), []

    def output_name(self, name):
        return name + self.suffix

    def settings(self):
        return {}

    def __call__(self, data, name):
        made = os.urandom(1 << 20)
        self.made.append(made)
        self.both.wait(LIMIT)
        return made, {"width": 1, "height": 1, "bytes": len(made), "bpp": 0.0}


@pytest.mark.parametrize("to_records", [False, True])
def test_of_two_attempts_at_an_output_one_wins_and_is_whole(tmp_path, to_records):
    (tmp_path / "photo").write_bytes(b"it")
    noise = Noise()
    job = Job(noise, f"{tmp_path}/ph*", str(tmp_path / "out"), to_records=to_records, shards=1)
    job.prepare(False)
    path = str(tmp_path / "photo")
    unit = job.unit(path)

    def attempt():
        list(Work(job, records.NoJournal(job)).unit(unit, [path], []))

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    (output,) = (path for path in pathlib.Path(job.output).iterdir() if path.is_file())
    found = output.read_bytes()
    if to_records:
        from tfclic.corpora import tfrecords

        (record,) = tfrecords.read(str(output))
        found, _ = tfrecords.image(record, job.feature)
    assert len(noise.made) == 2 and found in noise.made
    assert os.listdir(job.unfinished) == []


def test_what_workers_cannot_understand_is_a_sentence():
    error = cluster._sentence(ModuleNotFoundError("No module named 'tfclic'"))
    assert str(error).startswith(f"A worker has another tfclic than {attempts.version()}, or none")
    assert "ZeroDivisionError: made" in str(cluster._sentence(ZeroDivisionError("made")))
    assert cluster._sentence(storage.StorageError("It is full.")).exit_status == 2


def test_a_full_disk_is_one_sentence(job, photos, monkeypatch):
    @contextlib.contextmanager
    def client(*_):
        yield Client()

    monkeypatch.setattr(cluster, "_client", client)
    small = ledger._TABLES.replace("BEGIN;", "PRAGMA max_page_count = 8; BEGIN;")
    monkeypatch.setattr(ledger, "_TABLES", small)
    names = [f"{photos}/{i}.png" for i in range(5000)]
    monkeypatch.setattr(ledger.storage, "listed", lambda _: names)
    with pytest.raises(errors.UsageError, match="cannot hold what is done: .*full."):
        run(job, None)


def test_a_ledger_keeps_the_last_that_is_told_of_an_image(job, photos):
    name = f"{photos}/sub/1.png"
    made = {"input": name, "output": "o", "width": 1, "height": 1, "bytes": 7, "bpp": 56.0}
    job.prepare(False)
    os.makedirs(job.journals)
    lines = [records.failure(name, "no"), made, records.failure(name, "no again")]
    for i, record in enumerate(lines):
        pathlib.Path(job.journals, str(i)).write_text(json.dumps(record) + "\n")
    with Ledger(job) as made_up:
        made_up.fill()
        assert made_up.sources() == 9
        units = {unit.name: unit for unit in made_up.units()}
        assert units["sub/1.png.tfclic"] == Unit("sub/1.png.tfclic", [name], [made])
        assert units["sub/2.png.tfclic"].known == []
        made_up.add([(records.failure(name, "gone"), True)])
        assert made_up.write_manifest()["failed"] == 1
    assert list(manifest(job)) == ["sub/1.png"]  # of the others nothing was told


def test_names_are_listed_one_by_one_as_they_are_together(photos):
    (photos / "sub" / "deep").mkdir()
    (photos / "sub" / "deep" / "x.png").touch()
    os.symlink(photos / "sub", photos / "linked")
    os.symlink(photos / "sub" / "1.png", photos / "linked.png")
    os.symlink(photos / "nothing", photos / "broken.png")
    os.rename(photos / "sub" / "2.png", os.fsencode(photos) + b"/sub/\xff.png")
    for end in ("**", "*", "**.png", "*/[0-4].png", "sub/1.png", "none/*", "sub/*", "s?b/**"):
        pattern = f"{photos}/{end}"
        assert sorted(storage.listed(pattern)) == storage.match(pattern), end
