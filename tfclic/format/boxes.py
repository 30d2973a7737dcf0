"""Large images in tiles: where each tile is, and what is computed around it.

A tile is coded on its own: no entropy model looks beyond its edges. Transforms do look beyond, as
far as `MARGIN`, so that latents and pixels at an edge are what they would be without one. A tile
thus has four boxes; with everything in front of the image's edges cut off, they are

- `core`, pixels: what is the tile's, and no other's;
- `window`, pixels: what analysis takes, the core and its margin;
- `coded`, latents: what the tile's string holds;
- `seen`, latents: what synthesis takes to make the core; the latents of `window`.

Boxes are int32 `(top, left, height, width)`. Along one axis, a span is a pair `(start, end)`.

Everything works with Python's integers, with numpy's arrays and with TensorFlow's tensors, in a
graph too; `of` is the module that has their `minimum` and `maximum`, numpy or tensorflow.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tfclic.format.latents import HYPER_STRIDE, MULTIPLE, STRIDE

MARGIN = 64  # pixels
LONGEST_SIDE = 4096  # pixels of a tile: what has to be held in memory and decoded in one go
DEFAULT_SIDE = 1024  # pixels, the longest side of a tile unless something else is asked for
_CORNER = np.array([1, 1, 0, 0], np.int32)

# Python's, numpy's or TensorFlow's: what comes out is of the kind that goes in.
Numbers = TypeVar("Numbers", bound=Any)
Span = tuple[Numbers, Numbers]


class Layout(NamedTuple):
    """The boxes of n tiles, row by row, int32 `[n, 4]` each, or spans; see the module."""

    core: Any
    window: Any
    coded: Any
    seen: Any


def round_up(size: Numbers, multiple: int) -> Numbers:
    """The least multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple


def tile_side(length: Numbers, longest: Numbers) -> Numbers:
    """Cuts a side of an image into equal parts, but for the last one.

    Args:
      length: pixels.
      longest: pixels, a multiple of MULTIPLE: what no part may exceed.

    Returns:
      The length of a part, a multiple of MULTIPLE.
    """
    parts = -(-length // longest)
    return round_up(-(-length // parts), MULTIPLE)


def count(height: Numbers, width: Numbers, tile_height: Numbers, tile_width: Numbers) -> Numbers:
    """Number of tiles of an image; all in pixels, of the same integer type."""
    return (-(-height // tile_height)) * (-(-width // tile_width))


def spans(
    start: Any, length: Any, tile: Any, of: ModuleType = np, reach: int | None = None
) -> Layout:
    """The four boxes of tiles along one axis.

    Args:
      start: pixels, where the tiles begin, multiples of MULTIPLE.
      length: pixels of the image.
      tile: pixels of a tile, a multiple of MULTIPLE.
      of: see the module.
      reach: pixels, how far synthesis looks beyond a core if that is not as far as MARGIN; `seen`
        are then the latents of that.

    Returns:
      A `Layout` of spans.
    """
    core = start, of.minimum(start + tile, length)

    def inside(span: Span[Any]) -> Span[Any]:
        return of.maximum(span[0], 0), of.minimum(span[1], length)

    window = inside(around(core))
    seen = window if reach is None else inside(around(core, reach))
    return Layout(core, window, latents(core), latents(seen))


def around(span: Span[Numbers], margin: Any = MARGIN) -> Span[Numbers]:
    """A span of pixels with its margin; both may be vectors, of the two axes."""
    return span[0] - margin, span[1] + margin


def latents(span: Span[Numbers]) -> Span[Numbers]:
    """The latents that are made from a span of pixels, with whole hyper latents."""
    start, end = span
    return start // MULTIPLE * HYPER_STRIDE, round_up(end, MULTIPLE) // STRIDE


def common(span: Span[Numbers], other: Span[Numbers], of: ModuleType = np) -> Span[Numbers]:
    """What two spans have in common."""
    return of.maximum(span[0], other[0]), of.minimum(span[1], other[1])


def relative(box: Numbers, frame: Numbers) -> Numbers:
    """Boxes `[..., 4]` as they lie inside of other boxes, `frame`."""
    return box - frame * _CORNER


def crop(array: Numbers, box: Any) -> Numbers:
    """The part of an array `[H, W, C]` that lies in `box`, int32 `[4]`."""
    top, left, height, width = (box[i] for i in range(4))
    return array[top : top + height, left : left + width]
