"""What training minimises: bits per pixel + lambda * distortion."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic import errors

if TYPE_CHECKING:
    from tfclic.models.base import Forward

MS_SSIM_SHORTEST = 176  # five scales of an 11 x 11 window
# What 1 - MS-SSIM is worth as a mean squared error in `mixed`: that of codecs for the latter is
# about so many times the former at all rates, so that each is half of the distortion.
MS_SSIM_AS_MSE = 1600.0


def mse(images: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """Mean squared error on the 0..255 scale, as the papers' lambdas expect it.

    Args:
      images: float32 [B, H, W, 3] in 0..1.
      reconstruction: float32 [B, H, W, 3]; not clipped, so that values out of range feel a
        gradient.

    Returns:
      float32 [B].
    """
    return 255.0**2 * tf.reduce_mean(tf.math.squared_difference(images, reconstruction), [1, 2, 3])


@tf.custom_gradient
def ms_ssim(images: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """1 - MS-SSIM (Wang et al., 2003). Arguments and result as `mse`; sides of at least 176 pixels.

    Where an image and its reconstruction have nothing in common, as at the start of training,
    MS-SSIM is clamped at 0 and its gradient is not finite: there the gradient of the mean squared
    error (on the 0..1 scale) is used.
    """
    with tf.GradientTape() as tape:
        tape.watch(reconstruction)
        value = 1.0 - tf.image.ssim_multiscale(images, reconstruction, max_val=1.0)
    gradient = tape.gradient(value, reconstruction)
    finite = tf.reduce_all(tf.math.is_finite(gradient), [1, 2, 3], keepdims=True)
    size = tf.cast(tf.size(images) // tf.shape(images)[0], tf.float32)
    gradient = tf.where(finite, gradient, 2.0 * (reconstruction - images) / size)

    def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros_like(images), upstream[:, None, None, None] * gradient

    return value, backward


def mixed(images: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """Half the mean squared error, half 1 - MS-SSIM; lambdas are those of the former alone.

    MS-SSIM spends bits where structure is seen, and leaves brightness and colours of large areas
    to chance; the squared error holds these. Arguments and result as `mse`; sides as `ms_ssim`.
    """
    structure = MS_SSIM_AS_MSE * ms_ssim(images, reconstruction)
    return 0.5 * (mse(images, reconstruction) + structure)


Objective = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
OBJECTIVES: dict[str, Objective] = {"mse": mse, "ms_ssim": ms_ssim, "mixed": mixed}
WITH_MS_SSIM = ("ms_ssim", "mixed")


def get(name: str) -> Objective:
    """Returns the objective called `name`; raises errors.UsageError if there is none."""
    if name not in OBJECTIVES:
        known = ", ".join(OBJECTIVES)
        raise errors.UsageError(f"The objective {name!r} is unknown; there are: {known}.")
    return OBJECTIVES[name]


def psnr(images: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio in dB, of the clipped reconstruction; otherwise as `mse`."""
    error = mse(images, tf.clip_by_value(reconstruction, 0.0, 1.0))
    return 10.0 * tf.math.log(255.0**2 / tf.maximum(error, 1e-10)) / tf.math.log(10.0)


def rate_distortion(
    out: Forward, images: tf.Tensor, lmbda: tf.Tensor, distortion: Objective
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The loss of each image, and its parts.

    Args:
      out: the codec's output (`reconstruction` [B, H, W, 3], `bits` [B]).
      images: float32 [B, H, W, 3] in 0..1.
      lmbda: float32 [B].
      distortion: one of the objectives.

    Returns:
      (loss, bpp, error): float32 [B] each; bpp in bits per pixel, loss = bpp + lmbda * error.
    """
    bpp = out.bits / _pixels(images)
    error = distortion(images, out.reconstruction)
    return bpp + lmbda * error, bpp, error


def bpp_of_parts(out: Forward) -> dict[str, tf.Tensor]:
    """Bits per pixel of each part of the codec's output: dict of float32 `[B]`."""
    pixels = _pixels(out.reconstruction)
    return {name: bits / pixels for name, bits in out.parts.items()}


def _pixels(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.shape(images)[1] * tf.shape(images)[2], tf.float32)
