"""What a process of a cluster does: units of a job, whenever it is given some.

Several processes may attempt the same units, because one was thought lost; each writes whole files
under their final names in one step, so that of each output one whole file is there in the end.
"""

from __future__ import annotations

import functools
import hashlib
import pathlib
import pickle
import time
from typing import TYPE_CHECKING

import tfclic
from tfclic import errors
from tfclic.corpora import coding, records
from tfclic.corpora.work import Work

if TYPE_CHECKING:
    from tfclic.corpora.job import Job
    from tfclic.corpora.ledger import Unit

_PACKAGE = pathlib.Path(tfclic.__file__).parent
# what decides over outputs and records, below the package
_DECISIVE = ("*.py", "corpora/*.py", "format/*.py", "runtime/*.py")


@functools.cache
def version() -> str:
    """The package's version, and 8 hex digits that tell whether its programs are the same."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _DECISIVE for path in _PACKAGE.glob(pattern)):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + path.read_bytes())
    return f"{tfclic.__version__} ({digest.hexdigest()[:8]})"


@functools.lru_cache(maxsize=1)
def _job(pickled: bytes) -> Job:
    job: Job = pickle.loads(pickled)
    coding.set_up_tensorflow(job.threads)
    return job


def attempt(
    wanted: str, pickled: bytes, batch: list[Unit]
) -> tuple[float, list[tuple[records.Record, bool]]]:
    """Works on units.

    Args:
      wanted: what `version` has to be.
      pickled: a `tfclic.corpora.job.Job`; not looked at by another version.
      batch: the units.

    Returns:
      (seconds, [(record, whether it is new) of each image]). Single images are in no journal; of
      units of many there is one.

    Raises:
      errors.TfclicError, storage.StorageError: something concerns all images.
    """
    if version() != wanted:
        raise errors.UsageError(
            f"A worker has tfclic {version()}, and the program that gives it work {wanted}."
        )
    started = time.monotonic()
    job = _job(pickled)
    journal = (records.Journal if job.has_large_units else records.NoJournal)(job)
    work = Work(job, journal)
    found = [each for unit in batch for each in work.unit(*unit)]
    journal.flush()
    return time.monotonic() - started, found
