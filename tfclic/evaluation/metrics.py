"""How far a decoded image is from the original, and one codec's curve from another's."""

import math

import numpy as np

# Four halvings, then a window of 11 pixels.
MS_SSIM_MIN_SIDE = 176


def psnr(image, other):
    """Peak signal-to-noise ratio over all samples of two images.

    Args:
      image: uint8 array of any shape, 0..255.
      other: uint8 array of the same shape.

    Returns:
      float, dB; infinite for equal images.
    """
    if image.shape != other.shape:
        raise ValueError(f"The shapes {image.shape} and {other.shape} differ.")
    error = np.mean(np.square(image.astype(np.float64) - other.astype(np.float64)))
    return 10 * math.log10(255**2 / error) if error else math.inf


def ms_ssim(image, other):
    """Multi-scale structural similarity (Wang et al., 2003), the mean over the channels.

    Args:
      image: uint8 array [H, W, 3] or [H, W], 0..255.
      other: uint8 array of the same shape.

    Returns:
      float, 1 for equal images; None if a side is below 176 pixels, where it is not defined.
    """
    import tensorflow as tf

    if min(image.shape[:2]) < MS_SSIM_MIN_SIDE:
        return None
    pair = [np.atleast_3d(array).astype(np.float32) for array in (image, other)]
    return float(tf.image.ssim_multiscale(*pair, max_val=255))


def bd_rate(anchor, curve):
    """Bjontegaard delta rate of `curve` against `anchor`, over the PSNR range that both cover.

    Piecewise cubic interpolation (pchip) of the logarithm of the rate over the PSNR.

    Args:
      anchor: dict with the lists `bpp` and `psnr-rgb` (dB), one entry per point.
      curve: the same, of the codec that is judged.

    Returns:
      (percent, lowest, highest): the mean difference of the rate at equal PSNR, negative if `curve`
      needs fewer bits, and the PSNR range (dB) it is the mean over. (None, lowest, highest) if the
      curves do not overlap or one of them has fewer than two points.
    """
    import bjontegaard

    (anchor_bpp, anchor_psnr), (bpp, decibels) = _increasing(anchor), _increasing(curve)
    if min(len(anchor_psnr), len(decibels)) < 2:
        return None, math.nan, math.nan
    lowest = max(anchor_psnr[0], decibels[0])
    highest = min(anchor_psnr[-1], decibels[-1])
    if lowest >= highest:
        return None, lowest, highest
    percent = bjontegaard.bd_rate(
        anchor_bpp, anchor_psnr, bpp, decibels,
        method="pchip", require_matching_points=False, min_overlap=0,
    )  # fmt: skip
    return float(percent), lowest, highest


def _increasing(curve):
    """Returns (bpp, PSNR) by rising PSNR: of equal ones the cheapest point, no infinite ones."""
    points = {}
    for bpp, decibels in sorted(zip(curve["bpp"], curve["psnr-rgb"])):
        if decibels is not None and math.isfinite(decibels):
            points.setdefault(decibels, bpp)
    ordered = sorted(points)
    return [points[decibels] for decibels in ordered], ordered
