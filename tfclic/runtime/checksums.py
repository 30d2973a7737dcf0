"""Checksums of an exported model's files, which its card has: whether they are what was exported.

They are SHA-256, so that who has the card from somebody that is trusted knows all the rest to be
theirs. Cards of earlier exports have none, and their files are taken as they are.
"""

from __future__ import annotations

import hashlib
import pathlib

from tfclic import errors
from tfclic.format import model


def of_files(path: pathlib.Path) -> dict[str, str]:
    """The checksums of all that a model is loaded from.

    Args:
      path: folder of the SavedModel.

    Returns:
      A dict from the paths of files, below the folder, to 64 hex digits.
    """
    beside = [path / folder / model.GRAPH for folder in (model.REFINEMENT, model.FAST)]
    files = [path / model.GRAPH, *path.glob("variables/*"), *beside, path / model.THUMBNAILS]
    return {
        file.relative_to(path).as_posix(): _digest(file) for file in sorted(files) if file.is_file()
    }


def check(path: pathlib.Path, card: model.Card) -> None:
    """Compares the files in `path`, folder of a SavedModel, with those of its card.

    Raises:
      errors.ModelError: one of them is another, or cannot be read.
    """
    if card.checksums is None:
        return
    needed = {model.GRAPH, f"{model.VARIABLES}.index"}
    for folder, functions in ((model.REFINEMENT, card.refinement), (model.FAST, card.fast)):
        if functions is not None:
            needed.add(f"{folder}/{model.GRAPH}")
    for name in sorted(needed | set(card.checksums)):
        try:
            is_same = _digest(path / name) == card.checksums.get(name)
        except OSError as error:
            raise errors.ModelError(f"{path / name} cannot be read: {error.strerror}.") from error
        if not is_same:
            raise errors.ModelError(
                f"{path / name} is not the file of which the model's card has the checksum."
            )


def _digest(file: pathlib.Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
