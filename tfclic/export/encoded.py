"""Encoded images, inside of the graph: refused by what their headers say, or decoded.

TensorFlow's `decode_image` reads PNG, JPEG, GIF (the first frame) and BMP. It knows neither the
orientation in EXIF nor colour profiles, which are ignored, and cuts 16 bits to the upper 8.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from tfclic.format.served import GOOD
from tfclic.places import CALLED

MAX_PIXELS = 1 << 26
NOT_AN_IMAGE = "It is not a PNG, JPEG, GIF or BMP image."
TOO_LARGE = f"It has more than {MAX_PIXELS:,} pixels."
DAMAGED = "It is damaged: it cannot be decoded."
TRANSPARENT = (
    f"It is transparent, and a model alone codes no alpha; {CALLED}serve and {CALLED}compress do, "
    "the latter with any --server."
)

_PNG, _JPEG, _GIF, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM"
_HEAD = 26  # bytes, in which all but JPEG tell their size


def decoded(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image; never fails.

    Args:
      data: string, its file.

    Returns:
      `(image, status)`: uint8 `[H, W, 3]` or, of a grayscale image, `[H, W, 1]`; and GOOD or one
      of the other sentences of this module, with an image of no pixels.
    """
    head = tf.io.decode_raw(
        tf.strings.join([tf.strings.substr(data, 0, _HEAD), b"\0" * _HEAD]), tf.uint8
    )
    head = tf.cast(head[:_HEAD], tf.int64)
    is_png, is_jpeg, is_gif, is_bmp = (
        tf.equal(tf.strings.substr(data, 0, len(magic)), magic)
        for magic in (_PNG, _JPEG, _GIF, _BMP)
    )
    sides = tf.where(is_png, _big(head, 16, 20), _little(head, 18, 22, 4))
    sides = tf.where(is_gif, _little(head, 6, 8, 2), sides)
    sides, whole = tf.cond(is_jpeg, lambda: _jpeg_sides(data), lambda: (sides, True))
    status = tf.where(_is_small(sides), GOOD, TOO_LARGE)
    status = tf.where(whole, status, DAMAGED)
    status = tf.where(is_png | is_jpeg | is_gif | is_bmp, status, NOT_AN_IMAGE)
    image, whole = tf.cond(
        tf.equal(status, GOOD), lambda: _pixels(data), lambda: (_nothing(), True)
    )
    status = tf.where(whole, status, DAMAGED)
    # the fourth byte of a BMP's pixels is no alpha
    clear = tf.cond(is_png, lambda: _is_transparent(image), lambda: False)
    status = tf.where(clear, TRANSPARENT, status)
    return tf.cond(clear, _nothing, lambda: _colours(image)), status


def _attempt(
    function: Callable[[tf.Tensor], tf.Tensor], data: tf.Tensor, otherwise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """`(function(data), True)`, or `(otherwise, False)` where an operation of it fails.

    Graphs have no exceptions, but datasets leave out what failed. The function is made ready for
    every call anew, which takes the longer the more operations it has.
    """
    found = tf.data.Dataset.from_tensors(data).map(function).ignore_errors()
    found = found.with_options(_as_it_is())
    return found.reduce((otherwise, False), lambda _, new: (new, True))


def _as_it_is() -> tf.data.Options:
    """Options of a dataset of one element: there is nothing to tune or to rewrite."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _pixels(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    decode = functools.partial(tf.io.decode_image, expand_animations=False)
    image, whole = _attempt(decode, data, _nothing())
    return tf.ensure_shape(image, [None, None, None]), whole


def _nothing() -> tf.Tensor:
    return tf.zeros([0, 0, 1], tf.uint8)


def _colours(image: tf.Tensor) -> tf.Tensor:
    """Without what comes after gray, or after red, green and blue."""
    return image[..., : tf.where(tf.shape(image)[-1] < 3, 1, 3)]


def _is_transparent(image: tf.Tensor) -> tf.Tensor:
    channels = tf.shape(image)[-1]
    has_alpha = tf.equal(channels, 2) | tf.equal(channels, 4)
    return has_alpha & tf.reduce_any(image[..., -1] < 255)


def _is_small(sides: tf.Tensor) -> tf.Tensor:
    # both are bounded first, so that their product cannot overflow
    sides = tf.minimum(tf.abs(sides), MAX_PIXELS + 1)
    return sides[0] * sides[1] <= MAX_PIXELS


def _jpeg_sides(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    shape, whole = _attempt(tf.image.extract_jpeg_shape, data, tf.zeros([3], tf.int32))
    return tf.cast(shape[1::-1], tf.int64), whole


def _big(head: tf.Tensor, *places: int) -> tf.Tensor:
    """The integers of 4 bytes, the highest first, at two places."""
    weights = tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64)
    return tf.stack([tf.reduce_sum(head[place : place + 4] * weights) for place in places])


def _little(head: tf.Tensor, first: int, second: int, size: int) -> tf.Tensor:
    """The integers of `size` bytes, the lowest first, at two places; of 4 bytes with a sign."""
    weights = tf.constant([1 << (8 * i) for i in range(size)], tf.int64)
    found = [tf.reduce_sum(head[at : at + size] * weights) for at in (first, second)]
    return tf.stack([tf.where(value >= 1 << 31, value - (1 << 32), value) for value in found])
