"""What thumbnails of latents are worth: how near they come to whole decoding, and what they save.

    python benchmarks/thumbnails.py MODEL ... --images FOLDER [--scales 1/4,1/8,1/16]

Each file is decoded as a whole and reduced, and decoded at each scale. The table has, for each
quality and scale, the peak signal-to-noise ratio of the second image against the first, the mean
over the images and the worst, and the seconds that decoding takes, medians of rounds that take
turns, summed over the images: on the clock, and in brackets the processor's. A model that was not
taught to make thumbnails (`bin/export --thumbnails`) does the same twice.
"""

import argparse
import functools
import pathlib
import statistics
import sys
from typing import NamedTuple

import numpy as np
import turns

from tfclic import errors, images, runtime
from tfclic.cli import common, decompress, evaluate
from tfclic.evaluation import metrics
from tfclic.runtime import thumbnails

QUALITIES = [0.0, 50.0, 100.0]
SCALES = "1/4,1/8,1/16"
COLUMNS = "model", "quality", "scale", "PSNR, dB", "worst", "whole, s", "thumbnail, s", "share %"


class Found(NamedTuple):
    """Of one image: dB, and seconds on the clock and the processor's, of both."""

    psnr: float
    whole: tuple[float, float]
    small: tuple[float, float]


def measure(codec, pixels, quality, scales, rounds):
    """A `Found` for each scale."""
    data = codec.compress(pixels, quality)
    works = {scale: functools.partial(codec.decompress, data, scale=scale) for scale in scales}
    works[1] = functools.partial(codec.decompress, data)
    images_ = {scale: work() for scale, work in works.items()}  # and to warm up
    spent = {scale: [] for scale in works}
    for _ in range(rounds):
        for scale, work in works.items():
            spent[scale].append(turns.timed(work)[0])
    middles = {scale: tuple(np.median(each, 0)) for scale, each in spent.items()}

    def found(scale):
        wanted = thumbnails.reduced(images_[1], thumbnails.reduction(scale))
        return Found(metrics.psnr(wanted, images_[scale]), middles[1], middles[scale])

    return {scale: found(scale) for scale in scales}


def row(name, quality, scale, found):
    """A line of the table of the `Found` of all images."""
    known = [each.psnr for each in found]
    whole, small = (np.sum([each[n] for each in found], 0) for n in (1, 2))
    seconds = (f"{clock:.2f} ({processor:.2f})" for clock, processor in (whole, small))
    cells = [f"{statistics.fmean(known):.2f}", f"{min(known):.2f}", *seconds]
    cells.append("{:.0f} ({:.0f})".format(*(100 * small / whole)))
    return f"| {name} | {quality:g} | 1/{1 / scale:g} | {' | '.join(cells)} |"


def scales(text):
    """Scales of a list with commas; for argparse."""
    return [decompress.scale(word) for word in common.words(text)]


def main():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--images", required=True, type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--first", type=int, metavar="N", help="only so many images")
    parser.add_argument("--qualities", type=common.qualities, default=QUALITIES)
    parser.add_argument("--scales", type=scales, default=SCALES, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of timing (default: %(default)s)")
    args = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    try:
        paths = evaluate.image_paths(str(args.images))[: args.first]
        photos = [images.read(path).pixels for path in paths]
        for name in args.models:
            codec = runtime.load(name)
            for quality in args.qualities:
                given = quality, args.scales, args.rounds
                found = [measure(codec, pixels, *given) for pixels in photos]
                for scale in args.scales:
                    of_scale = [each[scale] for each in found]
                    print(row(f"`{name}`", quality, scale, of_scale), flush=True)
    except errors.TfclicError as error:
        common.complain("thumbnails", error)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
