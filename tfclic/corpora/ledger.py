"""What there is to do and what is done, in a database on this machine's disk.

So many names may be listed and so many records kept as the disk holds; memory is the same for a
hundred images and for millions. It lasts as long as the program: the next start makes it again,
from the inputs, the manifest and the journals.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import tempfile
import types
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from tfclic.corpora import records, storage

if TYPE_CHECKING:
    from tfclic.corpora.job import Job

# Names are bytes: they need not be Unicode, and sort as the manifest does.
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32768;
CREATE TABLE sources (unit BLOB, path BLOB, PRIMARY KEY (unit, path)) WITHOUT ROWID;
CREATE TABLE records (
  path BLOB, number INTEGER, unit BLOB, failed INTEGER, state INTEGER, line TEXT,
  PRIMARY KEY (path, number)
) WITHOUT ROWID;
CREATE INDEX known ON records (unit) WHERE state = 0;
BEGIN;
"""
_KNOWN, _KEPT, _MADE = range(3)  # states of records
# An error gives way to what was made of the image, and what is known to what is told now.
_ADD = """
INSERT INTO records VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (path, number) DO UPDATE
SET unit = excluded.unit, failed = excluded.failed, state = excluded.state, line = excluded.line
WHERE excluded.state > 0 OR excluded.failed <= failed
"""
_BLOCK = 1 << 12  # lines that are written at once


class Unit(NamedTuple):
    """A unit of work: its name, the paths of its inputs, and records of these that are known."""

    name: str
    sources: list[str]
    known: list[records.Record]


class Ledger:
    """The units of a job, and the records of its images. To be entered by `with`.

    Args:
      job: a `tfclic.corpora.job.Job`.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._folder = tempfile.TemporaryDirectory(prefix="tfclic-")

    def __enter__(self) -> Ledger:
        self._base = sqlite3.connect(
            os.path.join(self._folder.name, "ledger"), isolation_level=None
        )
        self._base.executescript(_TABLES)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._base.close()
        self._folder.cleanup()

    def size(self) -> int:
        """How large it is, bytes."""
        (pages,) = self._base.execute("PRAGMA page_count").fetchone()
        return pages * self._base.execute("PRAGMA page_size").fetchone()[0]

    def fill(self) -> None:
        """Lists the inputs, and reads what earlier starts left; raises storage.StorageError."""
        unit = self._job.unit
        self._base.executemany(
            "INSERT OR IGNORE INTO sources VALUES (?, ?)",
            (
                (os.fsencode(unit(path)), os.fsencode(path))
                for path in storage.listed(self._job.pattern)
                if self._job.is_input(path)
            ),
        )
        for path in itertools.chain.from_iterable(map(storage.listed, self._job.records)):
            self._base.executemany(
                _ADD, (self._row(json.loads(line), _KNOWN) for line in storage.lines(path))
            )

    def sources(self) -> int:
        """How many inputs there are."""
        return self._base.execute("SELECT COUNT(*) FROM sources").fetchone()[0]

    def units(self) -> Iterator[Unit]:
        """Yields all units, by their names."""
        rows = self._base.execute("SELECT unit, path FROM sources ORDER BY unit, path")
        for unit, group in itertools.groupby(rows, key=lambda row: row[0]):
            known = self._base.execute(
                "SELECT line FROM records WHERE unit = ? AND state = 0", (unit,)
            )
            found = [json.loads(line) for (line,) in known]
            yield Unit(os.fsdecode(unit), [os.fsdecode(path) for _, path in group], found)

    def add(self, told: Iterable[tuple[records.Record, bool]]) -> None:
        """Adds (record, whether it is new) of each image of a unit; the last of an image counts."""
        self._base.executemany(
            _ADD, (self._row(record, _MADE if is_new else _KEPT) for record, is_new in told)
        )

    def write_manifest(self) -> records.Totals:
        """Writes the manifest of what was added; raises storage.StorageError.

        Returns:
          Its `records.Totals`.
        """
        totals = records.totals()
        rows = self._base.execute(
            "SELECT line, state FROM records WHERE state > 0 ORDER BY path, number"
        )

        def blocks() -> Iterator[bytes]:
            while block := list(itertools.islice(rows, _BLOCK)):
                for line, state in block:
                    records.count(totals, json.loads(line), state == _MADE)
                yield "".join(line + "\n" for line, _ in block).encode()

        storage.write_parts(self._job.manifest, blocks(), self._job.unfinished)
        return totals

    def _row(self, record: records.Record, state: int) -> tuple[object, ...]:
        name = record["input"]
        path, number = records.order(name)
        key = os.fsencode(path), number, os.fsencode(self._job.unit(name))
        return (*key, "error" in record, state, json.dumps(record))
