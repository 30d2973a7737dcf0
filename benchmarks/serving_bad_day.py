"""`bin/serve` and `bin/compress` on a bad day: what goes wrong around them, one thing at a time.

    python benchmarks/serving_bad_day.py MODEL [--only NAME,NAME,...] [--requests 1000]

MODEL is the folder of an exported model's version. In each row a server is a process of its own,
and what good clients get meanwhile, and afterwards, is compared with what the codec gives in
process:

    crowd     all requests at once, from as many connections as there are; the queue is 128 long
    slow      100 clients that send a byte of a request each second, and never come to its end
    half      100 clients that say how long their request is, send half of it and hang up; as many
              that send half and stay
    large     images and files of 100 megapixels, whole and valid
    swapped   a new version each two seconds, the one before taken away, under load
    memory    address space limited (ulimit -v) to little more than the server has, images of 12
              megapixels
    turns     the same with some more, and images of which one alone has room: all are answered
    group     memory limited by a control group, as a container's is (Linux, as root), to so little
              more than the server has that only small images fit; images of 12 megapixels. The
              kernel kills who takes too much there
    end       SIGTERM while requests are under way
    disk      `bin/compress` into a folder of 16 KiB (Linux, as root: a mount of its own)

Columns: good requests that were answered as they should; those refused by a sentence, as busy or
for want of memory; those wrong or lost (which fails); bad ones refused, of how many; open files
before and after; what else is to be told.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent import futures
from typing import NamedTuple

import grpc
import numpy as np
import serving_memory
from serving_load import NAME, ROOT, Load, Server, connected, is_good, made_items

from tfclic import images, runtime
from tfclic.serving import memory as memory_groups
from tfclic.serving.client import predict_request

SLOW_CLIENTS, SLOW_SECONDS = 100, 20
LARGE = 10_000  # pixels a side
SPARE_MEMORY = 400 << 20  # bytes that the server may take beside what it has
MIDDLE = 3000, 4000  # pixels, of what is more than that
SPARE_FOR_SMALL = 200 << 20  # bytes, in a control group
SPARE_FOR_ONE = 900 << 20  # bytes, for an image of the following size, but not for two
ALONE = 640, 640  # pixels
BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE
LIMITED = 8  # large images that a server with little memory gets
DISK_KIBIBYTES = 16


class Outcome(NamedTuple):
    """What came of a row; see the program's text."""

    answered: int
    refused: int
    wrong: int
    bad: str = "-"
    files: str = "-"
    note: str = ""


class Clients(Load):
    """Good requests alone, whose refusals as busy are counted by themselves."""

    def __init__(self, items, port, channels=1):
        super().__init__(items, port, channels=channels)
        self.busy, self.answered = 0, 0

    def _compare(self, number):
        answer = self._answers.get(number)
        if isinstance(answer, grpc.RpcError) and answer.code() in BUSY:
            del self._answers[number]
            self.busy += 1
            return
        before = self.wrong
        super()._compare(number)
        self.answered += self.wrong == before


def good(count):
    """Numbers of that many good requests."""
    return [number for number in range(2 * count) if is_good(number)][:count]


@contextlib.contextmanager
def served(model, items, *options, channels=1, within=()):
    """A server that has seen every size, and good clients."""
    server = Server(model, *options, within=within)
    clients = Clients(items, server.port, channels)
    try:
        warm = Clients(items, server.port)
        warm.run(good(2 * len(items)), 1)
        warm.close()
        yield server, clients
    finally:
        clients.close()
        if server.process.poll() is None:
            server.end()


def outcome(clients, server, before, bad="-", note=""):
    """Of clients that are through; connections that have ended are given a second."""
    clients.close()
    time.sleep(1)
    return Outcome(
        clients.answered, clients.busy, clients.wrong, bad, f"{before} -> {server.files()}", note
    )


def crowd(model, items, requests):
    with served(model, items, channels=min(requests, 100)) as (server, clients):
        before = server.files()
        seconds = clients.run(good(requests), requests)
        clients.run(good(8), 1)
        return outcome(clients, server, before, note=f"{seconds:.0f} s")


def request_head(length):
    """The beginning of a REST request whose body has `length` bytes."""
    lines = f"POST /v1/models/{NAME}:predict HTTP/1.1", "Host: x", f"Content-Length: {length}"
    return "\r\n".join([*lines, "", ""]).encode()


def slow(model, items, requests):
    with served(model, items) as (server, clients):
        before, head = server.files(), request_head(1 << 20)
        sockets = [
            socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(SLOW_CLIENTS)
        ]
        until = time.monotonic() + SLOW_SECONDS

        def dribble():
            sent = 0
            while time.monotonic() < until:
                for each in sockets:
                    with contextlib.suppress(OSError):
                        each.send(head[sent : sent + 1] or b"{")
                sent += 1
                time.sleep(1)

        thread = threading.Thread(target=dribble)
        thread.start()
        clients.run(good(min(requests, 60)), 4)
        thread.join()
        for each in sockets:
            each.close()
        latency = np.percentile(clients.seconds, 95)
        return outcome(clients, server, before, note=f"95 % within {latency:.2f} s")


def half(model, items, requests):
    with served(model, items) as (server, clients):
        before, body = server.files(), b'{"signature_name": "compress", "inputs": {"images": ['
        sent = request_head(2 * len(body)) + body
        staying = []
        for number in range(2 * SLOW_CLIENTS):
            made = socket.create_connection(("127.0.0.1", server.rest_port))
            made.sendall(sent)
            if number % 2:
                staying.append(made)
            else:
                made.close()
        clients.run(good(min(requests, 60)), 4)
        for each in staying:
            each.close()
        return outcome(clients, server, before)


def refused_large(server, name, inputs):
    """Whether a request of 100 megapixels is refused by a sentence, and in how many seconds."""
    began, is_refused = time.perf_counter(), False
    with connected(server.port) as stub:
        try:
            stub.Predict(predict_request(NAME, name, inputs), timeout=60)
        except grpc.RpcError as error:
            is_refused = error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return is_refused, time.perf_counter() - began


def large(model, items, requests):
    pixels = np.full([LARGE, LARGE, 3], 128, np.uint8)
    png = images.encode(pixels, "x.png")
    file = runtime.load(model).compress(pixels, 50, tile=1024)
    del pixels
    with served(model, items) as (server, clients):
        before, refused, longest = server.files(), 0, 0.0
        peak = server.memory()
        tries = [("compress", {"images": [png], "qualities": np.float32([50])})] * 5
        tries += [("decompress", {"files": [file]})] * 5
        for name, inputs in tries:
            is_refused, seconds = refused_large(server, name, inputs)
            refused, longest = refused + is_refused, max(longest, seconds)
            clients.run(good(min(requests, 4)), 2)
        clients.wrong += len(tries) - refused
        note = f"refused within {longest:.2f} s; {server.memory() - peak:+.0f} MiB"
        return outcome(clients, server, before, f"{refused} of {len(tries)}", note)


def swapped(model, items, requests):
    with served(model, items, "--file_system_poll_wait_seconds", "0.5") as (server, clients):
        before, source = server.files(), pathlib.Path(model).resolve()
        memory, going, last = server.memory(), threading.Event(), 1

        def swap():
            nonlocal last
            while not going.wait(2):
                (server.versions / str(last + 1)).symlink_to(source)
                until = time.monotonic() + 60
                while not is_available(server, last + 1) and time.monotonic() < until:
                    time.sleep(0.2)
                (server.versions / str(last)).unlink()
                last += 1

        thread = threading.Thread(target=swap)
        thread.start()
        clients.run(good(requests), 4)
        going.set()
        thread.join()
        # the last of them is going
        time.sleep(5)
        note = f"{last - 1} new versions; {memory:.0f} -> {server.memory():.0f} MiB"
        return outcome(clients, server, before, note=note)


def is_available(server, version):
    """Whether the server says that a version can be asked."""
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/{NAME}/versions/{version}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            states = json.load(answer)["model_version_status"]
    except (urllib.error.URLError, OSError):
        return False
    return any(each["state"] == "AVAILABLE" for each in states)


def limit_space(server, spare):
    """Leaves this many bytes of the address space."""
    space, _ = serving_memory.sizes(server.process)
    most = int(space) + spare
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, (most, most))


def memory(model, items, requests):
    return limited(model, items, requests, SPARE_MEMORY, MIDDLE)


def turns(model, items, requests):
    return limited(model, items, requests, SPARE_FOR_ONE, ALONE, all_fit=True)


def group(model, items, requests):
    with made_group() as made:
        if made is None:
            return Outcome(0, 0, 0, note="not run: no control group could be made")
        found = limited(
            model, items, requests, SPARE_FOR_SMALL, MIDDLE,
            limit=lambda _, spare: made.limit(spare), within=made.command(),
        )  # fmt: skip
        kills, hits = made.kills(), made.hits()
    note = f"{found.note}; at the limit {hits} times, {kills} processes killed"
    return found._replace(wrong=found.wrong + kills, note=note)


class Made(NamedTuple):
    """A control group of this program's; see `made_group`."""

    group: memory_groups.Group

    def command(self):
        """Words before a command, which then runs in the group."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.group.folder / "cgroup.procs")]

    def limit(self, spare):
        """Leaves this many bytes beside what is used and cannot be given back."""
        (used,) = self.group.used()
        self.group.limit.write_text(str(used + spare))

    def kills(self):
        """How many processes the kernel has ended for want of memory."""
        file = "memory.oom_control" if self.group.version == 1 else "memory.events"
        return self._field(file, "oom_kill")

    def hits(self):
        """How often the limit was met; what is kept of files is given back then, if any is."""
        if self.group.version == 1:
            return int((self.group.folder / "memory.failcnt").read_text())
        return self._field("memory.events", "max")

    def _field(self, file, name):
        text = (self.group.folder / file).read_text()
        return int(dict(line.split() for line in text.splitlines())[name])


@contextlib.contextmanager
def made_group():
    """Yields a `Made` group that may be limited, below one that this process is in; or None."""
    for parent in memory_groups.groups():
        folder = parent.folder / f"tfclic-{os.getpid()}"
        made = Made(memory_groups.Group(folder, parent.version))
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if os.access(made.group.limit, os.W_OK):
                yield made
                return
        finally:
            folder.rmdir()
    yield None


def limited(model, items, requests, spare, sides, all_fit=False, limit=limit_space, within=()):
    """Of a server with so many bytes to spare, which gets large images of such sides.

    `limit` is a function of the server and these bytes, `within` as `Server` has it.
    """
    with served(model, items, within=within) as (server, clients):
        before = server.files()
        limit(server, spare)
        height, width = sides
        inputs = serving_memory.compression(serving_memory.noisy(width, height))
        codes = []

        def one(_):
            try:
                stub.Predict(predict_request(NAME, "compress", inputs), timeout=300)
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.append(error.code())

        with connected(server.port) as stub, futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(one, range(LIMITED)))
        clients.run(good(min(requests, 40)), 2)
        taken = codes.count(grpc.StatusCode.OK)
        refused = codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED)
        clients.wrong += LIMITED - taken - refused * (not all_fit)
        note = f"{spare >> 20} MiB to spare; {taken} large ones answered"
        others = set(codes) - {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        note += "; ".join(["", *sorted(code.name for code in others)])
        if server.process.poll() is not None:
            return Outcome(0, 0, 1, note="the server died")
        bad = f"{refused} of {LIMITED - taken}"
        return outcome(clients, server, before, "-" if all_fit else bad, note)


def end(model, items, requests):
    with served(model, items) as (server, clients):
        before = server.files()
        thread = threading.Thread(target=clients.run, args=(good(min(requests, 100)), 32))
        thread.start()
        while len(clients.seconds) < 16:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        status = server.process.wait(120)
        thread.join()
        clients.wrong += status != 0
        note = f"status {status}; what came later was told UNAVAILABLE"
        return Outcome(clients.answered, clients.busy, clients.wrong, files=f"{before}", note=note)


def disk(model, items, requests):
    """As the program's text says; the mount is seen by the processes below it alone."""
    if os.geteuid() or not shutil.which("unshare"):
        return Outcome(0, 0, 0, note="not run: it takes Linux and root")
    with tempfile.TemporaryDirectory() as folder:
        source, small = pathlib.Path(folder, "source"), pathlib.Path(folder, "small")
        source.mkdir(), small.mkdir()
        for number, item in enumerate(items):
            (source / f"{number:02}.png").write_bytes(item.png)
        program = (
            f'mount -t tmpfs -o size={DISK_KIBIBYTES}k none "$1" && shift && '
            '"$@"; echo "status $?"; ls -A "$0"'
        )
        command = [sys.executable, "-m", "tfclic.cli.compress", *sorted(map(str, source.iterdir()))]
        command += ["--model", str(model), "--quality", "50", "-o", str(small)]
        shell = ["unshare", "-m", "sh", "-c", program, str(small), str(small), *command]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        found = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)
    lines = found.stdout.splitlines()
    place = next((i for i, line in enumerate(lines) if line.startswith("status ")), None)
    if place is None:
        return Outcome(0, 0, 0, note="not run: nothing could be mounted")
    left, written = lines[place + 1 :], sum(" -> " in line for line in lines[:place])
    told = sum("cannot be written" in line for line in found.stderr.splitlines())
    # each is a whole file with a line, or a sentence; no more and no less has a name
    wrong = abs(len(items) - written - told) + abs(len(left) - written)
    wrong += lines[place] != "status 2"
    note = f"{lines[place]}; {written} whole files left, nothing else"
    return Outcome(written, told, wrong, note=note)


ROWS = {
    each.__name__: each
    for each in (crowd, slow, half, large, swapped, memory, turns, group, end, disk)
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of an exported model's version")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, by their names")
    parser.add_argument("--requests", type=int, default=1000, help="of a row, at most")
    args = parser.parse_args()
    if unknown := set(args.only.split(",")) - set(ROWS):
        parser.error(f"There is no {', '.join(sorted(unknown))}; the rows are {', '.join(ROWS)}.")
    items = made_items(runtime.load(args.model))
    print("| | answered | refused | wrong or lost | bad ones refused | files | |")
    print("|---|---|---|---|---|---|---|")
    failures = 0
    for name in args.only.split(","):
        found = ROWS[name](args.model, items, args.requests)
        print(f"| {name} | " + " | ".join(map(str, found)) + " |", flush=True)
        failures += found.wrong
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
