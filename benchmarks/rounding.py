"""What rounding by rate and distortion is worth: weights of the distortion, compared.

    python benchmarks/rounding.py --workdir RUN --images FOLDER [--weights 0,8,12,16,24] [--first N]

Latents of each image are rounded with each weight (0: to the nearest integer) and counted by the
exact probabilities of the export; the images are what is synthesised from them. The table has bits
per pixel, PSNR and bits per pixel + lambda * MSE at each trained quality, and the BD-rate of each
weight against the first one. Weights are chosen on training images.
"""

import argparse
import statistics
import sys

import rate_cost
import tensorflow as tf

from tfclic import images
from tfclic.cli import evaluate
from tfclic.evaluation import curves
from tfclic.models import base


def make_measure(codec, coding):
    """A function of image `[H, W, 3]` (0..1), quality and weight to (bits, MSE of 0..255)."""

    @tf.function(
        input_signature=[rate_cost.IMAGE, rate_cost.NUMBER, rate_cost.NUMBER], autograph=False
    )
    def measure(image, quality, weight):
        exact = codec.analyse(base.pad_image(image[None]), quality[None])
        # nothing outweighs an error then
        coding.distortion_weight = tf.where(tf.equal(weight, 0.0), 1e9, weight)
        (latents, hyper_latents), decoded = rate_cost.quantized(coding, codec.sources(exact))
        pixels = codec.synthesise(*decoded, quality[None])[0]
        pixels = tf.round(255.0 * tf.clip_by_value(pixels, 0.0, 1.0))
        pixels = pixels[: tf.shape(image)[0], : tf.shape(image)[1]]
        error = tf.reduce_mean(tf.math.squared_difference(pixels, 255.0 * image))
        return coding.total_bits(coding.statistics(hyper_latents, latents)), error

    return measure


def main():
    """Prints the tables."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--workdir", required=True, help="folder of the training run")
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--weights", type=lambda text: [float(w) for w in text.split(",")], default="0,8,12,16,24"
    )
    args = parser.parse_args()
    codec, step = rate_cost.restore(args.workdir)
    measure = make_measure(codec, codec.entropy_coder())
    photos = [images.read(path).pixels for path in evaluate.image_paths(args.images)[: args.first]]
    photos = [tf.constant(p / 255.0, tf.float32) for p in photos if p.ndim == 3]
    qualities = [codec.quality_of(level) for level in range(len(codec.lmbdas))]
    print(f"{codec.config.name}, step {step}, {len(photos)} images")
    print("| weight | quality | bits per pixel | PSNR | cost |\n|---|---|---|---|---|")
    found = {weight: {"bpp": [], "psnr-rgb": []} for weight in args.weights}
    for weight, curve in found.items():
        for quality, lmbda in zip(qualities, codec.lmbdas):
            results = [measure(p, tf.constant(quality), tf.constant(weight)) for p in photos]
            sizes = [p.shape[0] * p.shape[1] for p in photos]
            bpp = statistics.mean(float(bits) / n for (bits, _), n in zip(results, sizes))
            error = statistics.mean(float(mse) for _, mse in results)
            psnr = statistics.mean(float(10 * tf.math.log(255.0**2 / mse)) for _, mse in results)
            psnr /= float(tf.math.log(10.0))
            curve["bpp"].append(bpp)
            curve["psnr-rgb"].append(psnr)
            row = f"{weight:g} | {quality:g} | {bpp:.4f} | {psnr:.2f} | {bpp + lmbda * error:.4f}"
            print(f"| {row} |", flush=True)
    print("\n| weight | BD-rate |\n|---|---|")
    first, *others = found.items()
    for weight, curve in others:
        difference = curves.difference({"results": first[1]}, {"results": curve})
        print(f"| {weight:g} | {difference.rate:+.2f} % |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
