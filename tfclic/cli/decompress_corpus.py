"""bin/decompress_corpus: many `.tfclic` files back to images, on Apache Beam or Dask."""

from __future__ import annotations

import argparse

from tfclic.cli import common, corpora

DETAILS = f"""\
examples:
  decompress_corpus --input 'coded/**.tfclic' --output images
  decompress_corpus --input 'coded/*.tfrecord' --output images

coded/a/b.jpg.tfclic becomes images/a/b.jpg.png. The models that made the files are found in
saved_models/ and in the folders that TFCLIC_MODELS lists.

{corpora.DETAILS}"""


def make_parser() -> argparse.ArgumentParser:
    parser = common.parser("decompress_corpus", "Turns many .tfclic files into PNG files.", DETAILS)
    corpora.add_arguments(parser, ".tfclic files")
    return parser


def decompress_corpus(args: argparse.Namespace) -> int:
    """Does what the parsed arguments say; returns the exit status."""
    from tfclic.corpora import coding

    return corpora.run("decompress_corpus", coding.Decompression(args.max_pixels), args)


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(decompress_corpus, make_parser(), argv, known_only=True)


if __name__ == "__main__":
    main()
