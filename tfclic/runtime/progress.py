"""Work on many things, side by side, and telling how much of it is done."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from tfclic import machine

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")
# of (steps done, steps in all)
Progress = Callable[[int, int], None]


class Steps:
    """Counts what is done, in any thread, and tells it."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self._done, self._progress = total, 0, progress
        self._lock, self._stopped = threading.Lock(), False

    def add(self) -> None:
        """One more is done; raises `Stopped` if nobody waits for more."""
        with self._lock:
            if self._stopped:
                raise Stopped
            self._done += 1
            if self._progress:
                self._progress(self._done, self.total)

    def stop(self) -> None:
        """Nobody waits for more."""
        self._stopped = True


class Stopped(Exception):
    """Work that nobody waits for any more."""


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item] | np.ndarray, steps: Steps
) -> Iterator[Result]:
    """Yields `work(item)` of each item, in order, as cores get free."""
    pool = concurrent.futures.ThreadPoolExecutor(min(machine.cores(), len(items)))
    try:
        for result in pool.map(work, items):
            steps.add()
            yield result
    except (Exception, KeyboardInterrupt, SystemExit):
        steps.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
