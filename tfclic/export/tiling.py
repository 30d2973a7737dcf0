"""Images in tiles, in TensorFlow's ops: `tfclic.format.boxes` says where each tile is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.format import boxes, interface

if TYPE_CHECKING:
    from tfclic.layers.composite import Tensors


def layout(
    height: tf.Tensor,
    width: tf.Tensor,
    tile_height: tf.Tensor,
    tile_width: tf.Tensor,
    reach: int | None = None,
) -> boxes.Layout:
    """The `boxes.Layout` of an image, row by row.

    Args:
      height, width: int32, pixels of the image.
      tile_height, tile_width: int32, pixels, multiples of 64.
      reach: as for `boxes.spans`.
    """
    rows, columns = (
        -(-side // tile) for side, tile in ((height, tile_height), (width, tile_width))
    )
    index = tf.range(rows * columns)
    down = boxes.spans(index // columns * tile_height, height, tile_height, tf, reach)
    across = boxes.spans(index % columns * tile_width, width, tile_width, tf, reach)
    return boxes.Layout(
        *(
            tf.stack([top, left, bottom - top, right - left], -1)
            for (top, bottom), (left, right) in zip(down, across)
        )
    )


def plan(height: tf.Tensor, width: tf.Tensor, longest: tf.Tensor) -> Tensors:
    """How an encoder cuts an image into tiles: their sides, and their boxes.

    Args:
      height, width: int32, pixels of the image.
      longest: int32, pixels, the longest side of a tile.

    Returns:
      The dict of an `interface.Plan`.
    """
    return planned(height, width, longest, boxes.MARGIN)


def planned(height: tf.Tensor, width: tf.Tensor, longest: tf.Tensor, reach: int) -> Tensors:
    """As `plan`, for a synthesis that looks `reach` pixels far."""
    sides = boxes.tile_side(height, longest), boxes.tile_side(width, longest)
    return interface.Plan(*sides, *layout(height, width, *sides), tf.constant(reach))._asdict()


def assemble(tiles: tf.Tensor, height: tf.Tensor, width: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
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
