"""The transforms of an exported codec as functions: pixels to latents as coded, and back.

`coding` is everywhere the exact entropy model of the codec, and `stand_ins` are the weights that
are stored of it, by the ids of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.export import container
from tfclic.export.tracing import LATENT_DTYPE, as_coded, coded_specs, latent_spec, specs, traced
from tfclic.format import boxes, interface
from tfclic.layers.substitution import substituted
from tfclic.models import base

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.entropy.coding import EntropyCoder
    from tfclic.export.stored import Weight
    from tfclic.layers.composite import Tensors
    from tfclic.models.base import ImageCodec

# Of latents, hyper latents and codes, as `integers.IntegerSynthesis.at_codes`.
Synthesis = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def everywhere(quality: tf.Tensor) -> tf.Tensor:
    """The code of a quality, float32, where codes of places are asked for: int32 `[1, 1]`."""
    return container.quality_code(quality)[None, None]


def as_colours(image: tf.Tensor) -> tf.Tensor:
    """An image uint8 `[H, W, 3]` or `[H, W, 1]` as float32 `[H, W, 3]`, 0..1."""
    shape = tf.shape(image)
    return tf.cast(tf.broadcast_to(image, [shape[0], shape[1], 3]), tf.float32) / 255.0


def functions(
    codec: ImageCodec,
    coding: EntropyCoder,
    stand_ins: Mapping[int, Weight],
    synthesis: Synthesis | None = None,
) -> dict[str, ConcreteFunction]:
    """All of them by name; `synthesis` makes the pixels, None: that of the codec, in floats."""
    found = _quantising(codec, coding, stand_ins)
    synthesis = synthesis or _in_floats(codec, coding, stand_ins)
    by_map = synthesising_by_map(synthesis, coding)
    return {
        **found,
        interface.ANALYSE.name: analysing(codec, stand_ins),
        interface.SYNTHESISE.name: synthesising(by_map, coding),
        interface.SYNTHESISE_BY_MAP.name: by_map,
    }


def analysing(codec: ImageCodec, stand_ins: Mapping[int, Weight]) -> ConcreteFunction:
    """`interface.ANALYSE`."""

    @traced(*specs(interface.ANALYSE))
    def analyse(image: tf.Tensor) -> Tensors:
        pixels = as_colours(image)[None]
        with substituted(codec.transforms(), stand_ins):
            latents = codec.analysis(base.centred(base.pad_image(pixels)))[0]
        return interface.Analysed(latents)._asdict()

    return analyse


def _quantising(
    codec: ImageCodec, coding: EntropyCoder, stand_ins: Mapping[int, Weight]
) -> dict[str, ConcreteFunction]:
    """What rounds latents, by name, with what tells of them where writing can follow from that."""
    analysed = latent_spec(codec.config.latent_channels, tf.float32)

    def sources_of(latents: tf.Tensor, codes: tf.Tensor, box: tf.Tensor) -> Tensors:
        with substituted(codec.transforms(), stand_ins):
            gained = codec.gained(latents[None], container.quality_of(codes)[None])
            sources = codec.sources(gained)
        places = {name: coding.layout.box(name, box) for name in sources}
        return {name: boxes.crop(sources[name][0], each) for name, each in places.items()}

    choosing = _choosing(coding, sources_of, analysed) if coding.layout.told_columns else {}
    chosen = choosing.get(interface.CHOOSE_BY_MAP.name)

    @traced(*specs(interface.QUANTISE_BY_MAP, latents=analysed))
    def quantise_by_map(latents: tf.Tensor, codes: tf.Tensor, box: tf.Tensor) -> Tensors:
        if chosen is not None:
            return interface.QUANTISE_BY_MAP.results(chosen(latents, codes, box))._asdict()
        return as_coded(*coding.quantize(sources_of(latents, codes, box)))._asdict()

    @traced(*specs(interface.QUANTISE, latents=analysed))
    def quantise(latents: tf.Tensor, quality: tf.Tensor, box: tf.Tensor) -> Tensors:
        return quantise_by_map(latents, everywhere(quality), box)

    return {
        **choosing,
        interface.QUANTISE.name: quantise,
        interface.QUANTISE_BY_MAP.name: quantise_by_map,
    }


def _choosing(
    coding: EntropyCoder, sources_of: Callable[..., Tensors], analysed: tf.TensorSpec
) -> dict[str, ConcreteFunction]:
    """What rounds latents and tells of them what writing follows from, by name."""

    @traced(*specs(interface.CHOOSE_BY_MAP, latents=analysed))
    def choose_by_map(latents: tf.Tensor, codes: tf.Tensor, box: tf.Tensor) -> Tensors:
        found = coding.choose(sources_of(latents, codes, box))
        return interface.Chosen(*(tf.cast(each, LATENT_DTYPE) for each in found))._asdict()

    @traced(*specs(interface.CHOOSE, latents=analysed))
    def choose(latents: tf.Tensor, quality: tf.Tensor, box: tf.Tensor) -> Tensors:
        return choose_by_map(latents, everywhere(quality), box)

    return {interface.CHOOSE.name: choose, interface.CHOOSE_BY_MAP.name: choose_by_map}


def _in_floats(
    codec: ImageCodec, coding: EntropyCoder, stand_ins: Mapping[int, Weight]
) -> Synthesis:
    def synthesis(latents: tf.Tensor, hyper_latents: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        latents = tf.cast(latents, tf.float32)[None] * coding.latent_step
        sides = coding.layout.split(tf.cast(hyper_latents, tf.float32))
        sides = {name: array[None] for name, array in sides.items()}
        with substituted(codec.transforms(), stand_ins):
            pixels = codec.synthesise(latents, sides, container.quality_of(codes)[None])[0]
        return tf.round(tf.clip_by_value(pixels, 0.0, 1.0) * 255.0)

    return synthesis


def synthesising_by_map(synthesis: Synthesis, coding: EntropyCoder) -> ConcreteFunction:
    """`interface.SYNTHESISE_BY_MAP` by what makes pixels."""

    @traced(*specs(interface.SYNTHESISE_BY_MAP, **coded_specs(coding)))
    def synthesise_by_map(
        latents: tf.Tensor,
        hyper_latents: tf.Tensor,
        codes: tf.Tensor,
        grayscale: tf.Tensor,
        box: tf.Tensor,
    ) -> Tensors:
        pixels = boxes.crop(synthesis(latents, hyper_latents, codes), box)
        gray = tf.round(tf.reduce_mean(pixels, -1, keepdims=True))
        pixels = tf.cond(grayscale, lambda: gray, lambda: pixels)
        return interface.Image(tf.cast(pixels, tf.uint8))._asdict()

    return synthesise_by_map


def synthesising(by_map: ConcreteFunction, coding: EntropyCoder) -> ConcreteFunction:
    """`interface.SYNTHESISE` by an `interface.SYNTHESISE_BY_MAP`."""

    @traced(*specs(interface.SYNTHESISE, **coded_specs(coding)))
    def synthesise(
        latents: tf.Tensor,
        hyper_latents: tf.Tensor,
        quality: tf.Tensor,
        grayscale: tf.Tensor,
        box: tf.Tensor,
    ) -> Tensors:
        codes = everywhere(quality)
        return by_map(latents, hyper_latents, codes, grayscale, box)

    return synthesise
