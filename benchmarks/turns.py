"""The half of a benchmark that runs in the measured process."""

import json
import sys
import time


def answer(run):
    """Calls `run` for each line of stdin, and prints its seconds, on the clock and processor's."""
    for _ in sys.stdin:
        start = time.perf_counter(), time.process_time()
        run()
        spent = time.perf_counter() - start[0], time.process_time() - start[1]
        print(json.dumps(spent), flush=True)
