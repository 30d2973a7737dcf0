"""What layers of a synthesis are, and their kernels in integers whose sums are exact in float32."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from tfclic import layers
from tfclic.exact import fixed_point
from tfclic.exact.exact_sums import BYTE, EXACT_FLOAT32
from tfclic.exact.rounding import KERNEL_LIMIT

if TYPE_CHECKING:
    from tfclic.layers.composite import Elementwise

BIAS = 1 << 22  # the largest bias in units of sums


class Linear(NamedTuple):
    """A layer that is linear but for a (leaky) ReLU.

    Attributes:
      kernel: float64 `[size, size, C, M]`.
      bias: float64 `[M]`.
      slope: of the leaky ReLU; 1 for none.
      factor: of the depth-to-space that follows.
      is_depthwise: whether each column sees one channel, its own; C is 1 then.
    """

    kernel: np.ndarray
    bias: np.ndarray
    slope: float = 1.0
    factor: int = 1
    is_depthwise: bool = False


@functools.singledispatch
def linear(layer: tf.keras.layers.Layer) -> Linear:
    """What a layer is, a `Linear`.

    Raises:
      ValueError: it has no exact form; says why.
    """
    raise ValueError(f"{type(layer).__name__} has no exact form")


@linear.register(tf.keras.layers.DepthwiseConv2D)
@linear.register(tf.keras.layers.Conv2D)
def _(layer: tf.keras.layers.Conv2D | tf.keras.layers.DepthwiseConv2D) -> Linear:
    strided = {*layer.strides, *layer.dilation_rate, layer.groups} != {1}
    if strided or (layer.padding != "same" and layer.kernel_size != (1, 1)):
        raise ValueError("a convolution with strides, dilation, groups or no padding")
    is_depthwise = isinstance(layer, tf.keras.layers.DepthwiseConv2D)
    if is_depthwise and layer.depth_multiplier != 1:
        raise ValueError("a depthwise convolution with several results for a channel")
    weights = layer.depthwise_kernel if is_depthwise else layer.kernel
    kernel = np.asarray(weights, np.float64)
    kernel = kernel.transpose(0, 1, 3, 2) if is_depthwise else kernel
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(kernel.shape[-1])
    is_linear = layer.activation in (None, tf.keras.activations.linear)
    slope = 1.0 if is_linear else slope_of(layer.activation)
    return Linear(kernel, bias, slope, is_depthwise=is_depthwise)


@linear.register(layers.SubpixelConv2D)
def _(layer: layers.SubpixelConv2D) -> Linear:
    return linear(layer.conv)._replace(factor=layer.factor)


@linear.register(layers.BlockSynthesis)
def _(layer: layers.BlockSynthesis) -> Linear:
    kernel = np.asarray(layer.kernel, np.float64)[None, None]
    return Linear(kernel, np.zeros(kernel.shape[-1]), factor=layer.size)


def slope_of(activation: Elementwise) -> float:
    """The slope below 0 of a (leaky) ReLU."""
    with tf.init_scope():
        return fixed_point.slope_of(activation)


class Kernel(NamedTuple):
    """A kernel in integers: about `sum(parts[i] * units[i])`.

    Attributes:
      parts: list of int8-like float64 `[size, size, C, M]`.
      units: list of float64 `[M]`.
      bias: float64 `[M]`, integers of the unit; where there are several parts, not rounded.
      limits: list of floats, the largest magnitude of a sum, with the bias.
    """

    parts: list[np.ndarray]
    units: list[np.ndarray]
    bias: np.ndarray
    limits: list[float]


def rounded(kernel: np.ndarray, bias: np.ndarray, largest: int, in_halves: bool) -> Kernel:
    """Rounds a kernel so that sums are exact in float32.

    Args:
      kernel: float64 `[size, size, C, M]`, for integers.
      bias: float64 `[M]`.
      largest: their largest magnitude.
      in_halves: whether the kernel gets 16 bits, in two parts, instead of 8, if sums stay exact.
    """
    columns = kernel.reshape(-1, kernel.shape[-1])
    peak = np.abs(columns).max(0)
    if in_halves:
        unit = np.where(peak > 0, peak, 1.0) / (KERNEL_LIMIT * BYTE)
        whole = np.round(kernel / unit)
        high = np.floor((whole + BYTE // 2) / BYTE)
        parts, units = [high, whole - BYTE * high], [unit * BYTE, unit]
        limits = [float(_magnitudes(part).max() * largest) for part in parts]
        if max(limits) < EXACT_FLOAT32:
            return Kernel(parts, units, bias, limits)
    unit = np.maximum(peak / KERNEL_LIMIT, np.abs(bias) / BIAS)
    unit = np.where(unit > 0, unit, 1.0)
    while True:
        part, counted = np.round(kernel / unit), np.round(bias / unit)
        totals = _magnitudes(part) * largest + np.abs(counted)
        if totals.max() < EXACT_FLOAT32:
            return Kernel([part], [unit], counted, [float(totals.max())])
        # the few columns that are too long get shorter integers
        unit = np.where(totals < EXACT_FLOAT32, unit, unit * 1.01 * totals / EXACT_FLOAT32)


def _magnitudes(part: np.ndarray) -> np.ndarray:
    return np.abs(part).reshape(-1, part.shape[-1]).sum(0)


def convolved(x: tf.Tensor, kernel: tf.Tensor, is_depthwise: bool = False) -> tf.Tensor:
    """Zero-padded convolution, as a product of matrices where the kernel sees one position."""
    if is_depthwise:
        kernel = tf.transpose(kernel, [0, 1, 3, 2])
        return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")
    if kernel.shape[:2] != (1, 1):
        return tf.nn.conv2d(x, kernel, 1, "SAME")
    rows = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel[0, 0])
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [kernel.shape[-1]]], 0))
