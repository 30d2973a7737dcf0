"""Finding and loading configurations: short Python files with `get_config()`."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import TYPE_CHECKING

from tfclic import errors

if TYPE_CHECKING:
    from ml_collections import ConfigDict

FOLDER = pathlib.Path(__file__).parents[1] / "configs"


def load(name: str) -> tuple[str, ConfigDict]:
    """Loads a configuration.

    Args:
      name: the name of a file in configs/, or the path of a .py file.

    Returns:
      `(stem, config)`: the file's name without its ending, and its ConfigDict.

    Raises:
      errors.UsageError: if there is no such file.
    """
    path = pathlib.Path(name)
    if path.suffix != ".py":
        path = FOLDER / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.py") if p.stem[0] != "_"))
        raise errors.UsageError(f"There is no configuration {name}; configs/ has: {known}.")
    spec = importlib.util.spec_from_file_location(f"tfclic_config_{path.stem}", path)
    assert spec and spec.loader  # for what ends in .py there always are
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return path.stem, module.get_config()
