"""What a corpus costs beside the coding of its images, and whether memory grows with it.

    python benchmarks/corpus_scale.py [--names 10000 --names 1000000] [--images 2000]

Names: so many empty files are made, listed, given a made-up record each, written into a manifest,
and read again as by a second start; each number in a process of its own. Memory is the most that
this process had until then.

Images: so many files of a kilobyte go through a cluster of Dask with one process, on this machine,
whose coding does nothing. What is left is listing, scheduling, reading, writing and records; first
with pieces of work of one image, then as they are cut without being told.
"""

import argparse
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
FOLDER_FILES = 1000  # in each folder
FACTS = {"width": 640, "height": 480, "bytes": 30000, "bpp": 0.78125}


class Nothing:
    """A coding that makes nothing of its inputs, at once."""

    suffix, fatal = ".nothing", ()

    def output_name(self, name):
        return name + self.suffix

    def settings(self):
        return {}

    def __call__(self, data, name):
        return b"", FACTS


class Silent:
    """A progress that nobody sees."""

    def expect(self, images):
        pass

    def add(self, made, kept):
        pass


def make_files(folder, count, data=b""):
    """Makes so many files, in folders."""
    for first in range(0, count, FOLDER_FILES):
        below = folder / f"{first // FOLDER_FILES:06d}"
        below.mkdir(parents=True)
        for i in range(first, min(count, first + FOLDER_FILES)):
            (below / f"photograph-{i:09d}.jpg").write_bytes(data)


def job_of(folder):
    import corpus_scale  # workers find it by this name

    from tfclic.corpora.job import Job

    return Job(corpus_scale.Nothing(), f"{folder}/in/**.jpg", f"{folder}/out")


class Stages:
    """Prints a row of the table for each stage."""

    def __init__(self, count):
        self._count, self._last = count, time.perf_counter()

    def start(self):
        self._last = time.perf_counter()

    def end(self, stage):
        seconds = time.perf_counter() - self._last
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cells = f"{stage} | {seconds:.1f} | {1e6 * seconds / self._count:.0f} | {memory:.0f}"
        print(f"| {self._count:,} | {cells} |", flush=True)
        self.start()


def names(count):
    """Lists so many files, and writes and reads their manifest."""
    from tfclic.corpora.ledger import Ledger

    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        stages = Stages(count)
        stages.end("before")
        make_files(folder / "in", count)
        job = job_of(folder)
        job.prepare(False)
        stages.start()
        with Ledger(job) as ledger:
            ledger.fill()
            stages.end("list")
            for unit in ledger.units():
                output = {"input": unit.sources[0], "output": unit.name}
                ledger.add([({**output, **FACTS}, True)])
            stages.end("keep a record of each")
            assert ledger.write_manifest()["made"] == count
            stages.end("write the manifest")
            print(f"The ledger has {ledger.size() / count:.0f} bytes a name.", file=sys.stderr)
        with Ledger(job) as ledger:
            ledger.fill()
            assert sum(len(unit.known) for unit in ledger.units()) == count
            stages.end("start again: list, read the manifest")


def scheduling(count):
    """Sends so many files through a cluster; prints what each took."""
    from tfclic.corpora import cluster

    for most in (1, cluster.MOST_UNITS):
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            make_files(folder / "in", count, bytes(1000))
            job = job_of(folder)
            job.prepare(False)
            # starting a cluster is no matter of images
            with cluster._client(cluster.Cluster(None, 1), lambda line: None) as client:
                where = cluster.Cluster(client.scheduler.address, 1)
                before, cluster.MOST_UNITS = cluster.MOST_UNITS, most
                began = time.perf_counter()
                totals = cluster.run(job, where, Silent(), lambda line: None)
                seconds = time.perf_counter() - began
                cluster.MOST_UNITS = before
            assert totals["made"] == count, totals
            print(f"| {count:,} | {most} | {1000 * seconds / count:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", type=int, action="append")
    parser.add_argument("--images", type=int)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        names(*args.names)
        return
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    counts = args.names or ([] if args.images else [10_000, 1_000_000])
    if counts:
        print(
            "| names | stage | seconds | us each | memory (MB) |\n|---|---|---|---|---|", flush=True
        )
    for count in counts:
        command = [sys.executable, __file__, "--here", f"--names={count}"]
        subprocess.run(command, check=True)
    if args.images or not args.names:
        print("| images | units in a piece, at most | ms an image |\n|---|---|---|", flush=True)
        scheduling(args.images or 2000)


if __name__ == "__main__":
    main()
