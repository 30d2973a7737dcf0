"""The work on a corpus, unit by unit, as a Beam transform.

What is done is known from records, one for each image, which go into journals while the job runs
and into the manifest in the end. An output whose record is lost is made again: it is the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.typehints.decorators import no_annotations

from tfclic import errors
from tfclic.corpora import coding, storage
from tfclic.corpora import job as jobs

Record = dict[str, Any]

NAMESPACE = "tfclic"
FLUSH_RECORDS, FLUSH_SECONDS = 64, 10


class Journal:
    """Keeps records of what is done, from which the job goes on after an interruption."""

    def __init__(self, job: jobs.Job) -> None:
        self._job, self._flushed = job, time.monotonic()
        self._lines: list[str] = []

    def add(self, record: Record) -> None:
        """Adds a record (dict), which is on disk soon, not at once."""
        self._lines.append(json.dumps(record))
        late = time.monotonic() > self._flushed + FLUSH_SECONDS
        if late or len(self._lines) >= FLUSH_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Puts all records on disk; raises storage.StorageError."""
        self._flushed = time.monotonic()
        if not self._lines:
            return
        data = "".join(line + "\n" for line in self._lines).encode()
        path = storage.new_name(self._job.journals)
        storage.write(path, data, self._job.unfinished)
        self._lines = []


class Work(beam.DoFn):
    """Makes the outputs of units that are not there yet; yields the records of all images.

    Its elements are (unit, {"sources": paths of inputs, "known": records of earlier starts}). All
    of these and the records are JSON: names of files need not be Unicode, but what goes through a
    runner has to be.
    """

    def __init__(self, job: jobs.Job) -> None:
        """`job` is a `tfclic.corpora.job.Job`."""
        self._job = job
        self._counters = {
            name: Metrics.counter(NAMESPACE, name)
            for name in ("made", "kept", "failed", "bytes", "pixels")
        }
        self._statuses = Metrics.distribution(NAMESPACE, "exit_status")

    def setup(self) -> None:
        coding.set_up_tensorflow(self._job.threads)

    def start_bundle(self) -> None:
        self._journal = Journal(self._job)

    def finish_bundle(self) -> None:
        self._journal.flush()

    # Beam would check and encode by them what goes through a runner.
    @no_annotations
    def process(self, element: tuple[str, Mapping[str, Sequence[str]]]) -> Iterator[str]:
        unit = json.loads(element[0])
        sources, records = (list(map(json.loads, element[1][key])) for key in ("sources", "known"))
        sources.sort()
        # of several, the last in the dict is one without an error
        records.sort(key=lambda record: "error" not in record)
        known = {record["input"]: record for record in records}
        work = self._into_records if self._job.to_records else self._into_files
        for record, is_new in work(unit, sources, known):
            self._count(record, is_new)
            yield json.dumps(record)

    def _into_files(
        self, unit: str, sources: list[str], known: Mapping[str, Record]
    ) -> Iterator[tuple[Record, bool]]:
        """Yields (record, whether it is new) of each image, which becomes a file of its own."""
        if not self._job.from_records:
            for name in sources[1:]:
                yield _failure(name, f"{name} and {sources[0]} would both become {unit}.", 2), True
            sources = sources[:1]
        for image in self._images(sources):
            if isinstance(image, dict):
                yield image, True
                continue
            output = self._job.output_name(image.name)
            target = storage.join(self._job.output, output)
            record = known.get(image.name, {"error": ""})
            is_new = "error" in record or not storage.exists(target)
            if is_new:
                record, data = self._attempt(image, output)
                if data is not None:
                    storage.write(target, data, self._job.unfinished)
                self._journal.add(record)
            yield record, is_new

    def _into_records(
        self, unit: str, sources: list[str], known: Mapping[str, Record]
    ) -> Iterator[tuple[Record, bool]]:
        """Yields (record, whether it is new) of each image; together they become one TFRecord."""
        if not sources:
            return
        target = storage.join(self._job.output, unit)
        if self._covers(sources, known) and storage.exists(target):
            yield from ((record, False) for record in known.values())
            return
        from tfclic.corpora import tfrecords

        temporary, records = storage.new_name(self._job.unfinished), []
        with tfrecords.writer(temporary) as write:
            for image in self._images(sources):
                record, data = (
                    (image, None) if isinstance(image, dict) else self._attempt(image, unit)
                )
                if data is not None:
                    write(record.get("key") or self._job.relative(record["input"]), data, record)
                records.append(record)
        for record in records:
            self._journal.add(record)
        # the records first: an output without them would be made again
        self._journal.flush()
        storage.publish(temporary, target)
        yield from ((record, True) for record in records)

    def _covers(self, sources: list[str], known: Mapping[str, Record]) -> bool:
        """Whether the records that are known are of all these inputs, and of no others."""
        return set(sources) == {self._job.path(name) for name in known}

    def _images(self, sources: list[str]) -> Iterator[jobs.Image | Record]:
        """Yields the `Image`s of input files; where a file is damaged, a record that says so."""
        for path in sources:
            try:
                yield from jobs.images(self._job, path)
            except storage.StorageError as error:
                yield _failure(path, error)

    def _attempt(self, image: jobs.Image, output: str) -> tuple[Record, bytes | None]:
        """Makes the output of one image: (record, bytes), or (record of its error, None)."""
        try:
            data, key = image.load()
            made, facts = self._job.coding(data, image.name)
        except self._job.coding.fatal:
            raise
        except errors.TfclicError as error:
            return _failure(image.name, error, error.exit_status), None
        except storage.StorageError as error:
            return _failure(image.name, error), None
        # Whatever else one image among millions brings about, it must not take the others along.
        except Exception as error:
            return _failure(image.name, f"{type(error).__name__}: {error}", 1), None
        named = {} if key is None else {"key": key}
        return {"input": image.name, **named, "output": output, **facts}, made

    def _count(self, record: Record, is_new: bool) -> None:
        if "error" in record:
            self._counters["failed"].inc()
            self._statuses.update(record["exit_status"])
            return
        self._counters["made" if is_new else "kept"].inc()
        self._counters["bytes"].inc(record["bytes"])
        self._counters["pixels"].inc(record["width"] * record["height"])


def _failure(name: str, error: object, exit_status: int = errors.ImageError.exit_status) -> Record:
    return {"input": name, "error": str(error), "exit_status": exit_status}
