"""The half of a benchmark that runs in the measured process."""

import json
import sys
import time


def timed(function, *arguments):
    """Calls a function; returns its seconds (on the clock, the processor's), and its result."""
    start = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return (time.perf_counter() - start[0], time.process_time() - start[1]), result


def answer(run):
    """Calls `run` for each line of stdin, and prints its seconds, on the clock and processor's."""
    for _ in sys.stdin:
        spent, _ = timed(run)
        print(json.dumps(spent), flush=True)
