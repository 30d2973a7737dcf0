"""What a synthesis in integers costs: decibels and seconds, beside the same one in float32.

    python benchmarks/integer_pixels.py MODEL ... --images FOLDER [--measure FOLDER]

Each model, an export of either kind, is exported both ways, by the photographs in `--measure` or,
as `bin/export` does without them, by made images. Files of the images are the same with both; the
first table has what comes of decoding them: peak signal-to-noise ratios by quality, and how many dB
the integers lose, in the mean and for the worst image. The second one has the Bjontegaard delta
rate of all qualities, and the seconds of a file at quality 50, on the clock and the processor's,
the least of some rounds that take turns: decoding all of it, and the synthesis alone.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfclic import bd_rate, images, runtime  # noqa: E402
from tfclic.cli import export  # noqa: E402
from tfclic.evaluation import metrics  # noqa: E402
from tfclic.format import header, model  # noqa: E402

QUALITIES = 0, 20, 40, 60, 80, 100


def exported(name, folder, measure):
    """Both exports of a model, `runtime.Codec`s by their transforms."""
    found = {}
    for transforms in model.TRANSFORMS:
        words = [f"--from={name}", f"--name={transforms}", f"--folder={folder}"]
        words += [f"--transforms={transforms}", f"--coder={header.INTERLEAVED}"]
        words += [f"--images={measure}"] if measure and transforms == model.INTEGER else []
        export.export(export.make_parser().parse_args(words))
        found[transforms] = runtime.load(pathlib.Path(folder) / transforms)
    return found


def prices(codecs, pictures, qualities):
    """A dict by quality: bits per pixel, and PSNRs `[images]` by transforms."""
    found = {}
    for quality in qualities:
        bits, known = [], {transforms: [] for transforms in codecs}
        for pixels in pictures:
            data = codecs[model.FLOAT32].compress(pixels, quality)
            bits.append(8 * len(data) / (pixels.shape[0] * pixels.shape[1]))
            for transforms, codec in codecs.items():
                known[transforms].append(metrics.psnr(pixels, codec.decompress(data)))
        found[quality] = np.mean(bits), {name: np.array(each) for name, each in known.items()}
    return found


def seconds(codecs, pixels, quality, rounds):
    """By transforms: (clock, processor) of decoding, and of the synthesis, the least of rounds."""
    data = codecs[model.FLOAT32].compress(pixels, quality)
    least = {name: [(np.inf, np.inf)] * 2 for name in codecs}
    for _ in range(1 + rounds):
        for name, codec in codecs.items():
            works = lambda: codec.decompress(data), lambda: codec.decode_latents(data)  # noqa: B023
            whole, latents = (timed(work) for work in works)
            least[name] = [
                tuple(map(min, before, now)) for before, now in zip(least[name], (whole, latents))
            ]
    return {
        name: (whole, tuple(a - b for a, b in zip(whole, latents)))
        for name, (whole, latents) in least.items()
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
    print("| model | quality | bpp | float32, dB | integers, dB | lost, dB | worst image |")
    print("|---|---|---|---|---|---|---|")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            codecs = exported(name, folder, args.measure)
            curves = {transforms: [] for transforms in codecs}
            for quality, (bits, known) in prices(codecs, pictures, qualities).items():
                lost = known[model.FLOAT32] - known[model.INTEGER]
                means = [each.mean() for each in known.values()]
                cells = [f"{bits:.3f}", *(f"{mean:.3f}" for mean in means)]
                cells += [f"{lost.mean():.3f}", f"{lost.max():.3f}"]
                print(f"| {name} | {quality:g} | " + " | ".join(cells) + " |", flush=True)
                for transforms, mean in zip(known, means):
                    curves[transforms].append((bits, mean))
            rate = bd_rate.difference(curves[model.FLOAT32], curves[model.INTEGER]).rate
            rows.append((name, rate, seconds(codecs, pictures[0], 50, args.rounds)))
    print("\n| model | BD-rate | part | float32, s | integers, s |\n|---|---|---|---|---|")
    for name, rate, least in rows:
        for number, part in enumerate(("decoding", "synthesis")):
            each = ["{:.2f}, {:.2f}".format(*least[kind][number]) for kind in model.TRANSFORMS]
            told = "" if rate is None else f"{rate:+.2f} %"
            print(f"| {name} | {told} | {part} | {each[0]} | {each[1]} |")


if __name__ == "__main__":
    main()
