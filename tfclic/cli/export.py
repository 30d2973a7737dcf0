"""bin/export: turns a trained workdir into saved_models/NAME/VERSION/."""

from __future__ import annotations

import argparse
import json
import pathlib

from tfclic import errors, places
from tfclic.cli import common
from tfclic.format import header

DETAILS = """\
The version is the next free number. The weights are the moving averages of the run, where it kept
them; any finished or interrupted run can be exported."""


def make_parser() -> argparse.ArgumentParser:
    """The program's argparse parser."""
    parser = common.parser("export", "Exports a trained model as a SavedModel.", DETAILS)
    parser.add_argument("--workdir", required=True, help="folder of the training run")
    parser.add_argument("--name", required=True, help="name of the exported model")
    parser.add_argument("--folder", help="where to put it (default: saved_models/)")
    parser.add_argument(
        "--coder", choices=header.CODERS, default=header.RANGE,
        help="what writes its files: TensorFlow Compression's range coder, or the interleaved one, "
        "with which the model runs wherever TensorFlow does; default: %(default)s",
    )  # fmt: skip
    return parser


def export(args: argparse.Namespace) -> int:
    """Exports what `args` name; returns the exit status."""
    from ml_collections import ConfigDict

    from tfclic import models

    workdir = pathlib.Path(args.workdir)
    try:
        config = json.loads((workdir / "config.json").read_text())
    except OSError:
        raise errors.ModelError(f"{workdir} is not the folder of a training run.") from None
    except ValueError:
        raise errors.ModelError(f"{workdir / 'config.json'} is damaged.") from None
    if args.name in ("", ".", "..") or "/" in args.name:
        raise errors.UsageError(f"{args.name!r} cannot be the name of a model.")

    from tfclic.export import saving, warm_up
    from tfclic.training import checkpoints

    codec = models.build(ConfigDict(config["model"]))
    step = checkpoints.restore_weights(codec, workdir)
    record = json.loads((workdir / "record.json").read_text())
    record["objective"] = config["training"]["objective"]
    folder = args.folder or places.EXPORTS
    print(f"Exporting step {step} of {workdir} ...", flush=True)
    path = saving.save(codec, folder, args.name, config, record, args.coder)
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    print(f"{path}: {size / 1e6:.1f} MB")
    if not warm_up.is_possible():
        common.complain("export", "It has no warm-up requests; tensorflow-serving-api makes them.")
    return 0


def main(argv: list[str] | None = None) -> None:
    """Runs the program and ends the process with its exit status."""
    common.run(export, make_parser(), argv, tensorflow=True)


if __name__ == "__main__":
    main()
