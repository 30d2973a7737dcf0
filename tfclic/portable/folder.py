"""The portable step: a train step that leaves TensorFlow, and comes back as an ordinary workdir.

`export_folder` writes everything that is needed to train elsewhere: the runner, the step as HLO,
the state, and images; `adopt` turns what it brought back into checkpoints. The step is
`step.advance`, as in the ordinary loop, compiled into one pure function

    (images, seed, levels, rate, state) -> (metrics, state)

whose random numbers are functions of the seed alone. HLO is what crosses versions: XLA in whatever
jax runs it converts and compiles it there.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import ml_collections
import tensorflow as tf

from tfclic import configuration, errors
from tfclic.places import CALLED
from tfclic.portable import hlo, packs
from tfclic.portable.runner import files
from tfclic.training import changes, checkpoints, checks
from tfclic.training.state import State

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec
    from tfclic.training.sources import ImageStore

UNFINISHED = ".unfinished"  # in an empty folder that is filled
RUNNER = pathlib.Path(__file__).parent / files.MODULES
# The program that starts a run, in the folder.
PROGRAM = """\
import sys

from runner import run

sys.exit(run.main())
"""


def export_folder(
    folder: files.Path,
    name: str,
    config: ConfigDict,
    codec: ImageCodec,
    precision: str,
    store: ImageStore,
    options: packs.Options,
    workdir: files.Path | None = None,
) -> tuple[int, int]:
    """Writes a portable folder: see `runner.files` for what is in it.

    Args:
      folder: path of a folder that does not exist yet, or is empty.
      name, config: of the configuration.
      codec: the model, built from `config`.
      precision: what its transforms compute in, "float32" or "bfloat16".
      store: `sources.ImageStore` of the images.
      options: `packs.Options`.
      workdir: training run whose newest checkpoint is the start; None starts anew.

    Returns:
      `(start, images)`: the step to start from, and the number of packed images.

    Raises:
      errors.UsageError: the folder is in use, the configuration cannot be exported or does not fit
        the workdir, or no image is large enough.
    """
    folder, training = pathlib.Path(folder), config.training
    checks.check(config)
    checks.check_stages(codec, training)
    if training.rounded_share:
        raise errors.UsageError(
            f"{hlo.REFUSED} training.rounded_share has to be 0; {CALLED}train takes the last "
            "phase, after --adopt."
        )
    is_free = folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {UNFINISHED}
    if folder.exists() and not is_free:
        raise errors.UsageError(f"{folder} is not empty; a portable folder is made in a new one.")
    state = State(codec, training)
    record = _start_from(pathlib.Path(workdir), config, state) if workdir else {}
    start = int(state.step)
    if start >= training.steps:
        raise errors.UsageError(
            f"{workdir} has done {start} steps, and training.steps is {training.steps}."
        )
    train_step, params, results, constants = hlo.lower(hlo.make_step(codec, state, training), state)
    with _filled(folder) as new:
        files.write_bytes(new / files.STEP, train_step)
        arrays = {**{name: v.numpy() for name, v in state.named().items()}, **constants}
        progress = {"step": start, "runs": []}
        files.write_state(new, arrays, progress, options.file_bytes, options.compact_state)
        images = packs.write_packs(new, store, training, options)
        _write_runner(new)
        data = {
            "data": f"{store.description}, {images} crops of {options.side} pixels",
            "data_fingerprint": store.fingerprint(),
        }
        meta = {
            "format": files.FORMAT,
            "name": name,
            "config": checkpoints.as_plain(config),
            "batch": int(training.batch_size),
            "crop": int(training.crop_size),
            "levels": len(codec.lmbdas),
            "steps_per_call": options.steps_per_call,
            "params": params,
            "results": results,
            "record": {**record, "precision": precision, **data},
        }
        files.write_json(new / files.META, meta)
    return start, images


@contextlib.contextmanager
def _filled(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, whose files are in `folder`, empty or not there, once all of them are."""
    # one that is there stays: it may be the current one, or a file system of its own
    is_there = folder.exists()
    temporary = folder / UNFINISHED if is_there else folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if is_there:
            for entry in sorted(temporary.iterdir()):
                entry.rename(folder / entry.name)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_runner(folder: pathlib.Path) -> None:
    """Writes the program that trains, and its modules."""
    files.write_bytes(folder / files.PROGRAM, PROGRAM.encode())
    (folder / files.MODULES).mkdir()
    for path in RUNNER.glob("*.py"):
        shutil.copy(path, folder / files.MODULES)


def _start_from(workdir: pathlib.Path, config: ConfigDict, state: State) -> dict[str, Any]:
    """Loads the newest checkpoint of a workdir of the same model into `state`; its record."""
    if not changes.is_same_model(checkpoints.read_config(workdir), checkpoints.as_plain(config)):
        raise errors.UsageError(f"{workdir} was made by another configuration of the model.")
    record = checkpoints.restore(workdir, state)
    if record is None:
        raise errors.UsageError(f"{workdir} holds no checkpoint.")
    return record


def adopt(
    folder: files.Path, workdir: pathlib.Path, build: Callable[[ConfigDict], ImageCodec]
) -> dict[str, Any]:
    """Makes an ordinary workdir of a portable folder's state.

    Args:
      folder: a portable folder, the state that came back in it.
      workdir: pathlib.Path of the new run; holds no run yet.
      build: function of the configuration that returns the codec.

    Returns:
      The training record, a dict.

    Raises:
      errors.UsageError: the workdir is in use, or the folder is incomplete or damaged.
    """
    if (workdir / "config.json").exists() or checkpoints.available(workdir):
        raise errors.UsageError(f"{workdir} holds a run already; --adopt makes a new one.")
    try:
        meta = files.read_meta(folder)
        arrays, progress = files.read_state(folder)
    except files.PortableError as error:
        raise errors.UsageError(str(error)) from None
    config = ml_collections.ConfigDict(configuration.complete(meta["config"]))
    state = State(build(config), config.training)
    variables = state.named()
    shapes = {name: tuple(v.shape) for name, v in variables.items()}
    found = {n: a.shape for n, a in arrays.items() if not n.startswith("constant/")}
    # what is not trained may be missing in a folder by older code
    untrained = {f"weights/{path}" for path in set(state.weights) - set(state.trained)}
    if shapes != {**{name: shapes[name] for name in untrained}, **found}:
        raise errors.UsageError(f"The state in {folder} is not one of {meta['name']}.")
    for name in found:
        variables[name].assign(arrays[name])
    record = _record(meta, progress, config.training)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints.write_config(workdir, meta["name"], config)
    checkpoints.save(workdir, state, record)
    return record


def _record(
    meta: Mapping[str, Any], progress: Mapping[str, Any], training: ConfigDict
) -> dict[str, Any]:
    """Returns the training record after the portable runs: what came before them, and they."""
    before, runs = meta["record"], progress["runs"]

    def total(key: str, of_run: str | None = None) -> float:
        return before.get(key, 0) + sum(run[of_run or key] for run in runs)

    devices = [before.get("hardware"), *(run["device"] for run in runs)]
    return {
        **before,
        "steps": progress["step"],
        "planned_steps": int(training.steps),
        "images_seen": total("images_seen", "images"),
        "seconds": round(total("seconds"), 1),
        "skipped_steps": total("skipped_steps"),
        "hardware": "; ".join(dict.fromkeys(filter(None, devices))),
        "tensorflow": tf.__version__,
        "date": datetime.date.today().isoformat(),
        "validation": before.get("validation"),
        "portable": [*before.get("portable", []), *runs],
    }
