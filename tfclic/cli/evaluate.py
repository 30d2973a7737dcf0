"""bin/evaluate: rate and distortion of codecs on a folder of images, from real files."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tfclic import errors, runtime
from tfclic.cli import common, evaluate_measuring, evaluate_tables
from tfclic.runtime import catalog

if TYPE_CHECKING:
    import pathlib

    from tfclic.cli.evaluate_measuring import Machine
    from tfclic.evaluation.campaign import ByImage, Store
    from tfclic.evaluation.codecs import Codec
    from tfclic.evaluation.curves import Curve
    from tfclic.evaluation.evaluate import Measurement
    from tfclic.evaluation.report import Table

DETAILS = """\
examples:
  evaluate --images kodak
  evaluate --images kodak --codec jpeg,webp,jxl --anchor vtm --output measured
  evaluate --images kodak --model small --model large/3 --codec all --curve all --output measured
  evaluate --images kodak --qualities 0,25,50,75,100 --verify
  evaluate --images kodak --codec jpeg,webp --anchor jpeg --metrics psnr,vif,psnr-hvs-m,vmaf

Compresses every image with every codec at several settings, and prints bits per pixel, PSNR (dB),
MS-SSIM, FLIP and seconds, averaged over the images, and the difference to each --anchor. With
--output, DIR gets the files, a curve as CODEC.json for each codec, and report.html, which needs
nothing else; what DIR has already is not measured again, so that a run that was stopped goes on.

Several processes share the machine, and their seconds are longer: --jobs 1 for seconds that count.

--verify also checks, for each file of a model, that the decoded latents are the encoder's, that its
size is within 1 % + 24 bytes of the model's own estimate, and that the decoded PSNR is within
0.01 dB of the encoder's; it exits with 1 if one of these fails.
"""


def make_parser() -> argparse.ArgumentParser:
    from tfclic.evaluation import codecs, curves

    parser = common.parser("evaluate", "Measures codecs on a folder of images.", DETAILS)
    parser.add_argument("--images", metavar="FOLDER", required=True, help="folder of image files")
    parser.add_argument(
        "--model", metavar="NAME|PATH", action="append", default=[],
        help="may be repeated; with @N after it at effort N, 0 to 9; "
        f"default: {runtime.DEFAULT_MODEL}, unless there is a --codec",
    )  # fmt: skip
    parser.add_argument(
        "--codec", metavar="NAME,...", type=_peers, default=[],
        help=f"others: {', '.join(codecs.PEERS)}, or all",
    )  # fmt: skip
    parser.add_argument(
        "--curve", metavar="NAME|FILE,...", type=common.words, default=[],
        help="published curves, or those of an earlier run, to show beside; all: those of Kodak",
    )  # fmt: skip
    parser.add_argument(
        "--anchor", metavar="NAME|FILE", action="append", default=[],
        help="what to compare with: a codec, a model or a curve; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", metavar="NAME,...", type=_metrics, default=",".join(curves.USUAL),
        help=f"what curves are compared by, of {', '.join(curves.METRICS)}, or all; those beyond "
        "PSNR, MS-SSIM and FLIP are measured as well (extras metrics, metrics-torch); default: "
        "%(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--qualities", metavar="Q,Q,...", type=common.qualities, default="0,20,40,60,80,100",
        help="of models, 0..100 each; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--output", metavar="DIR", help="keep files, curves and a report there")
    parser.add_argument(
        "--jobs", metavar="N", type=_positive, default=None, help="processes; default: one per core"
    )
    parser.add_argument(
        "--gallery", metavar="N", type=_count, default=None,
        help="how many images the report shows, 0 for none; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--card", action="store_true", help="put the averages into the models' cards"
    )
    parser.add_argument("--verify", action="store_true", help="check files against the encoder")
    common.add_max_pixels(parser)
    return parser


def evaluate(args: argparse.Namespace) -> int:
    """Does what the parsed arguments say; returns the exit status."""
    from tfclic.evaluation import campaign, codecs, perceptual, report

    more = tuple(name for name in args.metrics if name in perceptual.KNOWN)
    perceptual.check(more)
    paths = image_paths(args.images)
    peers = list(codecs.PEERS) if "all" in args.codec else args.codec
    models = args.model or ([] if peers else [runtime.DEFAULT_MODEL])
    loaded = [codecs.load(source, tuple(args.qualities)) for source in _distinct(models, peers)]
    _check_names(loaded)
    dataset = _folder_name(args.images)
    others = [_read(name, dataset) for name in _curve_names(args.curve)]
    anchors = [_anchor(name, loaded, dataset) for name in args.anchor]
    with contextlib.ExitStack() as stack:
        folder = args.output or stack.enter_context(tempfile.TemporaryDirectory())
        try:
            store = stack.enter_context(campaign.Store(folder))
        except OSError as error:
            raise errors.UsageError(f"{folder} cannot be used: {error.strerror}.") from error
        machine = evaluate_measuring.machine_for(args.jobs)
        records, status = evaluate_measuring.measure(
            loaded, paths, store, args.verify, more, machine, args.max_pixels
        )
        measured = [
            campaign.curve(codec, dataset, records[codec.name], machine.threads)
            for codec in loaded
            if records[codec.name]
        ]
        if not measured:
            return status
        evaluate_tables.print_curves(measured)
        compared = [each for anchor in anchors if (each := _curve_of(anchor, measured))]
        tables = report.differences(compared, [*measured, *others], args.metrics)
        evaluate_tables.print_differences(tables)
        if args.output:
            shown = [*others, *(a for a in compared if a not in [*measured, *others])]
            found = _write(args, loaded, records, measured, shown, tables, store, machine)
            status = max(status, found)
        if args.card:
            _write_cards(loaded, measured)
    if args.verify:
        found_checks = (campaign.verification(record) for record in campaign.each(records))
        checks = [check for check in found_checks if check]
        if checks:
            print("\n".join(evaluate_tables.verdict(checks)))
            status = status or int(not all(check.passed for check in checks))
    return status


def _check_names(loaded: Sequence[Codec]) -> None:
    """Raises errors.UsageError if different codecs have one name, by which records are kept."""
    known: dict[str, Codec] = {}
    for codec in loaded:
        other = known.setdefault(codec.name, codec)
        if other.identity != codec.identity:
            raise errors.UsageError(
                f"{other.source} and {codec.source} are both called {codec.title}; give the folder "
                "of one of them another name or version."
            )


def _write(
    args: argparse.Namespace,
    loaded: Sequence[Codec],
    records: dict[str, ByImage],
    measured: Sequence[Curve],
    shown: Sequence[Curve],
    tables: Sequence[Table],
    store: Store,
    machine: Machine,
) -> int:
    """Writes curves and report; returns an exit status."""
    from tfclic.evaluation import campaign, curves, report

    for curve in measured:
        curves.write(curve, store.folder / f"{curve['name']}.json")
    paths = image_paths(args.images)[: args.gallery]
    works = campaign.equal_works(loaded, paths, records, args.max_pixels)
    equal, status = evaluate_measuring.do(works, loaded, store, machine, "equal bits")
    by_path: dict[str, list[tuple[Codec, Measurement, pathlib.Path]]] = {}
    for work, record in equal:
        codec = next(codec for codec in loaded if codec.source == work.source)
        version = codec, campaign.measurement(record), store.folder / record["file"]
        by_path.setdefault(work.path, []).append(version)
    gallery = [report.shown(path, of_it, args.max_pixels) for path, of_it in by_path.items()]
    path = store.folder / "report.html"
    dataset = _folder_name(args.images)
    report.write(path, dataset, measured, shown, tables, gallery, machine)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return status


def _write_cards(loaded: Iterable[Codec], measured: Iterable[Curve]) -> None:
    from tfclic.evaluation import codecs

    for codec in loaded:
        for curve in measured:
            is_its = isinstance(codec, codecs.Model) and curve["name"] == codec.name
            # a card says what its model does by itself
            if is_its and codec.effort == runtime.DEFAULT_EFFORT:
                results, dataset = curve["results"], curve["meta"]["dataset"]
                catalog.write_results(codec.runtime.model, dataset, results)


def _anchor(name: str, loaded: Iterable[Codec], dataset: str) -> Codec | Curve:
    """What an --anchor means: a codec that will be measured, or a curve."""
    for codec in loaded:
        if name in (codec.source, codec.name, codec.title):
            return codec
    return _read(name, dataset)


def _read(name: str, dataset: str) -> Curve:
    """A curve; its title says so if it is of other images."""
    from tfclic.evaluation import curves

    curve = curves.read(name)
    of = curve["meta"].get("dataset", "unknown images")
    same = of.casefold() == dataset.casefold()
    return curve if same else {**curve, "title": f"{curve['title']}, on {of}"}


def _curve_of(anchor: Codec | Curve, measured: Iterable[Curve]) -> Curve | None:
    """The curve of an anchor; None, which is told, if no image could be measured with it."""
    if isinstance(anchor, dict):
        return anchor
    found = next((curve for curve in measured if curve["name"] == anchor.name), None)
    if found is None:
        sentence = f"There is no curve of {anchor.title}, so that nothing is compared with it."
        common.complain("evaluate", sentence)
    return found


def _curve_names(names: list[str]) -> list[str]:
    from tfclic.evaluation import curves

    return curves.stored() if "all" in names else names


def _distinct(*lists: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(word for words in lists for word in words))


def image_paths(folder: str) -> list[str]:
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


def _folder_name(folder: str) -> str:
    return os.path.basename(os.path.abspath(folder))


def _peers(text: str) -> list[str]:
    from tfclic.evaluation import codecs

    words = common.words(text)
    unknown = [word for word in words if word not in (*codecs.PEERS, "all")]
    if unknown:
        known = ", ".join(codecs.PEERS)
        raise argparse.ArgumentTypeError(f"there is no codec {unknown[0]}; there are {known}")
    return words


def _metrics(text: str) -> list[str]:
    from tfclic.evaluation import curves

    words = list(curves.METRICS) if text == "all" else common.words(text)
    unknown = [word for word in words if word not in curves.METRICS]
    if unknown or not words:
        known = ", ".join(curves.METRICS)
        told = f"there is no metric {unknown[0]}" if unknown else "no metric is named"
        raise argparse.ArgumentTypeError(f"{told}; there are {known}")
    return words


def _positive(text: str) -> int:
    return _whole(text, 1)


def _count(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(evaluate, make_parser(), argv, tensorflow=True)


if __name__ == "__main__":
    main()
