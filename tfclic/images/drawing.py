"""Images that no camera takes: text, windows, lines, patterns and ramps.

Photographs hardly have pure colours side by side, or detail in full contrast. A model that never
saw them has gains that take such latents beyond what symbols reach.
"""

from __future__ import annotations

import functools
import string
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, ...]
LETTERS = np.array([*string.ascii_letters, *string.digits, *".,:;-()", *" " * 12])


def drawn(random: np.random.Generator, side: int) -> npt.NDArray[np.uint8]:
    """Draws a crop.

    Args:
      random: what it follows from.
      side: of the crop, in pixels.

    Returns:
      uint8 [side, side, 3].
    """
    image = Image.new("RGB", (side, side), _colour(random))
    # of some of the crop, and often of more than one kind
    for _ in range(int(random.integers(1, 4))):
        kind = KINDS[int(random.integers(len(KINDS)))]
        width, height = (int(each) for each in random.integers(side // 4, side + 1, 2))
        panel = Image.new("RGB", (width, height), _colour(random))
        kind(random, panel)
        left, top = (int(random.integers(side - each + 1)) for each in (width, height))
        image.paste(panel, (left, top))
    return np.asarray(image)


def _colour(random: np.random.Generator) -> Colour:
    """Black or white, another corner of the cube, a gray, or anything."""
    kind = random.random()
    if kind < 0.5:
        return (255 * int(random.integers(2)),) * 3
    if kind < 0.7:
        return tuple(255 * int(each) for each in random.integers(0, 2, 3))
    if kind < 0.85:
        return (int(random.integers(256)),) * 3
    return tuple(int(each) for each in random.integers(0, 256, 3))


@functools.cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _text(random: np.random.Generator, panel: Image.Image) -> None:
    draw, size, ink = ImageDraw.Draw(panel), int(random.integers(8, 40)), _colour(random)
    for top in range(0, panel.height, size + size // 4):
        line = "".join(random.choice(LETTERS, 4 * panel.width // size))
        draw.text((2, top), line, fill=ink, font=_font(size))


def _windows(random: np.random.Generator, panel: Image.Image) -> None:
    draw, outline = ImageDraw.Draw(panel), _colour(random)
    for _ in range(int(random.integers(1, 12))):
        left, right = sorted(int(each) for each in random.integers(0, panel.width, 2))
        top, bottom = sorted(int(each) for each in random.integers(0, panel.height, 2))
        box = left, top, right, bottom
        draw.rectangle(box, _colour(random), outline, int(random.integers(1, 4)))


def _lines(random: np.random.Generator, panel: Image.Image) -> None:
    draw = ImageDraw.Draw(panel)
    for _ in range(int(random.integers(1, 12))):
        count = int(random.integers(2, 9))
        across, down = (
            random.integers(0, panel.width, count),
            random.integers(0, panel.height, count),
        )
        points = [(int(x), int(y)) for x, y in zip(across, down)]
        draw.line(points, _colour(random), int(random.integers(1, 5)))


def _pattern(random: np.random.Generator, panel: Image.Image) -> None:
    """Stripes, upright or level, or checks."""
    down, across = np.indices((panel.height, panel.width)) // int(random.integers(1, 33))
    chosen = (down, across, down + across)[int(random.integers(3))] % 2 > 0
    colours = np.array([_colour(random), _colour(random)], np.uint8)
    panel.paste(Image.fromarray(colours[chosen.astype(int)]))


def _ramp(random: np.random.Generator, panel: Image.Image) -> None:
    """From one colour to another one."""
    first, last = (np.array(_colour(random), float) for _ in range(2))
    is_level = random.random() < 0.5
    share = np.linspace(0, 1, panel.width if is_level else panel.height)
    share = share[None, :, None] if is_level else share[:, None, None]
    pixels = np.broadcast_to(first + share * (last - first), (panel.height, panel.width, 3))
    panel.paste(Image.fromarray(np.round(pixels).astype(np.uint8)))


KINDS = _text, _windows, _lines, _pattern, _ramp
