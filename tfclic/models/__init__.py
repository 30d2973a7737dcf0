"""The systems, one file each, and the way to build one from its configuration."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING

from tfclic.errors import ModelError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec


def names() -> list[str]:
    """The systems that there are: modules of this package with a function `build`."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in found if hasattr(_module(name), "build")]


def build(config: ConfigDict) -> ImageCodec:
    """Builds the codec that a configuration describes.

    Args:
      config: ConfigDict with the field `name`, a system's, and that system's own fields.

    Returns:
      A `tfclic.models.base.ImageCodec`.

    Raises:
      ModelError: if there is no such system.
    """
    if config.name not in names():
        raise ModelError(f"There is no model {config.name!r}; there are: {', '.join(names())}.")
    return _module(config.name).build(config)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"tfclic.models.{name}")
