"""Image files to arrays and back, with Pillow.

What an image file says is brought to what a `.tfclic` file holds: colour or grayscale, 8 bits, with
alpha or without. The orientation in Exif is applied, and metadata that are kept say that it is.
Colours stay those of the file's profile where this is kept, and are converted to sRGB where not.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, Union, cast

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageColor, ImageFile, ImageOps

from tfclic import errors, metadata
from tfclic.format import alpha
from tfclic.format.header import DEFAULT_MAX_PIXELS
from tfclic.format.picture import NO_METADATA, Metadata

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Path = Union[str, os.PathLike[str]]

_GRAY_MODES = ("1", "L", "LA", "La")
# Several "frames" of one photograph: previews, gain maps, layers. The first is the picture.
_SINGLE_PICTURE_FORMATS = ("MPO", "PSD")
_BAND = 256  # rows
_WITH_ALPHA = ("PNG", "WEBP", "AVIF", "TIFF", "TGA", "JPEG2000")
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}


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


class _Stream:
    """A file that has no descriptor, which Pillow would write to and lose the system's errors."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.flush, self.seek, self.tell = file.write, file.flush, file.seek, file.tell


def parse_color(text: str) -> Colour:
    """Returns the (red, green, blue), 0..255, of a colour: a name, `#rrggbb`, `rgb(...)`, ...

    Raises:
      errors.UsageError: it is not a colour, or a transparent one.
    """
    color: tuple[int, ...]
    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        color = ()
    if len(color) < 3 or color[3:] not in ((), (255,)):
        raise errors.UsageError(
            f"{text} is not an opaque colour; write for example white or '#ff8800'."
        )
    red, green, blue = color[:3]
    return red, green, blue


def read(
    path: Path,
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
    file: Path | IO[bytes], name: Path, background: Colour | None, keeps: Keeps, max_pixels: int
) -> Photo:
    try:
        with warnings.catch_warnings():
            # Pillow's remarks on metadata, and on sizes that it reads all the same.
            warnings.simplefilter("ignore")
            with _at_most(max_pixels), Image.open(file) as image:
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
def _at_most(max_pixels: int) -> Iterator[None]:
    """Makes Pillow open images of so many pixels, and no larger ones."""
    # it warns above this, and refuses twice as many
    before, half = Image.MAX_IMAGE_PIXELS, max_pixels / 2
    setattr(Image, "MAX_IMAGE_PIXELS", half)  # noqa: B010, for its type is that of whole numbers
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def output_format(path: Path) -> str:
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


def encode(pixels: Pixels, path: Path, kept: Metadata = NO_METADATA) -> bytes:
    """The bytes of an image file; arguments and errors as those of `save`."""
    buffer = io.BytesIO()
    save(pixels, buffer, path, kept)
    return buffer.getvalue()


def save(pixels: Pixels, file: IO[bytes], path: Path, kept: Metadata = NO_METADATA) -> None:
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
        image = _resolved(image, kept, held)
        options = {**_SAVE_OPTIONS.get(name, {}), **metadata.options(held, name)}
        image.save(cast("IO[bytes]", _Stream(file)), name, **options)
    # Each writer has its own way to refuse a mode or a size.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's
        reason = f"{pixels.shape[1]}x{pixels.shape[0]}, {error}"
        raise errors.UsageError(f"{path}: {name} cannot hold this image ({reason}).") from error


def unkept(path: Path, kept: Metadata) -> list[str]:
    """Sentences about the metadata that the format of the extension of `path` cannot hold."""
    return metadata.fitting(kept, output_format(path), "RGB")[1]


def pixels_of(image: Image.Image) -> Pixels:
    """The pixels of a Pillow image of any mode, as they are: uint8, 8 bits, alpha if there is any.

    Returns:
      uint8 array [H, W, 3] or [H, W], or with alpha [H, W, 4] or [H, W, 2]; all colours as RGB.

    Raises:
      errors.ImageError: samples of more than 8 bits have no known range.
    """
    if image.mode.startswith("I") or image.mode == "F":
        try:
            image = _to_8_bits(image)
        except errors.ImageError as error:
            raise errors.ImageError(f"The image {error}") from error
    colour, opacity = _split_alpha(image)
    pixels = _array(_as(colour, "L" if colour.mode == "L" else "RGB"))
    return pixels if opacity is None else alpha.joined(pixels, _array(opacity))


def on(pixels: Pixels, background: Colour) -> Pixels:
    """Pixels [H, W, 4] or [H, W, 2] put on a colour, 0..255; opaque ones as they are."""
    image = Image.fromarray(pixels)
    if not image.mode.endswith("A"):
        return pixels
    return _array(_put_on(*_split(image), background))


def resolved(pixels: Pixels, kept: Metadata) -> Pixels:
    """Pixels as they are without their metadata: upright, and of the colours of sRGB."""
    return _array(_resolved(Image.fromarray(pixels), kept, NO_METADATA))


def _resolved(image: Image.Image, kept: Metadata, held: Metadata) -> Image.Image:
    """The same for what `kept` says and `held` does not."""
    if kept.icc_profile and not held.icc_profile:
        colour, opacity = _split(image)
        image = _to_srgb(colour, kept.icc_profile)
        if opacity is not None:
            image.putalpha(opacity)
    turn = metadata.orientation(kept)
    if turn != metadata.orientation(held):
        image.getexif()[ExifTags.Base.Orientation] = turn
        image = ImageOps.exif_transpose(image)
    return image


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """An image of mode L, LA, RGB or RGBA as (its colours, its alpha)."""
    opacity = image.getchannel("A") if image.mode.endswith("A") else None
    return _as(image, image.mode.rstrip("A")), opacity


def _as(image: Image.Image, mode: str) -> Image.Image:
    """An image of this mode: itself, if it is, where Pillow would copy it."""
    return image if image.mode == mode else image.convert(mode)


def _array(image: Image.Image) -> Pixels:
    """`np.array` of an image of bytes, in bands, since Pillow makes two copies on the way."""
    width, height = image.size
    pixels = np.empty([height, width, *[len(image.mode)] * (len(image.mode) > 1)], np.uint8)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        pixels[top:bottom] = image.crop((0, top, width, bottom))
    return pixels


def _convert(file: ImageFile.ImageFile, background: Colour | None, keeps: Keeps) -> Photo:
    notes = []
    frames = getattr(file, "n_frames", 1)
    if file.format not in _SINGLE_PICTURE_FORMATS and frames > 1:
        notes.append(f"Only the first of its {frames} frames is used.")
    deep = _has_deep_samples(file)
    file.load()
    profile = file.info.get("icc_profile") or b""
    kept, unkept = metadata.of_file(file) if keeps.metadata else (NO_METADATA, [])
    kept = metadata.upright(kept)
    notes += unkept
    # Before any conversion: some of them lose the tag.
    image = _upright(file)
    if image.mode.startswith("I") or image.mode == "F":
        image, deep = _to_8_bits(image), True
    if deep:
        notes.append("Its samples of more than 8 bits are reduced to 8.")
    colour, opacity = _split_alpha(image)
    if not metadata.describes(kept.icc_profile, colour.mode):
        colour, kept = _to_srgb(colour, profile), kept._replace(icc_profile=b"")
    if opacity is not None and keeps.alpha and background is None:
        pixels = alpha.joined(_array(colour), _array(opacity))
        return Photo(pixels, tuple(notes), kept)
    if opacity is not None:
        colour = _put_on(colour, opacity, background)
        if not metadata.describes(kept.icc_profile, colour.mode):
            kept = kept._replace(icc_profile=b"")
    return Photo(_array(colour), tuple(notes), kept)


def _has_deep_samples(image: ImageFile.ImageFile) -> bool:
    """True if the file has more than 8 bits per sample; asked before they are loaded as 8."""
    arguments = [tile[3] for tile in image.tile]
    several = [each for each in arguments if isinstance(each, tuple)]
    if image.format == "PPM" and several:
        # Their last argument is the largest value.
        return any(each[-1] > 255 for each in several)
    return any(";16" in str(each) for each in arguments)


def _upright(image: Image.Image) -> Image.Image:
    try:
        # upright ones would be copied
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    # Damaged EXIF is no reason to refuse intact pixels.
    except Exception:
        return image


def _to_8_bits(image: Image.Image) -> Image.Image:
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


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Returns (an "L", "RGB", "CMYK" or "LAB" image, alpha): alpha None if all is opaque."""
    gray = image.mode in _GRAY_MODES
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if gray else "RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema()[0] == 255:
            alpha = None
    if gray:
        return _as(image, "L"), alpha
    # CMYK and LAB wait for their profile.
    return image if image.mode in ("CMYK", "LAB") else _as(image, "RGB"), alpha


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts an "L", "RGB", "CMYK" or "LAB" image by its ICC profile (bytes) to "L" or "RGB"."""
    plain = "L" if image.mode == "L" else "RGB"
    if profile:
        try:
            from PIL import ImageCms

            source = ImageCms.getOpenProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                target = ImageCms.createProfile("sRGB")
                image = ImageCms.buildTransform(source, target, image.mode, "RGB").apply(image)
        # A damaged or unfitting profile: the pixels are taken as if there were none.
        except Exception:
            pass
    return _as(image, plain)


def _put_on(
    colour: Image.Image, opacity: Image.Image | None, background: Colour | None
) -> Image.Image:
    if background is None:
        raise errors.ImageError(
            "is transparent: put it on a colour with --background COLOR, for example "
            "--background white."
        )
    if len(set(background)) > 1:
        colour = colour.convert("RGB")
    fill = background if colour.mode == "RGB" else background[0]
    canvas = Image.new(colour.mode, colour.size, fill)
    canvas.paste(colour, mask=opacity)
    return canvas
