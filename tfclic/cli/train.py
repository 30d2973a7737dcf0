"""bin/train: trains a codec."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from tfclic import configuration, errors
from tfclic.cli import common, train_portable
from tfclic.places import CALLED

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec
    from tfclic.training.loop import Run
    from tfclic.training.strategies import Replicas

DETAILS = """\
--config.FIELD=VALUE replaces any field of the configuration, such as --config.training.steps=1000;
configs/ shows what there is.

Started again with the same arguments, it goes on from the last checkpoint in the workdir. Ctrl-C
saves first. Fields of training may have other values then (more steps, another learning rate), but
for objective, seed and validation_images; the record keeps what was changed at which step.

Every validation is a line in the workdir's validation.jsonl and draws its curve.png anew: BD-rate
against the model that the run started from, and the rate-distortion curves of both.

--config.training.precision=auto, the default, times a few layers and takes bfloat16 where that is
faster; a run that goes on keeps the format that it had, unless float32 or bfloat16 is given.

--config.training.rounded_share=0.05 makes the last twentieth of the steps a phase of its own:
latents are rounded, as they will be coded, and kernels, as they will be exported; what a decoder
has learns alone, at a rate that falls from training.rounded_learning_rate. After a complete run,
--start-from=RUN and a share of 1 add it.

--strategy=mirrored uses all GPUs of this machine; --strategy=multiworker also other machines, each
started with the same command and a TF_CONFIG of its own. docs/training.md tells how.

examples:
  train --model=gmm_attention_small --data=photos --workdir=run
  train --model=gmm_attention --data=tfds:clic --workdir=run --config.model.lmbdas='(0.015,)'

A trained model for another purpose, such as a higher MS-SSIM, starts best from what is there:
  train --model=gmm_attention_small_ms_ssim --data=photos --workdir=new --start-from=run
or, with nothing left of the run, with what an exported model has
  train --model=gmm_attention_small --data=photos --workdir=new --start-from=gmm_attention_small
Weights are taken where the models have the same, those of --fresh excepted; the schedule begins
anew. A larger model of the same system, with more latents, levels or widths, begins by computing
what the smaller one does: its weights grow, and nothing listens yet to what is new. Once the new
workdir has a checkpoint, --start-from means nothing any more.

training where TensorFlow cannot go, such as a new GPU:
  train --portable=DIR --model=NAME --data=FOLDER [--workdir=RUN] [--config.FIELD=VALUE ...]
writes a folder that trains without TensorFlow: the train step (HLO, which XLA compiles for any
device), its state (that of RUN's newest checkpoint, where --workdir is given), packs of crops from
the images, and the script that runs them. Batch and crop size are fixed in the step, and with
--config.training.precision=bfloat16 so is that format ("auto" is float32 here). Every file has at
most --file-size, so that the folder can travel in pieces; without some of its packs it still works.
There, with Python, numpy, jax and Pillow:
  python DIR/portable_run.py --minutes 9
as often as you like; each call goes on where the last one stopped. Back here,
  train --adopt=DIR --workdir=NEW
makes an ordinary workdir of it, with which this program goes on and export works. What comes back
is state.json and the state-*.bin beside it; copied over those in DIR they are what --adopt takes.
"""


def make_parser() -> argparse.ArgumentParser:
    """The program's argparse parser; `--config.*` is left to `override`."""
    parser = common.parser("train", "Trains a codec.", DETAILS)
    parser.add_argument(
        "--model",
        metavar="NAME|FILE",
        help="a configuration in configs/, or the path of a .py file",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER|tfds:NAME",
        help="folder of images (searched recursively), or a set of TensorFlow Datasets",
    )
    parser.add_argument(
        "--workdir", metavar="DIR", help="where checkpoints, TensorBoard files and the record go"
    )
    parser.add_argument(
        "--strategy",
        choices=("none", "mirrored", "multiworker"),
        default="none",
        help="share the batch between devices or machines (default: %(default)s)",
    )
    parser.add_argument(
        "--start-from",
        metavar="RUN|MODEL",
        help="weights to begin with: workdir of another run, or name or folder of a model",
    )
    parser.add_argument(
        "--fresh",
        metavar="PART,...",
        help="with --start-from: parts of the model that begin anew, such as hyper_analysis",
    )
    portable = parser.add_argument_group("portable training (see below)")
    portable.add_argument("--portable", metavar="DIR", help="write a folder that trains elsewhere")
    portable.add_argument("--adopt", metavar="DIR", help="make --workdir of such a folder's state")
    portable.add_argument(
        "--pack-size", type=_positive, default=40.0, metavar="MIB", help="of all packs (default 40)"
    )
    portable.add_argument(
        "--file-size", type=_positive, default=16.0, metavar="MIB", help="of a file (default 16)"
    )
    portable.add_argument(
        "--pack-crop",
        type=int,
        metavar="PIXELS",
        help="side of the packed crops (default: 256, or the training crop's if that is larger)",
    )
    portable.add_argument(
        "--pack-format",
        choices=("jpeg", "webp"),
        default="jpeg",
        help="JPEG of quality 95 without subsampling (default), or lossless WebP",
    )
    portable.add_argument(
        "--pack-first",
        type=int,
        default=0,
        metavar="N",
        help="number of the first crop, for another set of crops of the same images (default 0)",
    )
    portable.add_argument(
        "--compact-state",
        action="store_true",
        help="half the size of state: averages and second moments in bfloat16, no first moments",
    )
    portable.add_argument(
        "--steps-per-call", type=int, default=10, metavar="K", help="steps per launch (default 10)"
    )
    return parser


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not a number above 0")


def train(
    name: str,
    config: ConfigDict,
    data: str,
    workdir: str | os.PathLike[str],
    strategy: str = "none",
    start: str | None = None,
    fresh: Collection[str] = (),
) -> None:
    """Trains configuration `name` (`config`, a ConfigDict) on `data`, in `workdir`.

    strategy: one of `strategies.CHOICES`.
    start: what a new run's weights begin with, except for the parts in `fresh`: workdir of a run,
    or an exported model.
    """
    from tfclic.training import checkpoints, checks, precision, sources, strategies

    sources.check(data)
    checks.check(config)
    checks.warn_of_crops(config)
    workdir = pathlib.Path(workdir)
    precision.check(config.training.precision)
    replicas = strategies.open_replicas(strategy)
    lock = checkpoints.locked(workdir) if replicas.is_chief else contextlib.nullcontext()
    with replicas.guarded(), lock:
        compute_dtype = _precision(config, workdir, replicas)
        begin = functools.partial(_begin, workdir=workdir, start=start, fresh=fresh)
        run = _prepare(name, config, data, workdir, compute_dtype, replicas, begin)
        run.train()
        ready = f"; {workdir} is ready for {CALLED}export" if replicas.is_chief else ""
        print(f"All {config.training.steps} steps are done{ready}.")


def _precision(config: ConfigDict, workdir: pathlib.Path, replicas: Replicas) -> str:
    """The number format of a run, which the chief finds for all of its processes."""
    from tfclic.training import checkpoints, precision

    found = 0
    if replicas.is_chief:
        recorded = checkpoints.newest_record(workdir).get("precision")
        resolved = precision.resolve(config.training.precision, recorded)
        found = precision.FORMATS.index(resolved)
    return precision.FORMATS[replicas.gather([found])[0][0]]


def _prepare(
    name: str,
    config: ConfigDict,
    data: str,
    workdir: pathlib.Path,
    compute_dtype: str,
    replicas: Replicas,
    begin: Callable[[ImageCodec], dict[str, Any]],
) -> Run:
    """Returns the `loop.Run`, and says what it is going to do."""
    from tfclic.training import changes, checkpoints, loop, sources

    changed = changes.check_config(workdir, name, config) if replicas.is_chief else []
    store = sources.open_source(data, config.training.crop_size)
    replicas.check_same(configuration=checkpoints.as_plain(config), images=store.fingerprint())
    with replicas.strategy.scope():
        codec = _new_codec(config, compute_dtype)
        extra = begin(codec) if replicas.is_chief else {}
    extra = {"precision": compute_dtype, **extra}
    run = loop.Run(codec, config, store, workdir, extra, replicas, changed)
    if replicas.is_chief:
        checkpoints.write_config(workdir, name, config)
    if run.step and changed:
        print(changes.in_words(changes.dated(changed, run.step)), flush=True)
    if run.data_changed:
        logging.warning("%s was trained on other images so far.", workdir)
    steps = config.training.steps
    if run.step < steps:
        where = f"goes on at step {run.step}" if run.step else "starts"
        print(
            f"{name} {where}, {steps} steps, {compute_dtype}, on {store.description}.", flush=True
        )
    return run


def _begin(
    codec: ImageCodec, workdir: pathlib.Path, start: str | None, fresh: Collection[str]
) -> dict[str, Any]:
    """Gives a new run its first weights; returns what its record has to say about them."""
    from tfclic.training import building, checkpoints, starts

    if not start or checkpoints.available(workdir):
        return {}
    record, kept, larger = starts.start_from(codec, start, fresh)
    count = len(building.variable_paths(codec))
    grown = f", {len(larger)} of them grown" if larger else ""
    print(
        f"{count - len(kept)} of {count} variables begin as {start} has them at step "
        f"{record.get('steps', 'unknown')}{grown}."
    )
    return {"start": record}


def _new_codec(config: ConfigDict, compute_dtype: str) -> ImageCodec:
    import tensorflow as tf
    from ml_collections import ConfigDict

    from tfclic import models

    tf.keras.utils.set_random_seed(config.training.seed)
    model_config = ConfigDict(config.model.to_dict())
    model_config.compute_dtype = compute_dtype
    return models.build(model_config)


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """Applies `--config.field=value` arguments to a configuration.

    Args:
      config: ConfigDict.
      arguments: list of strings, nothing but such arguments.

    Returns:
      The ConfigDict with the fields replaced.

    Raises:
      errors.UsageError: an unknown argument or field, or a value that is not of the field's type.
    """
    from ml_collections.config_flags import config_flags

    for argument in arguments:
        path = argument.lstrip("-").split("=")[0].split(".")
        if argument.startswith("-") and path[0] == "config" and not _has(config, path[1:]):
            raise errors.UsageError(f"The configuration has no field {'.'.join(path[1:])}.")
    values, argv = flags.FlagValues(), ["train", *arguments]
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
    try:
        rest = values(argv)
    except (flags.Error, ValueError, TypeError) as error:
        raise errors.UsageError(f"{str(error).rstrip('.')}.") from None
    if rest[1:]:
        raise errors.UsageError(f"The argument {rest[1]!r} is not understood.")
    return values.config


def _has(node: Any, path: Sequence[str]) -> bool:
    from ml_collections import ConfigDict

    for key in path:
        if not isinstance(node, ConfigDict) or key not in node:
            return False
        node = node[key]
    return bool(path) and not isinstance(node, ConfigDict)


def _run(args: argparse.Namespace) -> int:
    logging.set_verbosity(logging.WARNING)  # of images, crops and checkpoints
    if args.adopt:
        _need(args, "workdir")
        if args.portable or args.model or args.data or args.rest:
            raise errors.UsageError("--adopt takes --workdir and nothing else.")
        train_portable.adopt(args.adopt, args.workdir, _new_codec)
        return 0
    _need(args, "model", "data", *(() if args.portable else ("workdir",)))
    name, config = configuration.load(args.model)
    config = override(config, args.rest)
    if args.portable and (args.start_from or args.fresh):
        raise errors.UsageError("--portable does not take --start-from; train from it here first.")
    if args.fresh and not args.start_from:
        raise errors.UsageError("--fresh belongs to --start-from.")
    if args.portable:
        train_portable.export(name, config, args, _new_codec)
    else:
        fresh = tuple(filter(None, (args.fresh or "").split(",")))
        train(name, config, args.data, args.workdir, args.strategy, args.start_from, fresh)
    return 0


def _need(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        if not getattr(args, name):
            raise errors.UsageError(f"--{name} is missing; --help says what it is.")


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    # TensorFlow leaves oneDNN off where a processor lacks AVX512-VNNI; its convolutions are faster
    # there too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    common.run(_run, make_parser(), argv, known_only=True, tensorflow=True)


if __name__ == "__main__":
    main()
