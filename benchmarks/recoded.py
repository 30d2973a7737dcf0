"""What the interleaved coder costs real files: bytes, and seconds to decode their latents.

    python benchmarks/recoded.py --images FOLDER [--model NAME] [--number 24] [--rounds 3]

Images are written with the range coder, whole and a part of 64x64 pixels from the middle, and then
recoded with the interleaved one. Both files have the same latents. Seconds are those of decoding
them, on the clock and the processor's, the least of rounds in which the two take turns; means over
images. "Worst" is the file that grows most.
"""

import argparse
import pathlib
import sys

import numpy as np
import turns

from tfclic import images, runtime
from tfclic.format import header
from tfclic.runtime import catalog

QUALITIES = 0, 50, 100
PART = 64


def middle(pixels):
    """The part in the middle of an image."""
    top, left = ((side - PART) // 2 for side in pixels.shape[:2])
    return pixels[top : top + PART, left : left + PART]


def measured(codecs, library, pixels, quality, rounds):
    """Bytes and seconds of each coder, two pairs."""
    data = codecs[header.RANGE].compress(pixels, quality)
    files = {each: library.recode(data, each) for each in header.CODERS}
    spent = {each: [] for each in header.CODERS}
    for _ in range(rounds):
        found = {}
        for coder, codec in codecs.items():
            seconds, found[coder] = turns.timed(codec.decode_latents, files[coder])
            spent[coder].append(seconds)
        np.testing.assert_array_equal(*found.values())
    return [len(each) for each in files.values()], [np.min(each, 0) for each in spent.values()]


def main():
    """Prints the table."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--images", required=True, help="folder")
    parser.add_argument("--model", default=runtime.DEFAULT_MODEL)
    parser.add_argument("--number", type=int, default=24, help="of images, evenly chosen")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    model, library = catalog.find(args.model), runtime.Library()
    codecs = {coder: runtime.Codec(model, coder) for coder in header.CODERS}
    paths = sorted(pathlib.Path(args.images).iterdir())
    paths = paths[:: max(1, len(paths) // args.number)][: args.number]
    loaded = [images.read(str(path)).pixels for path in paths]
    sizes = {"whole": loaded, f"{PART}x{PART}": list(map(middle, loaded))}
    print(f"{model}, {len(loaded)} images")
    print(
        "| image | quality | range, bytes | interleaved | more % | worst | range, s | interleaved |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, pictures in sizes.items():
        for quality in QUALITIES:
            rows = [measured(codecs, library, each, quality, args.rounds) for each in pictures]
            (before, after), seconds = (np.mean(each, 0) for each in zip(*rows))
            worst, share = max((more - less, more / less - 1) for (less, more), _ in rows)
            bytes_ = f"{before:.0f} | {after:.0f} | {100 * (after / before - 1):+.2f}"
            grown = f"{worst} bytes, {100 * share:+.2f} %"
            taken = " | ".join("{:.2f}, {:.2f}".format(*each) for each in seconds)
            print(f"| {name} | {quality} | {bytes_} | {grown} | {taken} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
