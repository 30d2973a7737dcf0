"""`bin/serve` under load, every answer compared with what the codec gives in process.

    python benchmarks/serving.py MODEL [--requests 1000] [--clients 1,4,16,64] [--kill]

MODEL is the folder of an exported model's version. For each number of concurrent clients, the same
requests (made images of several sizes, several qualities, half of them to compress and half to
decompress) are sent to a server process and run in this one, by as many threads as there are
clients, or cores if these are fewer. One request in twenty is malformed: garbage, a truncated
image, a huge header, a wrong type; the first three travel beside a good element, which is run in
process too. A quarter of the requests is run here, then there, and so on; answers are compared
when the time has been taken. The last row kills the server in the middle and starts it again; its
clients retry what they are told is UNAVAILABLE.

Columns: good images per second at the server and in process and their ratio; the latencies that
clients see; the server's memory before and after; answers that were wrong or missing; malformed
requests that were refused.
"""

import argparse
import concurrent.futures
import io
import os
import sys
import threading
import time

import numpy as np
from serving_load import Load, Server, is_compression, is_good, is_malformed, made_items

from tfclic import images, runtime

TURNS = 4


def in_process(codec, items, numbers, threads):
    """Seconds that the good requests take here, PNG files in and out as there."""

    def one(number):
        item = items[number % len(items)]
        if is_compression(number) or is_malformed(number):
            return codec.compress(images.read(io.BytesIO(item.png)).pixels, item.quality)
        return images.encode(codec.decompress(item.file), "x.png")

    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, filter(is_good, numbers)))
    return time.perf_counter() - began


def row(label, load, seconds, rate_here, memory, numbers):
    """A line of the table."""
    rate = sum(map(is_good, numbers)) / seconds
    latencies = " | ".join(f"{value:.2f}" for value in np.percentile(load.seconds, [50, 95, 99]))
    here = f"{rate_here:.2f} | {100 * rate / rate_here:.0f} %" if rate_here else "- | -"
    bad = sum(map(is_malformed, numbers))
    before, after = memory
    return (
        f"| {label} | {rate:.2f} | {here} | {latencies} | {before:.0f} -> {after:.0f} "
        f"| {load.wrong} of {len(numbers)} | {load.refused} of {bad} |"
    )


def measured(codec, items, server, numbers, clients):
    """Runs one row of the table and prints it; returns the number of its failures."""
    threads = min(clients, os.cpu_count() or 1)
    good = sum(map(is_good, numbers))
    load, before = Load(items, server.port), server.memory()
    here = seconds = 0
    # in turns, so that what else the machine does meets both
    for turn in np.array_split(numbers, TURNS):
        here += in_process(codec, items, turn, threads)
        seconds += load.run(turn, clients)
    load.close()
    print(row(clients, load, seconds, good / here, (before, server.memory()), numbers), flush=True)
    return load.wrong + sum(map(is_malformed, numbers)) - load.refused


def killed(items, server, numbers, clients):
    """The row with a kill in the middle; returns the number of failures."""
    load, before = Load(items, server.port, retries=True), server.memory()

    def kill():
        while len(load.seconds) < len(numbers) // 2:
            time.sleep(0.01)
        server.process.kill()
        server.process.wait()
        server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    seconds = load.run(numbers, clients)
    killer.join()
    load.close()
    label = f"{clients}, killed; {load.unavailable} times UNAVAILABLE"
    print(row(label, load, seconds, None, (before, server.memory()), numbers), flush=True)
    return load.wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of an exported model's version")
    parser.add_argument("--requests", type=int, default=1000, help="of each row")
    parser.add_argument("--clients", default="1,4,16,64", help="numbers of clients")
    parser.add_argument("--kill", action="store_true", help="the row with a kill as well")
    args = parser.parse_args()
    codec = runtime.load(args.model)
    items, server = made_items(codec), Server(args.model)
    numbers, failures = range(args.requests), 0
    print(
        "| clients | images/s | in process | ratio | p50 (s) | p95 | p99 | memory (MiB) "
        "| wrong or lost | malformed, refused |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    # both have seen every size then
    in_process(codec, items, range(len(items)), 1)
    Load(items, server.port).run(range(len(items)), 1)
    for clients in map(int, args.clients.split(",")):
        failures += measured(codec, items, server, numbers, clients)
    if args.kill:
        failures += killed(items, server, numbers, 4)
    print(f"\nThe server ended with status {server.end()}.")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
