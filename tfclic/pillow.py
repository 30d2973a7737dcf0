"""A plug-in that makes Pillow read and write `.tfclic` files.

    import tfclic.pillow
    from PIL import Image

    image = Image.open("photo.tfclic")  # size, mode and metadata; pixels when they are asked for
    image.save("smaller.tfclic", quality=30)

Importing this module is enough; Pillow has no other way to find plug-ins. Neither that nor opening
a file loads TensorFlow. As with Pillow's own formats `info` has `icc_profile`, `exif` and `xmp`; of
these `save` takes over the profile by itself, the others if they are given.

Arguments of `save`:

| | |
|---|---|
| `quality` | 0 (smallest) to 100 (best), 50 if nothing else is said; or an array of such numbers |
| `areas` | parts with a quality of their own, a list of `runtime.Area` |
| `file_bytes`, `bpp`, `psnr` | a target instead: bytes, bits per pixel or dB |
| `effort` | 0 (fast) to 9 (smallest) |
| `tile` | longest side of a tile, pixels |
| `model` | name or path of the model that writes |
| `icc_profile`, `exif`, `xmp` | bytes; `exif` may be an `Image.Exif`, `xmp` a str |

`thumbnail` and `draft` decode as little as a thumbnail needs, as they do with JPEG: a quarter, an
eighth or a sixteenth of each side.

All modes are saved: 1, L, LA and those of more bits as grayscale, with 8 bits; others as colour;
with alpha if there is any. Files of more than twice `Image.MAX_IMAGE_PIXELS` are refused when they
are opened, as Pillow does with all formats. What is out of range raises ValueError; what cannot be
read, also for want of its model, OSError.
"""

from __future__ import annotations

import functools
import io
import os
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from tfclic import errors, images, metadata, runtime
from tfclic.format import header, picture
from tfclic.format.picture import Metadata

FORMAT = "TFCLIC"
EXTENSION = ".tfclic"
MIME_TYPE = "image/x-tfclic"
_DRAFTS = 4, 8, 16  # 1/2 takes as long as all
_ARGUMENTS = ("quality", "areas", "file_bytes", "bpp", "psnr", "effort", "tile")


class TfclicImageFile(ImageFile.ImageFile):
    """A `.tfclic` file that was opened; its model is looked for when pixels are asked for."""

    format = FORMAT
    format_description = "tfclic, learned image compression"

    def _open(self) -> None:
        assert self.fp is not None
        self._data: bytes = self.fp.read()
        try:
            whole = picture.parse(self._data)
            head = header.parse(whole.image)
        except errors.FileFormatError as error:
            # not SyntaxError, which would hide the reason
            raise UnidentifiedImageError(str(error)) from error
        self._size = head.width, head.height
        self._mode = ("L" if head.grayscale else "RGB") + ("A" if whole.alpha else "")
        exif = metadata.with_start(whole.metadata.exif)
        found = whole.metadata._replace(exif=exif)._asdict()
        self.info.update({name: content for name, content in found.items() if content})
        self.tile = [self._whole_tile()]
        self._reduction = 1

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Has a smaller image decoded, not below a size, where that is faster: 1/4, 1/8 or 1/16.

        See `Image.draft`; the mode stays.
        """
        if not (self.tile and size) or self._reduction > 1:
            return None
        width, height = self._size
        most = min(width // max(size[0], 1), height // max(size[1], 1))
        self._reduction = max(by for by in (1, *_DRAFTS) if by <= max(most, 1))
        self._size = -(-width // self._reduction), -(-height // self._reduction)
        self.tile = [self._whole_tile()]
        return self.mode, (0, 0, width / self._reduction, height / self._reduction)

    def load(self) -> Any:
        """Decodes the file, if that was not done before."""
        if self.tile:
            pixels = _decoded(self._data, 1 / self._reduction)
            if self.fp and self._exclusive_fp:
                self.fp.close()
            self.fp, self._data = io.BytesIO(pixels.tobytes()), b""
            self.tile = [self._whole_tile()]
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Pixels are at hand, at the beginning."""

    def _whole_tile(self) -> ImageFile._Tile:
        return ImageFile._Tile("raw", (0, 0, *self._size), 0, self._mode)


@functools.cache
def _library() -> runtime.Library:
    _quiet_tensorflow()
    return runtime.Library()


@functools.lru_cache(maxsize=1)
def _codec(model: str) -> runtime.Codec:
    _quiet_tensorflow()
    return runtime.load(model)


def _quiet_tensorflow() -> None:
    """Its remarks are not for whoever opens an image; the variable is read when it is loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _decoded(data: bytes, scale: float) -> np.ndarray:
    try:
        # Pillow has judged the size when the file was opened, by Image.MAX_IMAGE_PIXELS
        return _library().codec_of(data).decompress(data, max_pixels=None, scale=scale)
    except errors.TfclicError as error:
        raise OSError(str(error)) from error


def _accept(prefix: bytes) -> bool:
    return prefix[: len(header.MAGIC)] == header.MAGIC and len(prefix) >= header.START


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    given: dict[str, Any] = image.encoderinfo
    arguments = {name: given[name] for name in _ARGUMENTS if given.get(name) is not None}
    try:
        pixels = images.pixels_of(image)
        kept = _metadata(image, given, "RGB" if pixels.shape[2:] in ((3,), (4,)) else "L")
        codec = _codec(given.get("model", runtime.DEFAULT_MODEL))
        data = codec.compress(pixels, **arguments, metadata=kept)
    except errors.ModelError as error:
        raise OSError(str(error)) from error
    except errors.TfclicError as error:
        raise ValueError(str(error)) from error
    file.write(data)


def _metadata(image: Image.Image, given: dict[str, Any], mode: str) -> Metadata:
    """What the arguments of `save` and the image say; the pixels are of `mode`, RGB or L."""
    profile = given.get("icc_profile", image.info.get("icc_profile")) or b""
    if not metadata.describes(profile, mode):
        if given.get("icc_profile"):
            raise ValueError(f"icc_profile is not a profile of {mode} images")
        profile = b""
    exif, xmp = given.get("exif") or b"", given.get("xmp") or b""
    if isinstance(exif, Image.Exif):
        exif = exif.tobytes()
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return Metadata(profile, metadata.without_start(exif), xmp)


Image.register_open(FORMAT, TfclicImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, EXTENSION)
Image.register_mime(FORMAT, MIME_TYPE)
