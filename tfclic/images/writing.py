"""Arrays to image files, by Pillow."""

from __future__ import annotations

import io
import os
from typing import IO, Any, cast

from PIL import Image

from tfclic import errors, metadata
from tfclic.format.picture import NO_METADATA, Metadata
from tfclic.images.conversion import Pixels, without

_WITH_ALPHA = ("PNG", "WEBP", "AVIF", "TIFF", "TGA", "JPEG2000")
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "MPO": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
# Of images of other sizes Pillow writes smaller or larger ones: the sides, pixels, they may have.
_ICONS = {"ICO": range(1, 257), "ICNS": range(1024, 1025)}


class _Stream:
    """A file that has no descriptor, which Pillow would write to and lose the system's errors."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.flush, self.seek, self.tell = file.write, file.flush, file.seek, file.tell


def output_format(path: str | os.PathLike[str]) -> str:
    """Returns Pillow's name of the format that the extension of `path` stands for (none: PNG).

    Raises:
      errors.UsageError: Pillow writes no such format.
    """
    extension = os.path.splitext(path)[1].lower() or ".png"
    name = Image.registered_extensions().get(extension)
    if name not in Image.SAVE:
        raise errors.UsageError(
            f"{path}: {extension} files cannot be written; use for example .png."
        )
    return name


def encode(pixels: Pixels, path: str | os.PathLike[str], kept: Metadata = NO_METADATA) -> bytes:
    """The bytes of an image file; arguments and errors as those of `save`."""
    buffer = io.BytesIO()
    save(pixels, buffer, path, kept)
    return buffer.getvalue()


def save(
    pixels: Pixels, file: IO[bytes], path: str | os.PathLike[str], kept: Metadata = NO_METADATA
) -> None:
    """Writes an image file in the format of the extension of `path`.

    Lossy formats are written with high quality. What the format cannot hold of the metadata is left
    out (`unkept` tells what), after what it says has been done: the image is turned upright, and
    its colours are converted to sRGB.

    Args:
      pixels: uint8 array [H, W, 3] or [H, W], or with alpha [H, W, 4] or [H, W, 2], 0..255.
      file: open for writing.
      path: only its extension is used.
      kept: `Metadata` of the image.

    Raises:
      errors.UsageError: the format is not known, or cannot hold this image.
      OSError: the system cannot write the file.
    """
    name = output_format(path)
    image = Image.fromarray(pixels)
    if image.mode.endswith("A") and name not in _WITH_ALPHA:
        raise errors.UsageError(
            f"{path}: {name} cannot hold a transparent image; write for example .png, or put it on "
            "a colour with --background COLOR."
        )
    held, _ = metadata.fitting(kept, name, image.mode)
    try:
        image = without(image, kept, held)
        options = {**SAVE_OPTIONS.get(name, {}), **metadata.options(held, name)}
        if name in _ICONS:
            options["sizes"] = [_icon_size(image, _ICONS[name])]
        image.save(cast("IO[bytes]", _Stream(file)), name, **options)
    # Each writer has its own way to refuse a mode or a size.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's
        reason = f"{pixels.shape[1]}x{pixels.shape[0]}, {error}"
        raise errors.UsageError(f"{path}: {name} cannot hold this image ({reason}).") from error


def _icon_size(image: Image.Image, sides: range) -> tuple[int, int]:
    if image.width not in sides or image.height not in sides:
        raise ValueError(f"its sides have to be {sides[0]} to {sides[-1]} pixels")
    return image.size


def unkept(path: str | os.PathLike[str], kept: Metadata) -> list[str]:
    """Sentences about the metadata that the format of the extension of `path` cannot hold."""
    return metadata.fitting(kept, output_format(path), "RGB")[1]
