"""Records, one for each image: what is done is known from them, and the totals come from them.

A record is a dict for JSON, a line of the manifest: `input`, and `output`, `width`, `height`,
`bytes` and `bpp` with whatever else a coding tells, or `error` and `exit_status`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tfclic import errors
from tfclic.corpora import storage

if TYPE_CHECKING:
    from tfclic.corpora.job import Job

Record = dict[str, Any]
Totals = dict[str, int]

FLUSH_RECORDS, FLUSH_SECONDS = 64, 10


def failure(name: str, error: object, exit_status: int = errors.ImageError.exit_status) -> Record:
    """The record of an input that nothing was made of."""
    return {"input": name, "error": str(error), "exit_status": exit_status}


def totals() -> Totals:
    """Of no images: `made`, `kept`, `failed`, `bytes` and `pixels`, and the `exit_status`."""
    return dict.fromkeys(("made", "kept", "failed", "bytes", "pixels", "exit_status"), 0)


def count(totals: Totals, record: Record, is_new: bool) -> None:
    """Adds a record to the totals; `is_new`: it was made now, and not kept from before."""
    if "error" in record:
        totals["failed"] += 1
        totals["exit_status"] = max(totals["exit_status"], record["exit_status"])
        return
    totals["made" if is_new else "kept"] += 1
    totals["bytes"] += record["bytes"]
    totals["pixels"] += record["width"] * record["height"]


def order(name: str) -> tuple[str, int]:
    """What records are sorted by: the path of the input, and its number within a TFRecord."""
    path, _, index = name.rpartition("#")
    is_number = path and index.isdecimal() and str(int(index)) == index
    return (path, int(index)) if is_number else (name, -1)


class Journal:
    """Keeps records of what is done, from which the job goes on after an interruption.

    Args:
      job: a `tfclic.corpora.job.Job`.
      most: how many records are not on disk yet, unless ten seconds have passed.
    """

    def __init__(self, job: Job, most: int = FLUSH_RECORDS) -> None:
        self._job, self._most, self._flushed = job, most, time.monotonic()
        self._lines: list[str] = []

    def add(self, record: Record) -> None:
        """Adds a record (dict), which is on disk soon, not at once."""
        self._lines.append(json.dumps(record))
        late = time.monotonic() > self._flushed + FLUSH_SECONDS
        if late or len(self._lines) >= self._most:
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


class NoJournal(Journal):
    """Keeps nothing: whoever gets the records does."""

    def add(self, record: Record) -> None:
        pass
