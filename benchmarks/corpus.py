"""How many images a second `bin/compress_corpus` makes of what a plain loop in one process makes.

    python benchmarks/corpus.py FOLDER [--model NAME|PATH] [--images 40] [--rounds 3]
        [--runner dask] [--crop PIXELS] [--each 8]

With `--runner dask` the ways are those on a cluster of Dask that the program starts here, and
`find | xargs -P` over `bin/compress`, eight images a process, or as many as --each says. A folder
that has too few images is gone through again; 2,000 of them take an hour or so: `--runner dask
--images 2000 --rounds 1`. With --crop, squares of so many pixels are cut out of them first.

Each way is a whole process (or two loops beside each other, which is all that two processes can
give). Images per second are counted from when a quarter of the files is there until the last is;
the start is what the process took apart from that. The ways take turns; medians are printed. Images
are taken in the order of their names, large and small as they are. What is written is compared:
threads may change the last bits of the transforms, and with them a file, but not its quality.
"""

import argparse
import functools
import hashlib
import itertools
import os
import pathlib
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
LOOP = """
import pathlib, sys
import tfclic
from tfclic import images

model, source, target = sys.argv[1:]
codec = tfclic.load(model)
for path in sorted(pathlib.Path(source).iterdir()):
    data = codec.compress(images.read(path).pixels)
    (pathlib.Path(target) / (path.name + ".tfclic")).write_bytes(data)
"""


def chosen(folder, count):
    """The first `count` images of a folder by name, a list of paths."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not paths:
        raise SystemExit(f"{folder} has no images.")
    return list(itertools.islice(itertools.cycle(paths), count))


def deal(paths, folder, hands):
    """Links images into `hands` folders below `folder`, in turns; returns the folders."""
    made = [folder / str(hand) for hand in range(hands)]
    for i, path in enumerate(paths):
        made[i % hands].mkdir(parents=True, exist_ok=True)
        os.symlink(path.resolve(), made[i % hands] / f"{i:06d}-{path.name}")
    return made


def cropped(paths, side, folder):
    """Writes a square of each image, from any place in it, as PNG; returns their paths."""
    rng, made = random.Random(0), []
    folder.mkdir()
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            left, top = (rng.randrange(max(1, each - side)) for each in image.size)
            made.append(folder / f"{number:06d}.png")
            image.convert("RGB").crop((left, top, left + side, top + side)).save(made[-1])
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
    return [[*program(model, paths, folder, threads), f"--direct_num_workers={processes}"]]


def dask(model, paths, folder, processes, threads):
    """The command of the program on a cluster of Dask."""
    cluster = ["--runner=dask", f"--workers={processes}"]
    return [[*program(model, paths, folder, threads), *cluster]]


def program(model, paths, folder, threads):
    (source,) = deal(paths, folder, 1)
    words = [f"--input={source}/*", f"--output={folder / 'coded'}", f"--model={model}"]
    words += [f"--threads={threads}"] if threads else []
    return [sys.executable, "-m", "tfclic.cli.compress_corpus", *words]


def xargs(model, paths, folder, processes, threads, each=8):
    """A command that gives so many images to each process of `bin/compress`."""
    (source,) = deal(paths, folder, 1)
    (folder / "coded").mkdir()
    words = [sys.executable, "-m", "tfclic.cli.compress", "-o", folder / "coded", "--model", model]
    compress = " ".join(shlex.quote(str(word)) for word in words)
    find = f"find {shlex.quote(str(source))} -type l -print0 | sort -z"
    given = f"env TF_NUM_INTRAOP_THREADS={threads}"
    return [["sh", "-c", f"{find} | {given} xargs -0 -P {processes} -n {each} {compress}"]]


BY_XARGS = "find, xargs -P 2"
WAYS = {
    "loop, all cores": (loops, 1, None),
    "loop, 1 thread": (loops, 1, 1),
    "2 loops, 1 thread each": (loops, 2, 1),
    "corpus, 2 processes, 1 thread each": (corpus, 2, 1),
    "corpus, 2 processes, 2 threads each": (corpus, 2, 2),
    "corpus, 1 process, 2 threads": (corpus, 1, 2),
    BY_XARGS: (xargs, 2, 1),
    "dask, 1 worker, 1 thread": (dask, 1, 1),
    "dask, 1 worker, 2 threads": (dask, 1, 2),
    "dask, 2 workers, 1 thread each": (dask, 2, 1),
}
OF_DASK = (
    "loop, all cores",
    BY_XARGS,
    "dask, 1 worker, 1 thread",
    "dask, 2 workers, 1 thread each",
)


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


def measure(way, model, paths, folder):
    """Takes one of `WAYS`.

    Returns:
      Seconds in all, images per second, and digests of what was made, by name.
    """
    make, processes, threads = way
    shutil.rmtree(folder, ignore_errors=True)
    seconds = timed(make(model, paths, folder, processes, threads))
    made = [path for path in folder.glob("coded/*.tfclic") if path.is_file()]
    times = sorted(path.stat().st_mtime for path in made)
    first = len(times) // 4
    rate = (len(times) - first) / (times[-1] - times[first - 1])
    # some keep the extension of the image
    digests = {path.name.split(".")[0]: hashlib.sha256(path.read_bytes()).digest() for path in made}
    return seconds, rate, digests


def report(measured, count):
    """Prints the table of what `measure` returned, a dict of lists; `count` is of the images."""
    print("| way | start (s) | images per second | against the first | the same files |")
    print("|---|---|---|---|---|")
    compared = None
    for way, rounds in measured.items():
        rate = statistics.median(rate for _, rate, _ in rounds)
        start = statistics.median(seconds - count / rate for seconds, rate, _ in rounds)
        made = rounds[0][2]
        compared = compared or (rate, made)
        same = sum(compared[1].get(name) == data for name, data in made.items())
        cells = f"{start:.1f} | {rate:.2f} | {rate / compared[0]:.2f} | {same} of {count}"
        print(f"| {way} | {cells} |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--model", default="gmm_attention_small")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runner", choices=("beam", "dask"), default="beam")
    parser.add_argument("--crop", type=int, help="pixels a side, of images that are made first")
    parser.add_argument("--each", type=int, default=8, help="images of a process of xargs")
    parser.add_argument(
        "--way", action="append", choices=list(WAYS), metavar="WAY",
        help="a row of the table, by its first column; may be repeated; default: the runner's",
    )  # fmt: skip
    args = parser.parse_args()
    paths = chosen(args.folder, args.images)
    known = {**WAYS, BY_XARGS: (functools.partial(xargs, each=args.each), *WAYS[BY_XARGS][1:])}
    of_beam = [way for way, (make, *_) in WAYS.items() if make in (loops, corpus)]
    ways = args.way or list(OF_DASK if args.runner == "dask" else of_beam)
    measured = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as scratch:
        if args.crop:
            paths = cropped(paths, args.crop, pathlib.Path(scratch) / "crops")
        for number in range(args.rounds):
            for way in ways:
                found = measure(known[way], args.model, paths, pathlib.Path(scratch) / "way")
                measured[way].append(found)
                print(f"{number + 1}: {way}: {found[1]:.2f}/s", file=sys.stderr, flush=True)
    report(measured, len(paths))


if __name__ == "__main__":
    main()
