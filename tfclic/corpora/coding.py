"""What becomes of one image or one file, in the process of a worker.

A coding is small and can be pickled; what it needs for its work, such as the model, is loaded when
it is called for the first time, once per process. Its errors of the class `fatal` concern all
images. All take `(data, name)`, the bytes of an input
and what to call it in errors, and return `(output, facts)`: the bytes of the output and a dict of
what the manifest tells about it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import tfclic
from tfclic import errors, images, runtime
from tfclic.format import alpha, header
from tfclic.runtime import catalog

Result = TypeVar("Result")

Facts = dict[str, Any]

_LOCK = threading.Lock()


def set_up_tensorflow(threads: int) -> None:
    """Makes TensorFlow, not loaded yet, keep quiet and use `threads` (int) for an operation."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)


class Coding(Protocol):
    """What the module describes.

    Attributes:
      suffix: of the outputs, with its dot.
      fatal: errors that concern all images.
    """

    @property
    def suffix(self) -> str: ...

    @property
    def fatal(self) -> type[errors.TfclicError] | tuple[()]: ...

    def output_name(self, name: str) -> str: ...

    def settings(self) -> dict[str, Any]: ...

    def __call__(self, data: bytes, name: str) -> tuple[bytes, Facts]: ...


@functools.cache
def _load(model: str, fingerprint: str) -> runtime.Codec:
    found = catalog.find(model)
    if found.fingerprint != fingerprint:
        raise errors.ModelError(
            f"The model {found} has the fingerprint {found.fingerprint} where the work is done, "
            f"and {fingerprint} where it was asked for."
        )
    return runtime.Codec(found)


@functools.cache
def _library() -> runtime.Library:
    return runtime.Library()


def _once(function: Callable[..., Result], *arguments: Any) -> Result:
    """`function(*arguments)`, in one thread of the process at a time."""
    with _LOCK:
        return function(*arguments)


@dataclasses.dataclass(frozen=True)
class Compression:
    """Image files to `.tfclic` files.

    Attributes:
      model: name or path of the model, wherever the work is done.
      fingerprint: 8 hex digits, which that model must have.
      quality: 0..100.
      effort: 0..9, see `runtime.Codec.compress`.
      tile: pixels, the longest side of a tile.
      background: (red, green, blue), 0..255, for transparent images; None: alpha is kept.
      psnr: whether each file is decoded again to tell its PSNR.
      strip: whether metadata are left out.
      max_pixels: of an image; larger ones are refused.
    """

    model: str
    fingerprint: str
    quality: float = runtime.DEFAULT_QUALITY
    effort: int = runtime.DEFAULT_EFFORT
    tile: int = runtime.DEFAULT_TILE
    background: tuple[int, int, int] | None = None
    psnr: bool = False
    strip: bool = False
    max_pixels: int = header.DEFAULT_MAX_PIXELS

    suffix = ".tfclic"
    fatal = errors.ModelError

    def output_name(self, name: str) -> str:
        """The name of the output of an input's `name`; no two inputs have the same."""
        return name + self.suffix

    def settings(self) -> dict[str, Any]:
        """What the outputs depend on, a dict for JSON; the name of the model is not among it."""
        settings = {
            **dataclasses.asdict(self),
            "background": self.background and list(self.background),
        }
        del settings["model"], settings["max_pixels"]  # outputs are the same
        if self.effort == 0:
            del settings["effort"]  # as of outputs that were made before there were efforts
        if not settings.pop("strip"):
            settings["metadata"] = True  # outputs that were made before have none
        return settings

    def __call__(self, data: bytes, name: str) -> tuple[bytes, Facts]:
        """Returns `(output, facts)`; raises errors.TfclicError if the image is refused."""
        keeps = images.Keeps(metadata=not self.strip, alpha=True)
        photo = images.decode(data, name, self.background, keeps, self.max_pixels)
        codec = _once(_load, self.model, self.fingerprint)
        how: dict[str, Any] = {"effort": self.effort, "tile": self.tile}
        output = codec.compress(photo.pixels, self.quality, **how, metadata=photo.metadata)
        height, width = photo.pixels.shape[:2]
        facts = _facts(height, width, len(output))
        if photo.notes:
            facts["notes"] = list(photo.notes)
        if self.psnr:
            # imported only here: evaluation is more than a corpus needs
            from tfclic.evaluation import metrics

            colours, plane = alpha.split(photo.pixels)  # what was coded, where it is hidden too
            decoded = codec.decompress(output, max_pixels=None)
            psnr = metrics.psnr(colours, decoded[..., :-1] if plane else decoded)
            # JSON has no infinity
            facts["psnr"] = round(psnr, 4) if math.isfinite(psnr) else None
        return output, facts


@dataclasses.dataclass(frozen=True)
class Decompression:
    """`.tfclic` files, of any models that are found, to PNG files.

    Attributes:
      max_pixels: of an image; larger ones are refused.
    """

    max_pixels: int = header.DEFAULT_MAX_PIXELS

    suffix = ".png"
    fatal = ()

    def output_name(self, name: str) -> str:
        """The name of the output of an input's `name`; `.tfclic` at its end is replaced."""
        stem = name[: -len(Compression.suffix)] if name.endswith(Compression.suffix) else name
        return stem + self.suffix

    def settings(self) -> dict[str, Any]:
        """What the outputs depend on, a dict for JSON."""
        return {}

    def __call__(self, data: bytes, name: str) -> tuple[bytes, Facts]:
        """Returns `(output, facts)`; raises errors.TfclicError if the file is refused."""
        try:
            codec = _once(lambda: _library().codec_of(data))
            pixels = codec.decompress(data, max_pixels=self.max_pixels)
        except errors.TfclicError as error:
            raise type(error)(f"{name}: {error}") from error
        height, width = pixels.shape[:2]
        image = images.encode(pixels, self.suffix, tfclic.metadata_of(data))
        return image, _facts(height, width, len(data))


def _facts(height: int, width: int, coded_bytes: int) -> Facts:
    bpp = round(8 * coded_bytes / (height * width), 5)
    return {"width": width, "height": height, "bytes": coded_bytes, "bpp": bpp}
