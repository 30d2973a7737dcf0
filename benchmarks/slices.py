"""What pictures are worth after each slice of their latents.

    python benchmarks/slices.py MODEL --images FOLDER [--qualities Q,Q,...] [--first N]

MODEL codes latents in slices, as cca and elic do. Its files are decoded from the first n slices
alone, for all n, with what is expected of the others. The table has, for each quality, the share of
a file's bits that these take, with side information, and what comes of them: PSNR, and how much of
the way from no slice to all of them that is, in dB. Means over the images.
"""

import argparse
import pathlib
import statistics
import sys

import numpy as np

from tfclic import errors, images, runtime
from tfclic.cli import common, evaluate
from tfclic.evaluation import inspection, metrics

QUALITIES = [0.0, 50.0, 100.0]


def measure(codec, pixels, quality):
    """Of one image, the bits `[n + 1]` that slices up to each take, and the PSNR `[n + 1]`."""
    data = codec.compress(pixels, quality)
    explained = codec.statistics(data)
    report = inspection.report(codec, data, explained, explained.parts)
    slices = [each["bits"] for each in report["slices"]]
    side = sum(report["parts"].values()) - report["parts"]["latents"]
    bits = side + np.cumsum([0, *slices])
    decoded = [codec.decompress(data, slices=n) for n in range(codec.slices + 1)]
    return bits, [metrics.psnr(pixels, image) for image in decoded]


def table(codec, photos, qualities):
    """Yields the lines of a Markdown table."""
    numbers = [str(n) for n in range(codec.slices + 1)]
    yield f"| quality | bpp | | {' | '.join(numbers)} |"
    yield "|---" * (3 + len(numbers)) + "|"
    for quality in qualities:
        found = [measure(codec, pixels, quality) for pixels in photos]
        rates = [bits[-1] / pixels[..., 0].size for (bits, _), pixels in zip(found, photos)]
        shares = np.mean([bits / bits[-1] for bits, _ in found], 0)
        psnr = np.mean([values for _, values in found], 0)
        way = (psnr - psnr[0]) / (psnr[-1] - psnr[0])
        rows = (
            ("bits %", (f"{100 * share:.1f}" for share in shares)),
            ("PSNR", (f"{value:.2f}" for value in psnr)),
            ("of the way %", (f"{100 * share:.0f}" for share in way)),
        )
        for name, cells in rows:
            start = f"| {quality:g} | {statistics.fmean(rates):.3f}" if name == "bits %" else "| |"
            yield f"{start} | {name} | {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--images", required=True, type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--qualities", type=common.qualities, default=QUALITIES)
    parser.add_argument("--first", type=int, metavar="N", help="only so many images")
    args = parser.parse_args()
    try:
        codec = runtime.load(args.model)
        if codec.slices == 1:
            parser.error(f"{args.model} does not code latents in slices.")
        paths = evaluate.image_paths(str(args.images))[: args.first]
        photos = [images.read(path).pixels for path in paths]
    except errors.TfclicError as error:
        common.complain("slices", error)
        return error.exit_status
    for line in table(codec, photos, args.qualities):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
