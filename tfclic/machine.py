"""What this process may use of the machine, and what it gives back."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import pathlib
from collections.abc import Iterator

from tfclic import control_groups
from tfclic.control_groups import ROOT


def schedulable_cores() -> int:
    """Processor cores that this process may run on, as `taskset` limits them, int."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def cores(root: pathlib.Path = ROOT) -> int:
    """As many of these as it has time on, int: containers may have less (`docker run --cpus`).

    Args:
      root: where /proc and /sys are looked for.
    """
    shares = (
        share
        for folder, version in control_groups.folders("cpu", root)
        for share in _shares(folder, version)
    )
    return max(1, min([schedulable_cores(), *map(math.ceil, shares)]))


def _shares(folder: pathlib.Path, version: int) -> Iterator[float]:
    """How many cores' time a control group has; nothing where it has no limit."""
    if version == 2:
        quota, _, period = control_groups.text(folder / "cpu.max").strip().partition(" ")
    else:
        names = "cpu.cfs_quota_us", "cpu.cfs_period_us"
        quota, period = (control_groups.text(folder / name).strip() for name in names)
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def give_back() -> None:
    """Gives memory back to the system that calls, and what has gone, have left: glibc keeps it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
