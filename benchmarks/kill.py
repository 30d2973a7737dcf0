"""Kills `bin/compress` at random moments and looks at what it leaves.

    python benchmarks/kill.py IMAGE [--model NAME|PATH] [--kills 50] [--seed 0]

Each run compresses many small pieces of the image into one folder, so that many moments are close
to a write. Half of the runs are killed (SIGKILL) anywhere in their time, half while files appear;
every other one of the latter replaces older files (--force). Whatever has the final name has to
be a whole file; nothing else may be left that is visible or is called `.tfclic`.
"""

import argparse
import collections
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from PIL import Image
from tqdm import tqdm

from tfclic import errors, images, runtime

COMPRESS = pathlib.Path(__file__).resolve().parents[1] / "bin" / "compress"
PIECES, SIDE = 40, 64


def cut(image, folder):
    """Writes small pieces of `image` as PNG files; returns their paths."""
    pixels = images.read(image).pixels
    rng = random.Random(0)
    paths = []
    for i in range(PIECES):
        top, left = (rng.randrange(max(1, size - SIDE)) for size in pixels.shape[:2])
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels[top : top + SIDE, left : left + SIDE]).save(paths[-1])
    return paths


def start(paths, output, force):
    """Starts `bin/compress`; `paths` may have options too."""
    command = [sys.executable, str(COMPRESS), *paths, "-o", f"{output}/"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command + ["--force"] * force, stdout=quiet, stderr=quiet)


def timed_run(paths, output):
    """Runs to the end; returns the seconds until the first file, and until the end."""
    began = time.perf_counter()
    process = start(paths, output, False)
    while process.poll() is None and not any(output.glob("*.tfclic")):
        time.sleep(0.002)
    first = time.perf_counter() - began
    if process.wait():
        sys.exit(f"bin/compress ended with {process.returncode}.")
    return first, time.perf_counter() - began


def killed_run(paths, output, wait, writing):
    """Kills a run after `wait` seconds, counted from its first file if `writing`.

    Returns:
      Whether it still ran when it was killed.
    """
    old = {path: path.stat().st_ino for path in output.iterdir()}
    process = start(paths, output, bool(old))
    while writing and process.poll() is None:
        if any(old.get(path) != path.stat().st_ino for path in output.glob("*.tfclic")):
            break
        time.sleep(0.001)
    time.sleep(wait)
    running = process.poll() is None
    process.kill()
    process.wait()
    return running


def leftovers(output, library):
    """Counts what is in the folder, by kind; partial and strange files by name."""
    found = collections.Counter()
    for name in sorted(os.listdir(output)):
        if name.endswith(".tfclic"):
            try:
                library.codec_of((output / name).read_bytes())
                found["whole"] += 1
            except errors.FileFormatError:
                found[f"PARTIAL {name}"] += 1
        elif name.startswith(".tfclic-") and name.endswith(".tmp"):
            found["temporary"] += 1
        else:
            found[f"STRANGE {name}"] += 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("image")
    parser.add_argument("--model", default=runtime.DEFAULT_MODEL)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    library = runtime.Library()
    rng, total, running = random.Random(args.seed), collections.Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        paths = [*cut(args.image, folder), "--model", args.model]
        complete = folder / "complete"
        complete.mkdir()
        first, end = timed_run(paths, complete)
        print(f"undisturbed: first file after {first:.1f} s, all {PIECES} after {end:.1f} s")
        for kill in tqdm(range(args.kills), unit="kill"):
            writing = kill % 2 == 1
            output = complete if kill % 4 == 3 else folder / f"out{kill}"
            output.mkdir(exist_ok=True)
            wait = rng.uniform(0, end - first if writing else end)
            running += killed_run(paths, output, wait, writing)
            total += leftovers(output, library)
            for temporary in output.glob(".tfclic-*.tmp"):
                temporary.unlink()
    bad = {name: count for name, count in total.items() if name.startswith(("PARTIAL", "STRANGE"))}
    print(f"{args.kills} kills, {running} of them before the end")
    print(f"left: {total['whole']} whole files, {sum(bad.values())} partial or unexpected ones")
    print(f"left: {total['temporary']} hidden temporary files (.tfclic-*.tmp)")
    for name in bad:
        print("FAILED", name)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
