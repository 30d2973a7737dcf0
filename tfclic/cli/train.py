"""bin/train: trains a codec.

    bin/train --model=NAME [--config.field=value ...] --data=FOLDER|tfds:NAME --workdir=DIR

Started again with the same arguments, it goes on from the last checkpoint in DIR.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging
from ml_collections import config_dict
from ml_collections.config_flags import config_flags

from tfclic import configuration, errors

_MODEL = flags.DEFINE_string(
    "model", None, "A configuration: the name of a file in configs/, or the path of a .py file."
)
_DATA = flags.DEFINE_string(
    "data", None, "A folder of images (searched recursively), or tfds:NAME for TensorFlow Datasets."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, TensorBoard files, record."
)


def train(name, config, data, workdir):
    """Trains configuration `name` (`config`, a ConfigDict) on `data`, in `workdir`."""
    import tensorflow as tf

    from tfclic import models
    from tfclic.training import checkpoints, loop, precision, sources

    loop.check(config)
    workdir = pathlib.Path(workdir)
    compute_dtype = precision.resolve(config.training.precision)
    with checkpoints.locked(workdir):
        checkpoints.check_config(workdir, name, config)
        store = sources.open_source(data, config.training.crop_size)
        checkpoints.write_config(workdir, name, config)
        tf.keras.utils.set_random_seed(config.training.seed)
        model_config = config_dict.ConfigDict(config.model.to_dict())
        model_config.compute_dtype = compute_dtype
        codec = models.build(model_config)
        run = loop.Run(codec, config, store, workdir, {"precision": compute_dtype})
        if run.data_changed:
            logging.warning("%s was trained on other images so far.", workdir)
        steps = config.training.steps
        if run.step >= steps:
            print(f"All {steps} steps are done; {workdir} is ready for bin/export.")
            return
        where = f"goes on at step {run.step}" if run.step else "starts"
        print(
            f"{name} {where}, {steps} steps, {compute_dtype}, on {store.description}.", flush=True
        )
        run.train()
        print(f"All {steps} steps are done; {workdir} is ready for bin/export.")


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


def _parse(argv):
    """Parses the flags of this file; returns the rest. Raises errors.UsageError."""
    try:
        rest = flags.FLAGS(argv, known_only=True)
    except flags.Error as error:
        raise errors.UsageError(f"{error}.") from None
    for flag in (_MODEL, _DATA, _WORKDIR):
        if not flag.value:
            raise errors.UsageError(f"--{flag.name} is missing; --help says what it is.")
    return rest


def _run(rest):
    name, config = configuration.load(_MODEL.value)
    train(name, override(config, rest[1:]), _DATA.value, _WORKDIR.value)


def main(argv=None):
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    try:
        app.run(_run, argv=argv, flags_parser=_parse)
    except errors.TfclicError as error:
        print(f"train: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("train: Stopped at once; the last checkpoint stands.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
