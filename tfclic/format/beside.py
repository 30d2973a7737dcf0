"""The functions of the graphs beside that of an exported model, which share its variables.

One refines latents, one does what functions of the model's own graph do, faster. What they take and
give is as in `tfclic.format.interface`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tfclic.format.interface import Function


class ToRefine(NamedTuple):
    """An image, and what `interface.Analysed` has of it, for some of the steps of a refinement.

    These are the steps from number `first` on that come before number `last`; `curvature`, float32,
    is 0 at first.
    """

    latents: Any
    image: Any
    quality: Any
    curvature: Any
    first: Any
    last: Any


class ToRefineByMap(NamedTuple):
    """As `ToRefine`, with codes in the place of a quality."""

    latents: Any
    image: Any
    codes: Any
    curvature: Any
    first: Any
    last: Any


class Refined(NamedTuple):
    """Latents, in the place of those that were given, and a curvature for the steps that follow."""

    latents: Any
    curvature: Any


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


# earlier exports have others
REFINE = Function("refine_integers", ToRefine, Refined)
# with a quality for each position of the latents
REFINE_BY_MAP = Function("refine_integers_by_map", ToRefineByMap, Refined)
RESTORE = Function("restore", Variables, Restored)
PROBE = Function("probe", Nothing, Probed)
