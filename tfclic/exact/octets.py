"""Integers of 8 bits, and products of them by an operation that many processors are fast at.

The operation, `QuantizedConv2DWithBias`, is one of stock TensorFlow's, and oneDNN's work. Its sums
are exact on processors that add products of bytes in 32 bits, such as those with VNNI; elsewhere it
saturates, or does not exist. `sound` tells. What it computes are the same integers that a
convolution in float32 gives, as long as these are below 2^24. It takes unsigned bytes alone, so
that integers have an offset here, and kernels have to be constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, tensor_pb2, types_pb2

from tfclic.exact.rounding import KERNEL_LIMIT

RANGE = 255  # of a byte
LEAST = -128  # of a byte with a sign
# Of how large values get, with room, what bytes go up to: what is clipped, seldom, costs less than
# coarser steps do everywhere.
SHARE = 0.7
WORD = 8  # bytes that are moved as one number


class Form(NamedTuple):
    """Which integers a layer takes.

    Attributes:
      least, largest: int, their limits.
      offset: int, what is added to them to get bytes.
    """

    least: int
    largest: int
    offset: int


SIGNED, UNSIGNED = Form(-127, 127, 128), Form(0, RANGE, 0)


def rounded(tensor: tf.Tensor, form: Form, size: float | None = None) -> tf.Tensor:
    """Floats `[..., C]`, rounded and clipped: uint8, plus the offset of the form.

    Args:
      tensor: float32.
      form: `SIGNED` or `UNSIGNED`.
      size: what the largest integer stands for; None: itself, and the result is exact.
    """
    is_signed, size = form is SIGNED, float(form.largest) if size is None else size
    found = tf.raw_ops.QuantizeV2(
        input=tensor,
        min_range=-size if is_signed else 0.0,
        max_range=size,
        T=tf.qint8 if is_signed else tf.quint8,
        mode="SCALED",
        round_mode="HALF_TO_EVEN",
        narrow_range=is_signed,  # without it oneDNN has another scale
    )
    if not is_signed:
        return tf.bitcast(found.output, tf.uint8)
    return with_offset(tf.bitcast(found.output, tf.int8))


def snapped(times: np.ndarray, form: Form) -> np.ndarray:
    """Factors of sums `[M]` near those that are given, float64, by which `scaled` is exact.

    However its own factors are computed, in the order that a release of TensorFlow has: they are
    products of 16 bits, a power of two and what is at most a byte.
    """
    unit = times / form.largest
    power = np.exp2(15 - np.floor(np.log2(np.maximum(unit, 1e-30))))
    return np.round(unit * power) / power * form.largest


def scaled(sums: tf.Tensor, times: np.ndarray, form: Form) -> tf.Tensor:
    """Sums, each times a factor, rounded and clipped, in one pass.

    Args:
      sums: int32 `[..., M]`, within 2^24.
      times: float64 `[M]`, `snapped`.
      form: `SIGNED` or `UNSIGNED`.

    Returns:
      int8 within `LEAST`..127, or uint8, without the offset of the form.
    """
    ends = tf.constant(times / form.largest * 2.0**31, tf.float32)
    is_signed = form is SIGNED
    found = tf.raw_ops.RequantizePerChannel(
        input=tf.bitcast(sums, tf.qint32),
        input_min=-ends,
        input_max=ends,
        requested_output_min=-1.0 if is_signed else 0.0,
        requested_output_max=1.0,
        out_type=tf.qint8 if is_signed else tf.quint8,
    )
    return tf.bitcast(found.output, tf.int8 if is_signed else tf.uint8)


def with_offset(values: tf.Tensor) -> tf.Tensor:
    """int8 as uint8, plus the offset of `SIGNED`."""
    return _moved(tf.bitcast(values, tf.uint8))


def without_offset(values: tf.Tensor) -> tf.Tensor:
    """The way back."""
    return tf.bitcast(_moved(values), tf.int8)


def _moved(values: tf.Tensor) -> tf.Tensor:
    words = _words(values)
    # the same as adding the offset, of so many bits, or taking it away
    return _unpacked(tf.bitwise.bitwise_xor(words, _repeated(SIGNED.offset, words.dtype)), values)


def convolved(
    x: tf.Tensor, kernel: np.ndarray, bias: np.ndarray, form: Form, strides: int = 1
) -> tf.Tensor:
    """Convolution of bytes, beyond whose edges there are zeros.

    Args:
      x: uint8 `[B, h, w, C]`, as `rounded` gives it; h and w are multiples of the strides.
      kernel: integers `[size, size, C, M]` within +-127.
      bias: integers `[M]`.
      form: of x.
      strides: int.

    Returns:
      int32 `[B, h / strides, w / strides, M]`, exact sums.
    """
    bias = bias - form.offset * np.asarray(kernel, np.float64).sum((0, 1, 2))
    missing = max(kernel.shape[0] - strides, 0)
    if form.offset and missing:
        around = [missing // 2, missing - missing // 2]
        words = _words(x)
        fill = _repeated(form.offset, words.dtype)
        x = _unpacked(tf.pad(words, [[0, 0], around, around, [0, 0]], constant_values=fill), x)
    found = tf.raw_ops.QuantizedConv2DWithBias(
        input=tf.bitcast(x, tf.quint8),
        filter=_constant(kernel),
        bias=tf.constant(bias, tf.float32),
        # so that the bias has a factor of 1
        min_input=0.0,
        max_input=float(RANGE),
        min_filter=-float(KERNEL_LIMIT),
        max_filter=float(KERNEL_LIMIT),
        strides=[1, strides, strides, 1],
        padding="VALID" if form.offset else "SAME",
        out_type=tf.qint32,
    )
    return tf.bitcast(found.output, tf.int32)


def depth_to_space(x: tf.Tensor, factor: int) -> tf.Tensor:
    """`tf.nn.depth_to_space` of bytes or floats, several at once where channels allow it."""
    if factor == 1:
        return x
    if x.shape[-1] // factor**2 * x.dtype.size % WORD:
        return tf.nn.depth_to_space(x, factor)
    return _unpacked(tf.nn.depth_to_space(_words(x), factor), x)


def sound() -> tf.Tensor:
    """Whether the operations above give what they have to, bool; an error if they do not exist."""
    return tf.reduce_all(tf.stack([each for form in (SIGNED, UNSIGNED) for each in _checks(form)]))


def _checks(form: Form) -> Iterator[tf.Tensor]:
    random = np.random.default_rng(0)
    size, channels = 8, 32
    bias = random.integers(-(1 << 20), 1 << 20, channels)
    times = snapped(random.uniform(1e-4, 1e-3, channels), form)
    least, most = (LEAST, form.largest) if form is SIGNED else form[:2]
    for kernel_size in (1, 3):
        for is_random in (True, False):
            values = random.integers(form.least, form.largest + 1, [1, size, size, channels])
            kernel = random.integers(-127, 128, [kernel_size, kernel_size, channels, channels])
            if not is_random:
                # pairs of products that leave 16 bits, and the largest sums of all
                values = np.where(values > 0, form.largest, form.least)
                kernel[..., ::2], kernel[..., 1::2] = KERNEL_LIMIT, -KERNEL_LIMIT
            floats = tf.constant(values, tf.float32), tf.constant(kernel, tf.float32)
            sums = convolved(rounded(floats[0], form), kernel, bias, form)
            want = tf.nn.bias_add(tf.nn.conv2d(*floats, 1, "SAME"), tf.constant(bias, tf.float32))
            yield _same(sums, want)
            want = tf.round(want * tf.constant(times, tf.float32))
            yield _same(scaled(sums, times, form), tf.clip_by_value(want, least, most))
    given = tf.constant(np.arange(-1200, 1200).reshape(1, 1, 1, -1) / 4, tf.float32)
    want = tf.clip_by_value(tf.round(given), form.least, form.largest)
    yield _same(rounded(given, form), want + form.offset)


def _same(found: tf.Tensor, want: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.equal(tf.cast(found, tf.float32), want))


def _words(x: tf.Tensor) -> tf.Tensor:
    """What makes up `WORD` bytes each as int64 `[..., n]`, if channels `[..., C]` allow it."""
    packed = WORD // x.dtype.size
    if x.shape[-1] % packed:
        return x
    shape = tf.concat([tf.shape(x)[:-1], [x.shape[-1] // packed, packed]], 0)
    words = tf.bitcast(tf.reshape(x, shape), tf.int64)
    return tf.ensure_shape(words, [*x.shape[:-1], x.shape[-1] // packed])


def _unpacked(words: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """The way back, to the type that a tensor has."""
    if words.dtype == like.dtype:
        return words
    found = tf.bitcast(words, like.dtype)
    channels = words.shape[-1] * (WORD // like.dtype.size)
    found = tf.reshape(found, tf.concat([tf.shape(found)[:-2], [channels]], 0))
    return tf.ensure_shape(found, [*words.shape[:-1], channels])


def _repeated(byte: int, dtype: tf.DType) -> tf.Tensor:
    """The number that consists of that byte alone."""
    return tf.constant(np.full(dtype.size, byte, np.uint8).view(dtype.as_numpy_dtype)[0])


def _constant(kernel: np.ndarray) -> tf.Tensor:
    """Integers within +-127 as qint8, which TensorFlow makes of no NumPy array."""
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_QINT8,
        tensor_shape=tf.TensorShape(kernel.shape).as_proto(),
        tensor_content=np.asarray(kernel, np.int8).tobytes(),
    )
    attributes = {
        "value": attr_value_pb2.AttrValue(tensor=tensor),
        "dtype": attr_value_pb2.AttrValue(type=types_pb2.DT_QINT8),
    }
    graph = tf.compat.v1.get_default_graph()
    return graph.create_op("Const", [], [tf.qint8], attrs=attributes).outputs[0]
