"""What areas of another quality get, and what they take.

    python benchmarks/regions.py --images FOLDER [--model NAME|PATH] [--first N] [--qualities 20,50]
        [--rise 40]

In the middle of each image an area of half its sides is coded RISE better than the rest, and the
whole is coded at each of the two qualities alone. The first table has what the area gains and the
rest loses against these, in dB: the mean, and the worst image. The second one has the bytes, those
of the map among them, and how far files are below the size that they are asked for, that of the
whole at the quality between the two. A model that was exported before there were maps is exported
anew, in a folder of its own, and has the same weights then.

Exit status: 0 if areas are within 0.1 dB, in the mean, of what the whole has at their quality.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfclic import errors, images, runtime  # noqa: E402
from tfclic.cli import common, evaluate  # noqa: E402
from tfclic.evaluation import metrics  # noqa: E402
from tfclic.runtime.targets import SIZE_TOLERANCE  # noqa: E402

GOAL = 0.1  # dB


@contextlib.contextmanager
def with_maps(name):
    """Yields the codec of a model, with maps."""
    codec = runtime.load(name)
    if codec.has_maps:
        yield codec
        return
    from tfclic.cli import export

    with tempfile.TemporaryDirectory() as folder:
        words = [f"--from={name}", "--name=anew", f"--folder={folder}"]
        export.export(export.make_parser().parse_args(words))
        yield runtime.load(pathlib.Path(folder) / "anew")


def middle(pixels, rise):
    """The area of half the sides of an image in its middle, and a mask of its pixels."""
    height, width = pixels.shape[:2]
    area = runtime.Area(width // 4, height // 4, width // 2, height // 2, rise)
    mask = np.zeros([height, width], bool)
    mask[area.y : area.y + area.height, area.x : area.x + area.width] = True
    return area, mask


def measured(codec, pixels, quality, rise):
    """What becomes of an image, a dict.

    `inside` and `outside`: dB above the whole of the area's quality, and of the rest's. `low`,
    `high`, `area` and `map`: bytes of these two files, of that with the area, and of its map.
    `missed`: the share by which the file that is asked to be as large as one between is smaller.
    """
    area, mask = middle(pixels, rise)
    qualities = quality, quality + rise / 2, quality + rise
    low, between, high = (codec.compress(pixels, each) for each in qualities)
    mixed = codec.compress(pixels, quality, areas=[area])
    targeted = codec.compress(pixels, file_bytes=len(between), areas=[area])
    decoded = {name: codec.decompress(data) for name, data in zip("lhm", (low, high, mixed))}

    def gain(name, of, where):
        found, known = (decoded[each][where] for each in (name, of))
        if np.array_equal(found, known):
            return 0.0
        return metrics.psnr(pixels[where], found) - metrics.psnr(pixels[where], known)

    return {
        "inside": gain("m", "h", mask),
        "outside": gain("m", "l", ~mask),
        **{name: len(data) for name, data in (("low", low), ("high", high), ("area", mixed))},
        "map": codec.info(mixed)["map_bytes"],
        "missed": 1 - len(targeted) / len(between),
    }


def main(argv=None):
    """Prints the tables; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--model", default=runtime.DEFAULT_MODEL)
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--qualities", type=common.qualities, default="20,50")
    parser.add_argument("--rise", type=float, default=40.0)
    args = parser.parse_args(argv)
    if max(args.qualities) + args.rise > 100:
        raise errors.UsageError("There is no quality above 100.")
    photos = [images.read(path).pixels for path in evaluate.image_paths(args.images)[: args.first]]
    photos = [pixels for pixels in photos if pixels.ndim == 3]
    with with_maps(args.model) as codec:
        found = {q: [measured(codec, p, q, args.rise) for p in photos] for q in args.qualities}
        print(f"{codec.model} ({codec.model.fingerprint}), {len(photos)} images\n")
    print("| quality | of the area | area, dB | worst | rest, dB | worst |")
    print("|---|---|---|---|---|---|")
    for quality, rows in found.items():
        columns = ([row[name] for row in rows] for name in ("inside", "outside"))
        values = (f"{np.mean(each):+.3f} | {min(each):+.3f}" for each in columns)
        print(f"| {quality:g} | {quality + args.rise:g} | {' | '.join(values)} |")
    print("\n| quality | bytes | of the area's | with the area | map | below a target |")
    print("|---|---|---|---|---|---|")
    for quality, rows in found.items():
        mean = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        sizes = (f"{mean[name]:,.0f}" for name in ("low", "high", "area", "map"))
        most = max(row["missed"] for row in rows)
        print(f"| {quality:g} | {' | '.join(sizes)} | {mean['missed']:.1%}, at most {most:.1%} |")
    near = all(abs(np.mean([row["inside"] for row in rows])) <= GOAL for rows in found.values())
    missed = [row["missed"] for rows in found.values() for row in rows]
    return 0 if near and all(0 <= each <= SIZE_TOLERANCE for each in missed) else 1


if __name__ == "__main__":
    sys.exit(main())
