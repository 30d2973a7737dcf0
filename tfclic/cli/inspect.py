"""bin/inspect: what is in a `.tfclic` file, and pictures of what the model does with an image."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfclic import errors, images, runtime
from tfclic.cli import common, outputs
from tfclic.format.header import MAGIC
from tfclic.runtime import catalog

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tfclic.runtime.statistics import Statistics

DETAILS = """\
examples:
  inspect photo.tfclic                  prints header, sizes and bits of each part
  inspect --json photo.tfclic           the same as JSON
  inspect photo.tfclic -o photo.pdf     draws as well
  inspect photo.jpg                     codes it, prints, and draws photo.inspect.pdf beside it
  inspect photo.jpg -q 80 --channel 3 --at 100,200 --at 400,20 -o photo.png

Drawn are: one channel of the latents with means, scales and weights of its mixtures, normalised
values and bits; the quality over the image, where it differs from place to place; bits per pixel
over the image; bits by channel and by part; the distributions at some positions, beside single
Gaussians; the levels of hyper latents; and how much neighbours have in common on each level, before
and after what is expected is taken away. A PDF has a page for each, a PNG has them all.
"""
_FOR_IMAGES = ("quality", "model", "background", "tile")


def make_parser() -> argparse.ArgumentParser:
    what = "Shows what is in a .tfclic file, and what the model does with an image."
    parser = common.parser("inspect", what, DETAILS)
    parser.add_argument("input", metavar="IMAGE|FILE", help="an image file, or a .tfclic file")
    parser.add_argument(
        "-o", "--output", metavar="PDF|PNG|DIR",
        help="what to draw to; default: IMAGE with .inspect.pdf, beside it; for a FILE nothing",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--channel", metavar="N", type=int,
        help="the channel that is drawn, from 0; default: the one of highest entropy",
    )  # fmt: skip
    parser.add_argument(
        "--at", metavar="X,Y", type=place, action="append", default=[],
        help="a pixel whose distribution is drawn; may be repeated; default: five, chosen by bits",
    )  # fmt: skip
    common.add_max_pixels(parser)
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    group = parser.add_argument_group("for images")
    group.add_argument(
        "-q", "--quality", metavar="0..100", type=common.quality,
        help=f"default: {runtime.DEFAULT_QUALITY}",
    )  # fmt: skip
    group.add_argument("--model", metavar="NAME|PATH", help=f"default: {runtime.DEFAULT_MODEL}")
    group.add_argument(
        "--background", metavar="COLOR", help="put transparent images on this colour"
    )
    group.add_argument(
        "--tile", metavar="PIXELS", type=int,
        help=f"longest side of a tile; default: {runtime.DEFAULT_TILE}",
    )  # fmt: skip
    return parser


def place(text: str) -> tuple[int, int]:
    """Returns the (x, y) that `text` says; for argparse."""
    found = re.fullmatch(r"(\d{1,9}),(\d{1,9})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is not X,Y, two whole numbers of pixels")
    x, y = map(int, found.groups())
    return x, y


def inspect(args: argparse.Namespace) -> int:
    """Does what the parsed arguments say; returns the exit status."""
    from tfclic.evaluation import inspection

    content = _content(args.input)
    is_coded = args.input.endswith(".tfclic") or (content or b"").startswith(MAGIC)
    target = _target(args, is_coded)
    codec, data, pixels = (_open_file if is_coded else _code_image)(args, content)
    missing = None
    try:
        with common.tiles_bar(args.input) as progress:
            explanation = codec.statistics(data, progress)
            try:
                parts = explanation.parts
            except errors.ModelError as error:
                # What needs no probabilities can be told all the same.
                parts, missing = None, error
            found = inspection.report(codec, data, explanation, parts)
            if target and parts:
                if pixels is None:
                    pixels = codec.decompress(data, max_pixels=args.max_pixels)
                qualities = codec.qualities(data) if found["file"]["map_bytes"] else None
                found["drawn"] = _draw(args, target, pixels, explanation, found, qualities)
    except errors.TfclicError as error:
        raise type(error)(f"{args.input}: {error}") from error
    _tell(found, args.json)
    if missing:
        raise missing
    return 0


def _content(path: str) -> bytes | None:
    """The bytes of a file, which is read once, as pipes can be; None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _target(args: argparse.Namespace, is_coded: bool) -> str | None:
    """The path of the pictures, or None; raises errors.UsageError if that cannot be done."""
    if is_coded:
        given = [name for name in _FOR_IMAGES if getattr(args, name) is not None]
        if given:
            raise errors.UsageError(f"--{given[0]} is for images; {args.input} is coded already.")
        if args.output is None:
            if args.channel is not None or args.at:
                raise errors.UsageError("--channel and --at say what is drawn; say where with -o.")
            return None
    from tfclic.evaluation import pictures

    ((_, target),) = outputs.plan([args.input], args.output, ".inspect.pdf")
    pictures.check_ending(target)
    outputs.check(target, [args.input], args.force)
    return target


def _open_file(
    args: argparse.Namespace, content: bytes | None
) -> tuple[runtime.Codec, bytes, npt.NDArray[np.uint8] | None]:
    """Returns (codec, bytes of the file, None)."""
    # what could not be read is told why
    data = common.read_coded(args.input) if content is None else content
    try:
        return runtime.Library().codec_of(data), data, None
    except errors.TfclicError as error:
        raise type(error)(f"{args.input}: {error}") from error


def _code_image(
    args: argparse.Namespace, content: bytes | None
) -> tuple[runtime.Codec, bytes, npt.NDArray[np.uint8] | None]:
    """Returns (codec, bytes of the file that the image makes, its pixels)."""
    background = images.parse_color(args.background) if args.background else None
    model = catalog.find(args.model or runtime.DEFAULT_MODEL)
    how = background, images.Keeps(), args.max_pixels
    if content is None:
        photo = images.read(args.input, *how)
    else:
        photo = images.decode(content, args.input, *how)
    for note in photo.notes:
        common.complain("inspect", f"{args.input}: {note}")
    tile = runtime.DEFAULT_TILE if args.tile is None else args.tile
    codec = runtime.Codec(model)
    try:
        with common.tiles_bar(args.input) as progress:
            data = codec.compress(photo.pixels, args.quality, tile=tile, progress=progress)
    except errors.TfclicError as error:
        raise type(error)(f"{args.input}: {error}") from error
    return codec, data, photo.pixels


def _draw(
    args: argparse.Namespace,
    target: str,
    pixels: npt.NDArray[np.uint8],
    explanation: Statistics,
    found: Mapping[str, Any],
    qualities: npt.NDArray[np.float32] | None,
) -> dict[str, Any]:
    """Writes the pictures; returns what `report` is to say of them."""
    from tfclic.evaluation import inspection, pictures

    file, model = found["file"], found["model"]
    title = (
        f"{os.path.basename(args.input)}, {model['name']}/{model['version']}, quality "
        f"{file['quality']:.4g}, {file['file_bytes']:,} bytes"
    )
    header_bits = found["parts"][inspection.HEADER]
    shown = args.channel, args.at, qualities
    view = inspection.view(title, pixels, explanation, header_bits, *shown)
    outputs.write(target, pictures.encode(view, target), args.force)
    positions = [position._asdict() for position in view.positions]
    return {"output": target, "channel": view.channel, "positions": positions}


def _tell(found: Mapping[str, Any], as_json: bool) -> None:
    from tfclic.evaluation import inspection

    if as_json:
        print(json.dumps(found, indent=1))
        return
    print("\n".join(inspection.lines(found)))
    if "drawn" in found:
        print("\ndrawn in {output}, channel {channel}".format(**found["drawn"]))


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(inspect, make_parser(), argv)


if __name__ == "__main__":
    main()
