"""Tracing the functions of an exported codec: each once, for what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.format import interface

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.entropy.coding import EntropyCoder

# Latents outside of the graph: 100 megapixels have 75 million of them.
LATENT_DTYPE = tf.int16

_SCALAR = tf.TensorSpec([], tf.int32)
_STRING = tf.TensorSpec([], tf.string)
# Of arguments, by name, that are the same for every codec.
SPECS = {
    "image": tf.TensorSpec([None, None, None], tf.uint8),
    "quality": tf.TensorSpec([], tf.float32),
    "codes": tf.TensorSpec([None, None], tf.int32),
    "grayscale": tf.TensorSpec([], tf.bool),
    "box": tf.TensorSpec([4], tf.int32),
    "lengths": tf.TensorSpec([None], tf.int32),
    "strict": tf.TensorSpec([], tf.bool),
    **{name: _STRING for name in ("data", "payload")},
    **{name: _SCALAR for name in ("height", "width", "longest", "tile_height", "tile_width")},
    **{name: _SCALAR for name in ("first", "last", "wanted")},
}


def specs(function: interface.Function[Any], **of_codec: tf.TensorSpec) -> list[tf.TensorSpec]:
    """Specs of what an `interface.Function` takes, list of tf.TensorSpec.

    Args:
      function: the `interface.Function`.
      **of_codec: specs of arguments that depend on the codec, by name.
    """
    return named(*function.takes._fields, **of_codec)


def named(*names: str, **of_codec: tf.TensorSpec) -> list[tf.TensorSpec]:
    """As `specs`, of arguments by their names."""
    known = {**SPECS, **of_codec}
    return [tf.TensorSpec.from_spec(known[name], name) for name in names]


def coded_specs(coding: EntropyCoder) -> dict[str, tf.TensorSpec]:
    """Specs of what an `interface.Coded` has, by name."""
    channels = interface.Coded(coding.channels, coding.layout.hyper_channels)
    return {name: latent_spec(count) for name, count in channels._asdict().items()}


def latent_spec(channels: int, dtype: tf.DType = LATENT_DTYPE) -> tf.TensorSpec:
    """The spec of an array `[h, w, channels]`."""
    return tf.TensorSpec([None, None, channels], dtype)


def as_coded(latents: tf.Tensor, hyper_latents: tf.Tensor) -> interface.Coded:
    """Latents and hyper latents as they are outside of the graph."""
    return interface.Coded(tf.cast(latents, LATENT_DTYPE), tf.cast(hyper_latents, LATENT_DTYPE))


def traced(
    *specs: tf.TensorSpec, autograph: bool = False
) -> Callable[[Callable[..., Any]], ConcreteFunction]:
    """Traces a function at once, for `specs`, so that whoever calls it calls the same trace.

    A tf.function would be traced once more inside of others, and every process that runs a part of
    the SavedModel would read all of it twice. It stays a function, too: what TensorFlow takes apart
    and puts into the loop over a batch runs slower there.
    """
    alone = {"_noinline": True}

    def trace(function: Callable[..., Any]) -> ConcreteFunction:
        made = tf.function(function, specs, autograph=autograph, experimental_attributes=alone)
        return made.get_concrete_function()

    return trace
