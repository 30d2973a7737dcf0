"""Encoded images, inside of the graph: refused by what their headers say, or decoded.

TensorFlow's `decode_image` reads PNG, JPEG, GIF (the first frame) and BMP. It knows neither the
orientation in EXIF nor colour profiles, which are ignored, and cuts 16 bits to the upper 8.
"""

import tensorflow as tf

MAX_PIXELS = 1 << 26
NOT_AN_IMAGE = "It is not a PNG, JPEG, GIF or BMP image."
TOO_LARGE = f"It has more than {MAX_PIXELS:,} pixels."
DAMAGED = "It is damaged: it cannot be decoded."
TRANSPARENT = "It is transparent, which a tfclic file cannot be: put it on a colour first."
GOOD = "OK"

_PNG, _JPEG, _GIF, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM"
_HEAD = 26  # bytes, in which all but JPEG tell their size


def decoded(data):
    """Decodes an image; never fails.

    Args:
      data: string, its file.

    Returns:
      `(image, status)`: uint8 `[H, W, 3]` or, of a grayscale image, `[H, W, 1]`; and GOOD or one
      of the other sentences of this module, with an image of no pixels.
    """
    # Graphs have no exceptions, but datasets leave out what failed.
    found = tf.data.Dataset.from_tensors(data).map(_decoded).ignore_errors()
    image, status = found.reduce((_nothing(), tf.constant(DAMAGED)), lambda _, new: new)
    return tf.ensure_shape(image, [None, None, None]), status


def _decoded(data):
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
    sides = tf.cond(is_jpeg, lambda: _jpeg_sides(data), lambda: sides)
    status = tf.where(_is_small(sides), GOOD, TOO_LARGE)
    status = tf.where(is_png | is_jpeg | is_gif | is_bmp, status, NOT_AN_IMAGE)
    image = tf.cond(tf.equal(status, GOOD), lambda: _pixels(data), _nothing)
    # the fourth byte of a BMP's pixels is no alpha
    clear = tf.cond(is_png, lambda: _is_transparent(image), lambda: False)
    status = tf.where(clear, TRANSPARENT, status)
    image = tf.cond(clear, _nothing, lambda: _colours(image))
    return image, status


def _pixels(data):
    return tf.ensure_shape(tf.io.decode_image(data, expand_animations=False), [None, None, None])


def _nothing():
    return tf.zeros([0, 0, 1], tf.uint8)


def _colours(image):
    """Without what comes after gray, or after red, green and blue."""
    return image[..., : tf.where(tf.shape(image)[-1] < 3, 1, 3)]


def _is_transparent(image):
    channels = tf.shape(image)[-1]
    has_alpha = tf.equal(channels, 2) | tf.equal(channels, 4)
    return has_alpha & tf.reduce_any(image[..., -1] < 255)


def _is_small(sides):
    # both are bounded first, so that their product cannot overflow
    sides = tf.minimum(tf.abs(sides), MAX_PIXELS + 1)
    return sides[0] * sides[1] <= MAX_PIXELS


def _jpeg_sides(data):
    return tf.cast(tf.image.extract_jpeg_shape(data)[1::-1], tf.int64)


def _big(head, *places):
    """The integers of 4 bytes, the highest first, at two places."""
    weights = tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64)
    return tf.stack([tf.reduce_sum(head[place : place + 4] * weights) for place in places])


def _little(head, first, second, size):
    """The integers of `size` bytes, the lowest first, at two places; of 4 bytes with a sign."""
    weights = tf.constant([1 << (8 * i) for i in range(size)], tf.int64)
    found = [tf.reduce_sum(head[at : at + size] * weights) for at in (first, second)]
    return tf.stack([tf.where(value >= 1 << 31, value - (1 << 32), value) for value in found])
