"""Measures a codec on images, from real files, and checks that files and estimates agree."""

import math
import time
from typing import NamedTuple

import numpy as np

from tfclic.evaluation import metrics

# What an exported model has to keep to.
SIZE_TOLERANCE = 0.01
SIZE_ALLOWANCE_BYTES = 24
PSNR_TOLERANCE_DB = 0.01


class Measurement(NamedTuple):
    """One image at one setting.

    Attributes:
      bpp: float, bits of the file per pixel.
      psnr: float, dB.
      ms_ssim: float, or None for small images.
      flip: float, mean FLIP error, 0 (equal) to 1.
      encoding_time: float, seconds.
      decoding_time: float, seconds.
    """

    bpp: float
    psnr: float
    ms_ssim: float
    flip: float
    encoding_time: float
    decoding_time: float


class Verification(NamedTuple):
    """What a file and its encoder say about the same image at one quality.

    Attributes:
      latents_differ: int, how many decoded latents are not the encoder's.
      file_bytes: int, size of the file.
      estimated_bytes: float, the model's own estimate.
      psnr_difference: float, dB, of the decoded file's and the encoder-side PSNR.
    """

    latents_differ: int
    file_bytes: int
    estimated_bytes: float
    psnr_difference: float

    @property
    def size_excess(self):
        """How far the size is from the estimate, in units of what is tolerated (1: just so)."""
        tolerated = SIZE_TOLERANCE * self.estimated_bytes + SIZE_ALLOWANCE_BYTES
        return abs(self.file_bytes - self.estimated_bytes) / tolerated

    @property
    def size_agrees(self):
        """Whether the size is what the model estimates."""
        return self.size_excess <= 1

    @property
    def psnr_agrees(self):
        """Whether the file's PSNR is the encoder's."""
        return self.psnr_difference <= PSNR_TOLERANCE_DB

    @property
    def passed(self):
        """Whether all three agree."""
        return not self.latents_differ and self.size_agrees and self.psnr_agrees


def measure(codec, pixels, setting):
    """Compresses and decompresses an image.

    Args:
      codec: a `tfclic.evaluation.codecs.Codec`.
      pixels: uint8 array [H, W, 3] or [H, W], 0..255.
      setting: number, one of the codec's.

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
    )
    return measured, data


def as_colour(pixels):
    """`pixels` `[H, W]`, `[H, W, 1]` or `[H, W, 3]` as `[H, W, 3]`: some codecs know no gray."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return np.broadcast_to(pixels, [*pixels.shape[:2], 3])


def verify(codec, pixels, quality):
    """Compares a file of `codec` with what its encoder knew.

    Args:
      codec: a `tfclic.runtime.Codec`.
      pixels: uint8 array [H, W, 3] or [H, W], 0..255; grayscale is taken as colour.
      quality: float, 0..100.

    Returns:
      A `Verification`.
    """
    pixels = as_colour(pixels)
    encoder = codec.evaluate(pixels, quality)
    latents = codec.decode_latents(encoder["file"])
    expected = encoder["latents"]
    same_shape = latents.shape == expected.shape
    of_file = metrics.psnr(pixels, codec.decompress(encoder["file"]))
    of_encoder = metrics.psnr(pixels, encoder["reconstruction"])
    return Verification(
        latents_differ=int(np.sum(latents != expected)) if same_shape else expected.size,
        file_bytes=len(encoder["file"]),
        estimated_bytes=encoder["estimated_bits"] / 8,
        # Infinity less infinity is no number.
        psnr_difference=0.0 if of_file == of_encoder else abs(of_file - of_encoder),
    )


def average(measurements):
    """Returns the `Measurement` of means (PSNR in dB) over a list of them; None if none has one."""

    def mean(values):
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known else None

    return Measurement(*(mean(values) for values in zip(*measurements)))
