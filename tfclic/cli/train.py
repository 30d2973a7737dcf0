"""bin/train: trains a codec."""

import argparse
import contextlib
import functools
import os
import pathlib

from absl import flags, logging
from ml_collections import config_dict
from ml_collections.config_flags import config_flags

from tfclic import configuration, errors
from tfclic.cli import common

DETAILS = """\
--config.FIELD=VALUE replaces any field of the configuration, such as --config.training.steps=1000;
configs/ shows what there is.

Started again with the same arguments, it goes on from the last checkpoint in the workdir. Ctrl-C
saves first.

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


def make_parser():
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


def _positive(text):
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not a number above 0")


def train(name, config, data, workdir, strategy="none", start=None, fresh=()):
    """Trains configuration `name` (`config`, a ConfigDict) on `data`, in `workdir`.

    strategy: one of `strategies.CHOICES`.
    start: what a new run's weights begin with, except for the parts in `fresh`: workdir of a run,
    or an exported model.
    """
    from tfclic.training import checkpoints, loop, precision, strategies

    loop.check(config)
    loop.warn_of_crops(config)
    workdir = pathlib.Path(workdir)
    compute_dtype = precision.resolve(config.training.precision)
    replicas = strategies.open_replicas(strategy)
    lock = checkpoints.locked(workdir) if replicas.is_chief else contextlib.nullcontext()
    with replicas.guarded(), lock:
        begin = functools.partial(_begin, workdir=workdir, start=start, fresh=fresh)
        run = _prepare(name, config, data, workdir, compute_dtype, replicas, begin)
        run.train()
        ready = f"; {workdir} is ready for bin/export" if replicas.is_chief else ""
        print(f"All {config.training.steps} steps are done{ready}.")


def _prepare(name, config, data, workdir, compute_dtype, replicas, begin):
    """Returns the `loop.Run`, and says what it is going to do."""
    from tfclic.training import checkpoints, loop, sources

    if replicas.is_chief:
        checkpoints.check_config(workdir, name, config)
    store = sources.open_source(data, config.training.crop_size)
    replicas.check_same(
        configuration=checkpoints.as_plain(config),
        images=store.fingerprint(),
        precision=compute_dtype,
    )
    with replicas.strategy.scope():
        codec = _new_codec(config, compute_dtype)
        extra = begin(codec) if replicas.is_chief else {}
    if replicas.is_chief:
        checkpoints.write_config(workdir, name, config)
    run = loop.Run(codec, config, store, workdir, {"precision": compute_dtype, **extra}, replicas)
    if run.data_changed:
        logging.warning("%s was trained on other images so far.", workdir)
    steps = config.training.steps
    if run.step < steps:
        where = f"goes on at step {run.step}" if run.step else "starts"
        print(
            f"{name} {where}, {steps} steps, {compute_dtype}, on {store.description}.", flush=True
        )
    return run


def _begin(codec, workdir, start, fresh):
    """Gives a new run its first weights; returns what its record has to say about them."""
    from tfclic.training import checkpoints, starts

    if not start or checkpoints.available(workdir):
        return {}
    record, kept, larger = starts.start_from(codec, start, fresh)
    count = len(checkpoints.variable_paths(codec))
    grown = f", {len(larger)} of them grown" if larger else ""
    print(
        f"{count - len(kept)} of {count} variables begin as {start} has them at step "
        f"{record.get('steps', 'unknown')}{grown}."
    )
    return {"start": record}


def _new_codec(config, compute_dtype):
    import tensorflow as tf

    from tfclic import models

    tf.keras.utils.set_random_seed(config.training.seed)
    model_config = config_dict.ConfigDict(config.model.to_dict())
    model_config.compute_dtype = compute_dtype
    return models.build(model_config)


def export_portable(name, config, args):
    """Writes the portable folder `args.portable` of configuration `name` (`config`)."""
    from tfclic.training import loop, portable, portable_data, precision, sources

    loop.check(config)
    loop.warn_of_crops(config)
    # The device is not known here; bfloat16 is a choice that changes results.
    wanted = config.training.precision
    compute_dtype = "float32" if wanted == "auto" else precision.resolve(wanted)
    side = args.pack_crop or max(256, config.training.crop_size)
    if side < config.training.crop_size:
        raise errors.UsageError("--pack-crop must be at least training.crop_size.")
    if args.steps_per_call < 1 or args.pack_first < 0:
        raise errors.UsageError("--steps-per-call must be at least 1, --pack-first at least 0.")
    options = portable_data.Options(
        side=side,
        first=args.pack_first,
        image_format=args.pack_format,
        pack_bytes=int(args.pack_size * 2**20),
        file_bytes=int(args.file_size * 2**20),
        steps_per_call=args.steps_per_call,
        compact_state=args.compact_state,
    )
    store = sources.open_source(args.data, config.training.crop_size)
    codec = _new_codec(config, compute_dtype)
    start, images = portable.export_folder(
        args.portable, name, config, codec, compute_dtype, store, options, args.workdir
    )
    files = sorted(pathlib.Path(args.portable).iterdir())
    size, largest = (f(p.stat().st_size for p in files) / 2**20 for f in (sum, max))
    print(
        f"{args.portable}: step {start} of {config.training.steps}, {compute_dtype}, {images} crops"
        f" of {side}x{side}; {len(files)} files, {size:.1f} MiB, the largest {largest:.1f} MiB.\n"
        f"Next: python {pathlib.Path(args.portable) / 'portable_run.py'} --minutes 9\n"
        f"A next set of crops would be made with --pack-first={args.pack_first + images}."
    )


def adopt(folder, workdir):
    """Makes `workdir` of what a portable run brought back in `folder`."""
    from tfclic.training import checkpoints, portable

    workdir = pathlib.Path(workdir)
    with checkpoints.locked(workdir):
        record = portable.adopt(folder, workdir, lambda config: _new_codec(config, "float32"))
    print(
        f"{workdir}: step {record['steps']} of {record['planned_steps']}, "
        f"{record['seconds']:.0f} seconds on {record['hardware']}; ready for bin/train and "
        "bin/export."
    )


def override(config, arguments):
    """Applies `--config.field=value` arguments to a configuration.

    Args:
      config: ConfigDict.
      arguments: list of strings, nothing but such arguments.

    Returns:
      The ConfigDict with the fields replaced.

    Raises:
      errors.UsageError: an unknown argument or field, or a value that is not of the field's type.
    """
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


def _has(node, path):
    for key in path:
        if not isinstance(node, config_dict.ConfigDict) or key not in node:
            return False
        node = node[key]
    return bool(path) and not isinstance(node, config_dict.ConfigDict)


def _run(args):
    logging.set_verbosity(logging.WARNING)  # of images, crops and checkpoints
    if args.adopt:
        _need(args, "workdir")
        if args.portable or args.model or args.data or args.rest:
            raise errors.UsageError("--adopt takes --workdir and nothing else.")
        adopt(args.adopt, args.workdir)
        return 0
    _need(args, "model", "data", *(() if args.portable else ("workdir",)))
    name, config = configuration.load(args.model)
    config = override(config, args.rest)
    if args.portable and (args.start_from or args.fresh):
        raise errors.UsageError("--portable does not take --start-from; train from it here first.")
    if args.fresh and not args.start_from:
        raise errors.UsageError("--fresh belongs to --start-from.")
    if args.portable:
        export_portable(name, config, args)
    else:
        fresh = tuple(filter(None, (args.fresh or "").split(",")))
        train(name, config, args.data, args.workdir, args.strategy, args.start_from, fresh)
    return 0


def _need(args, *names):
    for name in names:
        if not getattr(args, name):
            raise errors.UsageError(f"--{name} is missing; --help says what it is.")


def main(argv=None):
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    # TensorFlow leaves oneDNN off where a processor lacks AVX512-VNNI; its convolutions are faster
    # there too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    common.run(_run, make_parser(), argv, known_only=True, tensorflow=True)


if __name__ == "__main__":
    main()
