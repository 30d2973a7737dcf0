"""bin/export: turns a trained workdir, or another export, into saved_models/NAME/VERSION/."""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import TYPE_CHECKING, Any

from tfclic import configuration, errors, places
from tfclic.cli import common
from tfclic.format import header, model

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.exact.ranges import Ranges
    from tfclic.models.base import ImageCodec
    from tfclic.runtime.catalog import Model

DETAILS = """\
examples:
  export --workdir=run --name=mine           a run, finished or interrupted
  export --from=mine --name=mine_stock --coder=interleaved
                                             the same model with the interleaved coder alone
  export --thumbnails=mine --images=photographs
                                             teaches an exported model to make thumbnails

The version is the next free number. The weights are the moving averages of the run, where it kept
them. With --from they are those of the export, to the bit: the fingerprint is the same, and each of
the two reads the other's files, if it has their coder.

With --transforms=integer, the default where every layer of the synthesis can do it, a file has the
same pixels on every machine, and with integer8, too, which is faster on processors that multiply
bytes. How fine the integers are is set by some images: --images, best photographs like those that
the model was trained on, and a few that are drawn here, of text and patterns. Of --images the model
also learns to make thumbnails of latents (decompress --scale), which otherwise take whole decoding;
--thumbnails has a model that is there learn it, whose fingerprint stays. With --from both are taken
over, unless --images is given.
"""


def make_parser() -> argparse.ArgumentParser:
    """The program's argparse parser."""
    parser = common.parser("export", "Exports a trained model as a SavedModel.", DETAILS)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", help="folder of the training run")
    source.add_argument(
        "--from", dest="model", metavar="NAME|PATH", help="an exported model, to export it anew"
    )
    source.add_argument(
        "--thumbnails", metavar="NAME|PATH",
        help="an exported model, to be given thumbnails learned of --images, and nothing else",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the exported model; not with --thumbnails")
    parser.add_argument("--folder", help="where to put it (default: saved_models/)")
    parser.add_argument(
        "--coder", choices=(*header.CODERS, model.BOTH), default=model.BOTH,
        help="what writes its files: TensorFlow Compression's range coder, or the interleaved one, "
        "with which the model runs wherever TensorFlow does; both (the default) has a graph for "
        "each, and writes with the range coder where it is",
    )  # fmt: skip
    parser.add_argument(
        "--transforms", choices=model.TRANSFORMS,
        help="what pixels are made in: integer, the same on every machine, integer8, likewise, of "
        "fewer bits, or float32 (default: integer where every layer has an exact form; with --from "
        "what the export has)",
    )  # fmt: skip
    parser.add_argument(
        "--images", metavar="FOLDER",
        help="photographs by which the steps of integers are set (default: made images), and of "
        "which thumbnails are learned (default: none)",
    )  # fmt: skip
    common.add_max_pixels(parser)
    return parser


def export(args: argparse.Namespace) -> int:
    """Exports what `args` name; returns the exit status."""
    if args.thumbnails:
        return add_thumbnails(args)
    name = args.name or ""
    if name in ("", ".", "..") or "/" in name:
        raise errors.UsageError(f"{name!r} cannot be the name of a model; --name gives it.")
    codec, about = _of_export(args) if args.model else _of_run(pathlib.Path(args.workdir))

    from tfclic.export import saving, warm_up
    from tfclic.runtime import catalog

    folder = args.folder or places.EXPORTS
    seen = _seen(args, codec, about.pop("seen", None))

    def save(seen: Ranges | None) -> pathlib.Path:
        kind = args.transforms or model.INTEGER
        return saving.save(
            codec, folder, name, coder=args.coder, seen=seen, transforms=kind, **about
        )

    try:
        path = save(seen)
    except errors.InexactError as error:
        if args.transforms:
            raise
        common.complain("export", f"{error} Its pixels are made in float32.")
        path = save(None)
    if args.images and codec.scales_latents:
        try:
            _learn_thumbnails(catalog.at(path), codec, args)
        except errors.UsageError as error:
            common.complain("export", error)
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    print(f"{path}: {size / 1e6:.1f} MB")
    if not warm_up.is_possible():
        common.complain("export", "It has no warm-up requests; tensorflow-serving-api makes them.")
    return 0


def add_thumbnails(args: argparse.Namespace) -> int:
    """Gives thumbnails to the exported model that `args` name; returns the exit status."""
    if args.name or not args.images:
        raise errors.UsageError("--thumbnails goes with --images, of a model that has its name.")
    from tfclic.runtime import catalog

    found = catalog.find(args.thumbnails)

    from tfclic.export import stored
    from tfclic.training import building

    codec, _ = stored.read(found, building.build_variables)
    _learn_thumbnails(found, codec, args)
    return 0


def _learn_thumbnails(found: Model, codec: ImageCodec, args: argparse.Namespace) -> None:
    from tfclic.export import samples, thumbnails

    print(f"Learning thumbnails of {args.images} ...", flush=True)
    shown = samples.of_folder(args.images, thumbnails.IMAGES, args.max_pixels)
    learned = thumbnails.add(found, codec, shown)
    for by, near in learned.items():
        print(f"1/{by}: {near:.1f} dB from whole decoding")
    file = found.path / model.THUMBNAILS
    print(f"{file}: {file.stat().st_size / 1e3:.0f} kB", flush=True)


def _seen(args: argparse.Namespace, codec: ImageCodec, known: Ranges | None) -> Ranges | None:
    """What is known of the values in a synthesis that is to compute in integers; None: floats."""
    if args.transforms == model.FLOAT32:
        return None
    if known is not None and args.images is None:
        return known

    from tfclic.export import integers, samples

    if args.images:
        shown = samples.of_folder(args.images, max_pixels=args.max_pixels)
    else:
        shown = samples.made()
    return integers.measured(codec, shown, samples.drawn())


def _of_run(workdir: pathlib.Path) -> tuple[ImageCodec, dict[str, Any]]:
    """The codec of a run, and what else `saving.save` is to know of it."""
    from ml_collections import ConfigDict

    from tfclic import models

    try:
        config = json.loads((workdir / "config.json").read_text())
        structure, objective = config["model"], config["training"]["objective"]
    except OSError:
        raise errors.ModelError(f"{workdir} is not the folder of a training run.") from None
    except (ValueError, LookupError, TypeError):
        raise errors.ModelError(f"{workdir / 'config.json'} is damaged.") from None

    from tfclic.training import checkpoints

    codec = models.build(ConfigDict(structure))
    step = checkpoints.restore_weights(codec, workdir)
    # that of these weights: the workdir's may be of a step later, or earlier where a run was killed
    record = {**checkpoints.read_record(workdir, step), "objective": objective}
    print(f"Exporting step {step} of {workdir} ...", flush=True)
    _complain_of_stage(codec, ConfigDict(configuration.complete(config)["training"]), step)
    return codec, {"config": config, "training": record}


def _complain_of_stage(codec: ImageCodec, training: ConfigDict, step: int) -> None:
    """Tells of a run that has not come to what the exported model uses."""
    import tensorflow as tf

    from tfclic.training import schedule

    latest = tf.constant(max(step - 1, 0))
    number = int(schedule.stage(latest, training)) + 1
    if number < codec.stages:
        common.complain(
            "export",
            f"Step {step} is of stage {number} of {codec.stages}; what only later ones train is "
            "as in a new model, and so may pixels be.",
        )
    if training.first_share and schedule.in_first_phase(latest, training):
        common.complain(
            "export",
            f"Up to step {step} all images had one lambda, {training.first_lmbda:g}; other "
            "qualities have not been trained.",
        )


def _of_export(args: argparse.Namespace) -> tuple[ImageCodec, dict[str, Any]]:
    """As `_of_run`, of an exported model."""
    from tfclic.runtime import catalog

    found = catalog.find(args.model)

    from tfclic.export import stored
    from tfclic.training import building

    codec, like = stored.reread(found, building.build_variables)
    if not args.transforms and (not args.images or found.card.transforms == model.INTEGER8):
        args.transforms = found.card.transforms
    print(f"Exporting {found} ({found.fingerprint}) anew ...", flush=True)
    card = found.card
    # what was measured was so with files of this coder
    writes = header.RANGE if args.coder == model.BOTH else args.coder
    results = card.results if writes == card.coder else None
    about = {"config": card.config, "training": card.training, "results": results}
    known = found.path / model.THUMBNAILS
    kept = known.read_bytes() if known.exists() and not args.images else None
    return codec, {**about, "like": like, "seen": stored.ranges(found), "thumbnails": kept}


def main(argv: list[str] | None = None) -> None:
    """Runs the program and ends the process with its exit status."""
    common.run(export, make_parser(), argv, tensorflow=True)


if __name__ == "__main__":
    main()
