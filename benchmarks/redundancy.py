"""How much neighbours have in common on each level of a model's files, and how much is left.

    python benchmarks/redundancy.py --images FOLDER [--model NAME|PATH ...] [--quality 50]

The mean absolute correlation of a position with the next one down and to the right, over all
channels that vary, images and tiles: of each level as it is coded, and normalised, (y - mean) /
scale by what the model expects. A perfect entropy model leaves 0.
"""

import argparse
import sys

from tfclic import images, runtime
from tfclic.cli import evaluate
from tfclic.evaluation import levels


def measure(codec, paths, quality):
    """`levels.correlations` of all images' files together."""
    found = {}
    for path in paths:
        data = codec.compress(images.read(path).pixels, quality)
        levels.correlations(codec.statistics(data), found)
    return found


def main():
    """Prints a table for each model."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument("--model", action="append", help="may be repeated; default: the default")
    parser.add_argument("--quality", type=float, default=50.0)
    args = parser.parse_args()
    paths = evaluate.image_paths(args.images)
    print("| model | level | as coded | normalised |\n|---|---|---|---|")
    for name in args.model or [runtime.DEFAULT_MODEL]:
        codec = runtime.load(name)
        for level, (before, after) in measure(codec, paths, args.quality).items():
            left = "not predicted" if after is None else f"{after.of_neighbours():.3f}"
            spelled = level.replace("_", " ")
            print(f"| {codec.model} | {spelled} | {before.of_neighbours():.3f} | {left} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
