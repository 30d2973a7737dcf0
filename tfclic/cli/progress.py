"""A bar for a corpus: how many images are done, how many in a second, and how long it will take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


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
