"""The signatures that servers call: batches in, batches out, each element with its own status.

| signature | takes | gives |
|---|---|---|
| `compress` | `images` string, `qualities` float32, 0..100 | `files_bytes` string |
| `decompress` | `files` string | `images_bytes` string, PNG |
| `info` | `files` string | the fields of `tfclic.export.opening.info` |
| `heat_map` | `files` string | `maps_bytes` string, grayscale PNG; `scale` float32 |

and `statuses`, string, all of shape `[N]`: "OK", or one sentence that says what is wrong with an
element, whose other outputs are then empty or 0. It does not harm the others.

Images are what `tfclic.export.encoded` reads; images and files have `encoded.MAX_PIXELS` at most,
as their headers tell before anything is decoded. A pixel of a map stands for 16x16 of the image,
and `scale` is the bits per pixel that white stands for.

TensorFlow Serving writes strings in base64 where a name ends in `_bytes`, and nowhere else.
"""

import functools

import tensorflow as tf

from tfclic.export import container, encoded, opening, tiling, whole
from tfclic.export.encoded import GOOD, MAX_PIXELS, TOO_LARGE

BAD_QUALITY = "The quality has to be a number from 0 to 100."
_CELL = tiling.STRIDE**2  # pixels

IMAGES = tf.TensorSpec([None], tf.string, "images")
QUALITIES = tf.TensorSpec([None], tf.float32, "qualities")
FILES = tf.TensorSpec([None], tf.string, "files")


def signatures(part, fingerprint):
    """The signatures of a codec, a dict of functions by name.

    Args:
      part: see `tfclic.export.whole`; and it has `parse`, a trace of `container.parse`, and
        `possible`, a function of a file of this model: whether its strings can hold what its header
        says, so that it is worth the memory.
      fingerprint: 4 bytes, the model's.
    """

    def compress(images, qualities):
        def one(element):
            data, quality = element
            image, status = encoded.decoded(data)
            possible = (quality >= 0) & (quality <= 100)
            status = tf.where(possible, status, BAD_QUALITY)

            def file():
                return whole.compress(part, image, quality)

            return tf.cond(tf.equal(status, GOOD), file, lambda: b""), status

        files, statuses = _each(one, (images, qualities), (tf.string, tf.string))
        return {"files_bytes": files, "statuses": statuses}

    def decompress(files):
        def image(data):
            pixels, sound = whole.decompress(part, data, False)
            return (tf.cond(sound, lambda: tf.io.encode_png(pixels), lambda: b""),), sound

        (images,), statuses = of_files(image, (b"",), files)
        return {"images_bytes": images, "statuses": statuses}

    def heat_map(files):
        def drawn(data):
            bits, sound = whole.heat_map(part, data)
            most = tf.reduce_max(bits)
            shades = tf.cast(tf.round(255 * tf.math.divide_no_nan(bits, most)), tf.uint8)
            png = tf.cond(sound, lambda: tf.io.encode_png(shades[..., None]), lambda: b"")
            return (png, tf.where(sound, most / _CELL, 0.0)), sound

        (maps, scale), statuses = of_files(drawn, (b"", 0.0), files)
        return {"maps_bytes": maps, "scale": scale, "statuses": statuses}

    def info(files):
        def one(data):
            header = part["parse"](data)
            status, found = _status(header), opening.fields(header)
            good = tf.equal(status, GOOD)
            return {k: tf.where(good, v, tf.zeros_like(v)) for k, v in found.items()}, status

        example = opening.fields(part["parse"](tf.constant(b"")))
        dtypes = {name: value.dtype for name, value in example.items()}
        found, statuses = _each(one, files, (dtypes, tf.string))
        return {**found, "statuses": statuses}

    of_files = functools.partial(_of_files, part, fingerprint)
    return {
        "compress": tf.function(compress, [IMAGES, QUALITIES], autograph=False),
        "decompress": tf.function(decompress, [FILES], autograph=False),
        "info": tf.function(info, [FILES], autograph=False),
        "heat_map": tf.function(heat_map, [FILES], autograph=False),
    }


def _each(function, elements, dtypes):
    """One by one: what is done to an image uses all cores, and memory by its size."""
    return tf.map_fn(function, elements, fn_output_signature=dtypes, parallel_iterations=1)


def _of_files(part, fingerprint, function, nothing, files):
    """Does something with every sound file of this model.

    Args:
      part, fingerprint: as for `signatures`.
      function: of a file; gives a tuple of scalars, and whether the file was sound all the way.
      nothing: what takes their place for other files.
      files: string `[N]`.

    Returns:
      `(results, statuses)`: a tuple of `[N]`, and string `[N]`.
    """
    nothing = tuple(tf.constant(value) for value in nothing)

    def one(data):
        status = _status(part["parse"](data), fingerprint)
        good = tf.equal(status, GOOD)
        sound = tf.cond(good, lambda: part["possible"](data), lambda: False)
        results, sound = tf.cond(sound, lambda: function(data), lambda: (nothing, False))
        return results, tf.where(good & ~sound, container.SENTENCES[container.CORRUPTED], status)

    return _each(one, files, (tuple(value.dtype for value in nothing), tf.string))


def _status(header, fingerprint=None):
    """What is wrong with a file; with `fingerprint`, for this model to decode."""
    codes = range(container.CORRUPTED + 1)
    sentences = [container.SENTENCES.get(code, GOOD) for code in codes]
    status = tf.gather(sentences, header.status)
    if fingerprint is None:
        return status
    small = tf.cast(header.width, tf.int64) * tf.cast(header.height, tf.int64) <= MAX_PIXELS
    wrong = tf.where(small, GOOD, TOO_LARGE)
    ours = tf.equal(header.fingerprint, fingerprint)
    wrong = tf.where(ours, wrong, container.other_model(header.fingerprint))
    return tf.where(tf.equal(status, GOOD), wrong, status)
