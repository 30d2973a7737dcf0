"""How many images a second `bin/compress_corpus` makes of what a plain loop in one process makes.

    python benchmarks/corpus.py FOLDER [--model NAME|PATH] [--images 48]

Each way is a whole process (or two loops beside each other, which is all that two processes can
give), run with a quarter of the images and with all of them: the difference tells images per
second, the rest is the start. Images are taken in the order of their names, large and small as they
are. What is written is compared: threads may change the last bits of the transforms, and with them
a file, but not its quality.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
LOOP = """
import pathlib, sys
import tfclic
from tfclic.codec import images

model, source, target = sys.argv[1:]
codec = tfclic.load(model)
for path in sorted(pathlib.Path(source).iterdir()):
    data = codec.compress(images.read(path).pixels)
    (pathlib.Path(target) / (path.name + ".tfclic")).write_bytes(data)
"""


def chosen(folder, count):
    """The first `count` images of a folder by name, a list of paths."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    if len(paths) < count:
        raise SystemExit(f"{folder} has {len(paths)} images, not {count}.")
    return paths[:count]


def deal(paths, folder, hands):
    """Links images into `hands` folders below `folder`, in turns; returns the folders."""
    made = [folder / str(hand) for hand in range(hands)]
    for i, path in enumerate(paths):
        made[i % hands].mkdir(parents=True, exist_ok=True)
        os.symlink(path.resolve(), made[i % hands] / path.name)
    return made


def loops(model, paths, folder, processes, threads):
    """Commands of plain loops beside each other."""
    target = folder / "coded"
    target.mkdir(parents=True)
    limit = [] if threads is None else ["env", f"TF_NUM_INTRAOP_THREADS={threads}"]
    sources = deal(paths, folder, processes)
    return [[*limit, sys.executable, "-c", LOOP, model, s, target] for s in sources]


def corpus(model, paths, folder, processes, threads):
    """The command of the program."""
    (source,) = deal(paths, folder, 1)
    words = [f"--input={source}/*", f"--output={folder / 'coded'}", f"--model={model}"]
    words += [f"--direct_num_workers={processes}"] + ([f"--threads={threads}"] if threads else [])
    return [[sys.executable, "-m", "tfclic.cli.compress_corpus", *words]]


WAYS = {
    "loop, all cores": (loops, 1, None),
    "loop, 1 thread": (loops, 1, 1),
    "2 loops, 1 thread each": (loops, 2, 1),
    "corpus, 2 processes, 1 thread each": (corpus, 2, 1),
    "corpus, 2 processes, 2 threads each": (corpus, 2, 2),
    "corpus, 1 process, 2 threads": (corpus, 1, 2),
}


def timed(commands):
    """Runs commands beside each other; returns seconds until the last has ended."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    processes = [
        subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL)
        for command in commands
    ]
    if any([process.wait() for process in processes]):
        raise SystemExit("A command failed.")
    return time.perf_counter() - began


def outputs(folder):
    """The files that were made, a dict from name to bytes."""
    return {path.name: path.read_bytes() for path in folder.glob("*/*.tfclic") if path.is_file()}


def measure(way, model, paths, folder):
    """Seconds for a quarter of the images and for all, and the outputs of all."""
    make, processes, threads = WAYS[way]
    seconds = []
    for part in (paths[: len(paths) // 4], paths):
        shutil.rmtree(folder, ignore_errors=True)
        seconds.append(timed(make(model, part, folder, processes, threads)))
    return *seconds, outputs(folder)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--model", default="gmm_attention_small")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--way", action="append", choices=list(WAYS), help="default: all")
    args = parser.parse_args()
    paths = chosen(args.folder, args.images)
    print("| way | start (s) | images per second | against the loop | the same files |")
    print("|---|---|---|---|---|")
    first = None
    with tempfile.TemporaryDirectory() as scratch:
        for way in args.way or WAYS:
            quarter, whole, made = measure(way, args.model, paths, pathlib.Path(scratch) / "way")
            rate = (len(paths) - len(paths) // 4) / (whole - quarter)
            start = max(whole - len(paths) / rate, 0)
            first = first or (rate, made)
            same = sum(first[1][name] == data for name, data in made.items())
            cells = f"{start:.1f} | {rate:.2f} | {rate / first[0]:.2f} | {same} of {len(paths)}"
            print(f"| {way} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
