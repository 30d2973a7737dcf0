"""Files of any kind of storage that Beam knows: local, gs://, s3://, hdfs://, ...

What is written appears whole or not at all: it is written under a name of its own in a folder for
unfinished files and then renamed. What a killed process leaves lies in that folder only.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem

join = FileSystems.join
# the beginning of a pattern without wildcards, but for those of `literal`
_FIXED = re.compile(r"(?:[^*?\[]|\[[*?\[]\])*")


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


def literal(path: str) -> str:
    """A pattern that matches this path alone: a folder may be called `photos [2020]`."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def match(pattern: str) -> list[str]:
    """Returns the sorted paths (list of str) that `pattern` matches; raises StorageError."""
    with _told(pattern, "listed"):
        return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)


def listed(pattern: str) -> Iterator[str]:
    """Yields the paths of `match` one by one, in any order; raises StorageError.

    In a file system names are not held in memory, however many they are.
    """
    found = _FIXED.match(pattern)
    assert found
    fixed = re.sub(r"\[([*?\[])\]", r"\1", found.group())
    is_path = found.group() == pattern
    if fixed == pattern or not _is_local(pattern):
        yield from match(pattern)
        return
    if is_path:
        yield from filter(os.path.exists, [fixed])
        return
    wanted = re.compile(LocalFileSystem.translate_pattern(pattern)).match
    with _told(pattern, "listed"):
        yield from filter(wanted, _files(os.path.dirname(fixed)))


def _files(folder: str) -> Iterator[str]:
    """Yields the paths of the files in a folder and below; links to folders are not followed."""
    if not os.path.isdir(folder):
        return
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    if not entry.is_symlink():
                        folders.append(entry.path)
                elif not entry.is_symlink() or os.path.exists(entry.path):
                    yield entry.path


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


def lines(path: str) -> Iterator[str]:
    """Yields the lines of a file, one by one, without their ends; raises StorageError."""
    with _told(path, "read"):
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            for line in file:
                yield line.decode().rstrip("\n")


def write(path: str, data: bytes, unfinished: str) -> None:
    """Writes a file: all of it appears at once, or nothing does; one that exists is replaced.

    Args:
      path: its folder is made if need be.
      data: its content.
      unfinished: a folder on the same storage, for what is not finished yet.

    Raises:
      StorageError: it cannot be written.
    """
    write_parts(path, [data], unfinished)


def write_parts(path: str, parts: Iterable[bytes], unfinished: str) -> None:
    """As `write`, of content that comes in parts."""
    temporary = new_name(unfinished)
    with _told(path, "written"):
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            for part in parts:
                file.write(part)
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
        if not FileSystems.exists(path):
            return
        if not _is_local(path):
            FileSystems.delete([path])
        # Beam would take the name for a pattern, and other folders that match it along
        elif os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def _is_local(path: str) -> bool:
    return isinstance(FileSystems.get_filesystem(path), LocalFileSystem)
