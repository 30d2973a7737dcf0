"""Convolutions whose kernels are trained by their frequencies."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def fourier_basis(size: int) -> np.ndarray:
    """The orthonormal real Fourier basis, float32 `[size, size]`, frequency by position."""
    n = np.arange(size)
    waves = [np.ones(size) / np.sqrt(2)]
    for k in range(1, size // 2 + 1):
        phase = 2 * np.pi * k * n / size
        waves += [np.cos(phase), np.sin(phase)] if 2 * k < size else [np.cos(phase) / np.sqrt(2)]
    return (np.array(waves) * np.sqrt(2 / size)).astype(np.float32)


class SpectralConv2D(tf.keras.layers.Layer):
    """A convolution whose weights are the real Fourier transform of its kernel: "Sadam".

    Neighbours in a kernel follow from neighbours in images, so that gradients by low frequencies
    are the largest; Adam, which gives every weight steps of its own size, does so here for every
    frequency. Source: Ballé, "Efficient Nonlinear Transforms for Lossy Image Compression", PCS
    2018.

    Args:
      filters: channels of the result.
      kernel_size: height and width.
      strides: by which rows and columns become fewer, or more if it is `transposed`.
      transposed: whether it is a transposed convolution.
      use_bias: whether there is one.
      kernel_initializer: of the kernel.

    `[B, H, W, C] -> [B, H / strides, W / strides, filters]`, or `[B, H * strides, W * strides,
    filters]`
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        transposed: bool = False,
        use_bias: bool = True,
        kernel_initializer: str = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.transposed, self.use_bias = transposed, use_bias
        self.initializer = tf.keras.initializers.get(kernel_initializer)
        basis = fourier_basis(kernel_size)
        self.basis = np.kron(basis, basis)

    def build(self, input_shape: tf.TensorShape) -> None:
        size, ends = self.kernel_size, (int(input_shape[-1]), self.filters)

        def spectrum(shape: tuple[int, ...], dtype: tf.DType | None = None) -> tf.Tensor:
            kernel = tf.reshape(self.initializer([size, size, *ends], dtype), [size**2, -1])
            return tf.reshape(tf.matmul(self.basis, kernel), shape)

        self.spectrum = self.add_weight(
            name="spectrum", shape=(size**2, *ends), initializer=spectrum
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def kernel(self) -> tf.Tensor:
        """The kernel `[size, size, C, filters]`."""
        rows = tf.reshape(self.spectrum, [self.kernel_size**2, -1])
        kernel = tf.matmul(self.basis, rows, transpose_a=True)
        return tf.reshape(kernel, [self.kernel_size] * 2 + self.spectrum.shape[1:])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel, strides = tf.cast(self.kernel(), x.dtype), self.strides
        if self.transposed:
            batch, height, width, _ = tf.unstack(tf.shape(x))
            shape = tf.stack([batch, height * strides, width * strides, self.filters])
            kernel = tf.transpose(kernel, [0, 1, 3, 2])
            y = tf.nn.conv2d_transpose(x, kernel, shape, strides, "SAME")
        else:
            y = tf.nn.conv2d(x, kernel, strides, "SAME")
        return tf.nn.bias_add(y, tf.cast(self.bias, x.dtype)) if self.use_bias else y
