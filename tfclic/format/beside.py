"""The functions of the graphs beside that of an exported model, which share its variables.

One refines latents, one does what functions of the model's own graph do, faster. What they take and
give is as in `tfclic.format.interface`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tfclic.format.interface import Function


class ToRefine(NamedTuple):
    """An image, and what `interface.Analysed` has of it, for some of the steps of a refinement.

    These are the steps from number `first` on, of `steps` in all, that come before number `last`;
    `moments`, float32 `[2, h, w, C]`, are zero at first.
    """

    latents: Any
    image: Any
    quality: Any
    moments: Any
    first: Any
    last: Any
    steps: Any


class ToRefineByMap(NamedTuple):
    """As `ToRefine`, with codes in the place of a quality."""

    latents: Any
    image: Any
    codes: Any
    moments: Any
    first: Any
    last: Any
    steps: Any


class Refined(NamedTuple):
    """Latents, in the place of those that were given, and moments for the steps that follow."""

    latents: Any
    moments: Any


class Variables(NamedTuple):
    """The files that a SavedModel's variables are in."""

    prefix: Any


class Restored(NamedTuple):
    """What comes of reading them: nothing of interest."""

    done: Any


class Nothing(NamedTuple):
    """No arguments."""


class Probed(NamedTuple):
    """Whether this machine computes what it has to; `sound` is bool."""

    sound: Any


REFINE = Function("refine", ToRefine, Refined)
# with a quality for each position of the latents; earlier exports have no such function
REFINE_BY_MAP = Function("refine_by_map", ToRefineByMap, Refined)
RESTORE = Function("restore", Variables, Restored)
PROBE = Function("probe", Nothing, Probed)
