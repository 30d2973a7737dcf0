"""What a file's side information is worth as a picture, before the first latent is read.

    python benchmarks/preview.py MODEL [MODEL ...] --images FOLDER [--first N]
                                 [--qualities Q,Q,...] [--side 512]

MODEL is the name or the folder of an exported model without a context model, such as
coarse_to_fine_small. The middle of each image is coded; then the latents are taken for the means
that the side information (hyper latents, or their levels) lets expect, and synthesised. The table
has the share of the bits that the side information takes, the PSNR of this picture, that of the
same from latents that are all zero, and that of the whole file: means of the images.
"""

import argparse
import os
import statistics
import sys

import ceiling
import numpy as np
import rate_cost
import tensorflow as tf

from tfclic import images
from tfclic.cli import evaluate
from tfclic.evaluation import metrics
from tfclic.export import stored
from tfclic.models import base

QUALITIES = [0.0, 50.0, 100.0]
COLUMNS = "model|quality|side information %|PSNR of it alone|of nothing|of all"


def measured(codec, coding, pixels, quality):
    """Of one image: the share of side information in percent, and three PSNRs.

    Args:
      codec: of `tfclic.models`, with its weights.
      coding: its exact coder.
      pixels: float32 `[H, W, 3]` in 0..1.
      quality: 0..100.
    """
    at = tf.constant([quality])
    sources = codec.sources(codec.analyse(base.pad_image(pixels[None]), at))
    (latents, hyper_latents), decoded = rate_cost.quantized(coding, sources)
    found = coding.statistics(hyper_latents, latents)
    whole = float(coding.total_bits(found))
    side = whole - float(tf.reduce_sum(found["latents_bits"]))
    expected = tf.reduce_sum(found["weights"] * found["means"], -1)[None]
    height, width = pixels.shape[:2]

    def psnr(latents):
        made = codec.synthesise(latents, decoded[1], at)[0, :height, :width]
        found = (np.round(255 * np.clip(each, 0.0, 1.0)) for each in (made, pixels))
        return metrics.psnr(*(each.astype(np.uint8) for each in found))

    kinds = expected, tf.zeros_like(decoded[0]), decoded[0]
    return 100 * side / whole, *map(psnr, kinds)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--images", required=True, help="folder")
    parser.add_argument("--first", type=int, help="how many of the images")
    parser.add_argument("--qualities", default=",".join(f"{each:g}" for each in QUALITIES))
    parser.add_argument("--side", type=int, default=512, help="of what is taken of an image")
    args = parser.parse_args(argv)
    paths = evaluate.image_paths(args.images)[: args.first]
    middles = [ceiling.middle(images.read(os.fspath(path)).pixels, args.side) for path in paths]
    print(f"| {COLUMNS.replace('|', ' | ')} |\n" + "|---" * 6 + "|")
    for name in args.models:
        codec, _, _ = ceiling.restore(name)
        coding = stored.StoredCodec(codec).coding
        for quality in map(float, args.qualities.split(",")):
            rows = [measured(codec, coding, pixels, quality) for pixels in middles]
            share, *psnrs = map(statistics.fmean, zip(*rows))
            told = " | ".join(f"{each:.2f}" for each in psnrs)
            print(f"| `{name}` | {quality:g} | {share:.1f} | {told} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
