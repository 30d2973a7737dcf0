"""Signals that ask a run to end, which finishes its step first."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def caught(notice: Callable[[str], object]) -> Iterator[list[int]]:
    """Yields a list that receives the number of the first SIGINT or SIGTERM.

    A second one acts at once. notice: called with a sentence when the first one comes.
    """
    numbers: list[int] = []
    previous: dict[int, Any] = {}

    def handle(number: int, _: object) -> None:
        numbers.append(number)
        for each, handler in previous.items():
            signal.signal(each, handler)
        notice("Stopping: the step is finished and saved first.")

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, handle)
    try:
        yield numbers
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
