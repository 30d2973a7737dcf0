"""Pillow's images to pixels as a `.tfclic` file has them: 8 bits, colour or grayscale, upright.

Colours are those of sRGB, or wait for the profile that is kept with them.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageColor, ImageOps

from tfclic import errors, metadata
from tfclic.format import alpha
from tfclic.format.picture import NO_METADATA, Metadata

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_GRAY_MODES = ("1", "L", "LA", "La")
_BAND = 256  # rows
MOST_OF_16_BITS = 65535


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


def pixels_of(image: Image.Image) -> Pixels:
    """The pixels of a Pillow image of any mode, as they are: uint8, 8 bits, alpha if there is any.

    Returns:
      uint8 array [H, W, 3] or [H, W], or with alpha [H, W, 4] or [H, W, 2]; all colours as RGB.

    Raises:
      errors.ImageError: samples of more than 8 bits have no known range.
    """
    try:
        image = to_8_bits(image)
    except errors.ImageError as error:
        raise errors.ImageError(f"The image {error}") from error
    colour, opacity = split_alpha(image)
    pixels = array(_as(colour, "L" if colour.mode == "L" else "RGB"))
    return pixels if opacity is None else alpha.joined(pixels, array(opacity))


def on(pixels: Pixels, background: Colour, kept: Metadata) -> tuple[Pixels, Metadata]:
    """Pixels [H, W, 4] or [H, W, 2] put on a colour, 0..255; opaque ones as they are.

    Gray ones on a colour are colours of sRGB.

    Args:
      pixels: uint8 array.
      background: (red, green, blue).
      kept: `Metadata` of the pixels.

    Returns:
      `(pixels, metadata)`, the latter of these pixels.
    """
    image = Image.fromarray(pixels)
    if not image.mode.endswith("A"):
        return pixels, kept
    opaque = put_on(*_split(image), background, kept.icc_profile)
    if opaque.mode != image.mode.rstrip("A"):
        kept = kept._replace(icc_profile=b"")
    return array(opaque), kept


def resolved(pixels: Pixels, kept: Metadata) -> Pixels:
    """Pixels as they are without their metadata: upright, and of the colours of sRGB."""
    return array(without(Image.fromarray(pixels), kept, NO_METADATA))


def without(image: Image.Image, kept: Metadata, held: Metadata) -> Image.Image:
    """An image as it is without what `kept` says and `held` does not; otherwise as `resolved`."""
    if kept.icc_profile and not held.icc_profile:
        colour, opacity = _split(image)
        image = to_srgb(colour, kept.icc_profile)
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


def array(image: Image.Image) -> Pixels:
    """`np.array` of an image of bytes, in bands, since Pillow makes two copies on the way."""
    width, height = image.size
    pixels = np.empty([height, width, *[len(image.mode)] * (len(image.mode) > 1)], np.uint8)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        pixels[top:bottom] = image.crop((0, top, width, bottom))
    return pixels


def to_8_bits(image: Image.Image, most: int = MOST_OF_16_BITS) -> Image.Image:
    """Converts integers up to `most` (in 32 bits too), and floats in 0..1, to "L" or "LA".

    Images of bytes are returned as they are. Of the others Pillow's own conversion cuts all samples
    off at 255.

    Raises:
      errors.ImageError: a sample is not in the range.
    """
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    samples = np.asarray(image)
    limit = 1.0 if image.mode == "F" else most
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


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
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


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
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


def put_on(
    colour: Image.Image,
    opacity: Image.Image | None,
    background: Colour | None,
    profile: bytes = b"",
) -> Image.Image:
    """An "L" or "RGB" image with an ICC profile on a colour, by its alpha; "L" may become "RGB".

    Raises:
      errors.ImageError: there is no colour.
    """
    if background is None:
        raise errors.ImageError(
            "is transparent: put it on a colour with --background COLOR, for example "
            "--background white."
        )
    if colour.mode == "L" and len(set(background)) > 1:
        # no profile of grays is one of colours
        colour = to_srgb(colour, profile).convert("RGB")
    fill = background if colour.mode == "RGB" else background[0]
    canvas = Image.new(colour.mode, colour.size, fill)
    canvas.paste(colour, mask=opacity)
    return canvas
