"""bin/compress_corpus: many images to `.tfclic` files, on Apache Beam or Dask."""

from __future__ import annotations

import argparse
import os

from tfclic import runtime
from tfclic.cli import common, compress, corpora
from tfclic.runtime import catalog

DETAILS = f"""\
examples:
  compress_corpus --input 'photos/**.jpg' --output coded
  compress_corpus --input 'train-*.tfrecord' --output coded --output_format tfrecord --quality 80

photos/a/b.jpg becomes coded/a/b.jpg.tfclic, and record 7 of train-0.tfrecord
coded/train-0.tfrecord/00000007.tfclic, counted from 0.

{corpora.DETAILS}"""


def make_parser() -> argparse.ArgumentParser:
    parser = common.parser("compress_corpus", "Compresses many images to .tfclic files.", DETAILS)
    corpora.add_arguments(parser, "image files")
    compress.add_model_arguments(parser)
    parser.add_argument(
        "-q", "--quality", metavar="0..100", type=common.quality, default=runtime.DEFAULT_QUALITY,
        help="0 smallest, 100 best, fractions allowed; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--psnr", action="store_true", help="decode each file, and put its PSNR into the manifest"
    )
    return parser


def compress_corpus(args: argparse.Namespace) -> int:
    """Does what the parsed arguments say; returns the exit status."""
    from tfclic.corpora import coding

    runtime.check_tile(args.tile)
    model = catalog.find(args.model)
    runtime.check_effort(args.effort, model)
    compression = coding.Compression(
        # a name is looked up where the work is done; a path has to mean the same there
        model=os.path.abspath(args.model) if os.path.isdir(args.model) else args.model,
        fingerprint=model.fingerprint,
        quality=args.quality,
        effort=args.effort,
        tile=args.tile,
        background=compress.background_of(args),
        psnr=args.psnr,
        strip=args.strip,
        max_pixels=args.max_pixels,
    )
    return corpora.run("compress_corpus", compression, args)


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(compress_corpus, make_parser(), argv, known_only=True)


if __name__ == "__main__":
    main()
