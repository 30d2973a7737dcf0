"""A training run's folder: its configuration, its checkpoints, its record.

    WORKDIR/config.json                  name, model, training: the configuration as given
    WORKDIR/record.json                  what the newest checkpoint was trained on, for how long
    WORKDIR/checkpoints/step-00001000/   checkpoint.index, checkpoint.data-*, record.json
    WORKDIR/tensorboard/                 scalars and images
    WORKDIR/validation.jsonl, curve.png  every validation; see `tfclic.training.history`

A checkpoint appears under its name only when all of it is on the disk, so a run killed at any
moment leaves whole checkpoints behind. Variables are filed by their path in the codec, once per
kind: `weights`, `ema`, `first_moment`, `second_moment`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from absl import logging

from tfclic import configuration, errors
from tfclic.training import building, filed

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec
    from tfclic.training.state import State

KEPT = 3
_STEP = re.compile(r"step-(\d{8,})")


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes `content` as JSON so that a reader finds the old file or the new one, never a part."""
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def as_plain(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Returns a ConfigDict as JSON would bring it back: dicts, lists and plain values."""
    return json.loads(json.dumps(config.to_dict() if hasattr(config, "to_dict") else config))


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the workdir and holds it for this process.

    Raises:
      errors.UsageError: another process has it, or it cannot be made.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(workdir / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise errors.UsageError(f"{workdir} cannot be used: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise errors.UsageError(f"Another run is using {workdir}.") from None
    finally:
        os.close(descriptor)


def read_config(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the configuration filed in the workdir, a dict of name, model and training.

    It is made `configuration.complete`.

    Raises:
      errors.UsageError: it cannot be read.
    """
    path = pathlib.Path(workdir) / "config.json"
    try:
        return as_plain(configuration.complete(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, LookupError, TypeError):
        raise errors.UsageError(f"{path} cannot be read.") from None


def write_config(workdir: pathlib.Path, name: str, config: ConfigDict | Mapping[str, Any]) -> None:
    """Files the configuration in the workdir."""
    write_json(workdir / "config.json", {"name": name, **as_plain(config)})


def available(workdir: str | os.PathLike[str]) -> list[tuple[int, pathlib.Path]]:
    """Returns the workdir's checkpoints, oldest first: a list of (step, folder)."""
    folder = pathlib.Path(workdir) / "checkpoints"
    names = os.listdir(folder) if folder.is_dir() else []
    matches = [m for m in map(_STEP.fullmatch, names) if m]
    return sorted((int(m[1]), folder / m[0]) for m in matches)


def save(workdir: pathlib.Path, state: State, record: Mapping[str, Any]) -> pathlib.Path:
    """Writes a checkpoint of `state` and drops the oldest beyond the last KEPT.

    Args:
      workdir: pathlib.Path.
      state: trackable with a `step` variable; see `state.State`.
      record: JSON content, filed with the checkpoint and as the workdir's record.json.

    Returns:
      The checkpoint's folder.

    Raises:
      errors.TfclicError: the disk refuses it.
    """
    folder = workdir / "checkpoints"
    target = folder / f"step-{int(state.step.numpy()):08d}"
    temporary = folder / f".writing-{target.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clean(workdir)
        temporary.mkdir()
        tf.train.Checkpoint(state=state).write(str(temporary / "checkpoint"))
        write_json(temporary / "record.json", record)
        for path in [*temporary.iterdir(), temporary]:
            _sync(path)
        if target.exists():
            _remove(target)
        temporary.rename(target)
        _sync(folder)
        write_json(workdir / "record.json", record)
        for _, old in available(workdir)[:-KEPT]:
            _remove(old)
    except (OSError, tf.errors.OpError) as error:
        raise errors.TfclicError(f"The checkpoint {target} cannot be written: {error}") from None
    return target


def read_record(workdir: str | os.PathLike[str], step: int) -> dict[str, Any]:
    """Returns the record filed with the checkpoint of a step.

    Raises:
      errors.ModelError: it is damaged, or the run has dropped the checkpoint meanwhile.
    """
    path = pathlib.Path(workdir) / "checkpoints" / f"step-{step:08d}" / "record.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise errors.ModelError(f"{path} cannot be read.") from None


def write_record(workdir: pathlib.Path, step: int, record: Mapping[str, Any]) -> None:
    """Files another record with the checkpoint of a step, and as the workdir's.

    Raises:
      errors.TfclicError: the disk refuses it.
    """
    folder = dict(available(workdir))[step]
    try:
        for each in (folder, workdir):
            write_json(each / "record.json", record)
    except OSError as error:
        raise errors.TfclicError(f"{folder} cannot be written: {error}") from None


def clean(workdir: pathlib.Path) -> None:
    """Removes what a killed run left of an unfinished checkpoint."""
    for path in (workdir / "checkpoints").glob(".*-step-*"):
        shutil.rmtree(path)


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(checkpoint: pathlib.Path) -> None:
    # Renamed first: a half-deleted folder must not look like a checkpoint.
    doomed = checkpoint.with_name(f".removing-{checkpoint.name}")
    checkpoint.rename(doomed)
    shutil.rmtree(doomed)


def newest_record(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the record of the newest checkpoint that has one to read; {} without any."""
    for _, folder in reversed(available(workdir)):
        with contextlib.suppress(OSError, ValueError):
            return json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return {}


def restore(workdir: str | os.PathLike[str], state: State) -> dict[str, Any] | None:
    """Loads the newest checkpoint that can be read into a new `state`.

    One by code whose model had other variables is taken as far as it goes, with a warning; see
    `filed.assign`.

    Returns:
      The record filed with it, or None if the workdir has no checkpoint.

    Raises:
      errors.TfclicError: there are checkpoints, and none of them can be read.
      errors.ModelError: the newest that can be read is not one of this model.
    """
    checkpoints = available(workdir)
    for _, folder in reversed(checkpoints):
        try:
            record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
            values = filed.read(folder)
        except filed.UNREADABLE as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            logging.warning("%s cannot be read (%s).", folder, reason)
            continue
        filed.check_fit(folder, state.weights, values["weights"])
        different = filed.in_words(*filed.assign(state, values))
        if different:
            logging.warning("%s was saved by other code; %s.", folder, different)
        return record
    if checkpoints:
        raise errors.TfclicError(f"None of the checkpoints in {workdir} can be read.")
    return None


def restore_weights(codec: ImageCodec, workdir: str | os.PathLike[str], ema: bool = True) -> int:
    """Loads trained weights into a codec, with nothing else of the run.

    What is not trained stays as in a new codec where the checkpoint, by older code, has none of it.

    Args:
      codec: built from the workdir's config.json; its variables are made here if they are not yet.
      workdir: path of the run's folder.
      ema: whether to take the moving average of the weights, where the run kept one.

    Returns:
      The step of the checkpoint.

    Raises:
      errors.ModelError: no checkpoint, or not one that has all trained variables of this codec.
    """
    checkpoints = available(workdir)
    if not checkpoints:
        raise errors.ModelError(f"{workdir} holds no checkpoint.")
    step, folder = checkpoints[-1]
    building.build_variables(codec)
    weights = building.variable_paths(codec)
    trained = {id(v) for v in codec.trainable_variables}
    try:
        values = filed.read(folder, ("weights", "ema") if ema else ("weights",))
        filed.check_fit(folder, weights, values["weights"])
        averages = {**values["weights"], **values.get("ema", {})}
        found = {
            path: (averages if id(variable) in trained else values["weights"])[path]
            for path, variable in weights.items()
            if id(variable) in trained or path in values["weights"]
        }
    except (errors.ModelError, *filed.UNREADABLE):
        raise errors.ModelError(f"{folder} does not fit this model, or is damaged.") from None
    for path, value in found.items():
        weights[path].assign(value)
    return step
