"""Where the files are that are not Python: in a checkout beside the package, in a wheel inside."""

from __future__ import annotations

import pathlib

_PACKAGE = pathlib.Path(__file__).resolve().parent
IS_INSTALLED = (_PACKAGE / "configs").is_dir()
_FOLDER = _PACKAGE if IS_INSTALLED else _PACKAGE.parent

CONFIGS = _FOLDER / "configs"
SAVED_MODELS = _FOLDER / "saved_models"
# Where models go that somebody makes; what is installed is not for writing.
EXPORTS = pathlib.Path("saved_models") if IS_INSTALLED else SAVED_MODELS
# How a program is called, before its name.
CALLED = "tfclic " if IS_INSTALLED else "bin/"
