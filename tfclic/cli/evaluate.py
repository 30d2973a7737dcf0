"""bin/evaluate: rate and distortion of a model on a folder of images, from real files."""

import argparse
import json
import os
import pathlib

from tfclic import errors
from tfclic.cli import common, outputs
from tfclic.codec import catalog, images, runtime

DETAILS = """\
examples:
  evaluate --images kodak --json small.json
  evaluate --images kodak --qualities 0,25,50,75,100 --verify
  evaluate --images kodak --anchor jpeg.json

Prints bits per pixel, PSNR (dB), MS-SSIM and seconds for each image, and their means over them.
--verify also checks, for each file, that the decoded latents are the encoder's, that its size is
within 1 % + 24 bytes of the model's own estimate, and that the decoded PSNR is within 0.01 dB of
the encoder's; it exits with 1 if one of these fails.
"""
_ROW = "{:<24} {:>7} {:>8} {:>8} {:>8} {:>9} {:>9}"


def make_parser():
    parser = common.parser("evaluate", "Measures a model on a folder of images.", DETAILS)
    parser.add_argument(
        "--model", metavar="NAME|PATH", default=runtime.DEFAULT_MODEL, help="default: %(default)s"
    )
    parser.add_argument("--images", metavar="FOLDER", required=True, help="folder of image files")
    parser.add_argument(
        "--qualities", metavar="Q,Q,...", type=_qualities, default="0,20,40,60,80,100",
        help="0..100 each; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the curve to this file (replaced)")
    parser.add_argument(
        "--card", action="store_true", help="put the averages into the model's card"
    )
    parser.add_argument("--verify", action="store_true", help="check files against the encoder")
    parser.add_argument(
        "--anchor", metavar="FILE", action="append", default=[],
        help="print the BD-rate against the curve in this JSON file; may be repeated",
    )  # fmt: skip
    return parser


def evaluate(args):
    """Does what the parsed arguments say; returns the exit status."""
    paths = image_paths(args.images)
    anchors = [(path, _read_curve(path)) for path in args.anchor]
    if args.json:
        outputs.check(args.json, paths + args.anchor, force=True)
    codec = runtime.load(args.model)
    by_image, checks, status = _measure_all(codec, paths, args.qualities, args.verify)
    if not by_image:
        return status

    from tfclic.evaluation import evaluate as measuring

    content = measuring.to_json(codec, _folder_name(args.images), args.qualities, by_image)
    for quality, levels in zip(args.qualities, zip(*by_image.values())):
        print(_row("average", quality, measuring.average(levels)))
    for path, curve in anchors:
        print(_bd_rate_line(path, curve, content["results"]))
    if args.json:
        outputs.write(args.json, (json.dumps(content, indent=1) + "\n").encode(), force=True)
    if args.card:
        catalog.write_results(codec.model, content["meta"]["dataset"], content["results"])
    if checks:
        print("\n".join(verdict(checks)))
        status = status or int(not all(check.passed for check in checks))
    return status


def _measure_all(codec, paths, qualities, is_verifying):
    """Returns (dict from name to `Measurement`s, list of `Verification`s, exit status)."""
    from tqdm import tqdm

    from tfclic.evaluation import evaluate as measuring

    by_image, checks, statuses = {}, [], [0]
    print(_ROW.format("image", "quality", "bpp", "PSNR", "MS-SSIM", "encode s", "decode s"))
    with tqdm(total=len(paths) * len(qualities), unit="file", leave=False, disable=None) as bar:
        for path in paths:
            try:
                pixels = images.read(path).pixels
            except errors.ImageError as error:
                with tqdm.external_write_mode():
                    common.complain("evaluate", error)
                statuses.append(error.exit_status)
                bar.update(len(qualities))
                continue
            if not by_image:
                # The first call of each function does one-time work.
                measuring.measure(codec, pixels, qualities[0])
            name, levels = os.path.basename(path), []
            for quality in qualities:
                levels.append(measuring.measure(codec, pixels, quality))
                if is_verifying:
                    checks.append(measuring.verify(codec, pixels, quality))
                with tqdm.external_write_mode():
                    print(_row(name, quality, levels[-1]), flush=True)
                bar.update()
            by_image[name] = levels
    return by_image, checks, max(statuses)


def image_paths(folder):
    """Returns the paths (list of str, sorted) of the files in `folder` that are named like images.

    Raises:
      errors.UsageError: there are none.
    """
    from PIL import Image

    known = Image.registered_extensions()
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise errors.UsageError(f"{folder} cannot be read: {error.strerror}.") from error
    names = [name for name in names if os.path.splitext(name)[1].lower() in known]
    if not names:
        raise errors.UsageError(f"There are no images in {folder}.")
    return [os.path.join(folder, name) for name in names]


def verdict(checks):
    """Returns lines that say whether files and encoder agree, for a list of `Verification`s."""

    def line(is_passed, text):
        return f"{'pass' if is_passed else 'FAIL'}: {text}"

    differing = max(check.latents_differ for check in checks)
    size = max(checks, key=lambda check: check.size_excess)
    sizes = f"{size.file_bytes:,} bytes, estimated {size.estimated_bytes:,.0f}"
    gap = max(checks, key=lambda check: check.psnr_difference)
    return [
        f"{len(checks)} files checked against their encoder:",
        line(not differing, f"decoded latents equal, at worst {differing:,} differ"),
        line(size.size_agrees, f"size within 1 % + 24 bytes of the estimate, at worst {sizes}"),
        line(gap.psnr_agrees, f"PSNR within 0.01 dB, at worst {gap.psnr_difference:.4f} dB off"),
    ]


def _row(name, quality, measured):
    similarity = "-" if measured.ms_ssim is None else f"{measured.ms_ssim:.4f}"
    times = f"{measured.encoding_time:.3f}", f"{measured.decoding_time:.3f}"
    rate = f"{measured.bpp:.4f}", f"{measured.psnr:.3f}"
    return _ROW.format(name, f"{quality:g}", *rate, similarity, *times)


def _bd_rate_line(path, anchor, results):
    from tfclic.evaluation import metrics

    percent, lowest, highest = metrics.bd_rate(anchor, results)
    name = pathlib.Path(path).stem
    if percent is None:
        return f"BD-rate against {name}: none, the curves share no range of PSNR"
    return f"BD-rate against {name}: {percent:+.2f} % (PSNR {lowest:.2f} to {highest:.2f} dB)"


def _read_curve(path):
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)["results"]
        return {name: [float(value) for value in results[name]] for name in ("bpp", "psnr-rgb")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UsageError(f"{path} is not a rate-distortion curve: {error}.") from error


def _folder_name(folder):
    return os.path.basename(os.path.abspath(folder))


def _qualities(text):
    values = [common.quality(word) for word in text.split(",") if word.strip()]
    if not values:
        raise argparse.ArgumentTypeError("there are no numbers in it")
    return values


def main(argv=None):
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(evaluate, make_parser(), argv, tensorflow=True)


if __name__ == "__main__":
    main()
