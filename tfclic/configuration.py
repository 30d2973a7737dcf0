"""Finding and loading configurations: short Python files with `get_config()`."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from tfclic import errors, places

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Config = TypeVar("Config", bound=MutableMapping[str, Any])
# Fields of `training` that came later than some configurations: what holds where they are missing.
TRAINING = {
    "level_sampling": "independent",
    "stage_shares": (),
    "first_share": 0.0,
    "first_lmbda": 0.0,
    "drawn_share": 0.0,
    "rounded_share": 0.0,
    "rounded_learning_rate": 1e-4,
}
FOLDER = places.CONFIGS


def load(name: str) -> tuple[str, ConfigDict]:
    """Loads a configuration.

    Args:
      name: the name of a file in configs/, or the path of a .py file.

    Returns:
      `(stem, config)`: the file's name without its ending, and its ConfigDict, made `complete`.

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
    return path.stem, complete(module.get_config())


def complete(config: Config) -> Config:
    """Gives a configuration the fields of `training` that older ones lack.

    Args:
      config: ConfigDict or dict, the whole of it; changed in place.

    Returns:
      `config`.
    """
    training = config["training"]
    for name, value in TRAINING.items():
        if name not in training:
            training[name] = value
    return config
