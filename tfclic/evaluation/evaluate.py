"""Measures a codec on images, from real files, and checks that files and estimates agree."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfclic.evaluation import metrics, perceptual

if TYPE_CHECKING:
    from tfclic import runtime
    from tfclic.evaluation.codecs import Codec
    from tfclic.images import Pixels

# What an exported model has to keep to.
SIZE_TOLERANCE = 0.01
SIZE_ALLOWANCE_BYTES = 24
PSNR_TOLERANCE_DB = 0.01


class Measurement(NamedTuple):
    """One image at one setting.

    Attributes:
      bpp: bits of the file per pixel.
      psnr: dB.
      ms_ssim: None for small images.
      flip: mean FLIP error, 0 (equal) to 1.
      encoding_time: seconds.
      decoding_time: seconds.
      more: what others of `perceptual.KNOWN` say, by name; None where they are not defined.
    """

    bpp: float
    psnr: float
    ms_ssim: float | None
    flip: float
    encoding_time: float
    decoding_time: float
    more: Mapping[str, float | None] = {}


class Verification(NamedTuple):
    """What a file and its encoder say about the same image at one quality.

    Attributes:
      latents_differ: how many decoded latents are not the encoder's.
      file_bytes: size of the file.
      estimated_bytes: the model's own estimate.
      psnr_difference: dB, of the decoded file's and the encoder-side PSNR.
    """

    latents_differ: int
    file_bytes: int
    estimated_bytes: float
    psnr_difference: float

    @property
    def size_excess(self) -> float:
        """How far the size is from the estimate, in units of what is tolerated (1: just so)."""
        tolerated = SIZE_TOLERANCE * self.estimated_bytes + SIZE_ALLOWANCE_BYTES
        return abs(self.file_bytes - self.estimated_bytes) / tolerated

    @property
    def size_agrees(self) -> bool:
        """Whether the size is what the model estimates."""
        return self.size_excess <= 1

    @property
    def psnr_agrees(self) -> bool:
        """Whether the file's PSNR is the encoder's."""
        return self.psnr_difference <= PSNR_TOLERANCE_DB

    @property
    def passed(self) -> bool:
        """Whether all three agree."""
        return not self.latents_differ and self.size_agrees and self.psnr_agrees


def measure(
    codec: Codec, pixels: Pixels, setting: float, more: Iterable[str] = ()
) -> tuple[Measurement, bytes]:
    """Compresses and decompresses an image.

    Args:
      codec: a `tfclic.evaluation.codecs.Codec`.
      pixels: uint8 array [H, W, 3] or [H, W], 0..255.
      setting: one of the codec's.
      more: names of `perceptual.KNOWN`, to be measured as well.

    Returns:
      (`Measurement`, the file as bytes).
    """
    started = time.perf_counter()
    data = codec.encode(pixels, setting)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    ended = time.perf_counter()
    pair = as_colour(pixels), as_colour(decoded)
    measured = Measurement(
        bpp=8 * len(data) / (pixels.shape[0] * pixels.shape[1]),
        psnr=metrics.psnr(*pair),
        ms_ssim=metrics.ms_ssim(*pair),
        flip=metrics.flip(*pair),
        encoding_time=encoded - started,
        decoding_time=ended - encoded,
        more=perceptual.measured(more, *pair),
    )
    return measured, data


def as_colour(pixels: Pixels) -> Pixels:
    """`pixels` `[H, W]`, `[H, W, 1]` or `[H, W, 3]` as `[H, W, 3]`: some codecs know no gray."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return np.broadcast_to(pixels, [*pixels.shape[:2], 3])


def verify(codec: runtime.Codec, pixels: Pixels, quality: float, effort: int = 0) -> Verification:
    """Compares a file of `codec` with what its encoder knew.

    Args:
      codec: a `tfclic.runtime.Codec`.
      pixels: uint8 array [H, W, 3] or [H, W], 0..255; grayscale is taken as colour.
      quality: 0..100.
      effort: 0..9.

    Returns:
      A `Verification`.
    """
    pixels = as_colour(pixels)
    encoder = codec.evaluate(pixels, quality, effort=effort)
    latents = codec.decode_latents(encoder["file"])
    expected = encoder["latents"]
    same_shape = latents.shape == expected.shape
    of_file = metrics.psnr(pixels, codec.decompress(encoder["file"], max_pixels=None))
    of_encoder = metrics.psnr(pixels, encoder["reconstruction"])
    return Verification(
        latents_differ=int(np.sum(latents != expected)) if same_shape else expected.size,
        file_bytes=len(encoder["file"]),
        estimated_bytes=encoder["estimated_bits"] / 8,
        # Infinity less infinity is no number.
        psnr_difference=0.0 if of_file == of_encoder else abs(of_file - of_encoder),
    )


def average(measurements: Iterable[Measurement]) -> Measurement:
    """Returns the `Measurement` of means (PSNR in dB) over a list of them; None if none has one."""

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known else None

    *columns, more = zip(*measurements)
    names = dict.fromkeys(name for each in more for name in each)
    others = {name: mean(each.get(name) for each in more) for name in names}
    return Measurement._make([*map(mean, columns), others])
