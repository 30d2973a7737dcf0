"""bin/compress: images to `.tfclic` files."""

from __future__ import annotations

import argparse
import functools
import time
from typing import TYPE_CHECKING

from tfclic import errors, images, runtime
from tfclic.cli import common, outputs, pipelines, remote
from tfclic.format import header
from tfclic.runtime import catalog
from tfclic.runtime.qualities import RISE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DETAILS = """\
examples:
  compress photo.jpg                    writes photo.tfclic beside it
  compress --quality 80 photo.jpg -o small.tfclic
  compress *.png -o coded/              one file each, in the folder coded
  compress --bpp 0.5 photo.jpg          as good as half a bit per pixel allows
  compress --psnr 32 photo.jpg          as small as 32 dB allow
  compress --effort 9 photo.jpg         some per cent smaller, in ten times the time
  compress --roi 200,80,160,200 photo.jpg
                                        the face, of 160x200 pixels there, better than the rest
  compress --bytes 30000 --quality-map mask.png photo.jpg
                                        30,000 bytes, most of them where the mask is bright

A target is met within 2 % below the size or 0.05 dB above the PSNR; the quality that does it is
searched. What --roi and --quality-map ask for goes up and down with it, but for a quality without
a sign. Efforts above 0 move latents, step by step, to where bits and error together are least,
before they are rounded; decoding takes no longer. Images above --tile pixels are coded in tiles, on
all cores, in bounded memory.

Transparency is kept without loss. Colour profile, Exif and XMP go into the file; --strip leaves
them out, and converts the colours to sRGB, which is what an image without a profile is in.

Each result tells the sizes in bytes, bits per pixel (bpp) and the ratio to the raw 8-bit samples;
and if the file is larger than PHOTO. Models are for photographs: text, drawings and screenshots are
often best as PNG or lossless WebP.
Models are looked for in saved_models/ and in the folders that TFCLIC_MODELS lists.
"""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what every compression has to know, but for the quality, to an argparse parser."""
    parser.add_argument(
        "--model", metavar="NAME|PATH", default=runtime.DEFAULT_MODEL, help="default: %(default)s"
    )
    parser.add_argument(
        "--effort", metavar="0..9", type=int, default=runtime.DEFAULT_EFFORT,
        help="0 fast, 9 small: how long better latents are looked for; default: %(default)s",
    )  # fmt: skip
    common.add_kept_arguments(parser)
    parser.add_argument(
        "--tile", metavar="PIXELS", type=int, default=runtime.DEFAULT_TILE,
        help="longest side of a tile, a multiple of 64 up to 4096; default: %(default)s",
    )  # fmt: skip


def background_of(args: argparse.Namespace) -> tuple[int, int, int] | None:
    """The colour of --background, or None; raises errors.UsageError if it is none."""
    return images.parse_color(args.background) if args.background else None


def keeps_of(args: argparse.Namespace) -> images.Keeps:
    """What a file keeps of an image file, by --strip."""
    return images.Keeps(metadata=not args.strip, alpha=True)


def make_parser() -> argparse.ArgumentParser:
    parser = common.parser("compress", "Compresses images to small .tfclic files.", DETAILS)
    parser.add_argument("photos", metavar="PHOTO", nargs="+", help="an image file (JPEG, PNG, ...)")
    parser.add_argument(
        "-o", "--output", metavar="FILE|DIR",
        help="the file to write; or a folder: one that exists, ends in / or is for several PHOTOs; "
        "default: PHOTO with .tfclic, beside it",
    )  # fmt: skip
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument(
        "-q", "--quality", metavar="0..100", type=common.quality,
        help=f"0 smallest, 100 best, fractions allowed; default: {runtime.DEFAULT_QUALITY}",
    )  # fmt: skip
    goal.add_argument(
        "--bpp", metavar="X", type=common.above_zero, help="at most X bits per pixel, instead"
    )
    goal.add_argument(
        "--bytes", metavar="N", type=common.above_zero, help="a file of at most N bytes, instead"
    )
    goal.add_argument(
        "--psnr", metavar="X", type=common.above_zero, help="a PSNR of at least X dB, instead"
    )
    parser.add_argument(
        "--roi", metavar="X,Y,W,H[:QUALITY]", type=area, action="append", default=[],
        help="W x H pixels, from column X and row Y on, counted from 0, have another quality, "
        f"0..100, or one that is higher (+N) or lower (-N) than around them; default: +{RISE:g}; "
        "may be repeated, and later ones cover earlier ones",
    )  # fmt: skip
    parser.add_argument(
        "--quality-map", metavar="MASK",
        help="a gray image of any size, which is spread over the photo: black is quality 0, white "
        "100; with a target it is moved up or down as a whole",
    )  # fmt: skip
    add_model_arguments(parser)
    parser.add_argument(
        "--coder", choices=header.CODERS,
        help="what writes: the range coder, for readers with TensorFlow Compression, or the "
        "interleaved one, for all; default: the former, where this machine and the model have it",
    )  # fmt: skip
    common.add_max_pixels(parser)
    parser.add_argument("--force", action="store_true", help="replace existing files")
    remote.add_argument(parser)
    return parser


def area(text: str) -> runtime.Area:
    """Returns the `runtime.Area` that `text` says; for argparse."""
    try:
        return runtime.Area.parse(text)
    except errors.UsageError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


def map_of(path: str, max_pixels: int) -> npt.NDArray[np.float32]:
    """The qualities, float32 [h, w], that a gray image of at most so many pixels has.

    Raises:
      errors.ImageError: it cannot be read, or is not gray.
    """
    pixels = images.read(path, keeps=images.Keeps(alpha=True), max_pixels=max_pixels).pixels
    if pixels.ndim == 3:
        has = "transparency" if pixels.shape[2] in (2, 4) else "colours"
        raise errors.ImageError(f"{path} has {has}; a map of qualities is a gray image.")
    return (pixels / 2.55).astype("float32").clip(0, 100)


def told(source: str, target: str, pixels: images.Pixels, coded_bytes: int, seconds: float) -> str:
    """The line of a result, as `common.result_line`, and whether the image was smaller before."""
    line = common.result_line(source, target, pixels, coded_bytes, seconds)
    before = common.size_of(source)
    is_larger = before is not None and coded_bytes > before
    return f"{line}; larger than {source} is" if is_larger else line


def compress(args: argparse.Namespace) -> int:
    """Does what the parsed arguments say; returns the exit status."""
    if args.server:
        return compress_at_server(args)
    background = background_of(args)
    model = catalog.find(args.model)
    runtime.check_effort(args.effort, model)
    pairs = outputs.plan(args.photos, args.output, ".tfclic")

    goal = {"quality": args.quality, "bpp": args.bpp, "file_bytes": args.bytes, "psnr": args.psnr}
    if args.quality_map:
        if args.quality is not None:
            raise errors.UsageError("--quality-map says every quality: leave out --quality.")
        goal["quality"] = map_of(args.quality_map, args.max_pixels)
    how = {**goal, "areas": args.roi, "effort": args.effort, "tile": args.tile}

    @functools.lru_cache(maxsize=1)
    def codec() -> runtime.Codec:
        return runtime.Codec(model, args.coder)

    def begin(pair: tuple[str, str]) -> tuple[images.Photo, float]:
        source, target = pair
        started = time.perf_counter()
        photo = images.read(source, background, keeps_of(args), args.max_pixels)
        outputs.check(target, args.photos, args.force)
        return photo, time.perf_counter() - started

    # the next image is read while one is coded
    pipeline = pipelines.Pipeline(begin, pairs, ahead=2)

    def work(pair: tuple[str, str]) -> str:
        source, target = pair
        photo, read = pipeline.result(pair)
        for note in photo.notes:
            common.complain("compress", f"{source}: {note}")
        loaded = codec()
        started = time.perf_counter()
        try:
            with common.tiles_bar(source) as progress:
                data = loaded.compress(
                    photo.pixels, **how, metadata=photo.metadata, progress=progress
                )
        except errors.TfclicError as error:
            raise type(error)(f"{source}: {error}") from error
        outputs.write(target, data, args.force)
        seconds = read + time.perf_counter() - started
        return told(source, target, photo.pixels, len(data), seconds)

    return common.each_file("compress", pairs, work, fatal=errors.ModelError)


def compress_at_server(args: argparse.Namespace) -> int:
    """As `compress`, but that a server does the work."""
    remote.refuse(
        bpp=args.bpp,
        bytes=args.bytes,
        psnr=args.psnr,
        tile=args.tile != runtime.DEFAULT_TILE,
        coder=args.coder is not None,
        **{"quality-map": args.quality_map is not None},
    )
    background = background_of(args)
    pairs = outputs.plan(args.photos, args.output, ".tfclic")
    coder = remote.Coder(args.server, args.model)

    def begin(pair: tuple[str, str]) -> tuple[images.Photo, bytes, float]:
        source, target = pair
        started = time.perf_counter()
        photo = images.read(source, background, keeps_of(args), args.max_pixels)
        outputs.check(target, args.photos, args.force)
        try:
            how = photo.metadata, args.effort, args.roi
            data = coder.compress(photo.pixels, args.quality, *how)
        except errors.TfclicError as error:
            raise type(error)(f"{source}: {error}") from error
        return photo, data, time.perf_counter() - started

    pipeline = pipelines.Pipeline(begin, pairs, remote.AHEAD)

    def work(pair: tuple[str, str]) -> str:
        source, target = pair
        photo, data, seconds = pipeline.result(pair)
        for note in photo.notes:
            common.complain("compress", f"{source}: {note}")
        outputs.write(target, data, args.force)
        return told(source, target, photo.pixels, len(data), seconds)

    return common.each_file("compress", pairs, work, fatal=errors.ModelError)


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(compress, make_parser(), argv)


if __name__ == "__main__":
    main()
