"""Signals that ask a run to end, which finishes its step first."""

import contextlib
import signal


@contextlib.contextmanager
def caught(notice):
    """Yields a list that receives the number of the first SIGINT or SIGTERM.

    A second one acts at once. notice: called with a sentence when the first one comes.
    """
    numbers, previous = [], {}

    def handle(number, _):
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
