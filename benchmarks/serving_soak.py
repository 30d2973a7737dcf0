"""`bin/serve` for hours under a low load: whether memory, file handles and threads stay flat.

    python benchmarks/serving_soak.py MODEL --minutes 120 [--each 2] [--clients 4]
                                      [--csv FILE] [--graph FILE.svg]

MODEL is the folder of an exported model's version. A request begins every so many seconds, of those
that benchmarks/serving.py sends: half to compress and half to decompress, images of several sizes,
one in twenty malformed; every answer is compared with what the codec gives in process. Once in a
minute the server's resident memory, open files and threads are written down.

The table has the means of each tenth of the time, and the verdict of the trend in what follows the
first fifth, in which caches and the allocator's arenas fill: per hour, of a line of least squares.
"""

import argparse
import csv
import os
import sys
import time
from concurrent import futures
from typing import NamedTuple

import numpy as np
from serving_load import Load, Server, made_items

from tfclic import runtime

SAMPLE_SECONDS, SETTLING, ROWS = 60.0, 0.2, 10
COLUMNS = "minute", "memory", "files", "threads", "requests"
MOST_GROWTH = 0.02  # of memory in an hour: above it, the server is said to grow


class Sample(NamedTuple):
    """The server at a minute: MiB, open files, threads, and requests so far."""

    minute: float
    memory: float
    files: int
    threads: int
    requests: int


def sample(server, began, requests):
    """What the system tells of the server's process."""
    threads = len(os.listdir(f"/proc/{server.process.pid}/task"))
    minute = (time.monotonic() - began) / 60
    return Sample(minute, server.memory(), server.files(), threads, requests)


def soaked(server, load, args):
    """Sends requests at an even rate; yields samples.

    Args:
      server: `Server`.
      load: `Load`.
      args: with `minutes`, `each` (seconds) and `clients`.
    """
    began, sampled, number = time.monotonic(), -SAMPLE_SECONDS, 0
    with futures.ThreadPoolExecutor(args.clients) as pool:
        waiting = []
        while (passed := time.monotonic() - began) < 60 * args.minutes:
            waiting.append(pool.submit(load.run, [number], 1))
            number += 1
            for done in [each for each in waiting if each.done()]:
                waiting.remove(done)
                done.result()
            if passed - sampled >= SAMPLE_SECONDS:
                yield sample(server, began, number)
                sampled = passed
            time.sleep(max(began + number * args.each - time.monotonic(), 0.0))
    yield sample(server, began, number)


def slope(minutes, values):
    """By how much a value grows in an hour, by least squares, as a share of its mean."""
    if len(values) < 3:
        return 0.0
    return 60 * np.polyfit(minutes, values, 1)[0] / np.mean(values)


def table(samples):
    """Lines of Markdown, the means of each part of the time."""
    lines = ["| minutes | memory (MiB) | files | threads | requests |", "|---|---|---|---|---|"]
    for part in np.array_split(np.array(samples), min(ROWS, len(samples))):
        minute, memory, files, threads, requests = part.mean(0)
        lines.append(
            f"| {part[0, 0]:.0f} to {part[-1, 0]:.0f} | {memory:.0f} | {files:.0f} "
            f"| {threads:.0f} | {part[-1, -1]:.0f} |"
        )
    return lines


def draw(samples, path):
    """Memory, open files and threads against time, as an image file."""
    from matplotlib import figure

    found = np.array(samples)
    drawn = figure.Figure((7, 4.2), layout="constrained")
    axes = drawn.subplots(3, 1, sharex=True)
    for axis, column, name in zip(axes, (1, 2, 3), ("MiB", "open files", "threads")):
        axis.plot(found[:, 0], found[:, column], color="#3b6ea5")
        axis.set(ylabel=name, ylim=(0, 1.2 * found[:, column].max()))
    axes[-1].set(xlabel="minutes")
    drawn.savefig(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of an exported model's version")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--each", type=float, default=2, help="seconds between two requests")
    parser.add_argument("--clients", type=int, default=4, help="requests at once, at most")
    parser.add_argument("--csv", help="where all samples are written, as they come")
    parser.add_argument("--graph", help="an image file of them")
    args = parser.parse_args()
    items = made_items(runtime.load(args.model))
    server, samples = Server(args.model), []
    load = Load(items, server.port)
    for each in soaked(server, load, args):
        samples.append(each)
        if args.csv:
            with open(args.csv, "a", newline="") as file:
                writer = csv.writer(file)
                if len(samples) == 1:
                    writer.writerow(COLUMNS)
                writer.writerow(each)
    load.close()
    print("\n".join(table(samples)))
    later = np.array([each for each in samples if each.minute >= SETTLING * args.minutes])
    growth = [slope(later[:, 0], later[:, column]) for column in (1, 2, 3)]
    told = ", ".join(f"{n} {100 * g:+.1f} %" for n, g in zip(COLUMNS[1:], growth))
    print(f"\nAn hour: {told}. {load.wrong} of {samples[-1].requests} answers wrong or missing.")
    if args.graph:
        draw(samples, args.graph)
    print(f"The server ended with status {server.end()}.")
    return int(load.wrong > 0 or max(growth) > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
