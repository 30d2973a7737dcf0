"""Whether a model codes images larger than the crops that it was trained on: bits by image size.

    python benchmarks/image_size.py --workdir RUN --data FOLDER [--sides 64,128,256] [--first N]

The held-out images of the training RUN on FOLDER are measured whole, and cut into squares of each
side, with the weights that bin/export takes: bits per pixel of each part, and PSNR, at the lowest
and the highest quality. Smaller squares cost more, having more edges; larger images cost more only
where a network meets what its crops never had.
"""

import argparse
import json
import pathlib
import sys

import ml_collections
import numpy as np
import rate_cost
import tensorflow as tf

from tfclic.training import data, sources, validation


def squares(image, side):
    """Cuts `[H, W, 3]` into as many squares as there are, from the upper left."""
    height, width = (n // side * side for n in image.shape[:2])
    return [
        image[y : y + side, x : x + side]
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]


def measure(evaluate, pieces):
    """Mean measures of images of one size: dict of float `[L]`."""
    found = [evaluate(tf.constant(piece))[0] for piece in pieces]
    return {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}


def main():
    """Prints the table."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--workdir", required=True, help="folder of the training run")
    parser.add_argument("--data", required=True, help="its images")
    parser.add_argument(
        "--sides", type=lambda text: [int(side) for side in text.split(",")], default="64,128,256",
        help="multiples of 64 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--first", type=int, metavar="N", help="only the first N held-out images")
    args = parser.parse_args()
    codec, step = rate_cost.restore(args.workdir)
    config = json.loads((pathlib.Path(args.workdir) / "config.json").read_text())
    training = ml_collections.ConfigDict(config["training"])
    store = sources.open_source(args.data, training.crop_size)
    _, held_out = data.split_validation(store, training.validation_images)
    images = data.validation_images(store, held_out)[: args.first]
    evaluate = validation.make_evaluate(codec, training)
    print(f"{config['name']}, step {step}, crops of {training.crop_size}, {len(images)} images")
    for side in [*args.sides, None]:
        pieces = [piece for image in images for piece in squares(image, side)] if side else images
        found = measure(evaluate, pieces)
        columns = [name for name in found if name.startswith("bpp/")] + ["psnr"]
        if side == args.sides[0]:
            headings = ["image", "quality", *columns]
            print("| " + " | ".join(headings) + " |\n" + "|---" * len(headings) + "|")
        for level in (0, len(codec.lmbdas) - 1):
            cells = [f"{side}x{side}" if side else "whole", f"{codec.quality_of(level):g}"]
            cells += [f"{found[name][level]:.3f}" for name in columns]
            print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
