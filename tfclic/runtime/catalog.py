"""Finds exported models on disk: by name, by path, by the fingerprint that a file carries.

Models are looked for in the folders of the environment variable TFCLIC_MODELS (separated as in
PATH), then in saved_models/ of the checkout, or of the installed package. Each folder is laid out
as TensorFlow Serving wants it, `<name>/<version>/`, or is itself one such `<name>` or `<version>`
folder. Only model cards are read; neither TensorFlow nor a model is loaded.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfclic import errors
from tfclic.format.model import CARD, GRAPH, Card
from tfclic.places import SAVED_MODELS

VARIABLE = "TFCLIC_MODELS"


@dataclasses.dataclass(frozen=True)
class Model:
    """An exported model on disk.

    Attributes:
      name: str.
      version: int; the name of its folder.
      path: pathlib.Path of the SavedModel's folder.
      card: `Card`, what its model_card.json says.
    """

    name: str
    version: int
    path: pathlib.Path
    card: Card

    @property
    def fingerprint(self) -> str:
        """8 hex digits, lower case; every file that the model makes carries them."""
        return self.card.fingerprint

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def folders() -> list[pathlib.Path]:
    """Returns the folders (list of pathlib.Path) in which models are looked for, in order."""
    listed = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [pathlib.Path(folder).expanduser() for folder in listed if folder] + [SAVED_MODELS]


def models() -> list[Model]:
    """Returns all models that are found, a list of `Model`: by folder, name and falling version."""
    found: dict[pathlib.Path, Model] = {}
    for folder in folders():
        for path in _version_folders(folder) or _named_version_folders(folder):
            try:
                found.setdefault(path.resolve(), at(path))
            except errors.ModelError:
                # One broken folder must not take the other models away; asking for it tells.
                continue
    return list(found.values())


def find(name_or_path: str | os.PathLike[str]) -> Model:
    """Returns the `Model` called NAME (its latest version) or NAME/VERSION, or that lies at PATH.

    Raises:
      errors.ModelError: there is none, or its model card cannot be read.
    """
    wanted = os.fspath(name_or_path)
    known = models()
    for model in known:
        if wanted in (model.name, str(model)):
            return model
    path = pathlib.Path(wanted).expanduser()
    # Below the folders only a model whose card is broken is left to be found, and named.
    for candidate in [path] + [folder / path for folder in folders()]:
        versions = _version_folders(candidate)
        if versions:
            return at(versions[0])
    if path.is_dir():
        raise errors.ModelError(f"{wanted} is not the folder of an exported model.")
    raise errors.ModelError(f"There is no model {wanted}: {_what_there_is(known)}")


def find_any(name: str) -> Model:
    """Returns the `Model` called `name` if there is one, or else any other.

    Raises:
      errors.ModelError: there is none at all.
    """
    known = models()
    named = [model for model in known if model.name == name]
    return (named or known or [find(name)])[0]


def find_fingerprint(fingerprint: str) -> Model:
    """Returns the `Model`, of any name and version, with `fingerprint` (8 hex digits).

    Raises:
      errors.ModelError: there is none.
    """
    found = with_fingerprint(fingerprint)
    if found:
        return found[0]
    raise errors.ModelError(
        f"The file needs the model with fingerprint {fingerprint}, which is not here (add the "
        f"folder that has it to {VARIABLE}): {_what_there_is(models())}"
    )


def with_fingerprint(fingerprint: str, coder: str | None = None) -> list[Model]:
    """Returns all models with `fingerprint`, those first that can write with `coder` (its name)."""
    found = [model for model in models() if model.fingerprint == fingerprint]
    return sorted(found, key=lambda model: coder not in model.card.coders)


def _what_there_is(known: Sequence[Model]) -> str:
    where = ", ".join(str(folder) for folder in folders())
    names = ", ".join(f"{model} ({model.fingerprint})" for model in known)
    return f"{where} {'has' if len(folders()) == 1 else 'have'} {names or 'no models'}."


def _version_folders(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the SavedModels that `path` is or has versions of, the latest first."""
    if (path / GRAPH).is_file():
        return [path]
    try:
        children = [child for child in path.iterdir() if child.name.isdecimal()]
    except OSError:
        return []
    versions = [child for child in children if (child / GRAPH).is_file()]
    return sorted(versions, key=lambda child: int(child.name), reverse=True)


def _named_version_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        names = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for name in names for path in _version_folders(name)]


def at(path: pathlib.Path) -> Model:
    """Reads the model card in `path`, a SavedModel's folder, and returns the `Model`.

    Raises:
      errors.ModelError: it cannot be read.
    """
    try:
        card = Card.of(_content(path))
    except OSError as error:
        reason = error.strerror
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error)
    else:
        folder = path.resolve()
        version = int(folder.name) if folder.name.isdecimal() else int(card.version)
        # A version's folder on its own says nothing about the name; its card does.
        name = folder.parent.name if folder.name.isdecimal() else card.name or folder.name
        return Model(name, version, path, card)
    raise errors.ModelError(f"The model card {path / CARD} cannot be read: {reason}.")


def _content(path: pathlib.Path) -> dict[str, Any]:
    """What JSON has of the model card in `path`."""
    return json.loads((path / CARD).read_text(encoding="utf-8"))


def write_results(model: Model, dataset: str, results: Mapping[str, Any]) -> None:
    """Puts measured results into the card of a `Model`.

    Args:
      model: the `Model`.
      dataset: str, the name of the images, such as "kodak".
      results: dict of lists, one entry per quality, in the form of the published curves.

    Raises:
      errors.ModelError: the card cannot be written.
    """
    update(
        model,
        lambda card: {**card, "results": {**(card.get("results") or {}), dataset: results}},
    )


def update(model: Model, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Changes the card of a `Model`, what JSON has of it.

    Raises:
      errors.ModelError: the card cannot be written.
    """
    target = model.path / CARD
    temporary = target.with_suffix(".tmp")
    try:
        content = change(_content(model.path))
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(temporary, target)
    except OSError as error:
        raise errors.ModelError(f"{target} cannot be written: {error.strerror}.") from error
