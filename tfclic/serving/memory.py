"""How much memory this process may still take, by whatever limits it.

Three things may: the address space (`ulimit -v`), a control group (a container's memory, versions 1
and 2), and what the server itself has been told. Each is looked up anew whenever it is asked for:
limits change, and so does what models take.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from tfclic import control_groups
from tfclic.control_groups import ROOT

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_UNLIMITED = 1 << 60  # bytes; version 1 of control groups has a number for it
# Of version 2 and 1: the names of limit, use, and what of it would be given back, in memory.stat.
_FILES = {
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
        left = [left for group in groups(self._root) for left in group.left()]
        return Amount(self._address_space(), min([self._own(), *left]))

    def _address_space(self) -> float:
        if resource is None:
            return math.inf
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        return math.inf if limit == resource.RLIM_INFINITY else limit - self._used(0)

    def _own(self) -> float:
        return self._most - self._used(1) if self._most else math.inf

    def _used(self, field: int) -> int:
        """Bytes, of a field of `statm`: 0, the address space, or 1, memory."""
        text = control_groups.text(self._root / "proc/self/statm")
        if not text or resource is None:
            return 0
        return int(text.split()[field]) * resource.getpagesize()


class Group(NamedTuple):
    """A control group.

    Attributes:
      folder: pathlib.Path of its files.
      version: 1 or 2.
    """

    folder: pathlib.Path
    version: int

    @property
    def limit(self) -> pathlib.Path:
        """The file of its limit."""
        return self.folder / _FILES[self.version][0]

    def used(self) -> Iterator[int]:
        """Bytes that are in use and would not be given back; nothing where that is not told."""
        _, use, given_back = _FILES[self.version]
        used = control_groups.text(self.folder / use).strip()
        if used.isdecimal():
            fields = dict(
                line.split()
                for line in control_groups.text(self.folder / "memory.stat").splitlines()
            )
            yield int(used) - int(fields.get(given_back, 0))

    def left(self) -> Iterator[int]:
        """Bytes that its limit leaves; nothing where it has none."""
        most = control_groups.text(self.limit).strip()
        if most.isdecimal() and int(most) < _UNLIMITED:
            yield from (int(most) - used for used in self.used())


def groups(root: pathlib.Path = ROOT) -> Iterator[Group]:
    """The control groups that may limit this process's memory, each before those above it."""
    return (Group(*each) for each in control_groups.folders("memory", root))
