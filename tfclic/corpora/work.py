"""The work on a corpus, unit by unit, whatever engine deals the units out.

What is done is known from records, one for each image, which go into journals while the job runs
and into the manifest in the end. An output whose record is lost is made again: it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfclic import errors
from tfclic.corpora import job as jobs
from tfclic.corpora import storage
from tfclic.corpora.records import Journal, Record, failure


class Work:
    """Makes the outputs of units that are not there yet.

    Args:
      job: a `tfclic.corpora.job.Job`.
      journal: a `records.Journal` of what is new.
    """

    def __init__(self, job: jobs.Job, journal: Journal) -> None:
        self._job, self._journal = job, journal

    def unit(
        self, unit: str, sources: list[str], records: list[Record]
    ) -> Iterator[tuple[Record, bool]]:
        """Works on a unit.

        Args:
          unit: its name, `Job.unit` of its inputs.
          sources: paths of the inputs.
          records: of its inputs, from earlier starts.

        Yields:
          (record, whether it is new) of each image.

        Raises:
          errors.TfclicError, storage.StorageError: something concerns all images.
        """
        # of several, the last in the dict is one without an error
        records = sorted(records, key=lambda record: "error" not in record)
        known = {record["input"]: record for record in records}
        work = self._into_records if self._job.to_records else self._into_files
        yield from work(unit, sorted(sources), known)

    def _into_files(
        self, unit: str, sources: list[str], known: Mapping[str, Record]
    ) -> Iterator[tuple[Record, bool]]:
        """Yields (record, whether it is new) of each image, which becomes a file of its own."""
        if not self._job.from_records:
            for name in sources[1:]:
                yield failure(name, f"{name} and {sources[0]} would both become {unit}.", 2), True
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
                yield failure(path, error)

    def _attempt(self, image: jobs.Image, output: str) -> tuple[Record, bytes | None]:
        """Makes the output of one image: (record, bytes), or (record of its error, None)."""
        try:
            data, key = image.load()
            made, facts = self._job.coding(data, image.name)
        except self._job.coding.fatal:
            raise
        except errors.TfclicError as error:
            return failure(image.name, error, error.exit_status), None
        except storage.StorageError as error:
            return failure(image.name, error), None
        # Whatever else one image among millions brings about, it must not take the others along.
        except Exception as error:
            return failure(image.name, f"{type(error).__name__}: {error}", 1), None
        named = {} if key is None else {"key": key}
        return {"input": image.name, **named, "output": output, **facts}, made
