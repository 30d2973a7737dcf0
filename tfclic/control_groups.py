"""Control groups, by which systems limit what processes take: those that this process is in.

They are found by what the kernel says, in versions 1 and 2; a container's where it mounts them.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path("/")


def folders(controller: str, root: pathlib.Path = ROOT) -> Iterator[tuple[pathlib.Path, int]]:
    """Yields the folder of each group's files, and its version, 1 or 2: each before those above it.

    What of them lies above what is mounted, as a container's do, cannot be seen.

    Args:
      controller: what version 1 calls what is limited, such as "memory" or "cpu".
      root: where /proc and /sys are looked for.
    """
    mounts = list(_mounts(controller, root))
    for line in text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        version = 1 if controllers else 2
        if version == 2 or controller in controllers.split(","):
            for mount in mounts:
                if mount.version == version:
                    yield from ((each, version) for each in mount.folders(path))


def text(path: pathlib.Path) -> str:
    """What a file says; nothing where there is none."""
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


class _Mount(NamedTuple):
    """Where control groups are seen: those at `top` and below it are at `folder`."""

    folder: pathlib.Path
    top: str
    version: int

    def folders(self, path: str) -> Iterator[pathlib.Path]:
        """Of the group at `path`, and of those above it."""
        parts = pathlib.PurePosixPath(path).parts[1:]
        top = pathlib.PurePosixPath(self.top).parts[1:]
        if parts[: len(top)] == top:
            parts = parts[len(top) :]
        if ".." in parts or not self.folder.joinpath(*parts).is_dir():
            # the path is one of the host, and what is mounted the container's own
            parts = ()
        for count in range(len(parts), -1, -1):
            yield self.folder.joinpath(*parts[:count])


def _mounts(controller: str, root: pathlib.Path) -> Iterator[_Mount]:
    for line in text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, top, folder, *_ = map(_unescaped, before.split(" "))
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
            yield _Mount(root / folder.lstrip("/"), top, 2 if kind == "cgroup2" else 1)


def _unescaped(text: str) -> str:
    """What the kernel writes as a backslash and three octal digits, blanks for one."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
