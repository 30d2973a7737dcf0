"""Convolutions over latents that are decoded already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Mask = npt.NDArray[np.bool_]
Activation = Optional[Callable[[tf.Tensor], tf.Tensor]]


def causal_mask(size: int) -> Mask:
    """The positions that precede the centre in raster order.

    Args:
      size: height and width of the kernel, odd.

    Returns:
      bool `[size, size]`, false from the centre on (mask type A of PixelCNN).
    """
    return np.arange(size * size).reshape(size, size) < size * size // 2


def checkerboard_mask(size: int) -> Mask:
    """The positions of the other colour than the centre's, on a checkerboard.

    Args:
      size: height and width of the kernel, odd.

    Returns:
      bool `[size, size]`.
    """
    return np.indices([size, size]).sum(0) % 2 == 1


def window_mask(size: int) -> Mask:
    """A square window of (size + 1) / 2 rows, the last of which ends before the centre.

    Args:
      size: height and width of the kernel, odd. Of 7, the window has 4 rows and 4 columns, from 2
        to the left of the centre to 1 to its right.

    Returns:
      bool `[size, size]`.
    """
    window = (size + 1) // 2
    left = size // 2 - window // 2
    columns = np.arange(size)
    return causal_mask(size) & (left <= columns) & (columns < left + window)


MASKS = {"causal": causal_mask, "checkerboard": checkerboard_mask, "window": window_mask}


class MaskedConv2D(tf.keras.layers.Layer):
    """A convolution that sees only what is decoded before each position.

    With a causal mask that is what precedes it in raster order: the context model of Minnen et al.,
    "Joint Autoregressive and Hierarchical Priors for Learned Image Compression", NeurIPS 2018; the
    mask is type A of van den Oord et al., NIPS 2016. With a checkerboard one it is, for every other
    position, the neighbours of the other colour, and for those nothing: He et al., "Checkerboard
    Context Model for Efficient Learned Image Compression", CVPR 2021. With a window it is a part of
    what precedes, as in Lee et al., "Context-Adaptive Entropy Model for End-to-End Optimized Image
    Compression", ICLR 2019.

    Only the kernel's visible taps exist as weights: `taps` of shape
    `[number of visible positions, C, filters]`, in raster order.

    Args:
      filters: channels of the result.
      kernel_size: height and width, odd.
      mask: of `MASKS`.

    Attributes:
      is_volume: whether latents are coded value by value, and not all channels of a position.

    `[B, H, W, C] -> [B, H, W, filters]`
    """

    is_volume = False

    def __init__(
        self, filters: int, kernel_size: int = 5, mask: str = "causal", name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.filters = filters
        self.kernel_size = kernel_size
        self.mask = MASKS[mask](kernel_size)
        self.anchors_first = mask == "checkerboard"

    def build(self, input_shape: tf.TensorShape) -> None:
        visible, channels = int(self.mask.sum()), int(input_shape[-1])
        limit = np.sqrt(6.0 / (visible * (channels + self.filters)))
        self.taps = self.add_weight(
            name="taps",
            shape=(visible, channels, self.filters),
            initializer=tf.keras.initializers.RandomUniform(-limit, limit),
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.anchors_first:
            x = x * tf.cast(is_anchor(tf.shape(x)[1], tf.shape(x)[2])[:, :, None], x.dtype)
        size, shape = self.kernel_size, self.taps.shape[1:]
        places = np.flatnonzero(self.mask)
        rows = places[-1] // size + 1  # those below are masked altogether
        kernel = tf.scatter_nd(places[:, None], self.taps, [rows * size, *shape])
        kernel = tf.cast(tf.reshape(kernel, [rows, size, *shape]), x.dtype)
        margin = size // 2
        x = tf.pad(x, [[0, 0], [margin, rows - 1 - margin], [margin, margin], [0, 0]])
        return tf.nn.conv2d(x, kernel, 1, "VALID") + tf.cast(self.bias, x.dtype)


def volume_mask(size: int) -> Mask:
    """What precedes a value of a volume, channel by channel and each in raster order.

    Args:
      size: channels, height and width of the kernel, odd.

    Returns:
      bool `[size // 2 + 1, size, size]`: all of the channels before, and of the last one, its own,
      what `causal_mask` shows.
    """
    return np.stack([np.ones([size, size], bool)] * (size // 2) + [causal_mask(size)])


class MaskedConv3D(tf.keras.layers.Layer):
    """A convolution over channels, rows and columns that sees only what is decoded before.

    Latents are a volume of single values here, which have the same kernel whatever their channel:
    the context model of Mentzer et al., "Conditional Probability Models for Deep Image
    Compression", CVPR 2018.

    Only the kernel's visible taps exist as weights: `taps` of shape
    `[number of visible values, 1, filters]`, by channel, row and column.

    Args:
      filters: what is made of each value.
      kernel_size: channels, height and width, odd; of the channels those after are masked.
      activation: of the result.

    `[B, H, W, C] -> [B, H, W, C, filters]`
    """

    is_volume = True

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        activation: Activation = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.filters, self.kernel_size, self.activation = filters, kernel_size, activation
        self.mask = volume_mask(kernel_size)

    def build(self, _: tf.TensorShape) -> None:
        visible = int(self.mask.sum())
        limit = np.sqrt(6.0 / (visible * (1 + self.filters)))
        self.taps = self.add_weight(
            name="taps",
            shape=(visible, 1, self.filters),
            initializer=tf.keras.initializers.RandomUniform(-limit, limit),
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        depth, size, _ = self.mask.shape
        places = np.flatnonzero(self.mask)[:, None]
        kernel = tf.scatter_nd(places, self.taps[:, 0], [self.mask.size, self.filters])
        kernel = tf.reshape(kernel, [depth, size, size, self.filters])
        kernel = tf.cast(tf.transpose(kernel, [1, 2, 0, 3]), x.dtype)
        shape = tf.shape(x)
        # each channel an image, whose channels are those before it and itself
        before = tf.pad(tf.transpose(x, [0, 3, 1, 2]), [[0, 0], [depth - 1, 0], [0, 0], [0, 0]])
        images = tf.stack([before[:, i : i + shape[3]] for i in range(depth)], -1)
        images = tf.reshape(images, [shape[0] * shape[3], shape[1], shape[2], depth])
        y = tf.nn.conv2d(images, kernel, 1, "SAME") + tf.cast(self.bias, x.dtype)
        y = y if self.activation is None else self.activation(y)
        y = tf.reshape(y, [shape[0], x.shape[3], shape[1], shape[2], self.filters])
        return tf.transpose(y, [0, 2, 3, 1, 4])


def is_anchor(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Which positions of a checkerboard are decoded first, bool `[height, width]`."""
    return (tf.range(height)[:, None] + tf.range(width)) % 2 == 0
