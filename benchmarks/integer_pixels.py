"""What a synthesis in integers costs: decibels and seconds, beside the same one in floats.

    python benchmarks/integer_pixels.py MODEL ... --images FOLDER [--measure FOLDER]

Each model, an export of any kind, is exported in all ways, by the photographs in `--measure` or, as
`bin/export` does without them, by made images. Files of the images are those of floats; the first
table has what comes of decoding them: peak signal-to-noise ratios by quality, and how many dB the
integers lose, in the mean and for the worst image; and a copy of the floats whose convolutions
compute in bfloat16 (`bfloat16_model.py`). The second one has the Bjontegaard delta rate of
all qualities, also of the files that an export makes itself, where its analysis is another; and the
seconds of a file at quality 50, on the clock and the processor's, the least of some rounds that
take turns: encoding, decoding, and the synthesis alone.
"""

import argparse
import functools
import pathlib
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import bfloat16_model  # noqa: E402

from tfclic import bd_rate, images, runtime  # noqa: E402
from tfclic.cli import export  # noqa: E402
from tfclic.evaluation import metrics  # noqa: E402
from tfclic.format import header, model  # noqa: E402

QUALITIES = 0, 20, 40, 60, 80, 100
BFLOAT16 = "bfloat16"
KINDS = BFLOAT16, model.INTEGER, model.INTEGER8
OWN = "own files of integer8"
PARTS = "encoding", "decoding", "synthesis"


def exported(name, folder, measure):
    """All exports of a model, and the copy in bfloat16, `runtime.Codec`s by their transforms."""
    found = {}
    for transforms in model.TRANSFORMS:
        words = [f"--from={name}", f"--name={transforms}", f"--folder={folder}"]
        words += [f"--transforms={transforms}", f"--coder={header.INTERLEAVED}"]
        words += [f"--images={measure}"] if measure and transforms != model.FLOAT32 else []
        export.export(export.make_parser().parse_args(words))
        found[transforms] = runtime.load(pathlib.Path(folder) / transforms)
    copy = pathlib.Path(folder, BFLOAT16, "1")
    bfloat16_model.convert(found[model.FLOAT32].model.path, copy)
    found[BFLOAT16] = runtime.load(copy.parent)
    return found


def prices(codecs, pictures, qualities):
    """A dict by quality: bits per pixel, and PSNRs `[images]` by transforms; and of `OWN` files."""
    found = {}
    for quality in qualities:
        bits, known = {}, {}

        def tell(name, data, codec, pixels, bits=bits, known=known):
            bits.setdefault(name, []).append(8 * len(data) / (pixels.shape[0] * pixels.shape[1]))
            known.setdefault(name, []).append(metrics.psnr(pixels, codec.decompress(data)))

        for pixels in pictures:
            data = codecs[model.FLOAT32].compress(pixels, quality)
            for transforms, codec in codecs.items():
                tell(transforms, data, codec, pixels)
            codec = codecs[model.INTEGER8]
            tell(OWN, codec.compress(pixels, quality), codec, pixels)
        means = {name: np.mean(each) for name, each in bits.items()}
        found[quality] = means, {name: np.array(each) for name, each in known.items()}
    return found


def seconds(codecs, pixels, quality, rounds):
    """By transforms: (clock, processor) of each of `PARTS`, the least of rounds."""
    data = codecs[model.FLOAT32].compress(pixels, quality)
    least = {name: [(np.inf, np.inf)] * 3 for name in codecs}
    for _ in range(1 + rounds):
        for name, codec in codecs.items():
            works = (
                functools.partial(codec.compress, pixels, quality),
                functools.partial(codec.decompress, data),
                functools.partial(codec.decode_latents, data),
            )
            spent = map(timed, works)
            least[name] = [tuple(map(min, pair[0], pair[1])) for pair in zip(least[name], spent)]
    return {
        name: (encoding, whole, tuple(a - b for a, b in zip(whole, latents)))
        for name, (encoding, whole, latents) in least.items()
    }


def timed(work):
    """Seconds on the clock and the processor's."""
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def main():
    """Prints the tables."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--images", required=True, help="folder, to decode")
    parser.add_argument("--measure", help="folder, to set the steps of integers by")
    parser.add_argument("--number", type=int, help="of images (default: all)")
    parser.add_argument("--longest", type=int, help="side that is coded of each (default: all)")
    parser.add_argument("--qualities", default=",".join(map(str, QUALITIES)))
    parser.add_argument("--rounds", type=int, default=5, help="of timing (default: %(default)s)")
    args = parser.parse_args()
    paths = sorted(pathlib.Path(args.images).iterdir())
    count = args.number or len(paths)
    paths = paths[:: max(1, len(paths) // count)][:count]
    pictures = [images.read(path).pixels[: args.longest, : args.longest] for path in paths]
    qualities = [float(each) for each in args.qualities.split(",")]
    rows = []
    heads = [f"{kind}, dB | lost, dB | worst image" for kind in KINDS]
    print("| model | quality | bpp | float32, dB | " + " | ".join(heads) + f" | {OWN}: bpp | dB |")
    print("|---" * (6 + 3 * len(KINDS)) + "|")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            codecs = exported(name, folder, args.measure)
            curves = {kind: [] for kind in (*codecs, OWN)}
            for quality, (bits, known) in prices(codecs, pictures, qualities).items():
                means = {kind: each.mean() for kind, each in known.items()}
                cells = [f"{bits[model.FLOAT32]:.3f}", f"{means[model.FLOAT32]:.3f}"]
                for kind in KINDS:
                    lost = known[model.FLOAT32] - known[kind]
                    cells += [f"{means[kind]:.3f}", f"{lost.mean():.3f}", f"{lost.max():.3f}"]
                cells += [f"{bits[OWN]:.3f}", f"{means[OWN]:.3f}"]
                print(f"| {name} | {quality:g} | " + " | ".join(cells) + " |", flush=True)
                for kind, mean in means.items():
                    curves[kind].append((bits[kind], mean))
            least = seconds(codecs, pictures[0], 50, args.rounds)
            print()
            for kind in (*KINDS, OWN):
                rate = bd_rate.difference(curves[model.FLOAT32], curves[kind]).rate
                print(f"{name}, {kind}: BD-rate {'' if rate is None else f'{rate:+.2f} %'}")
            rows.append((name, least))
    timed_kinds = model.FLOAT32, *KINDS
    print("\n| model | part | " + " | ".join(f"{kind}, s" for kind in timed_kinds) + " |")
    print("|---" * (2 + len(timed_kinds)) + "|")
    for name, least in rows:
        for number, part in enumerate(PARTS):
            each = ["{:.2f}, {:.2f}".format(*least[kind][number]) for kind in timed_kinds]
            print(f"| {name} | {part} | " + " | ".join(each) + " |")


if __name__ == "__main__":
    main()
