"""Where the programs write, and how: planned before any work, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Union

from tfclic import errors

Content = Union[bytes, Callable[[BinaryIO], object]]


def plan(inputs: Sequence[str], output: str | None, suffix: str) -> list[tuple[str, str]]:
    """Decides the output of every input.

    Args:
      inputs: paths.
      output: what -o says: a file or (always with several inputs) a folder; None: beside the input.
      suffix: of the outputs that -o does not name, with its dot.

    Returns:
      List of (input, output) pairs of str.

    Raises:
      errors.UsageError: the same file is to be written twice, -o is no folder and has to be one,
        there is none for what a pipe brings, or something is called -, which elsewhere means
        standard input or output.
    """
    if "-" in (*inputs, output):
        raise errors.UsageError(
            "Files are read and written by their names, not by - (a file of that name is ./-); "
            "in Python tfclic.load codes bytes."
        )
    for path in inputs if output is None else ():
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise errors.UsageError(f"{path} is a pipe or a device; say with -o where to write.")
    is_folder = output is not None and (
        len(inputs) > 1 or output.endswith(os.sep) or os.path.isdir(output)
    )
    folder = output if is_folder else None
    if folder is not None and os.path.exists(folder) and not os.path.isdir(folder):
        raise errors.UsageError(f"{folder} is not a folder, which -o has to be for several files.")
    pairs = []
    for path in inputs:
        own_folder, name = os.path.split(path)
        where = own_folder if folder is None else folder
        beside = os.path.join(where, os.path.splitext(name)[0] + suffix)
        pairs.append((path, beside if output is None or is_folder else output))
    sources: dict[str, str] = {}
    for path, target in pairs:
        place = os.path.realpath(target)
        if place in sources:
            both = f"{sources[place]} and {path}"
            raise errors.UsageError(f"{both} would both be written to {target}.")
        sources[place] = path
    if folder is not None:
        _make_folder(folder)
    return pairs


def check(target: str, inputs: Iterable[str], force: bool) -> None:
    """Refuses an output that must not be written.

    Args:
      target: path of the output.
      inputs: the paths of all files that are read; none of them may be replaced.
      force: whether an existing file may be replaced.

    Raises:
      errors.UsageError: if `target` must not, or cannot, be written.
    """
    folder = os.path.dirname(os.path.realpath(target))
    if os.path.realpath(target) in {os.path.realpath(path) for path in inputs}:
        raise errors.UsageError(f"{target} is an input too; name another output with -o.")
    if os.path.exists(target):
        if not os.path.isfile(target):
            raise errors.UsageError(f"{target} is not a file that can be replaced.")
        if not force:
            raise _exists(target)
    elif not os.path.isdir(folder):
        raise errors.UsageError(f"{target} cannot be written: there is no folder {folder}.")


def write(target: str, data: Content, force: bool) -> None:
    """Writes a file: all of it appears at once, or nothing does.

    Args:
      target: path of the file.
      data: its content; or what writes it into an open file, maybe into several in turn.
      force: whether an existing file is replaced.

    Raises:
      errors.UsageError: it exists and `force` is false, or it cannot be written.
    """
    # A link goes on pointing to what is written.
    target = os.path.realpath(target)
    temporary = os.path.join(os.path.dirname(target), f".tfclic-{secrets.token_hex(8)}.tmp")
    try:
        try:
            if not force and _create(target, data):
                return
            if not _create(temporary, data):
                with open(temporary, "xb") as file:
                    _fill(file, data)
            if force:
                os.replace(temporary, target)
            else:
                _publish(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        raise errors.UsageError(f"{target} cannot be written: {error.strerror}.") from error


def _fill(file: BinaryIO, data: Content) -> None:
    if callable(data):
        data(file)
    else:
        file.write(data)


def _create(path: str, data: Content) -> bool:
    """Makes a new file that has no name until it is whole, so that a kill leaves nothing behind.

    Returns:
      Whether this system and file system can do so; if not, nothing has happened.

    Raises:
      OSError: the file exists, or the disk is full.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        unnamed = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError:
        return False
    with open(unnamed, "wb") as file:
        _fill(file, data)
        file.flush()
        try:
            # Only with a folder given does Python call what follows the link to the file.
            os.link(f"/proc/self/fd/{unnamed}", path, src_dir_fd=unnamed)
        except FileExistsError:
            raise
        except OSError:
            return False
    return True


def _publish(temporary: str, target: str) -> None:
    """Gives a file its final name, unless a file with that name has appeared meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError:
        # A file system without hard links.
        if os.path.exists(target):
            raise _exists(target) from None
        os.replace(temporary, target)


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise errors.UsageError(f"{folder} cannot be made: {error.strerror}.") from error


def _exists(target: str) -> errors.UsageError:
    return errors.UsageError(f"{target} exists already; --force replaces it.")
