"""Where distortion and rate come from: what is lost before anything is rounded, and by rounding.

    python benchmarks/ceiling.py MODEL|RUN --images FOLDER [--held-out N] [--first N]
                                 [--qualities Q,Q,...] [--side 512] [--json FILE]

MODEL is the name or the folder of an exported model, RUN the folder of a training run, with the
weights that bin/export takes. The middle of each image is synthesised from its latents (and hyper
latents, where the synthesis takes them) as they are, from the nearest integers, and from what is
coded, rounded by rate and distortion. The share of representation is the mean squared error of the
first over that of the second: more bits do not help against it, more latents or a better synthesis
may. The table also has the channels in which any latent is not rounded to zero, and the share of
latents that are not; and bits per pixel: with noise, as training counts them, of the nearest
integers, by the same densities, and as coded, by the exact integer probabilities.

--held-out takes, of the training images in FOLDER, those that training holds out for validation.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import sys

import rate_cost
import tensorflow as tf

from tfclic import errors, images
from tfclic.cli import common, evaluate
from tfclic.export import stored
from tfclic.models import base
from tfclic.runtime import catalog
from tfclic.training import building, checkpoints, data, sources

KINDS = "unquantised", "rounded", "coded"
COLUMNS = (
    "quality|PSNR, unquantised|rounded|as coded|representation %|channels|nonzero %"
    "|bpp, noise|rounded|as coded|noise over rounded %|as coded over rounded %"
)
QUALITIES = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
SEED = 0, 0  # of the noise
LARGE_SHARE, UP_TO = 15.0, 80.0  # percent at any quality up to this one: then the verdict is bad
LEAST_ERROR = 1e-10  # of what is exact, for its PSNR


def restore(source):
    """The codec of an exported model or a training run.

    Returns:
      The codec, with its weights; what to call it; and its configuration, a dict of `model` and
      mostly `training`.

    Raises:
      errors.TfclicError: it is neither, cannot be read, or is an export without densities.
    """
    if checkpoints.available(source):
        config = checkpoints.read_config(pathlib.Path(source))
        codec, step = rate_cost.restore(source)
        return codec, f"{codec.config.name}, step {step}", config
    try:
        model = catalog.find(source)
    except errors.ModelError as error:
        raise errors.ModelError(f"{source} holds no checkpoint. {error}") from None
    codec, _ = stored.read(model, building.build_variables)
    if codec.config.name == "factorized":
        raise errors.ModelError(f"{model} has tables for densities; take its training run.")
    return codec, str(model), model.card.config


def image_paths(folder, held_out, config):
    """The images in `folder`; if `held_out`, only those that a training holds out for validation.

    Args:
      folder: path.
      held_out: how many the training holds out, or None.
      config: its configuration.
    """
    if not held_out:
        return evaluate.image_paths(folder)
    shortest = config.get("training", {}).get("crop_size", base.MULTIPLE)
    store = sources.open_source(folder, shortest, decoded_limit=0)
    _, indices = data.split_validation(store, held_out)
    return [os.path.join(folder, store.names[index]) for index in indices]


def middle(pixels, side):
    """The middle of an image, float32 `[H, W, 3]` in 0..1, its sides at most `side`.

    Args:
      pixels: uint8 `[H, W, 3]` or `[H, W]`.
      side: in pixels.
    """
    for axis in (0, 1):
        size = pixels.shape[axis]
        first = max(size - side, 0) // 2
        pixels = pixels.take(range(first, first + min(size, side)), axis)
    colour = tf.reshape(tf.constant(pixels / 255.0, tf.float32), [*pixels.shape[:2], -1])
    return tf.broadcast_to(colour, [*pixels.shape[:2], 3])


def make_measure(codec):
    """A function of an image, float32 `[H, W, 3]` in 0..1, and a quality, float32 0..100.

    Returns:
      The function, to a dict of float32 `[]`: mean squared errors of 8-bit images, 0..255,
      `error/KIND`; counts of bits `bits/noise`, `bits/rounded` and `bits/coded`; `channels` in use
      and the share of `nonzero` latents, 0..1.

    Raises:
      errors.ModelError: the entropy model has no exact integer form.
    """
    coding = stored.StoredCodec(codec).coding

    @tf.function(input_signature=[rate_cost.IMAGE, rate_cost.NUMBER], autograph=False)
    def measure(image, quality):
        quality, size = quality[None], tf.shape(image)
        exact = codec.analyse(base.pad_image(image[None]), quality)
        sources = codec.sources(exact)
        noisy = codec.coded(exact, quality, tf.constant(SEED), training=True)
        rounded = codec.coded(exact, quality)
        (latents, hyper_latents), decoded = rate_cost.quantized(coding, sources)

        def error(latents, sides):
            pixels = codec.synthesise(latents, sides, quality)[0, : size[0], : size[1]]
            pixels = tf.round(255.0 * tf.clip_by_value(pixels, 0.0, 1.0))
            return tf.reduce_mean(tf.math.squared_difference(pixels, 255.0 * image))

        is_used = tf.not_equal(tf.round(exact[0]), 0.0)
        return {
            "error/unquantised": error(exact, sources),
            "error/rounded": error(rounded.latents, rounded.side_information),
            "error/coded": error(*decoded),
            "bits/noise": tf.add_n(list(noisy.parts.values()))[0],
            "bits/rounded": tf.add_n(list(rounded.parts.values()))[0],
            "bits/coded": coding.total_bits(coding.statistics(hyper_latents, latents)),
            "channels": tf.reduce_sum(tf.cast(tf.reduce_any(is_used, [0, 1]), tf.float32)),
            "nonzero": tf.reduce_mean(tf.cast(is_used, tf.float32)),
        }

    return measure


def measure_all(measure, paths, quality, side):
    """Dict from the name of each image to its `pixels` and what `make_measure`'s function gives."""
    found = {}
    for path in paths:
        image = middle(images.read(path).pixels, side)
        values = measure(image, tf.constant(quality))
        found[os.path.basename(path)] = {
            "pixels": image.shape[0] * image.shape[1],
            **{name: float(value) for name, value in values.items()},
        }
    return found


def summary(found):
    """Figures of one quality, of `measure_all`'s result: a dict of floats.

    `psnr/KIND` in dB; `bpp/noise`, `bpp/rounded`, `bpp/coded`; `channels`; the rest in percent:
    `share`, of representation, `nonzero`, `noise` and `coded` over the bits of rounded latents.
    """
    rows = found.values()

    def mean(value):
        return statistics.mean(value(row) for row in rows)

    def psnr(row, kind):
        return 10 * math.log10(255**2 / max(row[f"error/{kind}"], LEAST_ERROR))

    bpp = {
        kind: mean(lambda row, kind=kind: row[f"bits/{kind}"] / row["pixels"])
        for kind in ("noise", "rounded", "coded")
    }
    before, after = (mean(lambda row, k=kind: row[f"error/{k}"]) for kind in KINDS[:2])
    return {
        **{f"psnr/{kind}": mean(lambda row, k=kind: psnr(row, k)) for kind in KINDS},
        "share": 100 * before / max(after, LEAST_ERROR),
        "channels": mean(lambda row: row["channels"]),
        "nonzero": 100 * mean(lambda row: row["nonzero"]),
        **{f"bpp/{kind}": value for kind, value in bpp.items()},
        **{kind: 100 * (bpp[kind] / bpp["rounded"] - 1) for kind in ("noise", "coded")},
    }


def row(quality, figures):
    """A row of the table, for `summary`'s result."""
    form = "{:g} | {:.2f} | {:.2f} | {:.2f} | {:.1f} | {:.1f} | {:.2f} "
    form += "| {:.4f} | {:.4f} | {:.4f} | {:+.2f} | {:+.2f}"
    return f"| {form.format(quality, *figures.values())} |"


def verdict(shares):
    """A sentence on the shares of representation, a dict from quality to percent."""
    judged = {f"{quality:g}": share for quality, share in shares.items() if quality <= UP_TO}
    large = [quality for quality, share in judged.items() if share > LARGE_SHARE]
    if large:
        where = f"above {LARGE_SHARE:g} % at qualities {', '.join(large)}"
        return f"Representation's share is {where}: too few latents or too little synthesis."
    if judged:
        where = f"not above {LARGE_SHARE:g} % at qualities {', '.join(judged)}"
        return f"Representation's share is {where}: latents and synthesis are enough there."
    return f"Qualities up to {UP_TO:g} say whether latents and synthesis are enough."


def make_parser():
    """The program's argparse parser."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add_arguments(parser)
    parser.add_argument(
        "--qualities", type=common.qualities,
        metavar="Q,Q,...", help="default: 0,20,40,60,80,100, and 100 alone for one lambda",
    )  # fmt: skip
    parser.add_argument(
        "--side", type=count, default=512, help="of the middles, in pixels (default: %(default)s)"
    )
    return parser


def add_arguments(parser):
    """Adds which model is measured on which images, and where to, to an argparse parser."""
    parser.add_argument("source", metavar="MODEL|RUN", help="exported model, or training run")
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument(
        "--held-out", type=count, metavar="N", help="only those that a training holds out, N"
    )
    parser.add_argument("--first", type=count, metavar="N", help="only the first N images")
    parser.add_argument(
        "--json", type=argparse.FileType("w"), metavar="FILE", help="write all measures there too"
    )


def count(text):
    """The whole number above 0 that `text` says; for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def run(args):
    """Prints the table and the verdict."""
    codec, title, config = restore(args.source)
    measure = make_measure(codec)
    paths = image_paths(args.images, args.held_out, config)[: args.first]
    print(f"{title}, N = {codec.config.latent_channels}, {len(paths)} images")
    print(f"| {COLUMNS.replace('|', ' | ')} |\n{'|---' * len(COLUMNS.split('|'))}|", flush=True)
    found, shares = {}, {}
    for quality in args.qualities or (QUALITIES if len(codec.lmbdas) > 1 else QUALITIES[-1:]):
        found[quality] = measure_all(measure, paths, quality, args.side)
        figures = summary(found[quality])
        shares[quality] = figures["share"]
        print(row(quality, figures), flush=True)
    print(verdict(shares))
    write(args.json, {"model": title, "measures": found})
    return 0


def write(file, content):
    """Writes JSON content to an open file, if there is one, and closes it."""
    if file:
        with file:
            json.dump(content, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    sys.exit(common.guarded(run, make_parser().parse_args(), "ceiling.py"))
