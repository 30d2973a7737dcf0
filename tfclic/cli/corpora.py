"""What bin/compress_corpus and bin/decompress_corpus share."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import pathlib
import re
import threading
import time
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tfclic import errors, machine
from tfclic.cli import common, progress

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfclic.corpora.coding import Coding
    from tfclic.corpora.job import Job

DETAILS = """\
In a GLOB, * is anything but a slash and ** anything: 'photos/**.jpg' is all JPEG files in photos
and below. Inputs and outputs may be on any storage that Beam reads (gs://, s3://, hdfs://).

DIR/manifest.jsonl tells of each image its size, bytes, bits per pixel, or the error. The same
command again does what is not done yet: what was interrupted, what is new, what failed.

Without --runner, the work is done here, by one process for each core (--direct_num_workers=N for
others). --runner dask does it on a cluster of Dask, whose scheduler is at --workers, or on one that
it starts here, and tells where its dashboard is. All other arguments go to Apache Beam: --runner
FlinkRunner, SparkRunner or DataflowRunner, with their own arguments, do it elsewhere.
"""
DASK = ("dask", "daskrunner")  # Beam's own runner of that name has no totals
ROOT = pathlib.Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds the arguments of both programs to a parser; `what` says what the inputs are."""
    parser.add_argument("--input", metavar="GLOB", required=True, help=f"{what}, or TFRecord files")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder of the outputs")
    parser.add_argument(
        "--input_format", choices=("files", "tfrecord"),
        help="default: tfrecord if the GLOB has .tfrecord in its last part",
    )  # fmt: skip
    parser.add_argument(
        "--output_format", choices=("files", "tfrecord"), default="files",
        help="a file for each image, or TFRecord files with many; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--shards", metavar="N", type=_count, default=16,
        help="how many TFRecord files are made of image files; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--feature", metavar="NAME", default="image/encoded",
        help="where tf.train.Examples of the input have the bytes; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--threads", metavar="N", type=_count,
        help="TensorFlow's threads in each process; default: the cores divided by the processes, "
        "or 1 on other machines",
    )  # fmt: skip
    parser.add_argument(
        "--runner", metavar="NAME", help="what does the work: dask, or one of Apache Beam's"
    )
    parser.add_argument(
        "--workers", metavar="ADDRESS|N",
        help="with --runner dask: its scheduler, such as tcp://HOST:8786, or how many processes to "
        "start here; default: one for each core",
    )  # fmt: skip
    common.add_max_pixels(parser)
    parser.add_argument("--force", action="store_true", help="do again what is done")


def run(name: str, coding: Coding, args: argparse.Namespace) -> int:
    """Works through the corpus that the parsed arguments name.

    Args:
      name: of the program.
      coding: one of `tfclic.corpora.coding`.
      args: what the parser with `add_arguments` found; `args.rest` are Beam's arguments.

    Returns:
      The exit status: the highest of the inputs that failed.

    Raises:
      errors.TfclicError: nothing can be done, or the pipeline failed.
    """
    # for the workers, which are new processes
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    # what Beam's dependencies remark on forks and on this Python is not for the user
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    warnings.simplefilter("ignore", FutureWarning)
    try:
        from tfclic.corpora import storage
        from tfclic.corpora.job import Job
    except ImportError as error:
        raise errors.UsageError("apache-beam is not installed; install tfclic[corpus].") from error
    threads, work = _engine(args)
    if os.path.isdir(args.input):
        everything = os.path.join(args.input, "**")
        raise errors.UsageError(f"{args.input} is a folder; all files in it are '{everything}'.")
    job = Job(
        coding=coding,
        pattern=_in_a_folder(args.input),
        output=args.output,
        from_records=_from_records(args),
        to_records=args.output_format == "tfrecord",
        shards=args.shards,
        feature=args.feature,
        threads=threads,
    )
    try:
        if not storage.matches(job.pattern):
            raise errors.UsageError(f"No file matches {job.pattern}.")
    except storage.StorageError as error:
        raise errors.UsageError(str(error)) from error
    job.prepare(args.force)
    _tell_of_outputs(job, name)
    started = time.perf_counter()
    totals = work(job, name)
    print(_summary(job, totals, time.perf_counter() - started))
    if totals["failed"]:
        common.complain(name, f"{totals['failed']:,} failed; {job.manifest} tells why.")
    return totals["exit_status"]


def _tell_of_outputs(job: Job, name: str) -> None:
    """Says how many files the pattern matches that are called like outputs, and left out."""
    from tfclic.corpora import storage

    if not job.is_beside_inputs:
        return
    try:
        count = sum(map(job.is_named_like_an_output, storage.listed(job.pattern)))
    except storage.StorageError as error:
        raise errors.UsageError(str(error)) from error
    if count:
        common.complain(
            name, f"{count:,} files in {job.output} are called like outputs, and are no inputs."
        )


def _in_a_folder(pattern: str) -> str:
    """A pattern without a folder with that of the current one, without which Beam finds nothing."""
    return pattern if "/" in pattern else os.path.join(os.curdir, pattern)


def _engine(args: argparse.Namespace) -> tuple[int, Callable[[Job, str], Mapping[str, int]]]:
    """What does the work: TensorFlow's threads in each process, and a function.

    That takes a prepared `Job` and the program's name, and returns the totals.

    Raises:
      errors.UsageError: an argument is not known, or a package is missing.
    """
    if (args.runner or "").lower() in DASK:
        return _on_dask(args)
    if args.workers:
        raise errors.UsageError("--workers is for --runner dask.")
    from tfclic.corpora import pipeline

    options, threads = _beam_options(args)

    def work(job: Job, name: str) -> Mapping[str, int]:
        with progress.watched(job):
            return _run(pipeline, job, options)

    return threads, work


def _on_dask(args: argparse.Namespace) -> tuple[int, Callable[[Job, str], Mapping[str, int]]]:
    """As `_engine`, on a cluster of Dask."""
    try:
        from tfclic.corpora import cluster
    except ImportError as error:
        raise errors.UsageError("dask is not installed; install tfclic[corpus-dask].") from error
    workers, cores = args.workers or "", machine.cores()
    is_number = workers.isdecimal() and int(workers) > 0
    if workers and not is_number and "://" not in workers:
        raise errors.UsageError(
            f"--workers has to be tcp://HOST:PORT, or a number of processes, not {workers}."
        )
    if args.rest:
        raise errors.UsageError(f"This program does not know {' '.join(args.rest)}.")
    processes = int(workers) if is_number else cores
    here = not workers or is_number
    where = cluster.Cluster(None if here else workers, processes)

    def work(job: Job, name: str) -> Mapping[str, int]:
        with progress.shown() as shown:
            return cluster.run(job, where, shown, functools.partial(common.complain, name))

    return args.threads or (max(1, cores // processes) if here else 1), work


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _from_records(args: argparse.Namespace) -> bool:
    if args.input_format:
        return args.input_format == "tfrecord"
    return ".tfrecord" in args.input.rpartition("/")[2]


def _beam_options(args: argparse.Namespace) -> tuple[PipelineOptions, int]:
    """Returns Beam's PipelineOptions and how many threads TensorFlow gets in each process.

    Raises:
      errors.UsageError: an argument is known neither to us nor to Beam.
    """
    from apache_beam.options import pipeline_options

    from tfclic.corpora import pipeline

    cores = machine.cores()
    local = [f"--direct_num_workers={cores}", "--direct_running_mode=multi_processing"]
    words = [f"--runner={args.runner}", *args.rest] if args.runner else args.rest
    options = pipeline_options.PipelineOptions([*local, *words])
    runner = options.view_as(pipeline_options.StandardOptions).runner
    if runner not in pipeline.LOCAL_RUNNERS:
        # other runners have arguments that only they know
        return pipeline_options.PipelineOptions(words), args.threads or 1
    unknown = _unknown(pipeline_options.PipelineOptions, args.rest)
    if unknown:
        # what a shell makes of a glob
        hint = "" if unknown[0][:1] == "-" else " Quote the GLOB of --input."
        raise errors.UsageError(f"Neither this program nor Beam knows {' '.join(unknown)}.{hint}")
    direct = options.view_as(pipeline_options.DirectOptions)
    direct.direct_num_workers = direct.direct_num_workers or cores
    if direct.direct_num_workers == 1:
        direct.direct_running_mode = "in_memory"
    return options, args.threads or max(1, cores // direct.direct_num_workers)


def _unknown(options: type[PipelineOptions], words: Sequence[str]) -> list[str]:
    """The arguments of the list `words` that no class of Beam's options knows."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for known in options.__subclasses__():
        with contextlib.suppress(argparse.ArgumentError):
            known._add_argparse_args(parser)
    return parser.parse_known_args(words)[1]


def _run(pipeline: types.ModuleType, job: Job, options: PipelineOptions) -> dict[str, int]:
    # Of a failure Beam logs a traceback in each of its threads; the last word is enough.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    before, threading.excepthook = threading.excepthook, lambda _: None
    try:
        return pipeline.run(job, options)
    # Runners wrap what happened in a worker in errors and tracebacks of their own.
    except Exception as error:
        kind = type(error)
        raise _from_worker(f"{kind.__module__}.{kind.__name__}: {error}") from error
    finally:
        threading.excepthook = before


def _from_worker(text: str) -> errors.TfclicError:
    """The error of a worker, in one sentence and with its exit status, from a runner's `text`."""
    kinds: dict[str, type[errors.TfclicError]] = {
        "ModelError": errors.ModelError,
        "StorageError": errors.UsageError,
    }
    for kind, sentence in re.findall(r"\btfclic\.[\w.]*\.(\w+): (.*)", text):
        if kind in kinds:
            return kinds[kind](sentence.partition(" [while running")[0])
    if "Channel closed" in text:
        return errors.TfclicError(
            "A worker was killed, perhaps for want of memory; the same command goes on from there."
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return errors.TfclicError(f"The pipeline failed: {lines[-1]}")


def _summary(job: Job, totals: Mapping[str, int], seconds: float) -> str:
    rate = f"{8 * totals['bytes'] / totals['pixels']:.3f} bpp" if totals["pixels"] else "nothing"
    made = f"{totals['made']:,} made, {totals['kept']:,} kept, {totals['failed']:,} failed"
    return (
        f"{job.pattern} -> {job.output}: {made}, {totals['bytes']:,} bytes, {rate}, {seconds:.1f} s"
    )
