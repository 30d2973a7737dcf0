"""The models below a folder, and which of their versions are to be served."""

from __future__ import annotations

import os
import pathlib

from tfclic import errors
from tfclic.format.model import GRAPH


class Repository:
    """Models on disk, laid out as `NAME/VERSION/saved_model.pb`; the latest version counts.

    Args:
      base_path: the folder with all models, or the folder of one, whose versions it has.
      name: of the one model to serve, either below `base_path` or `base_path` itself; None: all.

    Raises:
      errors.ModelError: there is no such folder.
    """

    def __init__(self, base_path: str | os.PathLike[str], name: str | None = None) -> None:
        self._folder, self._name = pathlib.Path(base_path), name
        if not self._folder.is_dir():
            raise errors.ModelError(f"{base_path} is not a folder.")

    def __str__(self) -> str:
        return f"{self._name} in {self._folder}" if self._name else f"in {self._folder}"

    def latest(self) -> dict[str, tuple[int, pathlib.Path]]:
        """What is to be served: dict from a name to `(version, path)`.

        Raises:
          OSError: the folder cannot be read.
        """
        own = _versions(self._folder)
        if own:
            return {self._name or self._folder.resolve().name: max(own.items())}
        if self._name:
            folder = self._folder / self._name
            found = {folder.name: _versions(folder) if folder.is_dir() else {}}
        else:
            found = {each.name: _readable(each) for each in sorted(self._folder.iterdir())}
        return {name: max(versions.items()) for name, versions in found.items() if versions}


def _readable(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The versions of what lies beside models; none where it is closed, as lost+found may be."""
    try:
        return _versions(folder) if folder.is_dir() else {}
    except PermissionError:
        return {}


def _versions(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    return {
        int(child.name): child
        for child in folder.iterdir()
        if child.name.isdecimal() and (child / GRAPH).is_file()
    }
