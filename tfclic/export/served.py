"""The signatures that servers call: batches in, batches out, each element with its own status.

`tfclic.format.served` says what they take and give; a bad element does not harm the others. Images
are what `tfclic.export.encoded` reads; images and files have `encoded.MAX_PIXELS` at most, as their
headers tell before anything is decoded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.export import container, encoded, opening, whole
from tfclic.export.encoded import MAX_PIXELS, TOO_LARGE
from tfclic.format import interface, served
from tfclic.format.latents import STRIDE
from tfclic.format.served import GOOD

if TYPE_CHECKING:
    from tensorflow.types.experimental import PolymorphicFunction

    from tfclic.export.whole import Part
    from tfclic.layers.composite import Tensors

BAD_QUALITY = "The quality has to be a number from 0 to 100."
_CELL = STRIDE**2  # pixels

Result = tuple[tuple[tf.Tensor, ...], tf.Tensor]

_TYPES = {"qualities": tf.float32}  # of arguments; all others are strings


def signatures(
    part: Part, fingerprint: bytes, reads_range: bool = True
) -> dict[str, PolymorphicFunction]:
    """The signatures of a codec, a dict of functions by name.

    Args:
      part: see `tfclic.export.whole`; and it has `parse`, a trace of `container.parse`, and
        `possible`, a function of a file of this model: whether its strings can hold what its header
        says, so that it is worth the memory.
      fingerprint: 4 bytes, the model's.
      reads_range: bool, whether it has the range coder.
    """

    def compress(images: tf.Tensor, qualities: tf.Tensor) -> Tensors:
        def one(element: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            data, quality = element
            image, status = encoded.decoded(data)
            possible = (quality >= 0) & (quality <= 100)
            status = tf.where(possible, status, BAD_QUALITY)

            def file() -> tf.Tensor:
                return whole.compress(part, image, quality)

            return tf.cond(tf.equal(status, GOOD), file, lambda: b""), status

        files, statuses = _each(one, (images, qualities), (tf.string, tf.string))
        return served.CompressedImages(files, statuses)._asdict()

    def decompress(files: tf.Tensor) -> Tensors:
        def image(data: tf.Tensor) -> Result:
            pixels, sound = whole.decompress(part, data, False)
            return (tf.cond(sound, lambda: tf.io.encode_png(pixels), lambda: b""),), sound

        (images,), statuses = of_files(image, (b"",), files)
        return served.DecompressedFiles(images, statuses)._asdict()

    def heat_map(files: tf.Tensor) -> Tensors:
        def drawn(data: tf.Tensor) -> Result:
            bits, sound = whole.heat_map(part, data)
            most = tf.reduce_max(bits)
            shades = tf.cast(tf.round(255 * tf.math.divide_no_nan(bits, most)), tf.uint8)
            png = tf.cond(sound, lambda: tf.io.encode_png(shades[..., None]), lambda: b"")
            return (png, tf.where(sound, most / _CELL, 0.0)), sound

        (maps, scale), statuses = of_files(drawn, (b"", 0.0), files)
        return served.HeatMaps(maps, scale, statuses)._asdict()

    def info(files: tf.Tensor) -> Tensors:
        def one(data: tf.Tensor) -> tuple[tf.Tensor, ...]:
            header = part["parse"](data)
            status, found = _status(header), opening.fields(header)
            good = tf.equal(status, GOOD)
            return (*(tf.where(good, value, tf.zeros_like(value)) for value in found), status)

        example = opening.fields(part["parse"](tf.constant(b"")))
        dtypes = tuple(value.dtype for value in example)
        return served.Infos(*_each(one, files, (*dtypes, tf.string)))._asdict()

    of_files = functools.partial(_of_files, part, fingerprint, reads_range)
    made = {
        served.COMPRESS: compress,
        served.DECOMPRESS: decompress,
        served.INFO: info,
        served.HEAT_MAP: heat_map,
    }
    return {
        each.name: tf.function(made[each], _specs(each), autograph=False) for each in served.SERVED
    }


def _specs(function: interface.Function[Any]) -> list[tf.TensorSpec]:
    names = function.takes._fields
    return [tf.TensorSpec([None], _TYPES.get(name, tf.string), name) for name in names]


def _each(function: Callable[[Any], Any], elements: Any, dtypes: Any) -> Any:
    """One by one: what is done to an image uses all cores, and memory by its size."""
    return tf.map_fn(function, elements, fn_output_signature=dtypes, parallel_iterations=1)


def _of_files(
    part: Part,
    fingerprint: bytes,
    reads_range: bool,
    function: Callable[[tf.Tensor], Result],
    nothing: Sequence[bytes | float],
    files: tf.Tensor,
) -> Result:
    """Does something with every sound file of this model.

    Args:
      part, fingerprint, reads_range: as for `signatures`.
      function: of a file; gives a tuple of scalars, and whether the file was sound all the way.
      nothing: what takes their place for other files.
      files: string `[N]`.

    Returns:
      `(results, statuses)`: a tuple of `[N]`, and string `[N]`.
    """
    empty = tuple(tf.constant(value) for value in nothing)

    def one(data: tf.Tensor) -> Result:
        status = _status(part["parse"](data), fingerprint, reads_range)
        good = tf.equal(status, GOOD)
        sound = tf.cond(good, lambda: part["possible"](data), lambda: False)
        results, sound = tf.cond(sound, lambda: function(data), lambda: (empty, False))
        return results, tf.where(good & ~sound, container.SENTENCES[container.CORRUPTED], status)

    return _each(one, files, (tuple(value.dtype for value in empty), tf.string))


def _status(
    header: container.Header, fingerprint: bytes | None = None, reads_range: bool = True
) -> tf.Tensor:
    """What is wrong with a file; with `fingerprint`, for this model to decode."""
    sentences = [container.SENTENCES.get(code, GOOD) for code in container.STATUSES]
    status = tf.gather(sentences, header.status)
    if fingerprint is None:
        return status
    small = tf.cast(header.width, tf.int64) * tf.cast(header.height, tf.int64) <= MAX_PIXELS
    wrong = tf.where(small, GOOD, TOO_LARGE)
    if not reads_range:
        wrong = tf.where(header.interleaved, wrong, container.RANGE_CODED)
    ours = tf.equal(header.fingerprint, fingerprint)
    wrong = tf.where(ours, wrong, container.other_model(header.fingerprint))
    return tf.where(tf.equal(status, GOOD), wrong, status)
