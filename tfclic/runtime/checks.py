"""What is said of arguments that are wrong."""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING

import numpy as np

from tfclic import errors
from tfclic.format import beside, boxes
from tfclic.format.latents import MULTIPLE

if TYPE_CHECKING:
    from PIL.Image import Image

    from tfclic.images import Pixels
    from tfclic.runtime.catalog import Model
    from tfclic.runtime.tiles import Region

# By effort: the steps of a refinement.
EFFORTS = (0, 3, 4, 5, 8, 10, 13, 17, 22, 30)


def check_tile(tile: int) -> None:
    """Raises errors.UsageError unless `tile` (int, pixels) can be the longest side of a tile."""
    if tile not in range(MULTIPLE, boxes.LONGEST_SIDE + 1, MULTIPLE):
        raise errors.UsageError(
            f"The side of a tile has to be a multiple of {MULTIPLE} from {MULTIPLE} to "
            f"{boxes.LONGEST_SIDE}, not {tile}."
        )


def check_effort(effort: int, found: Model) -> None:
    """Checks an effort (int), and that a `catalog.Model` knows it.

    Raises:
      errors.UsageError: it is not from 0 to 9.
      errors.ModelError: it is above 0, which the model does not know.
    """
    if effort not in range(len(EFFORTS)):
        raise errors.UsageError(
            f"The effort has to be a whole number from 0 to {len(EFFORTS) - 1}, not {effort}."
        )
    objective = found.card.training.get("objective", "mse")
    if effort and beside.REFINE.name not in (found.card.refinement or ()):
        raise errors.ModelError(f"The model {found} knows no effort above 0; export it again.")
    if effort and objective != "mse":
        raise errors.ModelError(
            f"The model {found} was trained for {objective}; efforts above 0 look for the least "
            "mean squared error."
        )


def checked_image(image: Pixels | Image) -> Pixels:
    """The pixels of an array or a Pillow image, uint8 [H, W, C]; raises errors.ImageError."""
    # who has one has imported Pillow; as an array it may be numbers in a palette
    pillow = sys.modules.get("PIL.Image")
    if pillow and isinstance(image, pillow.Image):
        from tfclic import images

        image = images.pixels_of(image)
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise errors.ImageError(f"The image has to be an array of uint8, not of {pixels.dtype}.")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 2, 3, 4):
        raise errors.ImageError(
            f"The image has to be [H, W, 3], [H, W, 4], [H, W, 1], [H, W, 2] or [H, W], not "
            f"{list(pixels.shape)}."
        )
    if not pixels.size:
        raise errors.ImageError("The image has no pixels.")
    return pixels


def checked_region(region: Region, width: int, height: int) -> Region:
    """A region as a tuple of int; raises errors.UsageError unless it is inside of the image."""
    try:
        x, y, across, down = map(operator.index, region)
    except (TypeError, ValueError):
        raise errors.UsageError(
            f"A region is four whole numbers, x, y, width and height, not {region!r}."
        ) from None
    inside = x >= 0 and y >= 0 and across > 0 and down > 0
    if not (inside and x + across <= width and y + down <= height):
        raise errors.UsageError(
            f"The region {x},{y},{across},{down} is not inside of the image, {width}x{height}."
        )
    return x, y, across, down


def check_pixels(width: int, height: int, most: int | None) -> None:
    if most is not None and width * height > most:
        raise errors.FileFormatError(
            f"It has {width}x{height} pixels, more than {most:,} in all; --max-pixels allows more."
        )
