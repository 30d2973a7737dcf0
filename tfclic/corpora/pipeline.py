"""The Beam pipeline: finds the inputs and what is done, has the rest made, writes the manifest.

Only names and records go through the runner; images are read, and outputs written, by the worker
that does the work.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.transforms import environments
from apache_beam.typehints.decorators import no_annotations

from tfclic.corpora import coding, records, storage
from tfclic.corpora.work import Work

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfclic.corpora.job import Job

# `DirectRunner` may also stand for a runner that is first downloaded; the options --direct_... are
# those of this one.
LOCAL_RUNNERS = (None, "DirectRunner", "FnApiRunner")


def run(job: Job, options: PipelineOptions) -> records.Totals:
    """Works through a corpus.

    Args:
      job: prepared.
      options: Beam's PipelineOptions.

    Returns:
      A dict of int: how many images were `made`, were there and `kept`, and `failed`; `bytes` and
      `pixels` of those made or kept; `exit_status`, the highest of the failures.
    """
    pipeline = beam.Pipeline(_runner(options), options)
    _build(pipeline, job)
    result = pipeline.run()
    result.wait_until_finish()
    # not from the runner's metrics, which not every runner has
    totals = json.loads(storage.read(job.totals))
    storage.remove(job.totals)
    return totals


def _build(pipeline: beam.Pipeline, job: Job) -> None:
    sources = (
        pipeline
        | "inputs" >> beam.Create([job.pattern])
        | "find inputs" >> beam.FlatMap(_match)
        | "all but its own" >> beam.Filter(_is_input, job)
        | "units of inputs" >> beam.Map(_keyed_source, job)
    )
    known = (
        pipeline
        | "records" >> beam.Create(list(job.records))
        | "find records" >> beam.FlatMap(_listed)
        | "read records" >> beam.FlatMap(_read_records)
        | "units of records" >> beam.Map(_keyed_record, job)
    )
    worked = (
        {"sources": sources, "known": known}
        | "what is known of each" >> beam.CoGroupByKey()
        | "work" >> beam.ParDo(_Worker(job))
    )
    _ = (
        pipeline
        | "manifest" >> beam.Create([job])
        | "write manifest" >> beam.Map(_write_manifest, beam.pvalue.AsIter(worked))
    )


class _Worker(beam.DoFn):
    """`Work` on units; yields the records of all images.

    Its elements are (unit, {"sources": paths of inputs, "known": records of earlier starts}). All
    of these and the results, `[record, whether it is new]`, are JSON: names of files need not be
    Unicode, but what goes through a runner has to be.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        coding.set_up_tensorflow(self._job.threads)

    def start_bundle(self) -> None:
        self._journal = records.Journal(self._job)

    def finish_bundle(self) -> None:
        self._journal.flush()

    # Beam would check and encode by them what goes through a runner.
    @no_annotations
    def process(self, element: tuple[str, Mapping[str, Sequence[str]]]) -> Iterator[str]:
        unit = json.loads(element[0])
        sources, known = (list(map(json.loads, element[1][key])) for key in ("sources", "known"))
        yield from map(json.dumps, Work(self._job, self._journal).unit(unit, sources, known))


@no_annotations
def _match(pattern: str) -> Iterable[str]:
    # as JSON, as all names that go through a runner; see `work.Work`
    return map(json.dumps, storage.match(pattern))


@no_annotations
def _listed(pattern: str) -> Iterable[str]:
    return map(json.dumps, storage.listed(pattern))


@no_annotations
def _is_input(path: str, job: Job) -> bool:
    return job.is_input(json.loads(path))


@no_annotations
def _keyed_source(path: str, job: Job) -> tuple[str, str]:
    return json.dumps(job.unit(json.loads(path))), path


@no_annotations
def _keyed_record(line: str, job: Job) -> tuple[str, str]:
    return json.dumps(job.unit(json.loads(line)["input"])), line


@no_annotations
def _read_records(path: str) -> list[str]:
    return storage.read(json.loads(path)).decode().splitlines()


@no_annotations
def _write_manifest(job: Job, lines: Iterable[str]) -> None:
    worked = sorted(map(json.loads, lines), key=lambda pair: records.order(pair[0]["input"]))
    totals = records.totals()
    for record, is_new in worked:
        records.count(totals, record, is_new)
    storage.write(job.totals, json.dumps(totals).encode(), job.unfinished)
    data = "".join(json.dumps(record) + "\n" for record, _ in worked).encode()
    storage.write(job.manifest, data, job.unfinished)
    storage.remove(job.journals)


def _runner(options: PipelineOptions) -> fn_runner.FnApiRunner | None:
    if options.view_as(StandardOptions).runner not in LOCAL_RUNNERS:
        return None
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return fn_runner.FnApiRunner()
    # `exec`: the shell that starts it would not ignore an interrupt
    command = f"exec {shlex.quote(sys.executable)} -m tfclic.corpora.worker"
    # any other value would put Beam's own command in its place
    direct.direct_running_mode = "in_memory"
    environment = environments.SubprocessSDKEnvironment.from_command_string(command)
    return fn_runner.FnApiRunner(default_environment=environment)
