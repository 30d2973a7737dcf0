"""A bar for a corpus: how many images are done, how many in a second, and how long it will take."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfclic.corpora.job import Job


class Shown:
    """Tells a bar what happens; a `tfclic.corpora.cluster.Progress`."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    @property
    def is_hidden(self) -> bool:
        """Whether nobody sees it."""
        return self._bar.disable

    def expect(self, images: int | None) -> None:
        """So many images there are; None: nobody knows, nor how long they will take."""
        if self.is_hidden:
            return
        self._bar.total = images
        self._bar.refresh()

    def add(self, made: int, kept: int) -> None:
        """So many more are done; those that were kept tell nothing of how fast it goes."""
        if self.is_hidden:
            return
        self._bar.initial += kept
        self._bar.update(made + kept)


@contextlib.contextmanager
def shown() -> Iterator[Shown]:
    """Yields a `Shown`, which is seen if stderr is a terminal."""
    from tqdm import tqdm

    # without smoothing: how fast it has gone, from the first image on
    with tqdm(unit="image", leave=False, disable=None, smoothing=0) as bar:
        yield Shown(bar)


@contextlib.contextmanager
def watched(job: Job) -> Iterator[None]:
    """Shows how many images are done, if stderr is a terminal, from the journals of the workers."""
    from tfclic.corpora import storage

    manifest, journals = job.records
    stop = threading.Event()
    seen: set[str] = set()

    def look(tell: Callable[[int], object]) -> None:
        with contextlib.suppress(storage.StorageError):
            for path in storage.listed(journals):
                if path not in seen:
                    tell(storage.read(path).count(b"\n"))
                    seen.add(path)

    with shown() as bar:
        if bar.is_hidden:
            yield
            return
        look(lambda count: bar.add(0, count))
        with contextlib.suppress(storage.StorageError):
            bar.add(0, sum(1 for path in storage.listed(manifest) for _ in storage.lines(path)))
            inputs = filter(job.is_input, storage.listed(job.pattern))
            images = None if job.from_records else sum(1 for _ in inputs)
            bar.expect(images)

        def watch() -> None:
            while not stop.wait(2):
                look(lambda count: bar.add(count, 0))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
