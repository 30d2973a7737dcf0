"""What a portable run shows while it goes, and how it hears that it shall stop.

Needs the standard library alone; it travels with the folder.
"""

from __future__ import annotations

import collections
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import numpy as np

Means = dict[str, float]


class Line:
    """Shows how the run goes: one live line on a terminal, else a line every few seconds."""

    def __init__(self, every: float, stream: TextIO | None = None) -> None:
        """every: seconds between lines; stream: standard error if None."""
        self._stream, self._every = sys.stderr if stream is None else stream, every
        self._terminal, self._shown, self._last = self._stream.isatty(), 0, 0.0
        self._cleared = time.monotonic()
        self._sums: dict[str, float] = collections.defaultdict(float)

    def add(self, metrics: Mapping[str, np.ndarray]) -> None:
        """Takes the metrics of a call: dict of arrays, one value per step."""
        used = metrics["skipped"] < 0.5
        self._sums["steps"] += int(used.sum())
        for name in ("loss", "bpp", "psnr"):
            self._sums[name] += float(metrics[name][used].sum())

    def means(self) -> Means:
        """Returns the means since the last line, a dict that is empty if no step was used."""
        count = self._sums["steps"]
        return {n: v / count for n, v in self._sums.items() if n != "steps"} if count else {}

    def show(self, text: Callable[[Means], str], now: bool = False) -> None:
        """Shows `text(means)` if it is time to, or `now`."""
        due = time.monotonic() - self._last >= (0.5 if self._terminal else self._every)
        if not (due or now):
            return
        line, self._last = text(self.means()), time.monotonic()
        if self._last - self._cleared >= self._every:
            self._sums.clear()
            self._cleared = self._last
        end = "\n" if now or not self._terminal else ""
        start = "\r" if self._terminal else ""
        print(f"{start}{line:<{self._shown}}", end=end, file=self._stream, flush=True)
        self._shown = 0 if end else len(line)

    def say(self, text: str) -> None:
        """Prints a line of its own."""
        print(("\n" if self._shown else "") + text, file=self._stream, flush=True)
        self._shown = 0


@contextlib.contextmanager
def signals_caught(caught: list[int], line: Line) -> Iterator[None]:
    """Appends the first SIGINT or SIGTERM to `caught`; a second one acts at once."""
    previous: dict[signal.Signals, Any] = {}

    def handle(number: int, _: object) -> None:
        caught.append(number)
        for each, handler in previous.items():
            signal.signal(each, handler)
        line.say("Stopping: the call is finished and saved first.")

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
