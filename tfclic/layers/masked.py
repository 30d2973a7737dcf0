"""Causal convolution over already decoded latents."""

import numpy as np
import tensorflow as tf


def causal_mask(size):
    """The positions that precede the centre in raster order.

    Args:
      size: height and width of the kernel, odd.

    Returns:
      bool `[size, size]`, false from the centre on (mask type A of PixelCNN).
    """
    return np.arange(size * size).reshape(size, size) < size * size // 2


class MaskedConv2D(tf.keras.layers.Layer):
    """A convolution that sees only what precedes each position in raster order.

    The context model of Minnen et al., "Joint Autoregressive and Hierarchical Priors for Learned
    Image Compression", NeurIPS 2018; the mask is type A of van den Oord et al., NIPS 2016.

    Only the kernel's visible taps exist as weights: `taps` of shape
    `[number of visible positions, C, filters]`, in raster order.

    `[B, H, W, C] -> [B, H, W, filters]`
    """

    def __init__(self, filters, kernel_size=5, name=None):
        super().__init__(name=name)
        self.filters = filters
        self.kernel_size = kernel_size
        self.mask = causal_mask(kernel_size)

    def build(self, input_shape):
        visible, channels = int(self.mask.sum()), int(input_shape[-1])
        limit = np.sqrt(6.0 / (visible * (channels + self.filters)))
        self.taps = self.add_weight(
            name="taps",
            shape=(visible, channels, self.filters),
            initializer=tf.keras.initializers.RandomUniform(-limit, limit),
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x):
        rows = self.kernel_size // 2 + 1  # the rows below the centre are masked altogether
        blank = rows * self.kernel_size - self.taps.shape[0]
        kernel = tf.pad(self.taps, [[0, blank], [0, 0], [0, 0]])
        kernel = tf.reshape(kernel, [rows, self.kernel_size, *self.taps.shape[1:]])
        margin = self.kernel_size // 2
        x = tf.pad(x, [[0, 0], [margin, 0], [margin, margin], [0, 0]])
        return tf.nn.conv2d(x, tf.cast(kernel, x.dtype), 1, "VALID") + tf.cast(self.bias, x.dtype)
