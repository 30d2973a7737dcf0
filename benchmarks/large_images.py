"""Large images: time and memory from 2 to 100 megapixels, and what tiles cost.

    python benchmarks/large_images.py FOLDER [--model NAME|PATH] [--sides 2048x1365,10000x10000]

Images of any size are made by laying those of FOLDER side by side. `bin/compress` and
`bin/decompress` run as whole processes; the memory is their peak. Then an image of 2048x1365 is
coded in one piece and in tiles, and a part of the largest image is decoded alone.
"""

import argparse
import itertools
import os
import pathlib
import sys
import tempfile

import numpy as np
from PIL import Image
from startup import ROOT, timed

from tfclic import runtime
from tfclic.cli import common
from tfclic.evaluation import metrics
from tfclic.runtime import catalog

SIDES = "2048x1024,4096x2048,8192x4096,10000x10000"
COMPARED = (2048, 1365)
ONE_PIECE = 2048
QUALITIES = (0, 50, 100)


def mosaic(paths, width, height):
    """An image made of others, row by row, uint8 [height, width, 3]."""
    images = itertools.cycle([np.array(Image.open(path).convert("RGB")) for path in paths])
    whole = np.zeros([height, width, 3], np.uint8)
    top = 0
    while top < height:
        left, rows = 0, height
        while left < width:
            image = next(images)
            rows = min(rows, image.shape[0])
            part = image[: height - top, : width - left]
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
            left += image.shape[1]
        top += rows
    return whole


def measure_processes(paths, sides, model, quality):
    """Prints a row for each size."""
    print("| image | megapixels | compress (s) | MiB | decompress (s) | MiB | region (s) | MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for width, height in sides:
        with tempfile.TemporaryDirectory() as folder:
            image, coded, decoded = (
                f"{folder}/image.{end}" for end in ("ppm", "tfclic", "out.ppm")
            )
            Image.fromarray(mosaic(paths, width, height)).save(image)
            start = [ROOT / "bin/compress", image, "-o", coded, "--model", model, "-q", quality]
            back = [ROOT / "bin/decompress", coded, "-o", decoded, "--force"]
            x, y = (max(0, (side - 600) // 2) for side in (width, height))
            region = [*back, "--region", f"{x},{y},{min(600, width)},{min(600, height)}"]
            cells = [timed([str(word) for word in command]) for command in (start, back, region)]
        told = " | ".join(f"{seconds:.1f} | {memory:.0f}" for seconds, memory in cells)
        print(f"| {width}x{height} | {width * height / 1e6:.1f} | {told} |", flush=True)


def compare_with_one_piece(paths, model):
    """Prints what tiles cost in bits and in PSNR, and what they change in pixels."""
    codec, pixels = runtime.load(model), mosaic(paths, *COMPARED)
    print(f"\n{COMPARED[0]}x{COMPARED[1]}, against one piece:\n")
    print("| tiles up to | quality | tiles | bytes | PSNR (dB) | largest difference of a sample |")
    print("|---|---|---|---|---|---|")
    for quality in QUALITIES:
        whole = codec.compress(pixels, quality, tile=ONE_PIECE)
        known = codec.decompress(whole)
        for tile in (runtime.DEFAULT_TILE, 512):
            data = codec.compress(pixels, quality, tile=tile)
            decoded = codec.decompress(data)
            loss = metrics.psnr(pixels, decoded) - metrics.psnr(pixels, known)
            largest = np.abs(decoded.astype(int) - known).max()
            print(
                f"| {tile} | {quality} | {codec.info(data)['tiles']} "
                f"| {100 * (len(data) / len(whole) - 1):+.2f} % | {loss:+.4f} | {largest} |",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="images to make large ones of")
    parser.add_argument("--model", default=runtime.DEFAULT_MODEL)
    parser.add_argument("--sides", default=SIDES, help="default: %(default)s")
    parser.add_argument("--quality", default="50", help="of the large images; default: %(default)s")
    args = parser.parse_args()
    common.quiet_tensorflow()
    paths = sorted(pathlib.Path(args.folder).glob("*.png"))
    model = catalog.find(args.model).path
    # for decompressing, which finds models by their fingerprints
    os.environ["TFCLIC_MODELS"] = str(model.parents[1])
    sides = [tuple(map(int, side.split("x"))) for side in args.sides.split(",")]
    # first: a process is never told a smaller peak of memory than its parent's was
    measure_processes(paths, sides, model, args.quality)
    compare_with_one_piece(paths, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
