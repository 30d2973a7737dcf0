"""The analysis with products of bytes: nearly the same latents, sooner.

What it makes is written down, so that no decoder minds. Inputs of the large convolutions are
rounded to 8 bits, with one step for a tensor, by how large they get, and kernels likewise, with a
step for a column, where they are not stored so. All the rest stays in floating point.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic.exact import naming, octets
from tfclic.exact.ranges import ROOM, Around
from tfclic.export.stored import Bytes
from tfclic.models import base

if TYPE_CHECKING:
    from tfclic.exact.ranges import Ranges
    from tfclic.export.stored import Weight
    from tfclic.models.base import ImageCodec

Convolution = Callable[[tf.keras.layers.Conv2D, tf.Tensor], tf.Tensor]

LARGEST_BIAS = 1 << 22  # in units of sums
LEAST = 32  # channels that a convolution takes, for it to be worth it


def measured(codec: ImageCodec, images: list[np.ndarray]) -> dict[str, Around]:
    """How large the inputs of the large convolutions in a codec's analysis get, by name.

    Args:
      codec: with all its variables made.
      images: uint8 `[H, W, 3]`, like those that will be coded.
    """
    names = naming.names(codec)
    seen: dict[str, float] = {}

    def look(layer: tf.keras.layers.Conv2D, x: tf.Tensor) -> tf.Tensor:
        name, size = names[id(layer)], float(tf.reduce_max(tf.abs(x)))
        seen[name] = max(seen.get(name, 0.0), size)
        return type(layer).call(layer, x)

    with _convolving(codec, look):
        for image in images:
            pixels = tf.cast(image[None], tf.float32) / 255.0
            codec.analysis(base.centred(base.pad_image(pixels)))
    sizes = {name: np.array([ROOM * max(size, 1e-6)]) for name, size in seen.items()}
    return {name: Around(size, size) for name, size in sizes.items()}


@contextlib.contextmanager
def in_bytes(codec: ImageCodec, seen: Ranges, stand_ins: Mapping[int, Weight]) -> Iterator[None]:
    """Makes the large convolutions of a codec's analysis ones of bytes.

    Args:
      codec: the codec.
      seen: with what `measured` returned.
      stand_ins: the weights that are stored, by the ids of those of the codec.
    """
    names = naming.names(codec)
    known = [layer for layer in _large(codec) if names[id(layer)] in seen]
    biases = {
        id(layer): np.asarray(tf.cast(stand_ins[id(layer.bias)], tf.float32))
        if layer.use_bias
        else np.zeros(layer.filters)
        for layer in known
    }
    kernels = {id(layer): _as_bytes(stand_ins[id(layer.kernel)]) for layer in known}

    def convolve(layer: tf.keras.layers.Conv2D, x: tf.Tensor) -> tf.Tensor:
        if id(layer) not in kernels:
            return type(layer).call(layer, x)
        integers, steps = kernels[id(layer)]
        size = float(seen[names[id(layer)]].given[0])
        x = octets.rounded(x, octets.SIGNED, size)
        units = steps * (size / octets.SIGNED.largest)
        # nearest integers, which is as fine as anyone can see
        bias = np.clip(np.round(biases[id(layer)] / units), -LARGEST_BIAS, LARGEST_BIAS)
        found = octets.convolved(x, integers, bias, octets.SIGNED, layer.strides[0])
        found = tf.cast(found, tf.float32) * units
        return found if layer.activation is None else layer.activation(found)

    with _convolving(codec, convolve):
        yield


def is_possible(codec: ImageCodec, seen: Ranges) -> bool:
    """Whether the inputs of large convolutions were measured, and there are any."""
    names = naming.names(codec)
    return any(names[id(layer)] in seen for layer in _large(codec))


def _as_bytes(weight: Weight) -> tuple[np.ndarray, np.ndarray]:
    """Integers of 8 bits and the steps of columns, as they are stored or as they would be."""
    found = weight if isinstance(weight, Bytes) else Bytes(tf.cast(weight, tf.float32))
    return found.integers.numpy(), found.steps.numpy()


def _large(codec: ImageCodec) -> list[tf.keras.layers.Conv2D]:
    """The encoder's convolutions that take most of the time, those of side information included."""
    found = {id(part): part for top in codec.encoder() for part in (top, *top.submodules)}
    return [layer for layer in found.values() if _is_large(layer)]


def _is_large(layer: tf.Module) -> bool:
    if type(layer) is not tf.keras.layers.Conv2D or {*layer.dilation_rate, layer.groups} != {1}:
        return False
    is_plain = layer.padding == "same" and layer.strides[0] == layer.strides[1]
    return is_plain and layer.kernel_size != (1, 1) and layer.kernel.shape[2] >= LEAST


@contextlib.contextmanager
def _convolving(codec: ImageCodec, convolve: Convolution) -> Iterator[None]:
    """Makes a function do what the large convolutions do, of the layer and of what it is given."""

    def calling(layer: tf.keras.layers.Conv2D) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda inputs: convolve(layer, inputs)

    layers = _large(codec)
    for layer in layers:
        # past the tracking of attributes
        vars(layer)["call"] = calling(layer)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["call"]
