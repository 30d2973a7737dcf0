"""Images by which the ranges of values in a synthesis are measured."""

from __future__ import annotations

import os
import pathlib

import numpy as np
from PIL import Image

from tfclic import errors, images
from tfclic.format import header
from tfclic.images import drawing

SIDE, COUNT = 256, 8
DRAWN = 16
# of made images: how fast contrasts fall with frequency, and what colours have of the grey
FALL, COLOURFUL = 1.2, 0.35
WHITE = (255, 255, 255)


def of_folder(
    folder: str | os.PathLike[str],
    count: int = COUNT,
    max_pixels: int = header.DEFAULT_MAX_PIXELS,
) -> list[np.ndarray]:
    """The middles of `count` images of a folder, evenly chosen by name: uint8 `[H, W, 3]`.

    Raises:
      errors.UsageError: no such folder, or it has no images.
      errors.ImageError: as `images.read` with this `max_pixels`.
    """
    known = Image.registered_extensions()
    try:
        paths = sorted(pathlib.Path(folder).iterdir())
    except OSError:
        raise errors.UsageError(f"{folder} is not a folder.") from None
    found = [path for path in paths if path.suffix.lower() in known]
    if not found:
        raise errors.UsageError(f"{folder} has no images.")
    count = min(count, len(found))
    chosen = [found[i * len(found) // count] for i in range(count)]
    return [_middle(images.read(path, WHITE, max_pixels=max_pixels).pixels) for path in chosen]


def _middle(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    top, left = (max(0, (side - SIDE) // 2) for side in pixels.shape[:2])
    cut = pixels[top : top + SIDE, left : left + SIDE]
    return np.broadcast_to(cut, (*cut.shape[:2], 3))


def drawn() -> list[np.ndarray]:
    """Drawn images, always the same: uint8 `[SIDE, SIDE, 3]` each."""
    random = np.random.default_rng(0)
    return [drawing.drawn(random, SIDE) for _ in range(DRAWN)]


def made() -> list[np.ndarray]:
    """Made images with what photographs have: contrasts of all sizes, hard edges, and colours.

    Returns:
      uint8 `[SIDE, SIDE, 3]` each, always the same.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij")
    spectrum = np.maximum(np.hypot(rows, columns), 1 / SIDE) ** -FALL
    found = []
    for number in range(COUNT):
        noise = rng.normal(0, 1, [3, *spectrum.shape]) + 1j * rng.normal(0, 1, [3, *spectrum.shape])
        layers = np.fft.irfft2(noise * spectrum, (SIDE, SIDE))
        layers /= layers.std((1, 2), keepdims=True)
        image = layers[0] + COLOURFUL * (layers - layers.mean(0))
        for _ in range(8 * number):
            top, left = rng.integers(0, SIDE, 2)
            height, width = rng.integers(2, SIDE // 4, 2)
            image[:, top : top + height, left : left + width] = rng.normal(0, 1.5, [3, 1, 1])
        pixels = 127.5 + rng.uniform(25, 80) * image.transpose(1, 2, 0)
        found.append(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
    return found
