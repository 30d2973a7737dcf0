"""bin/decompress: `.tfclic` files to images."""

from __future__ import annotations

import argparse
import functools
import io
import re
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

import tfclic
from tfclic import errors, images, machine, runtime
from tfclic.cli import common, outputs, pipelines, remote
from tfclic.format import header, picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DETAILS = """\
examples:
  decompress photo.tfclic               writes photo.png beside it
  decompress photo.tfclic -o photo.jpg  in the format of the extension
  decompress *.tfclic -o images/        PNG files, in the folder images
  decompress --region 5000,2000,800,600 huge.tfclic -o part.png
  decompress --scale 1/8 *.tfclic -o thumbnails/
  decompress --partial half.tfclic      the best image of what is there of a file

Each result tells the sizes in bytes, bits per pixel (bpp) and the ratio to the raw 8-bit samples.
Colour profile, Exif and XMP go into the image as far as its format holds them; --strip leaves them
out, turns the image as they say, and converts its colours to sRGB.
With --scale the pixels are means of those of the whole image. Models that have learned to make
thumbnails (export --thumbnails) make 1/4, 1/8 and 1/16 of the latents, nearly the same ones in less
time; --scale 1/2, other models, and regions that start between squares of so many pixels take whole
decoding.
Models that code latents in slices (cca, elic) read some of them (--slices), the most telling first,
or as many as there are of a truncated file (--partial: the image is written, a sentence says how
much there was, and the exit status is 4). Nothing vouches for what is left of a file.
The model that made a file is found in saved_models/ and in the folders that TFCLIC_MODELS lists.
"""


def make_parser() -> argparse.ArgumentParser:
    parser = common.parser("decompress", "Turns .tfclic files back into images.", DETAILS)
    parser.add_argument("files", metavar="FILE", nargs="+", help="a .tfclic file")
    parser.add_argument(
        "-o", "--output", metavar="IMAGE|DIR",
        help="the image to write; or a folder: one that exists, ends in / or is for several FILEs; "
        "default: FILE with .png, beside it",
    )  # fmt: skip
    parser.add_argument(
        "--region", metavar="X,Y,W,H", type=region,
        help="only W x H pixels, from column X and row Y on, counted from 0; of a large image only "
        "the tiles around them are decoded",
    )  # fmt: skip
    parser.add_argument(
        "--scale", metavar="1/N", type=scale, default=1.0,
        help="an image of 1/2, 1/4, 1/8 or 1/16 of the size, rounded up",
    )  # fmt: skip
    some = parser.add_mutually_exclusive_group()
    some.add_argument(
        "--slices", metavar="N", type=int,
        help="read no more than the first N slices of the latents, 0 or more",
    )  # fmt: skip
    some.add_argument(
        "--partial", action="store_true", help="make the best of files whose end is missing"
    )
    common.add_kept_arguments(parser)
    common.add_max_pixels(parser)
    parser.add_argument("--force", action="store_true", help="replace existing files")
    remote.add_argument(parser)
    parser.add_argument(
        "--model", metavar="NAME",
        help="with --server: of its models, the one to ask; default: the one here with the file's "
        f"fingerprint, or {runtime.DEFAULT_MODEL}",
    )  # fmt: skip
    return parser


def region(text: str) -> tuple[int, int, int, int]:
    """Returns the (x, y, width, height) that `text` says; for argparse."""
    found = re.fullmatch(r"(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is not X,Y,W,H, four whole numbers of pixels")
    x, y, width, height = map(int, found.groups())
    return x, y, width, height


def scale(text: str) -> float:
    """Returns the scale, at most 1, that `text` says; for argparse."""
    found = re.fullmatch(r"1/(1|2|4|8|16)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is not 1/2, 1/4, 1/8 or 1/16")
    return 1 / int(found.group(1))


def decompress(args: argparse.Namespace) -> int:
    """Does what the parsed arguments say; returns the exit status."""
    if args.server:
        return decompress_at_server(args)
    if args.background:
        images.parse_color(args.background)
    if args.model:
        raise errors.UsageError("--model works with --server only: the file says what it needs.")
    pairs = outputs.plan(args.files, args.output, ".png")
    for _, target in pairs:
        images.output_format(target)
    library = runtime.Library()

    def work(pair: tuple[str, str]) -> Callable[[], str]:
        source, target = pair
        data = common.read_coded(source)
        try:
            try:
                codec = library.codec_of(data)
            except errors.FileFormatError:
                if not (args.partial and header.is_cut(data)):
                    raise
                return of_beginning(library, data, source, target, args)
            # Only now: that a file is damaged matters more than where it would go.
            outputs.check(target, args.files, args.force)
            started = time.perf_counter()
            with common.tiles_bar(source) as progress:
                how = args.region, progress, args.max_pixels
                pixels = codec.decompress(data, *how, slices=args.slices, scale=args.scale)
        except errors.TfclicError as error:
            raise type(error)(f"{source}: {error}") from error
        decoded = time.perf_counter() - started
        found = codec.info(data)
        size = found["width"], found["height"]

        def finish() -> str:
            started = time.perf_counter()
            if found["tiles"] > 1:
                # the image's file takes more than what is left
                machine.give_back()
            outputs.write(target, writer(pixels, data, source, target, args), args.force)
            seconds = decoded + time.perf_counter() - started
            return common.result_line(source, target, pixels, len(data), seconds, size)

        # the next file is decoded while the image is written
        return finish

    return common.each_file("decompress", pairs, work)


def of_beginning(
    library: runtime.Library, data: bytes, source: str, target: str, args: argparse.Namespace
) -> Callable[[], str]:
    """Writes what the beginning of a file gives; what it returns says so by an error.

    Args:
      library: where models are found.
      data: bytes, the beginning of the file `source`.
      target: path of the image.
      args: what is asked for.
    """
    for name, is_given in (("region", args.region), ("scale", args.scale < 1)):
        if is_given:
            sentence = f"--{name} works without --partial only, where the end is missing."
            raise errors.UsageError(sentence)
    codec = library.codec_of_beginning(data)
    outputs.check(target, args.files, args.force)
    with common.tiles_bar(source) as progress:
        pixels, received = codec.decompress_beginning(data, progress, args.max_pixels)

    def finish() -> str:
        outputs.write(target, functools.partial(images.save, pixels, path=target), args.force)
        slices = f"{max(received.least, 0)} of {received.slices} slices"
        has_both = received.tiles and received.least < received.slices
        tiles = f"{received.tiles} tiles whole, of the others " if has_both else ""
        raise errors.FileFormatError(
            f"{source}: Its end is missing. {target} is what {received.share:.0%} of it gives: "
            f"{tiles}{slices} of the latents, without alpha and metadata."
        )

    return finish


def writer(
    pixels: npt.NDArray[np.uint8], data: bytes, source: str, target: str, args: argparse.Namespace
) -> Callable[[IO[bytes]], None]:
    """What writes the image file for `target`; says what of the metadata it cannot hold.

    Args:
      pixels: uint8 array, what was decoded.
      data: bytes of the `.tfclic` file, which is called `source`.
      target: path, for its extension.
      args: what is asked for, `strip` and `background`.
    """
    metadata = tfclic.metadata_of(data)
    if args.background:
        pixels, metadata = images.on(pixels, images.parse_color(args.background), metadata)
    if args.strip:
        return functools.partial(images.save, images.resolved(pixels, metadata), path=target)
    for note in images.unkept(target, metadata):
        common.complain("decompress", f"{source}: {note}")
    return functools.partial(images.save, pixels, path=target, kept=metadata)


def decompress_at_server(args: argparse.Namespace) -> int:
    """As `decompress`, but that a server does the work."""
    some = {"slices": args.slices is not None, "partial": args.partial}
    remote.refuse(region=args.region, **some)
    pairs = outputs.plan(args.files, args.output, ".png")
    for _, target in pairs:
        images.output_format(target)
    coder = remote.Coder(args.server, args.model)

    def begin(pair: tuple[str, str]) -> tuple[bytes, npt.NDArray[np.uint8], bytes, float]:
        source, target = pair
        started = time.perf_counter()
        data = common.read_coded(source)
        try:
            pixels = coder.decompress(data, args.max_pixels, args.scale)
            outputs.check(target, args.files, args.force)
        except errors.TfclicError as error:
            raise type(error)(f"{source}: {error}") from error
        image = io.BytesIO()
        writer(pixels, data, source, target, args)(image)
        return data, pixels, image.getvalue(), time.perf_counter() - started

    pipeline = pipelines.Pipeline(begin, pairs, remote.AHEAD)

    def work(pair: tuple[str, str]) -> str:
        source, target = pair
        data, pixels, image, seconds = pipeline.result(pair)
        outputs.write(target, image, args.force)
        coded = header.parse(picture.parse(data).image)
        size = coded.width, coded.height
        return common.result_line(source, target, pixels, len(data), seconds, size)

    return common.each_file("decompress", pairs, work)


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(decompress, make_parser(), argv)


if __name__ == "__main__":
    main()
