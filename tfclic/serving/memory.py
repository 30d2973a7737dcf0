"""How much memory this process may still take, by whatever limits it.

Three things may: the address space (`ulimit -v`), a control group (a container's memory, versions 1
and 2), and what the server itself has been told. Each is looked up anew whenever it is asked for:
limits change, and so does what models take.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

ROOT = pathlib.Path("/")
_UNLIMITED = 1 << 60  # bytes; version 1 of control groups has a number for it
# Of version 2 and 1: the names of limit, use, and what of it would be given back, in memory.stat.
_GROUPS = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class Amount(NamedTuple):
    """Bytes of memory; math.inf: any number.

    Attributes:
      space: of the address space, where what is reserved counts as well.
      resident: of memory that is in use.
    """

    space: float
    resident: float

    def plus(self, other: Amount) -> Amount:
        return Amount(self.space + other.space, self.resident + other.resident)

    def minus(self, other: Amount) -> Amount:
        return Amount(self.space - other.space, self.resident - other.resident)

    def most(self, other: Amount) -> Amount:
        return Amount(max(self.space, other.space), max(self.resident, other.resident))

    def fits(self, other: Amount) -> bool:
        """Whether the other one is as much or more."""
        return self.space <= other.space and self.resident <= other.resident


NOTHING = Amount(0, 0)


class Room:
    """What is left of the least limit.

    Args:
      most: bytes of memory that the process may have; 0: whatever others allow.
      root: where /proc and /sys are looked for.
    """

    def __init__(self, most: int = 0, root: pathlib.Path = ROOT) -> None:
        self._most, self._root = most, root

    def free(self) -> Amount:
        """What may still be taken; below 0 where it is more than that already."""
        return Amount(
            self._address_space(), min([self._own(), *_groups(self._root)], default=math.inf)
        )

    def _address_space(self) -> float:
        if resource is None:
            return math.inf
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        return math.inf if limit == resource.RLIM_INFINITY else limit - self._used(0)

    def _own(self) -> float:
        return self._most - self._used(1) if self._most else math.inf

    def _used(self, field: int) -> int:
        """Bytes, of a field of `statm`: 0, the address space, or 1, memory."""
        text = _text(self._root / "proc/self/statm")
        if not text or resource is None:
            return 0
        return int(text.split()[field]) * resource.getpagesize()


def _groups(root: pathlib.Path) -> Iterator[float]:
    """Bytes that each control group with a limit leaves, that of this process and those above."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _left(_folders(mounted, path), *_GROUPS[2])
        elif "memory" in controllers.split(","):
            yield from _left(_folders(mounted / "memory", path), *_GROUPS[1])


def _folders(mounted: pathlib.Path, path: str) -> Iterator[pathlib.Path]:
    # in a container the path may be that of the host, and what is mounted the container's own
    folder = mounted / path.lstrip("/")
    while folder != mounted:
        yield folder
        folder = folder.parent
    yield mounted


def _left(folders: Iterable[pathlib.Path], limit: str, use: str, given_back: str) -> Iterator[int]:
    for folder in folders:
        most, used = (_text(folder / name).strip() for name in (limit, use))
        if not most.isdecimal() or not used.isdecimal() or int(most) >= _UNLIMITED:
            continue
        fields = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
        yield int(most) - int(used) + int(fields.get(given_back, 0))


def _text(path: pathlib.Path) -> str:
    """What a file says; nothing where there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""
