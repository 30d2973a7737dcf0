"""The versions of an exported model: each is written apart, and appears whole under its number."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from tfclic import errors
from tfclic.format import model

# By TensorFlow, of a disk: that it is full, or closed.
_REFUSED = (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)


@contextlib.contextmanager
def new_folder(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new folder in `parent`, which is gone afterwards unless it was published.

    Args:
      parent: the folder of all versions of a model; made if it is not there.

    Raises:
      errors.ModelError: the disk refuses what is written meanwhile.
    """
    work = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        work = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=parent))
        yield work
    except (OSError, *_REFUSED) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
        raise errors.ModelError(f"{parent} cannot be written: {reason}.") from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def publish(work: pathlib.Path, parent: pathlib.Path, card: model.Card) -> pathlib.Path:
    """Makes a folder the next free version.

    Another export to the same name may have taken the version meanwhile: then it is the one after.

    Args:
      work: from `new_folder`, with all but the card.
      parent: as there.
      card: the model's, whatever version it has.

    Returns:
      The path of the version's folder.
    """
    work.chmod(0o755)
    while True:
        version = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=0)
        target = parent / str(version)
        content = dataclasses.replace(card, version=version).content()
        (work / model.CARD).write_text(json.dumps(content, indent=1) + "\n")
        try:
            os.replace(work, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return target
