"""bin/train: trains a codec."""

import contextlib
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
    return parser


def train(name, config, data, workdir, strategy="none"):
    """Trains configuration `name` (`config`, a ConfigDict) on `data`, in `workdir`.

    strategy: one of `strategies.CHOICES`.
    """
    from tfclic.training import checkpoints, loop, precision, strategies

    loop.check(config)
    workdir = pathlib.Path(workdir)
    compute_dtype = precision.resolve(config.training.precision)
    replicas = strategies.open_replicas(strategy)
    lock = checkpoints.locked(workdir) if replicas.is_chief else contextlib.nullcontext()
    with replicas.guarded(), lock:
        run = _prepare(name, config, data, workdir, compute_dtype, replicas)
        run.train()
        ready = f"; {workdir} is ready for bin/export" if replicas.is_chief else ""
        print(f"All {config.training.steps} steps are done{ready}.")


def _prepare(name, config, data, workdir, compute_dtype, replicas):
    """Returns the `loop.Run`, and says what it is going to do."""
    import tensorflow as tf

    from tfclic import models
    from tfclic.training import checkpoints, loop, sources

    if replicas.is_chief:
        checkpoints.check_config(workdir, name, config)
    store = sources.open_source(data, config.training.crop_size)
    replicas.check_same(
        configuration=checkpoints.as_plain(config),
        images=store.fingerprint(),
        precision=compute_dtype,
    )
    if replicas.is_chief:
        checkpoints.write_config(workdir, name, config)
    tf.keras.utils.set_random_seed(config.training.seed)
    model_config = config_dict.ConfigDict(config.model.to_dict())
    model_config.compute_dtype = compute_dtype
    with replicas.strategy.scope():
        codec = models.build(model_config)
    run = loop.Run(codec, config, store, workdir, {"precision": compute_dtype}, replicas)
    if run.data_changed:
        logging.warning("%s was trained on other images so far.", workdir)
    steps = config.training.steps
    if run.step < steps:
        where = f"goes on at step {run.step}" if run.step else "starts"
        print(
            f"{name} {where}, {steps} steps, {compute_dtype}, on {store.description}.", flush=True
        )
    return run


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
    for name in ("model", "data", "workdir"):
        if not getattr(args, name):
            raise errors.UsageError(f"--{name} is missing; --help says what it is.")
    name, config = configuration.load(args.model)
    train(name, override(config, args.rest), args.data, args.workdir, args.strategy)
    return 0


def main(argv=None):
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(_run, make_parser(), argv, known_only=True)


if __name__ == "__main__":
    main()
