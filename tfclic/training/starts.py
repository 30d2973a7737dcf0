"""Weights that a new run begins with: those of another run, or of an exported model."""

import json

import tensorflow as tf

from tfclic import errors
from tfclic.codec import catalog, stored
from tfclic.training import checkpoints


def start_from(codec, source, fresh=()):
    """Gives a codec the weights of `source`, as far as paths and shapes are the same.

    Args:
      codec: its variables are made here if they are not yet.
      source: path of another run's folder, whose moving averages are taken where it has them; or
        what `catalog.find` takes, an exported model.
      fresh: names of parts that keep their own weights, such as "hyper_analysis".

    Returns:
      The record of the source's training, and the paths of the variables that keep their own.

    Raises:
      errors.UsageError: the codec has no part of such a name.
      errors.ModelError: no checkpoint and no model, none that can be read, or not one variable
        fits.
    """
    checkpoints.build_variables(codec)
    variables = checkpoints.variable_paths(codec)
    for part in fresh:
        if not any(_is_in(path, part) for path in variables):
            known = ", ".join(sorted({path.split("/")[0] for path in variables}))
            raise errors.UsageError(f"The model has no part {part!r}; there are: {known}.")
    fitting, kept = _Run(source) if checkpoints.available(source) else _Export(source), []
    for path, variable in variables.items():
        value = None
        if not any(_is_in(path, part) for part in fresh):
            value = fitting.value(path, variable.shape.as_list())
        if value is None:
            kept.append(path)
        else:
            variable.assign(value)
    if len(kept) == len(variables):
        raise errors.ModelError(f"Nothing in {source} fits this model.")
    return fitting.record, kept


def _is_in(path, part):
    return path == part or path.startswith(f"{part}/")


class _Run:
    """The newest checkpoint of a run."""

    def __init__(self, workdir):
        _, folder = checkpoints.available(workdir)[-1]
        try:
            self.record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
            self._reader = tf.train.load_checkpoint(str(folder / "checkpoint"))
            self._shapes = self._reader.get_variable_to_shape_map()
        except checkpoints.UNREADABLE:
            raise errors.ModelError(f"{folder} cannot be read.") from None
        self._folder = folder

    def value(self, path, shape):
        """What a variable of that path and shape had; None if there was none."""
        names = [checkpoints.filed(kind, path) for kind in ("ema", "weights")]
        fitting = [name for name in names if self._shapes.get(name) == shape]
        try:
            return self._reader.get_tensor(fitting[0]) if fitting else None
        except checkpoints.UNREADABLE:
            raise errors.ModelError(f"{self._folder} cannot be read.") from None


class _Export:
    """An exported model."""

    def __init__(self, name):
        try:
            model = catalog.find(name)
        except errors.ModelError as error:
            raise errors.ModelError(f"{name} holds no checkpoint. {error}") from None
        codec, given = stored.read(model, checkpoints.build_variables)
        given = {id(v) for v in given}
        paths = checkpoints.variable_paths(codec).items()
        self._values = {path: v.numpy() for path, v in paths if id(v) in given}
        self.record = model.card.get("training") or {}

    def value(self, path, shape):
        """What a variable of that path and shape has; None if there is none."""
        found = self._values.get(path)
        return found if found is not None and list(found.shape) == shape else None
