"""Damages one file in every way that is small, and checks that each copy is refused.

    python benchmarks/damage.py MODEL IMAGE [--quality 0] [--cut N] [--dressed] [--coder NAME]

Every byte flipped by every pattern and every truncation is decoded in this process, a few copies of
each kind by `bin/decompress`. A copy has to be refused as damaged (exit status 4) within two
seconds; an image, another error or a longer time ends this program with status 1.
"""

import argparse
import collections
import pathlib
import subprocess
import sys
import tempfile
import time

from tqdm import tqdm

from tfclic import errors, images, runtime
from tfclic.format import alpha, header, picture

PATTERNS = (0x01, 0x80, 0xFF)
SECONDS = 2
DECOMPRESS = pathlib.Path(__file__).resolve().parents[1] / "bin" / "decompress"


def flipped(data, place, pattern):
    """`data` with the bits of `pattern` changed in one byte."""
    return data[:place] + bytes([data[place] ^ pattern]) + data[place + 1 :]


def damaged(data, patterns=PATTERNS):
    """Yields (kind, what was done, the copy)."""
    for size in range(len(data)):
        yield "truncated", f"cut to {size} bytes", data[:size]
    for place in range(len(data)):
        for pattern in patterns:
            yield "flipped", f"byte {place} ^ {pattern:#04x}", flipped(data, place, pattern)


def attempt(codec, data):
    """What became of decoding `data`: (what is wrong with that, or None; seconds)."""
    started = time.perf_counter()
    try:
        codec.decompress(data)
        wrong = "gave an image"
    except errors.FileFormatError:
        wrong = None
    except Exception as error:  # that there are no others is what is measured
        wrong = f"raised {type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    if not wrong and seconds > SECONDS:
        wrong = f"took {seconds:.1f} s"
    return wrong, seconds


def by_program(data, folder):
    """What is wrong with what `bin/decompress` does with `data`, or None."""
    source, target = folder / "damaged.tfclic", folder / "damaged.png"
    source.write_bytes(data)
    command = [sys.executable, str(DECOMPRESS), str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != errors.FileFormatError.exit_status:
        return f"ended with {done.returncode}: {done.stderr}"
    if target.exists() or done.stdout or done.stderr.count("\n") != 1:
        return f"wrote more than a sentence: {done.stdout}{done.stderr}"
    return None


def samples(data):
    """A few damaged copies for whole processes."""
    places = [0, 8, len(data) // 2]
    return [
        ("empty", b""),
        ("half", data[: len(data) // 2]),
        *((f"byte {place}", flipped(data, place, 0x10)) for place in places),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="name or path of a model")
    parser.add_argument("image")
    parser.add_argument("--quality", type=float, default=0)
    parser.add_argument("--coder", choices=header.CODERS, help="of the files; default: the model's")
    parser.add_argument("--cut", type=int, help="take so many rows and columns of the image only")
    parser.add_argument("--dressed", action="store_true", help="with alpha and metadata beside it")
    args = parser.parse_args()
    codec = runtime.load(args.model, args.coder)
    pixels = images.read(args.image).pixels[: args.cut, : args.cut]
    metadata = picture.NO_METADATA
    if args.dressed:
        metadata = picture.Metadata(*(name.encode() * 99 for name in metadata._fields))
        # as clear as the image is dark
        pixels = alpha.joined(pixels, pixels.reshape(*pixels.shape[:2], -1).min(-1))
    data = codec.compress(pixels, args.quality, metadata=metadata)
    codec.decompress(data)  # the undamaged file is one
    counts, worst, failures = collections.Counter(), 0.0, []
    total = len(data) * (1 + len(PATTERNS))
    for kind, what, copy in tqdm(damaged(data), total=total, unit="file", mininterval=5):
        wrong, seconds = attempt(codec, copy)
        counts[kind] += 1
        worst = max(worst, seconds)
        if wrong:
            failures.append(f"{what}: {wrong}")
    with tempfile.TemporaryDirectory() as folder:
        for what, copy in samples(data):
            wrong = by_program(copy, pathlib.Path(folder))
            counts["by bin/decompress"] += 1
            if wrong:
                failures.append(f"bin/decompress, {what}: {wrong}")
    tried = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"file of {len(data)} bytes; tried {tried}")
    print(f"refused {sum(counts.values()) - len(failures)} of {sum(counts.values())}")
    print(f"longest refusal {worst:.3f} s")
    for failure in failures[:20]:
        print("FAILED", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
