"""Files of any kind of storage that Beam knows: local, gs://, s3://, hdfs://, ...

What is written appears whole or not at all: it is written under a name of its own in a folder for
unfinished files and then renamed. What a killed process leaves lies in that folder only.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

join = FileSystems.join


class StorageError(OSError):
    """Something cannot be read or written; the message is a sentence."""


@contextlib.contextmanager
def _told(path: str, verb: str) -> Iterator[None]:
    try:
        yield
    except (BeamIOError, OSError) as error:
        # Beam packs the error of the system into one or two of its own
        causes = list((getattr(error, "exception_details", None) or {}).values())
        cause: Any = causes[0] if causes and isinstance(causes[0], BaseException) else error
        while not getattr(cause, "strerror", None) and cause.args:
            if not isinstance(cause.args[0], BaseException):
                break
            cause = cause.args[0]
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise StorageError(f"{path} cannot be {verb}: {reason.rstrip('.')}.") from error


def match(pattern: str) -> list[str]:
    """Returns the sorted paths (list of str) that `pattern` matches; raises StorageError."""
    with _told(pattern, "listed"):
        return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)


def matches(pattern: str) -> bool:
    """True if `pattern` matches any file; raises StorageError."""
    with _told(pattern, "listed"):
        return bool(FileSystems.match([pattern], limits=[1])[0].metadata_list)


def exists(path: str) -> bool:
    """True if there is a file at `path`; raises StorageError."""
    with _told(path, "found"):
        return FileSystems.exists(path)


def read(path: str) -> bytes:
    """Returns the bytes of a file; raises StorageError."""
    with _told(path, "read"):
        # as it is, whatever its extension may say about a compression
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read()


def write(path: str, data: bytes, unfinished: str) -> None:
    """Writes a file: all of it appears at once, or nothing does; one that exists is replaced.

    Args:
      path: its folder is made if need be.
      data: its content.
      unfinished: a folder on the same storage, for what is not finished yet.

    Raises:
      StorageError: it cannot be written.
    """
    temporary = new_name(unfinished)
    with _told(path, "written"):
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(data)
    publish(temporary, path)


def new_name(folder: str) -> str:
    """Returns a path in `folder`, which is made if need be, that nothing else has."""
    make_folder(folder)
    return join(folder, uuid.uuid4().hex)


def publish(temporary: str, path: str) -> None:
    """Gives a finished file its name `path`; raises StorageError."""
    with _told(path, "written"):
        make_folder(FileSystems.split(path)[0])
        FileSystems.rename([temporary], [path])


def make_folder(folder: str) -> None:
    """Makes a folder and those it lies in, where storage has folders; raises StorageError."""
    with _told(folder, "made"):
        if folder and not FileSystems.exists(folder):
            # another process may do the same
            with contextlib.suppress(FileExistsError):
                FileSystems.mkdirs(folder)


def remove(path: str) -> None:
    """Removes a file or a folder with all that is in it, if there is one; raises StorageError."""
    with _told(path, "removed"):
        if FileSystems.exists(path):
            FileSystems.delete([path])
