"""What a checkpoint's files hold: variables by kind and path, for longer than the code lasts.

A codec that has gained variables since takes the others, and one that has lost some leaves them.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfclic import errors
from tfclic.export.stored import SUFFIX
from tfclic.training.state import COUNTS, KINDS, State

# TensorFlow's readers raise any of these for files that are damaged or hold other variables.
UNREADABLE = (
    OSError,
    ValueError,
    AssertionError,
    LookupError,
    RuntimeError,
    TypeError,
    tf.errors.OpError,
)
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # read for its checksum alone


def paths(kind: str, reader: tf.train.CheckpointReader) -> list[tuple[str, str]]:
    """Where a checkpoint has the entries of a dict of variables.

    Args:
      kind: one of KINDS.
      reader: of the checkpoint, from `tf.train.load_checkpoint`.

    Returns:
      A list of (path, name under which TensorFlow files it).
    """
    prefix = f"state/{kind}/"
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith(prefix)]
    escaped = (name[len(prefix) : -len(SUFFIX)] for name in names)
    found = (re.sub(r"\.([.S])", lambda m: "/" if m[1] == "S" else ".", each) for each in escaped)
    return list(zip(found, names))


def read(folder: pathlib.Path, kinds: Iterable[str] = KINDS) -> dict[str, Any]:
    """Reads a checkpoint's values, all of them before any is used: one may turn out damaged.

    Args:
      folder: of the checkpoint.
      kinds: those of KINDS to read.

    Returns:
      Dict from each of `kinds` to a dict from path to array, empty where the checkpoint has none,
      and from each of COUNTS to a number.

    Raises:
      Any of UNREADABLE: it is damaged.
    """
    reader = tf.train.load_checkpoint(str(folder / "checkpoint"))
    reader.get_tensor(_GRAPH)
    values = {kind: {p: reader.get_tensor(n) for p, n in paths(kind, reader)} for kind in kinds}
    return {**values, **{c: reader.get_tensor(f"state/{c}{SUFFIX}") for c in COUNTS}}


def check_fit(
    folder: pathlib.Path, weights: Mapping[str, tf.Variable], found: Mapping[str, np.ndarray]
) -> None:
    """Checks that a checkpoint is one of this model, though perhaps by older code.

    Args:
      folder: of the checkpoint, for the message.
      weights: dict from path to the model's variable.
      found: dict from path to the checkpoint's array.

    Raises:
      errors.ModelError: a shape differs, or no path is the same.
    """
    refusal = f"{folder} does not fit this model"
    same = [path for path in weights if path in found]
    if not same:
        raise errors.ModelError(f"{refusal}: none of its variables is in it.")
    for path in same:
        shapes = tuple(found[path].shape), tuple(weights[path].shape)
        if shapes[0] != shapes[1]:
            raise errors.ModelError(
                f"{refusal}: {path} has the shape {shapes[0]}, not {shapes[1]}."
            )


def assign(state: State, values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Gives a new `state.State` what `read` returned, wherever kind and path are the same.

    What the checkpoint has not stays as in a new model: the weight as it begins, its average the
    same, Adam's moments zero. Averages begin at the weights that were read where the run had none.

    Returns:
      (new, gone): sorted paths of weights: those that only the model has, only the checkpoint.
    """
    for kind in KINDS:
        # What has no average yet begins one at its weight.
        found = {**values["weights"], **values["ema"]} if kind == "ema" else values[kind]
        for path, variable in getattr(state, kind).items():
            if path in found:
                variable.assign(found[path])
    for count in COUNTS:
        getattr(state, count).assign(values[count])
    ours, theirs = set(state.weights), set(values["weights"])
    return sorted(ours - theirs), sorted(theirs - ours)


def in_words(new: Sequence[str], gone: Sequence[str]) -> str:
    """Returns a phrase on what `assign` found on one side only; "" if there is nothing."""
    parts = []
    if new:
        parts.append(f"new variables: {len(new)} (first {new[0]}), which begin as in a new model")
    if gone:
        parts.append(f"variables no longer used: {len(gone)} (first {gone[0]})")
    return "; ".join(parts)
