"""Large images in tiles: where each tile is, and what is computed around it.

A tile is coded on its own: no entropy model looks beyond its edges. Transforms do look beyond, as
far as `MARGIN`, so that latents and pixels at an edge are what they would be without one. A tile
thus has four boxes; with everything in front of the image's edges cut off, they are

- `core`, pixels: what is the tile's, and no other's;
- `window`, pixels: what analysis takes, the core and its margin;
- `coded`, latents: what the tile's string holds;
- `seen`, latents: what synthesis takes to make the core; the latents of `window`.

Boxes are int32 `(top, left, height, width)`.
"""

from typing import NamedTuple

import tensorflow as tf

from tfclic.models.base import MULTIPLE

STRIDE = 16  # image pixels per latent, each way
MARGIN = 64  # pixels
DEFAULT_SIDE = 1024  # pixels


class Layout(NamedTuple):
    """The boxes of n tiles, row by row, int32 `[n, 4]` each; see the module."""

    core: tf.Tensor
    window: tf.Tensor
    coded: tf.Tensor
    seen: tf.Tensor


def round_up(size, multiple):
    """The least multiple of `multiple` that is not below `size`, int32."""
    return -(-size // multiple) * multiple


def tile_side(length, longest):
    """Cuts a side of an image into equal parts, but for the last one.

    Args:
      length: int32, pixels.
      longest: int32, pixels, a multiple of MULTIPLE: what no part may exceed.

    Returns:
      int32, the length of a part, a multiple of MULTIPLE.
    """
    parts = -(-length // longest)
    return round_up(-(-length // parts), MULTIPLE)


def count(height, width, tile_height, tile_width):
    """Number of tiles of an image; all in pixels, of the same integer type."""
    return (-(-height // tile_height)) * (-(-width // tile_width))


def layout(height, width, tile_height, tile_width):
    """The `Layout` of an image.

    Args:
      height, width: int32, pixels of the image.
      tile_height, tile_width: int32, pixels, multiples of MULTIPLE.
    """
    rows, columns = (
        -(-side // tile) for side, tile in ((height, tile_height), (width, tile_width))
    )
    index = tf.range(rows * columns)
    axes = [
        _along(index // columns * tile_height, height, tile_height),
        _along(index % columns * tile_width, width, tile_width),
    ]
    return Layout(*(tf.stack([y[0], x[0], y[1], x[1]], -1) for y, x in zip(*axes)))


def _along(start, length, tile):
    """(start, length) of the four boxes along one axis, int32 `[n]` each."""
    end = tf.minimum(start + tile, length)
    before, after = tf.maximum(start - MARGIN, 0), tf.minimum(end + MARGIN, length)
    pixels = [(start, end), (before, after)]
    latents = [(a // STRIDE, round_up(b, MULTIPLE) // STRIDE) for a, b in pixels]
    return [(a, b - a) for a, b in (*pixels, *latents)]


def plan(height, width, longest):
    """How an encoder cuts an image into tiles: their sides, and their boxes.

    Args:
      height, width: int32, pixels of the image.
      longest: int32, pixels, the longest side of a tile.

    Returns:
      A dict: `tile_height` and `tile_width`, int32, pixels, and the fields of a `Layout`.
    """
    sides = tile_side(height, longest), tile_side(width, longest)
    boxes = layout(height, width, *sides)
    return {"tile_height": sides[0], "tile_width": sides[1], **boxes._asdict()}


def relative(boxes, frames):
    """Boxes `[..., 4]` as they are inside of other boxes, `frames`."""
    return tf.concat([boxes[..., :2] - frames[..., :2], boxes[..., 2:]], -1)


def crop(array, box):
    """The part of `array` `[H, W, C]` that lies in `box`, int32 `[4]`."""
    top, left, height, width = tf.unstack(box)
    return array[top : top + height, left : left + width]


def assemble(tiles, height, width, rows):
    """Puts tiles together.

    Args:
      tiles: `[n, h, w, C]`, row by row, each extended to the common size by anything.
      height, width: int32, of the whole.
      rows: int32, number of rows of tiles.

    Returns:
      `[height, width, C]`.
    """
    shape = tf.shape(tiles)
    grid = tf.reshape(tiles, tf.concat([[rows, -1], shape[1:]], 0))
    whole = tf.reshape(tf.transpose(grid, [0, 2, 1, 3, 4]), [rows * shape[1], -1, shape[3]])
    return whole[:height, :width]
