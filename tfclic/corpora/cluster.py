"""Corpora on a cluster of Dask.

This program lists the inputs, gives workers some units at a time, keeps their records and writes
the manifest. Workers read the images and write the outputs; only names and records go through the
scheduler, and no more of them than workers need to be busy. Who loses a worker loses what that
worker had in hand, which another one does.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import queue
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import distributed
from distributed.scheduler import KilledWorker

from tfclic import errors
from tfclic.corpora import attempts, records, storage
from tfclic.corpora.ledger import Ledger, Unit

if TYPE_CHECKING:
    from tfclic.corpora.job import Job

# A piece of work is about as long as this, so that the scheduler's milliseconds do not count, and
# no larger, so that little is lost with a worker.
BATCH_SECONDS, MOST_UNITS = 2.0, 256
AHEAD = 2  # pieces that each thread of the workers has at hand
CONNECT_SECONDS = 10  # until a scheduler answers
PATIENCE_SECONDS = 60  # until the first worker comes, and until it is said that none is left
_LOOK_SECONDS = 5  # between looks at how many workers there are
_JOURNAL_RECORDS = 4096


class Progress(Protocol):
    """Is told what happens."""

    def expect(self, images: int | None) -> None:
        """So many images there are; None: nobody knows."""

    def add(self, made: int, kept: int) -> None:
        """So many more are done."""


class Cluster(NamedTuple):
    """Where the work is done.

    Attributes:
      address: of a scheduler, such as tcp://HOST:8786; None: processes of this machine.
      processes: how many these are.
    """

    address: str | None
    processes: int


def run(
    job: Job, cluster: Cluster, progress: Progress, told: Callable[[str], object]
) -> records.Totals:
    """Works through a corpus.

    Args:
      job: prepared.
      cluster: a `Cluster`.
      progress: a `Progress`.
      told: function of a line for the user.

    Returns:
      The `records.Totals`.

    Raises:
      errors.TfclicError: nothing can be done, or something concerns all images. The same job goes
        on from there.
    """
    _quiet()
    try:
        with _client(cluster, told) as client, Ledger(job) as ledger:
            ledger.fill()
            progress.expect(None if job.from_records else ledger.sources())
            _Engine(job, ledger, client, progress, told).work()
            totals = ledger.write_manifest()
            storage.remove(job.journals)
            return totals
    except storage.StorageError as error:
        raise errors.UsageError(str(error)) from error
    except sqlite3.Error as error:
        sentence = f"{tempfile.gettempdir()} cannot hold what is done: {error}."
        raise errors.UsageError(sentence) from error


def _quiet() -> None:
    """Dask logs tracebacks of what is told in a sentence here; its loggers have levels each."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _client(cluster: Cluster, told: Callable[[str], object]) -> Iterator[distributed.Client]:
    with contextlib.ExitStack() as stack:
        where: Any = cluster.address
        if where is None:
            # Dask would let a worker that has much memory in use wait for ever.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # another port is as good
                made = distributed.LocalCluster(
                    n_workers=cluster.processes, threads_per_worker=1, memory_limit=0,
                    silence_logs=logging.CRITICAL, preload=["tfclic.corpora.quiet"],
                )  # fmt: skip
            where = stack.enter_context(made)
        try:
            client = stack.enter_context(
                distributed.Client(where, timeout=CONNECT_SECONDS, set_as_default=False)
            )
        except (OSError, ValueError) as error:
            raise errors.UsageError(f"There is no scheduler at {where}.") from error
        told(f"The cluster's dashboard is at {client.dashboard_link}.")
        try:
            client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        except (TimeoutError, distributed.TimeoutError) as error:
            raise errors.UsageError(
                f"No worker has come to {client.scheduler.address} in {PATIENCE_SECONDS} seconds."
            ) from error
        yield client


class _Engine:
    """Gives the units of a job to workers, and keeps what they tell."""

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        client: distributed.Client,
        progress: Progress,
        told: Callable[[str], object],
    ) -> None:
        self._job, self._ledger, self._client = job, ledger, client
        self._progress, self._told = progress, told
        self._pickled = pickle.dumps(job)
        self._journal = (records.NoJournal if job.has_large_units else records.Journal)(
            job, _JOURNAL_RECORDS
        )
        self._units = ledger.units()
        self._new: list[Unit] = []
        self._known: list[Unit] = []
        self._again: list[list[Unit]] = []
        self._given: dict[distributed.Future, list[Unit]] = {}
        self._done: queue.SimpleQueue[distributed.Future] = queue.SimpleQueue()
        self._size, self._width, self._looked = 1, 1, 0.0

    def work(self) -> None:
        """Has all units worked on; raises as `run`."""
        try:
            while True:
                self._give()
                if not self._given:
                    return
                future = self._next()
                self._take(future, self._given.pop(future))
        finally:
            # what is done is done, whatever ended it
            with contextlib.suppress(storage.StorageError):
                self._journal.flush()
            if self._given and self._client.status == "running":
                self._client.cancel(list(self._given), force=True)

    def _give(self) -> None:
        """Gives out units until workers have enough at hand."""
        if time.monotonic() > self._looked + _LOOK_SECONDS:
            # a round trip to the scheduler; workers come and go
            with self._lost():
                self._width = sum(self._client.nthreads().values()) or self._width
            self._looked = time.monotonic()
        while len(self._given) < AHEAD * self._width:
            batch = self._again.pop() if self._again else self._batch()
            if not batch:
                return
            arguments = attempts.version(), self._pickled, batch
            with self._lost():
                future = self._client.submit(attempts.attempt, *arguments, pure=False)
            self._given[future] = batch
            future.add_done_callback(self._done.put)

    def _batch(self) -> list[Unit]:
        """Units that take about as long as a piece of work should; none if there are no more."""
        for unit in self._units:
            # these are looked at only
            known = bool(unit.known) and not any("error" in record for record in unit.known)
            waiting, enough = (self._known, MOST_UNITS) if known else (self._new, self._size)
            waiting.append(unit)
            if len(waiting) >= enough:
                break
        else:
            waiting = self._new or self._known
        batch = waiting[:]
        waiting.clear()
        return batch

    def _next(self) -> distributed.Future:
        """The next that is done, for which it waits."""
        since = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                return self._done.get(timeout=1)
            self._check()
            if time.monotonic() > since + PATIENCE_SECONDS:
                since = time.monotonic()
                with self._lost():
                    if not self._client.nthreads():
                        self._told("No worker is left; others may come.")

    def _check(self) -> None:
        if self._client.status != "running":
            raise self._is_lost()

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        """Says so if the scheduler is gone."""
        try:
            yield
        except (OSError, distributed.TimeoutError, RuntimeError) as error:
            raise self._is_lost() from error

    def _is_lost(self) -> errors.TfclicError:
        return errors.TfclicError(
            "The cluster's scheduler is lost; the same command goes on from there."
        )

    def _take(self, future: distributed.Future, batch: list[Unit]) -> None:
        """Keeps what became of some units."""
        if future.status == "finished":
            with self._lost():
                seconds, found = future.result()
            if any(is_new for _, is_new in found):
                self._size = max(
                    1, min(MOST_UNITS, int(BATCH_SECONDS * len(batch) / max(seconds, 1e-6)))
                )
            self._keep(found)
            return
        self._check()
        if future.status != "error":
            raise self._is_lost()
        error = future.exception()
        if not isinstance(error, KilledWorker):
            raise _sentence(error)
        if len(batch) > 1:
            # one of them did it
            self._again.extend([unit] for unit in batch)
            return
        sentence = "All workers that tried it were killed, perhaps for want of memory."
        self._keep([(records.failure(name, sentence, 1), True) for name in batch[0].sources])

    def _keep(self, found: list[tuple[records.Record, bool]]) -> None:
        self._ledger.add(found)
        new = [record for record, is_new in found if is_new]
        for record in new:
            self._journal.add(record)
        self._progress.add(len(new), len(found) - len(new))


def _sentence(error: BaseException) -> errors.TfclicError:
    """What a worker failed with, as an error for the user."""
    if isinstance(error, errors.TfclicError):
        return error
    if isinstance(error, storage.StorageError):
        return errors.UsageError(str(error))
    if isinstance(error, (ImportError, AttributeError)):
        return errors.UsageError(
            f"A worker has another tfclic than {attempts.version()}, or none: {error}."
        )
    return errors.TfclicError(f"A worker failed: {type(error).__name__}: {error}")
