"""The codecs that can be measured, behind one interface: exported models, and those people use."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tfclic import errors
from tfclic.format import header

if TYPE_CHECKING:
    from tfclic.images import Pixels
    from tfclic.runtime import Codec as Runtime


class Codec:
    """What is measured: pixels to a file and back, at some settings.

    Attributes:
      name: fit for file names.
      source: what `load` takes.
      options: tuple, the qualities that `load` got.
      title: for people.
      description: one line: library, version, options.
      identity: measurements of another identity are not this codec's.
      suffix: of its files.
      settings: those to be measured, the smallest files first.
      limits: (first, last), the settings there are, in the same order.
      integral: whether settings are whole numbers.
      objective: what it was trained for, "mse" or "ms-ssim".
      is_shown_by_browsers: whether they show its files.
      is_verifiable: whether its files can be compared with what the encoder knows.
      runtime: what does the work, if so.
      effort: of that, 0..9.
    """

    name: str
    source: str
    title: str
    description: str
    identity: str
    suffix: str
    settings: list[float]
    limits: tuple[float, float]
    runtime: Runtime
    is_verifiable = False
    effort = 0
    options: tuple[float, ...] = ()
    integral = False
    objective: str | None = None
    is_shown_by_browsers = False

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """Returns the file, bytes, of a uint8 array [H, W, 3].

        Raises:
          errors.ImageError: there is none of such an image.
        """
        raise NotImplementedError

    def decode(self, data: bytes) -> Pixels:
        """Returns the uint8 array [H, W, 3] of a file."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _refusing(self, pixels: Pixels) -> Iterator[None]:
        """Makes an errors.ImageError of what a library says of an image, each in its own way."""
        try:
            yield
        except Exception as error:
            height, width = pixels.shape[:2]
            sentence = f"{self.title} cannot hold an image of {width}x{height} pixels: {error}."
            raise errors.ImageError(sentence) from error


class Model(Codec):
    """An exported model of tfclic; the setting is its quality.

    Args:
      source: name, NAME/VERSION or path of the model; with @N after it at effort N.
      qualities: 0..100.

    Raises:
      errors.ModelError: there is no such model, it cannot be loaded, or knows no effort.
      errors.UsageError: there is no such effort.
    """

    is_verifiable = True
    suffix = ".tfclic"
    limits = (0, 100)

    def __init__(self, source: str, qualities: Sequence[float]) -> None:
        from tfclic import runtime

        self.source, self.options = source, tuple(qualities)
        self.settings = sorted(qualities)
        model, self.effort = effort_of(source)
        self.runtime = runtime.load(model)
        found = self.runtime.model
        runtime.check_effort(self.effort, found)
        self.name, self.title = str(found).replace("/", "-"), str(found)
        # pixels may change, and their digest with them, while the fingerprint stays
        self.identity = "+".join(filter(None, (found.fingerprint, found.card.pixels)))
        if self.effort != runtime.DEFAULT_EFFORT:
            self.name += f"-effort-{self.effort}"
            self.title += f", effort {self.effort}"
            self.identity += f"@{self.effort}"
        self.description = f"tfclic {self.title} ({found.fingerprint})"
        self.objective = found.card.training.get("objective")

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        return self.runtime.compress(pixels, setting, effort=self.effort)

    def decode(self, data: bytes) -> Pixels:
        return self.runtime.decompress(data, max_pixels=None)


def effort_of(source: str) -> tuple[str, int]:
    """What a model is found by, and the effort, of MODEL or MODEL@EFFORT."""
    from tfclic import runtime

    model, at, effort = str(source).rpartition("@")
    if at and effort.isdecimal():
        return model, int(effort)
    return source, runtime.DEFAULT_EFFORT


class _PillowCodec(Codec):
    """A format that Pillow writes and reads, all samples of colour kept where the format can."""

    def __init__(
        self,
        name: str,
        title: str,
        form: str,
        suffix: str,
        settings: Sequence[float],
        limits: tuple[float, float],
        **how: Any,
    ) -> None:
        self.source = self.name = name
        self.title, self.suffix = title, suffix
        self.settings, self.limits = list(settings), limits
        self._form, self._save = form, how.pop("save")
        self.integral = how.pop("integral", True)
        self.is_shown_by_browsers = how.pop("is_shown_by_browsers", False)
        library = how.pop("library")()
        if not library:
            raise errors.UsageError(
                f"{title} cannot be measured: this Pillow was built without it, or its package is "
                "missing."
            )
        self.description = self.identity = f"{library}, {how.pop('options')}"

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        from PIL import Image

        with io.BytesIO() as file, self._refusing(pixels):
            Image.fromarray(pixels).save(file, self._form, **self._save(setting))
            return file.getvalue()

    def decode(self, data: bytes) -> Pixels:
        import numpy as np
        from PIL import Image

        from tfclic.images import reading

        # of an image that was let in
        everything = reading.at_most(header.MAX_PIXELS)
        with everything, Image.open(io.BytesIO(data), formats=[self._form]) as image:
            return np.asarray(image.convert("RGB"))


class _JpegXl(Codec):
    """JPEG XL by imagecodecs; the setting is libjxl's distance in just noticeable differences."""

    source = name = "jxl"
    title = "JPEG XL"
    suffix = ".jxl"
    settings = [12.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.0]
    limits = (25.0, 0.1)
    effort = 7

    def __init__(self) -> None:
        try:
            import imagecodecs
        except ImportError as error:
            raise errors.UsageError(
                "JPEG XL cannot be measured: the package imagecodecs is missing."
            ) from error
        self._library = imagecodecs
        version = imagecodecs.jpegxl_version()
        self.description = self.identity = f"{version} (imagecodecs), effort {self.effort}"

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        encode = self._library.jpegxl_encode
        with self._refusing(pixels):
            return bytes(encode(pixels, distance=setting, effort=self.effort, lossless=False))

    def decode(self, data: bytes) -> Pixels:
        return self._library.jpegxl_decode(data)


def _jpeg() -> Codec:
    return _PillowCodec(
        "jpeg", "JPEG", "JPEG", ".jpg", (5, 10, 20, 30, 40, 50, 60, 70, 80, 90), (1, 95),
        save=lambda quality: {"quality": quality, "subsampling": 0, "optimize": True},
        library=lambda: _feature("libjpeg_turbo", "libjpeg-turbo"),
        options="4:4:4, optimized", is_shown_by_browsers=True,
    )  # fmt: skip


def _jpeg2000() -> Codec:
    return _PillowCodec(
        "jpeg2000", "JPEG 2000", "JPEG2000", ".jp2", (192, 120, 80, 48, 32, 24, 16, 10), (1000, 2),
        save=lambda ratio: {
            "quality_mode": "rates", "quality_layers": [ratio], "irreversible": True, "mct": 1,
        },
        library=lambda: _feature("jpg_2000", "OpenJPEG"),
        options="4:4:4, irreversible, one layer", integral=False,
    )  # fmt: skip


def _webp() -> Codec:
    return _PillowCodec(
        "webp", "WebP", "WEBP", ".webp", (1, 10, 30, 50, 65, 75, 85, 95), (0, 100),
        save=lambda quality: {"quality": quality, "method": 6, "use_sharp_yuv": False},
        library=lambda: _feature("webp", "libwebp"),
        options="lossy (4:2:0, it has no other), method 6", is_shown_by_browsers=True,
    )  # fmt: skip


def _avif() -> Codec:
    return _PillowCodec(
        "avif", "AVIF", "AVIF", ".avif", (20, 30, 40, 50, 60, 70, 80, 90), (0, 100),
        save=lambda quality: {"quality": quality, "subsampling": "4:4:4", "speed": 4},
        library=lambda: _feature("avif", "libavif"),
        options="4:4:4, speed 4", is_shown_by_browsers=True,
    )  # fmt: skip


def _heic() -> Codec:
    return _PillowCodec(
        "heic", "HEIC", "HEIF", ".heic", (10, 20, 30, 40, 50, 60, 70, 80), (0, 100),
        save=lambda quality: {"quality": quality, "chroma": 444},
        library=_heif_library, options="x265, 4:4:4",
    )  # fmt: skip


def _feature(name: str, title: str) -> str | None:
    from PIL import features

    version = features.version(name)
    return f"{title} {version} (Pillow)" if version else None


def _heif_library() -> str | None:
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    return f"libheif {pillow_heif.libheif_version()} (pillow-heif)"


_PEERS: dict[str, Callable[[], Codec]] = {
    "jpeg": _jpeg,
    "jpeg2000": _jpeg2000,
    "webp": _webp,
    "avif": _avif,
    "heic": _heic,
    "jxl": _JpegXl,
}
PEERS = tuple(_PEERS)


def load(source: str, qualities: Sequence[float] = ()) -> Codec:
    """Loads a codec.

    Args:
      source: one of `PEERS`, or a model as `Model` takes it.
      qualities: the settings of a model.

    Returns:
      A `Codec`.

    Raises:
      errors.UsageError: a library that it needs is missing.
      errors.ModelError: there is no such model, or it cannot be loaded.
    """
    return _PEERS[source]() if source in _PEERS else Model(source, qualities)
