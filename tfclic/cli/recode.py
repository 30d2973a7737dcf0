"""bin/recode: `.tfclic` files to those of another coder, without loss."""

from __future__ import annotations

import argparse

from tfclic import errors, runtime
from tfclic.cli import common, outputs
from tfclic.format import header

DETAILS = """\
examples:
  recode photo.tfclic --coder=interleaved      writes photo.interleaved.tfclic beside it
  recode *.tfclic --coder=range -o recoded/    into the folder recoded

Latents stay what they are, and so does the image. The model that made a file is needed, exported
with the coder that is to write (export --coder) and, for files of the range coder, with that one
too.
"""


def make_parser() -> argparse.ArgumentParser:
    """The program's argparse parser."""
    parser = common.parser("recode", "Writes .tfclic files anew, with another coder.", DETAILS)
    parser.add_argument("files", metavar="FILE", nargs="+", help="a .tfclic file")
    parser.add_argument(
        "--coder", choices=header.CODERS, required=True,
        help="what writes: TensorFlow Compression's range coder, or the interleaved one, which "
        "needs nothing but TensorFlow",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="FILE|DIR",
        help="the file to write; or a folder: one that exists, ends in / or is for several FILEs; "
        "default: FILE with .CODER.tfclic, beside it",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace existing files")
    return parser


def recode(args: argparse.Namespace) -> int:
    """Does what the parsed arguments say; returns the exit status."""
    pairs = outputs.plan(args.files, args.output, f".{args.coder}.tfclic")
    library = runtime.Library()

    def work(pair: tuple[str, str]) -> str:
        source, target = pair
        data = common.read_coded(source)
        try:
            with common.tiles_bar(source) as progress:
                recoded = library.recode(data, args.coder, progress)
            outputs.check(target, args.files, args.force)
        except errors.TfclicError as error:
            raise type(error)(f"{source}: {error}") from error
        outputs.write(target, recoded, args.force)
        return f"{source} -> {target}: {len(data):,} -> {len(recoded):,} bytes"

    return common.each_file("recode", pairs, work)


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(recode, make_parser(), argv)


if __name__ == "__main__":
    main()
