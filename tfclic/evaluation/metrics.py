"""How far a decoded image is from the original."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tfclic.runtime import c_api

if TYPE_CHECKING:
    from tfclic.images import Pixels

# Four halvings, then a window of 11 pixels.
MS_SSIM_MIN_SIDE = 176


@functools.cache
def _tensorflow() -> Any:
    """TensorFlow's Python package, imported when it is first wanted."""
    with c_api.without_remarks():
        import tensorflow
    return tensorflow


def psnr(image: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio over all samples of two images.

    Args:
      image: uint8 array of any shape, 0..255.
      other: uint8 array of the same shape.

    Returns:
      dB; infinite for equal images.
    """
    if image.shape != other.shape:
        raise ValueError(f"The shapes {image.shape} and {other.shape} differ.")
    error = np.mean(np.square(image.astype(np.float64) - other.astype(np.float64)))
    return 10 * math.log10(255**2 / error) if error else math.inf


def ms_ssim(image: Pixels, other: Pixels) -> float | None:
    """Multi-scale structural similarity (Wang et al., 2003), the mean over the channels.

    Args:
      image: uint8 array [H, W, 3] or [H, W], 0..255.
      other: uint8 array of the same shape.

    Returns:
      1 for equal images; None if a side is below 176 pixels, where it is not defined.
    """
    if min(image.shape[:2]) < MS_SSIM_MIN_SIDE:
        return None
    pair = [np.atleast_3d(array).astype(np.float32) for array in (image, other)]
    return float(_tensorflow().image.ssim_multiscale(*pair, max_val=255))


def flip(image: Pixels, other: Pixels) -> float:
    """FLIP (Andersson et al., 2020), the mean over the image of how visible the difference is.

    Of a viewer at 67 pixels per degree, about 0.7 m from a screen with 0.25 mm pixels.

    Args:
      image: uint8 array [H, W, 3], 0..255, sRGB.
      other: uint8 array of the same shape.

    Returns:
      0 for equal images, at most 1.
    """
    import flip_evaluator

    pair = [array.astype(np.float32) / 255 for array in (image, other)]
    return float(flip_evaluator.evaluate(*pair, "LDR", applyMagma=False)[1])


def decibels(similarity: float) -> float:
    """A similarity such as MS-SSIM, 0..1, as `-10 log10(1 - s)` dB; infinite for 1."""
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf
