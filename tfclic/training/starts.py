"""Weights that a new run begins with: those of another run, or of an exported model."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np
import tensorflow as tf

from tfclic import errors, models
from tfclic.export import stored
from tfclic.runtime import catalog
from tfclic.training import building, checkpoints, filed, growing

if TYPE_CHECKING:
    from tfclic.models.base import ImageCodec


def start_from(
    codec: ImageCodec, source: str, fresh: Collection[str] = ()
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Gives a codec the weights of `source`, as far as paths are the same.

    Where its weights are larger, or for other lambdas, they grow (see `tfclic.training.growing`).

    Args:
      codec: its variables are made here if they are not yet.
      source: path of another run's folder, whose moving averages are taken where it has them; or
        what `catalog.find` takes, an exported model.
      fresh: names of parts that keep their own weights, such as "hyper_analysis".

    Returns:
      The record of the source's training; the paths of the variables that keep their own; and the
      paths of those that grew.

    Raises:
      errors.UsageError: the codec has no part of such a name.
      errors.ModelError: no checkpoint and no model, none that can be read, or not one variable
        fits.
    """
    building.build_for_training(codec)
    variables = building.variable_paths(codec)
    for part in fresh:
        if not any(_is_in(path, part) for path in variables):
            known = ", ".join(sorted({path.split("/")[0] for path in variables}))
            raise errors.UsageError(f"The model has no part {part!r}; there are: {known}.")
    found: _Run | _Export = _Run(source) if checkpoints.available(source) else _Export(source)
    wanted = {
        path: variable
        for path, variable in variables.items()
        if path in found.values and not any(_is_in(path, part) for part in fresh)
    }
    same = [p for p, v in wanted.items() if v.shape == found.values[p].shape]
    larger = set(wanted) - set(same)
    others = found.lmbdas not in (None, codec.lmbdas)
    growth = growing.Growth(found.codec(), codec) if larger or others else None
    begun = {path: found.values[path] for path in same}
    if growth:  # also of those of the same shape: gains may be for other lambdas
        values = {path: growth.value(path, variable) for path, variable in wanted.items()}
        begun.update({path: value for path, value in values.items() if value is not None})
    if not begun:
        raise errors.ModelError(f"Nothing in {source} fits this model.")
    for path, value in begun.items():
        variables[path].assign(value)
    kept = [path for path in variables if path not in begun]
    return found.record, kept, sorted(larger & set(begun))


def _is_in(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part}/")


class _Run:
    """The newest checkpoint of a run.

    record: that of its training; values: arrays by path, averages where it has them; lmbdas: its
    codec's, None if nothing tells.
    """

    def __init__(self, workdir: str) -> None:
        _, self._folder = checkpoints.available(workdir)[-1]
        self._workdir = workdir
        try:
            self.record = json.loads((self._folder / "record.json").read_text(encoding="utf-8"))
            reader = tf.train.load_checkpoint(str(self._folder / "checkpoint"))
            self.values: dict[str, np.ndarray] = {}
            for kind in ("weights", "ema"):
                for path, name in filed.paths(kind, reader):
                    self.values[path] = reader.get_tensor(name)
        except filed.UNREADABLE:
            raise errors.ModelError(f"{self._folder} cannot be read.") from None
        self._config = None
        if (pathlib.Path(workdir) / "config.json").exists():
            self._config = ml_collections.ConfigDict(checkpoints.read_config(workdir)["model"])
        self.lmbdas = self._config and tuple(self._config.lmbdas)

    def codec(self) -> ImageCodec:
        """The run's codec, with these weights."""
        if self._config is None:
            raise errors.ModelError(f"{self._workdir} has no config.json, which growing needs.")
        codec = models.build(self._config)
        building.build_for_training(codec)
        for path, variable in building.variable_paths(codec).items():
            value = self.values.get(path)
            if value is not None and variable.shape == np.shape(value):
                variable.assign(value)
        return codec


class _Export:
    """An exported model; as `_Run`."""

    def __init__(self, name: str) -> None:
        try:
            model = catalog.find(name)
        except errors.ModelError as error:
            raise errors.ModelError(f"{name} holds no checkpoint. {error}") from None
        self._codec, variables = stored.read(model, building.build_variables)
        given = {id(v) for v in variables}
        paths = building.variable_paths(self._codec).items()
        self.values = {path: v.numpy() for path, v in paths if id(v) in given}
        self.record = model.card.training
        self.lmbdas = self._codec.lmbdas

    def codec(self) -> ImageCodec:
        """The exported codec."""
        return self._codec
