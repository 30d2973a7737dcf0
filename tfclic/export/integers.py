"""The synthesis of an exported codec in exact integers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic.exact import compilation, gains, naming, ranges, transforms, values
from tfclic.exact.constants import Constants
from tfclic.exact.ranges import Around
from tfclic.export import rough
from tfclic.format.header import MAX_QUALITY_CODE
from tfclic.format.latents import HYPER_STRIDE, STRIDE
from tfclic.models import base

if TYPE_CHECKING:
    from tfclic.entropy.coding import EntropyCoder
    from tfclic.exact.ranges import Ranges
    from tfclic.layers.composite import Tensors
    from tfclic.models.base import ImageCodec

QUALITIES = 0.0, 50.0, 100.0  # at which values are looked at
# What may come of latents beyond what was seen: so many times as much, and so many quantiser steps.
# Patterns may be all in channels that hardly anything else needs.
LATENT_ROOM, LATENT_STEPS = 4.0, 16.0
GREY = 64  # steps of a pixel's value, 0..255, before it is rounded
LATENTS = "latents"  # in ranges, what layers they are given to is no matter


def measured(
    codec: ImageCodec, images: Iterable[np.ndarray], others: Iterable[np.ndarray] = ()
) -> Ranges:
    """How large the values in a codec's synthesis get, but for rare ones.

    Args:
      codec: with all its variables made.
      images: uint8 `[H, W, 3]`, like those that will be coded.
      others: likewise, which an analysis in bytes need not fit, but the synthesis does.

    Returns:
      A dict of `ranges.Around` by the names of layers, and one of the latents; nothing where the
      synthesis takes other latents than scaled ones, which has no exact form.
    """
    if not codec.scales_latents:
        return {}
    images, observed = list(images), ranges.Observed(naming.names(codec))
    inverse = tf.exp(codec.gain.correction - codec.gain.log_gains())
    largest = LATENT_STEPS * np.asarray(inverse, np.float64).max(0)
    for image in (*images, *others):
        pixels = base.pad_image(tf.cast(image[None], tf.float32) / 255.0)
        for quality in QUALITIES:
            at = tf.constant([quality])
            coded = codec.coded(codec.analyse(pixels, at), at)
            latents = codec.gain.inverse(coded.latents, at)
            codec.reconstruct(observed, latents, coded.side_information)
            largest = np.maximum(largest, LATENT_ROOM * ranges.largest(latents))
    of_analysis = rough.measured(codec, images)
    return {**observed.ranges(), **of_analysis, LATENTS: Around(largest, largest)}


class IntegerSynthesis(Constants):
    """What makes pixels of latents by `tfclic.exact.transforms`; its variables are all it needs.

    Args:
      codec: the codec, with the weights that are stored of it.
      coding: its exact entropy model.
      seen: what `measured` returned, or `ranges_of` another one.
      eight_bits: whether operands have 8 bits where most of the work is.

    Raises:
      ValueError: there is no exact form; says why, and names the layer.
    """

    def __init__(
        self, codec: ImageCodec, coding: EntropyCoder, seen: Ranges, eight_bits: bool = False
    ) -> None:
        super().__init__()
        self._eight_bits = eight_bits
        if not codec.scales_latents:
            raise ValueError("the synthesis takes other latents than those that are coded")
        self.ranges = {
            f"{name}_{side}": tf.Variable(value, trainable=False, dtype=tf.float32)
            for name, around in seen.items()
            for side, value in around._asdict().items()
        }
        # as they are kept
        known = ranges.restored({path: value.numpy() for path, value in self.ranges.items()})
        self._given = lambda: (codec, coding, known, naming.names(codec))
        self.reach = math.inf
        latents = tf.zeros([HYPER_STRIDE, HYPER_STRIDE, coding.channels], tf.int16)
        hyper_latents = tf.zeros([1, 1, coding.layout.hyper_channels], tf.int16)
        self.pixels(latents, hyper_latents, tf.constant([[0]]))

    def digest(self) -> str:
        """By which its pixels are told from another's, 8 hex digits."""
        found = hashlib.sha256()
        for name, variable in sorted(self.variables_by_name.items()):
            found.update(name.encode() + variable.numpy().tobytes())
        return found.hexdigest()[:8]

    def at_codes(self, latents: tf.Tensor, hyper_latents: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """As `pixels`, inside of whatever runs it."""
        # which XLA would fuse, and so not round where it should be
        return compilation.uncompiled(self.pixels)(latents, hyper_latents, codes)

    def pixels(self, latents: tf.Tensor, hyper_latents: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """The image: float32 `[16 h, 16 w, 3]`, integers 0..255.

        Args:
          latents, hyper_latents: int16 `[h, w, C]` and `[h / 4, w / 4, Z]`, as coded.
          codes: int32 `[h, w]`, of qualities, or `[1, 1]`.
        """
        codec, coding, seen, names = self._given()
        ops = transforms.Integers(self, seen, names, self._eight_bits)
        given = self._latents(codec, coding, latents, codes, seen[LATENTS].given)
        image = codec.reconstruct(ops, given, self._sides(coding, hyper_latents))
        self.reach = image.reach
        steps = np.full(3, base.CENTRED_SCALE / 255 / GREY)
        value = image.on(steps, values.LARGEST, values.PIXELS).tensor[0]
        # exact: an offset and a power of two
        return tf.clip_by_value(tf.round((value + 127.5 * GREY) * (1 / GREY)), 0.0, 255.0)

    def _latents(
        self,
        codec: ImageCodec,
        coding: EntropyCoder,
        latents: tf.Tensor,
        codes: tf.Tensor,
        sizes: np.ndarray,
    ) -> values.Known:
        steps = sizes / values.WIDE

        def logarithms() -> np.ndarray:
            inverse = np.asarray(codec.gain.correction - codec.gain.log_gains(), np.float64)
            return gains.fractions(inverse / np.log(2) + np.log2(coding.latent_step / steps))

        levels = self("gain_logarithms", logarithms)
        # there are few of them, and many positions
        several, numbers = tf.unique(tf.reshape(codes, [-1]))
        times = gains.interpolated(levels, several, MAX_QUALITY_CODE, self)
        times = tf.gather(times, tf.reshape(numbers, tf.shape(codes)))
        limit = values.WIDE
        scaled = tf.round(tf.cast(latents, tf.float32)[None] * times)
        scaled = tf.clip_by_value(scaled, -float(limit), float(limit))
        return values.Known(self, LATENTS, scaled, steps, limit, STRIDE)

    def _sides(self, coding: EntropyCoder, hyper_latents: tf.Tensor) -> Mapping[str, values.Known]:
        found: Tensors = coding.layout.split(tf.cast(hyper_latents, tf.float32))
        return {
            name: values.Known(
                self, name, array[None], np.ones(array.shape[-1]), values.OPERAND,
                STRIDE * coding.layout.stride(name),
            )
            for name, array in found.items()
        }  # fmt: skip
