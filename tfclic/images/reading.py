"""Image files to arrays, by Pillow.

The orientation in Exif is applied, and metadata that are kept say that it is. Colours stay those of
the file's profile where this is kept, and are converted to sRGB where not.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from typing import IO, NamedTuple

from PIL import ExifTags, Image, ImageFile, ImageOps

from tfclic import errors, metadata
from tfclic.format import alpha
from tfclic.format.header import DEFAULT_MAX_PIXELS
from tfclic.format.picture import NO_METADATA, Metadata
from tfclic.images.conversion import (
    MOST_OF_16_BITS,
    Colour,
    Pixels,
    array,
    put_on,
    split_alpha,
    to_8_bits,
    to_srgb,
)

# What Pillow leaves as the file has it: the largest samples, and, of files of so few bits, by what
# samples that it enlarges are more than the transparent one.
_MOST = {"I;12": 4095}
_FACTORS = {"L;2": 85, "L;4": 17}
# Several "frames" of one photograph: previews, gain maps, layers. The first is the picture.
_SINGLE_PICTURE_FORMATS = ("MPO", "PSD")
# How many pixels the threads that read at the moment allow, and what puts back what was before.
_LOCK, _ALLOWED, _BEFORE = threading.Lock(), list[int](), contextlib.ExitStack()


class Keeps(NamedTuple):
    """What is kept of an image file beside opaque pixels.

    Attributes:
      metadata: whether they are, and with the profile the colours as they are.
      alpha: whether transparency is.
    """

    metadata: bool = False
    alpha: bool = False


NOTHING = Keeps()


class Photo(NamedTuple):
    """An image that was read.

    Attributes:
      pixels: uint8 array [H, W, 3] (colour) or [H, W] (grayscale), 0..255; sRGB, unless `metadata`
        has another profile. Where transparency is kept, and there is some, [H, W, 4] or [H, W, 2].
      notes: tuple of sentences about what the file had and is left out here.
      metadata: `Metadata` of the file, as far as they were asked for.
    """

    pixels: Pixels
    notes: tuple[str, ...]
    metadata: Metadata = NO_METADATA


def read(
    path: str | os.PathLike[str],
    background: Colour | None = None,
    keeps: Keeps = NOTHING,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Photo:
    """Reads an image file.

    Args:
      path: of the file; anything that Pillow reads.
      background: (red, green, blue), 0..255, on which a transparent image is put. None: refuse it,
        unless alpha is kept.
      keeps: `Keeps`.
      max_pixels: of an image; one with more is refused before it is decoded.

    Returns:
      A `Photo`.

    Raises:
      errors.ImageError: it cannot be read, is too large, or is of a kind that is not supported.
    """
    return _read(path, path, background, keeps, max_pixels)


def decode(
    data: bytes,
    name: str,
    background: Colour | None = None,
    keeps: Keeps = NOTHING,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Photo:
    """Reads an image file that is in memory.

    Args:
      data: bytes of the file.
      name: str, what to call it in errors.
      background: as `read`.
      keeps: as `read`.
      max_pixels: as `read`.

    Returns:
      A `Photo`.

    Raises:
      errors.ImageError: as `read`.
    """
    return _read(io.BytesIO(data), name, background, keeps, max_pixels)


def _read(
    file: str | os.PathLike[str] | IO[bytes],
    name: str | os.PathLike[str],
    background: Colour | None,
    keeps: Keeps,
    max_pixels: int,
) -> Photo:
    try:
        with at_most(max_pixels), Image.open(file) as image:
            if image.width * image.height > max_pixels:
                raise Image.DecompressionBombError
            return _convert(image, background, keeps)
    except errors.ImageError as error:
        raise errors.ImageError(f"{name} {error}") from error
    except Image.DecompressionBombError as error:
        raise errors.ImageError(
            f"{name} has more than {max_pixels:,} pixels; --max-pixels allows more."
        ) from error
    except MemoryError as error:
        raise errors.ImageError(f"{name} is too large for the memory of this machine.") from error
    except Image.UnidentifiedImageError as error:
        raise errors.ImageError(f"{name} is not an image of a known kind.") from error
    except IsADirectoryError as error:
        raise errors.ImageError(f"{name} is a folder; name the images in it.") from error
    # Damaged files raise whatever the decoder stumbles over: OSError, SyntaxError, ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = reason.rstrip(".")
        raise errors.ImageError(f"{name} cannot be read as an image: {reason}.") from error


@contextlib.contextmanager
def at_most(max_pixels: int) -> Iterator[None]:
    """Makes Pillow open images of so many pixels, and be quiet; other threads may ask for more.

    What it allows, and which warnings are shown, is the same for all threads: the first one to come
    changes it, and the last one to leave puts it back.
    """
    with _LOCK:
        if not _ALLOWED:
            # Pillow's remarks on metadata, and on sizes that it reads all the same
            _BEFORE.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            _BEFORE.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        _ALLOWED.append(max_pixels)
        _allow()
    try:
        yield
    finally:
        with _LOCK:
            _ALLOWED.remove(max_pixels)
            if _ALLOWED:
                _allow()
            else:
                _BEFORE.close()


def _allow() -> None:
    # it warns above this, and refuses twice as many
    setattr(Image, "MAX_IMAGE_PIXELS", max(_ALLOWED) / 2)  # noqa: B010, its type is that of ints


def _convert(file: ImageFile.ImageFile, background: Colour | None, keeps: Keeps) -> Photo:
    notes = []
    frames = getattr(file, "n_frames", 1)
    if file.format not in _SINGLE_PICTURE_FORMATS and frames > 1:
        notes.append(f"Only the first of its {frames} frames is used.")
    deep, raw_mode, most = _has_deep_samples(file), _raw_mode(file), largest_sample(file)
    file.load()
    _rescale_transparency(file, raw_mode)
    profile = file.info.get("icc_profile") or b""
    kept, unkept = metadata.of_file(file) if keeps.metadata else (NO_METADATA, [])
    kept = metadata.upright(kept)
    notes += unkept
    # Before any conversion: some of them lose the tag.
    upright = _upright(file)
    image = to_8_bits(upright, most)
    if deep or image is not upright:
        notes.append("Its samples of more than 8 bits are reduced to 8.")
    colour, opacity = split_alpha(image)
    if not metadata.describes(kept.icc_profile, colour.mode):
        colour, kept = to_srgb(colour, profile), kept._replace(icc_profile=b"")
    if opacity is not None and keeps.alpha and background is None:
        pixels = alpha.joined(array(colour), array(opacity))
        return Photo(pixels, tuple(notes), kept)
    if opacity is not None:
        colour = put_on(colour, opacity, background, kept.icc_profile)
        if not metadata.describes(kept.icc_profile, colour.mode):
            kept = kept._replace(icc_profile=b"")
    return Photo(array(colour), tuple(notes), kept)


def _has_deep_samples(image: ImageFile.ImageFile) -> bool:
    """True if the file has more than 8 bits per sample; asked before they are loaded as 8."""
    arguments = [tile[3] for tile in image.tile]
    several = [each for each in arguments if isinstance(each, tuple)]
    if image.format == "PPM" and several:
        # Their last argument is the largest value.
        return any(each[-1] > 255 for each in several)
    return any(";16" in str(each) for each in arguments)


def largest_sample(image: ImageFile.ImageFile) -> int:
    """What `to_8_bits` needs to know of a file of deep grays; asked before they are loaded."""
    return _MOST.get(_raw_mode(image), MOST_OF_16_BITS)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the file has its samples, in Pillow's words; asked before they are loaded."""
    arguments = image.tile[0][3] if image.tile else None
    found = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return found if isinstance(found, str) else ""


def _rescale_transparency(image: ImageFile.ImageFile, raw_mode: str) -> None:
    """Brings the transparent colour of a PNG file to the range of its pixels, once loaded."""
    found = image.info.get("transparency")
    if raw_mode in _FACTORS and isinstance(found, int):
        image.info["transparency"] = found * _FACTORS[raw_mode]
    elif raw_mode == "RGB;16B" and isinstance(found, tuple):
        image.info["transparency"] = tuple(sample >> 8 for sample in found)


def _upright(image: Image.Image) -> Image.Image:
    try:
        # upright ones would be copied
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    # Damaged EXIF is no reason to refuse intact pixels.
    except Exception:
        return image
