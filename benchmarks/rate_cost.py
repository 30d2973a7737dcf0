"""What exact integer entropy parameters cost, in bits, on real images.

    python benchmarks/rate_cost.py --workdir RUN --images FOLDER [--qualities Q,Q,...] [--json FILE]

The same rounded latents and hyper latents of each image are counted three times: with the float
entropy networks and mixture of the trained codec, with the fixed-point ones of its export, and as a
file. Weights are those that bin/export takes.
"""

import argparse
import json
import pathlib
import statistics
import sys

import tensorflow as tf
from ml_collections import ConfigDict

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfclic import images, models  # noqa: E402
from tfclic.cli import evaluate  # noqa: E402
from tfclic.entropy import integer_mixture  # noqa: E402
from tfclic.export import container  # noqa: E402
from tfclic.models import base  # noqa: E402
from tfclic.training import checkpoints  # noqa: E402

# of functions that are traced
IMAGE, NUMBER = tf.TensorSpec([None, None, 3]), tf.TensorSpec([])
# of the exact count: training's, 33 times higher, hides improbable latents
FLOOR = integer_mixture.FLOOR / 2.0**integer_mixture.MASS_BITS
GOAL_COST = 0.3  # percent, exact over float
GOAL_FILE = 0.5, 24  # a file may miss its estimate by so many percent, and so many bytes
COLUMNS = "quality|bpp, float|bpp, exact|cost %|worst image %|files %|worst file %|outside"


def quantized(coding, sources):
    """What is coded of the sources of one image.

    Args:
      coding: a `tfclic.entropy.coding.EntropyCoder`.
      sources: dict of float32 `[1, h, w, C]`.

    Returns:
      Two pairs: latents and hyper latents as `coding` has them, and the same as codecs have them,
      latents and a dict of side information.
    """
    latents, hyper_latents = coding.quantize({name: each[0] for name, each in sources.items()})
    sides = {name: each[None] for name, each in coding.layout.split(hyper_latents).items()}
    return (latents, hyper_latents), (coding.latent_step * latents[None], sides)


class Counter:
    """Counts the bits of images with one codec, three ways.

    Args:
      codec: a trained `tfclic.models.base.ImageCodec`.
    """

    def __init__(self, codec):
        self._codec, self._coding = codec, codec.entropy_coder()

    @tf.function(input_signature=[IMAGE, NUMBER], autograph=False)
    def count(self, image, quality):
        """Bits of one image.

        Args:
          image: float32 `[H, W, 3]`, 0..1.
          quality: float32, 0..100.

        Returns:
          Dict of float32 counts of bits: `float` and `exact`; and string `file`.
        """
        code = container.quality_code(quality)
        padded = base.pad_image(image[None])
        quality = container.quality_of(code)
        latents = self._codec.analyse(padded, quality[None])
        coded, decoded = quantized(self._coding, self._codec.sources(latents))
        latents, hyper_latents = coded
        payload = self._coding.compress(hyper_latents, latents)
        shape = tf.shape(image)
        file = container.pack(b"none", shape[1], shape[0], code, False, payload)
        return {
            "float": self._codec.rate(*decoded, quality[None], FLOOR)[0],
            "exact": self._coding.total_bits(self._coding.statistics(hyper_latents, latents)),
            "file": 8 * tf.strings.length(file),
        }


def restore(workdir):
    """The codec of a training run, with the weights that bin/export takes, and their step."""
    config = json.loads((pathlib.Path(workdir) / "config.json").read_text())
    codec = models.build(ConfigDict(config["model"]))
    return codec, checkpoints.restore_weights(codec, workdir)


def measure(counter, paths, quality):
    """Dict from the name of each image to its `pixels` and what `Counter.count` gives."""
    found = {}
    for path in map(pathlib.Path, paths):
        pixels = images.read(path).pixels
        size = pixels.shape[:2]
        colour = tf.broadcast_to(tf.reshape(pixels / 255.0, [*size, -1]), [*size, 3])
        counts = counter.count(tf.cast(colour, tf.float32), tf.constant(quality))
        counts = {name: float(value) for name, value in counts.items()}
        found[path.name] = {"pixels": size[0] * size[1], **counts}
    return found


def summary(found):
    """Figures of one quality, of `measure`'s result: bits per pixel, and percents."""

    def mean_bpp(kind):
        return statistics.mean(x[kind] / x["pixels"] for x in found.values())

    def percent(value, reference):
        return 100 * (value / reference - 1)

    costs = {name: percent(x["exact"], x["float"]) for name, x in found.items()}
    files = {name: percent(x["file"], x["exact"]) for name, x in found.items()}
    share, spare = GOAL_FILE
    return {
        "float": mean_bpp("float"),
        "exact": mean_bpp("exact"),
        "cost": percent(mean_bpp("exact"), mean_bpp("float")),
        "worst_cost": max(costs.values()),
        "file": percent(mean_bpp("file"), mean_bpp("exact")),
        "worst_file": max(files.values(), key=abs),
        "outside": sum(
            abs(x["file"] - x["exact"]) > share / 100 * x["exact"] + 8 * spare
            for x in found.values()
        ),
    }


def row(quality, figures):
    """A row of the table, for `summary`'s result."""
    names = "float", "exact", "cost", "worst_cost", "file", "worst_file"
    form = "{:g} | {:.4f} | {:.4f} | {:+.3f} | {:+.3f} | {:+.2f} | {:+.2f} | {}"
    return "| " + form.format(quality, *(figures[n] for n in names), figures["outside"]) + " |"


def make_parser():
    """The program's argparse parser."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--workdir", required=True, help="folder of the training run")
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--qualities",
        type=lambda text: [float(q) for q in text.split(",")],
        default=[0.0, 20.0, 40.0, 60.0, 80.0, 100.0],
        metavar="Q,Q,...",
    )
    parser.add_argument("--json", metavar="FILE", help="write all counts there too")
    return parser


def main():
    """Runs the benchmark; exit status 1 if a goal is missed."""
    args = make_parser().parse_args()
    codec, step = restore(args.workdir)
    counter, paths = Counter(codec), evaluate.image_paths(args.images)[: args.first]
    print(f"{codec.config.name}, N = {codec.config.latent_channels}, step {step}, ", end="")
    print(f"{len(paths)} images")
    print(f"| {COLUMNS.replace('|', ' | ')} |\n{'|---' * len(COLUMNS.split('|'))}|", flush=True)
    found, missed = {}, False
    for quality in args.qualities:
        found[quality] = measure(counter, paths, quality)
        figures = summary(found[quality])
        missed |= figures["cost"] >= GOAL_COST or figures["outside"] > 0
        print(row(quality, figures), flush=True)
    if args.json:
        content = {"step": step, "counts": {str(q): counts for q, counts in found.items()}}
        pathlib.Path(args.json).write_text(json.dumps(content, indent=1) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
