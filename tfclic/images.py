"""Image files to arrays and back, with Pillow.

What an image file says is brought to what a `.tfclic` file can hold: sRGB or grayscale, 8 bits, no
alpha. The orientation in EXIF is applied; colours with a profile other than sRGB are converted to
sRGB, since neither profiles nor other metadata are kept.
"""

import contextlib
import io
import os
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageOps

from tfclic import errors
from tfclic.format.header import MAX_PIXELS

_GRAY_MODES = ("1", "L", "LA", "La")
# Several "frames" of one photograph: previews, gain maps, layers. The first is the picture.
_SINGLE_PICTURE_FORMATS = ("MPO", "PSD")
_SAVE_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}


class Photo(NamedTuple):
    """An image that was read.

    Attributes:
      pixels: uint8 array [H, W, 3] (sRGB) or [H, W] (grayscale), 0..255.
      notes: tuple of sentences about what the file had and `pixels` do not.
    """

    pixels: np.ndarray
    notes: tuple


def parse_color(text):
    """Returns the (red, green, blue), 0..255, of a colour: a name, `#rrggbb`, `rgb(...)`, ...

    Raises:
      errors.UsageError: it is not a colour, or a transparent one.
    """
    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        color = ()
    if len(color) < 3 or color[3:] not in ((), (255,)):
        raise errors.UsageError(
            f"{text} is not an opaque colour; write for example white or '#ff8800'."
        )
    return color[:3]


def read(path, background=None):
    """Reads an image file.

    Args:
      path: of the file; anything that Pillow reads.
      background: (red, green, blue), 0..255, on which a transparent image is put. None: refuse it.

    Returns:
      A `Photo`.

    Raises:
      errors.ImageError: it cannot be read, or is of a kind that is not supported.
    """
    return _read(path, path, background)


def decode(data, name, background=None):
    """Reads an image file that is in memory.

    Args:
      data: bytes of the file.
      name: str, what to call it in errors.
      background: as `read`.

    Returns:
      A `Photo`.

    Raises:
      errors.ImageError: as `read`.
    """
    return _read(io.BytesIO(data), name, background)


def _read(file, name, background):
    try:
        with warnings.catch_warnings():
            # Pillow's remarks on metadata, and on sizes that it reads all the same.
            warnings.simplefilter("ignore")
            with _large_images_allowed(), Image.open(file) as image:
                return _convert(image, background)
    except errors.ImageError as error:
        raise errors.ImageError(f"{name} {error}") from error
    except MemoryError as error:
        raise errors.ImageError(f"{name} is too large for the memory of this machine.") from error
    except Image.UnidentifiedImageError as error:
        raise errors.ImageError(f"{name} is not an image of a known kind.") from error
    # Damaged files raise whatever the decoder stumbles over: OSError, SyntaxError, ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = reason.rstrip(".")
        raise errors.ImageError(f"{name} cannot be read as an image: {reason}.") from error


@contextlib.contextmanager
def _large_images_allowed():
    """Makes Pillow open images as large as a file can hold; else it refuses 179 megapixels."""
    # it warns above this, and refuses twice as many
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def output_format(path):
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


def encode(pixels, path):
    """Returns the bytes of an image file in the format of the extension of `path`.

    Lossy formats are written with high quality.

    Args:
      pixels: uint8 array [H, W, 3] or [H, W], 0..255.
      path: only its extension is used.

    Raises:
      errors.UsageError: the format is not known, or cannot hold this image.
    """
    name = output_format(path)
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, name, **_SAVE_OPTIONS.get(name, {}))
    # Each writer has its own way to refuse a mode or a size.
    except Exception as error:
        reason = f"{pixels.shape[1]}x{pixels.shape[0]}, {error}"
        raise errors.UsageError(f"{path}: {name} cannot hold this image ({reason}).") from error
    return buffer.getvalue()


def _convert(image, background):
    notes = []
    if image.format not in _SINGLE_PICTURE_FORMATS and getattr(image, "n_frames", 1) > 1:
        notes.append(f"Only the first of its {image.n_frames} frames is used.")
    deep = _has_deep_samples(image)
    image.load()
    profile = image.info.get("icc_profile")
    # Before any conversion: some of them lose the tag.
    image = _upright(image)
    if image.mode.startswith("I") or image.mode == "F":
        image, deep = _to_8_bits(image), True
    if deep:
        notes.append("Its samples of more than 8 bits are reduced to 8.")
    colour, alpha = _split_alpha(image)
    colour = _to_srgb(colour, profile)
    if alpha is not None:
        colour = _put_on(colour, alpha, background)
    return Photo(np.array(colour), tuple(notes))


def _has_deep_samples(image):
    """True if the file has more than 8 bits per sample; asked before they are loaded as 8."""
    arguments = [tile[3] for tile in image.tile]
    if image.format == "PPM" and any(isinstance(each, tuple) for each in arguments):
        # Their last argument is the largest value.
        return any(each[-1] > 255 for each in arguments)
    return any(";16" in str(each) for each in arguments)


def _upright(image):
    try:
        return ImageOps.exif_transpose(image)
    # Damaged EXIF is no reason to refuse intact pixels.
    except Exception:
        return image


def _to_8_bits(image):
    """Converts 16-bit integers (in 32 bits too), and floats in 0..1, to "L" or "LA"."""
    samples = np.asarray(image)
    limit = 1.0 if image.mode == "F" else 65535
    # Written so that NaN is refused too.
    if not (samples.min() >= 0 and samples.max() <= limit):
        raise errors.ImageError(
            f"has samples outside 0..{limit:g}; convert it to 8 or 16 bits per sample first."
        )
    gray = Image.fromarray(np.round(samples * (255 / limit)).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        alpha = Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8))
        gray = Image.merge("LA", (gray, alpha))
    return gray


def _split_alpha(image):
    """Returns (an "L", "RGB", "CMYK" or "LAB" image, alpha): alpha None if all is opaque."""
    gray = image.mode in _GRAY_MODES
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if gray else "RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema()[0] == 255:
            alpha = None
    if gray:
        return image.convert("L"), alpha
    # CMYK and LAB wait for their profile.
    return image if image.mode in ("CMYK", "LAB") else image.convert("RGB"), alpha


def _to_srgb(image, profile):
    """Converts an "L", "RGB", "CMYK" or "LAB" image by its ICC profile (bytes) to "L" or "RGB"."""
    plain = "L" if image.mode == "L" else "RGB"
    if profile:
        try:
            from PIL import ImageCms

            source = ImageCms.getOpenProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                target = ImageCms.createProfile("sRGB")
                image = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        # A damaged or unfitting profile: the pixels are taken as if there were none.
        except Exception:
            pass
    return image.convert(plain)


def _put_on(colour, alpha, background):
    if background is None:
        raise errors.ImageError(
            "is transparent, which a tfclic file cannot be: put it on a colour with "
            "--background COLOR, for example --background white."
        )
    if len(set(background)) > 1:
        colour = colour.convert("RGB")
    fill = background if colour.mode == "RGB" else background[0]
    canvas = Image.new(colour.mode, colour.size, fill)
    canvas.paste(colour, mask=alpha)
    return canvas
