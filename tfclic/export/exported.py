"""The functions of an exported codec, as one graph."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic import errors
from tfclic.export import container, integers, opening, served, stored, tiling, whole
from tfclic.format import boxes, header, model
from tfclic.format.header import TOO_SHORT
from tfclic.format.latents import HYPER_STRIDE
from tfclic.layers.substitution import substituted
from tfclic.models import base

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.exact.ranges import Ranges
    from tfclic.layers.composite import Tensors
    from tfclic.models.base import ImageCodec

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
    **{name: _SCALAR for name in ("first", "last", "steps", "wanted")},
}
# What `whole` and `served` need of the parts, and nobody else.
INTERNAL = (whole.TRY_READ.name, whole.TRY_READ_INTERLEAVED.name, "possible", "parse")
# What reads strings, by the coder that wrote them.
READERS = {
    header.RANGE: (whole.TRY_READ, model.READ),
    header.INTERLEAVED: (whole.TRY_READ_INTERLEAVED, model.READ_INTERLEAVED),
}


def specs(function: model.Function[Any], **of_codec: tf.TensorSpec) -> list[tf.TensorSpec]:
    """Specs of what a `model.Function` takes, list of tf.TensorSpec.

    Args:
      function: the `model.Function`.
      **of_codec: specs of arguments that depend on the codec, by name.
    """
    return _named(*function.takes._fields, **of_codec)


def _named(*names: str, **of_codec: tf.TensorSpec) -> list[tf.TensorSpec]:
    known = {**SPECS, **of_codec}
    return [tf.TensorSpec.from_spec(known[name], name) for name in names]


def everywhere(quality: tf.Tensor) -> tf.Tensor:
    """The code of a quality, float32, where codes of places are asked for: int32 `[1, 1]`."""
    return container.quality_code(quality)[None, None]


def as_colours(image: tf.Tensor) -> tf.Tensor:
    """An image uint8 `[H, W, 3]` or `[H, W, 1]` as float32 `[H, W, 3]`, 0..1."""
    shape = tf.shape(image)
    return tf.cast(tf.broadcast_to(image, [shape[0], shape[1], 3]), tf.float32) / 255.0


class ExportedCodec(stored.StoredCodec):
    """The functions of an exported codec.

    | function | takes | gives |
    |---|---|---|
    | `compress` | uint8 `[H, W, 3]` or `[H, W, 1]`, quality float32 | the file, string |
    | `decompress` | the file | uint8 `[H, W, 3]` or `[H, W, 1]` |
    | `info` | the file | header fields by name |

    and, as signatures alone, those of `tfclic.format.model`: for servers, and the parts, which
    whoever wants to see progress, to code tiles in parallel, or to try several qualities calls one
    by one.

    Args:
      codec: a trained `tfclic.models.base.ImageCodec` with all its variables made.
      coder: the name of that which writes. With the range coder both are read; with the interleaved
        one no operation is any but TensorFlow's own, and nothing else can be read.
      like: as for `stored.StoredCodec`.
      seen: what `integers.measured` returned, for a synthesis in integers; None: in float32.
      transforms: in which, `model.INTEGER` or `model.INTEGER8`.

    Raises:
      errors.ModelError: an entropy network cannot be made exact; names the layer.
      errors.InexactError: nor the synthesis.
    """

    def __init__(
        self,
        codec: ImageCodec,
        coder: str = header.RANGE,
        like: stored.StoredCodec | None = None,
        seen: Ranges | None = None,
        transforms: str = model.INTEGER,
    ) -> None:
        super().__init__(codec, like)
        self.coder = coder
        self.fingerprint = self.digest()
        self.transforms = model.FLOAT32 if seen is None else transforms
        self.integers = self._in_integers(codec, seen) if seen is not None else None
        self._parts = self._transforms(codec, self.stand_ins(codec))
        self._parts.update(self._coding(codec.is_local, self.reach))
        self.compress = traced(*_named("image", "quality"))(
            lambda image, quality: whole.compress(self._parts, image, quality)
        )
        self.decompress = traced(*specs(model.OPEN))(
            lambda data: whole.decompress(self._parts, data, True)[0]
        )
        parse = self._parts["parse"]
        self.info = traced(*specs(model.HEADER), autograph=True)(
            lambda data: opening.info(data, parse)
        )

    def _in_integers(self, codec: ImageCodec, seen: Ranges) -> integers.IntegerSynthesis:
        try:
            with substituted(codec.transforms(), self.stand_ins(codec)):
                eight_bits = self.transforms == model.INTEGER8
                return integers.IntegerSynthesis(codec, self.coding, seen, eight_bits)
        except ValueError as error:
            raise errors.InexactError(f"The synthesis has no exact form: {error}.") from error

    def _transforms(
        self, codec: ImageCodec, stand_ins: Mapping[int, stored.Weight]
    ) -> dict[str, ConcreteFunction]:
        coding, channels = self.coding, codec.config.latent_channels

        def weights() -> contextlib.AbstractContextManager[None]:
            return substituted(codec.transforms(), stand_ins)

        analysed = tf.TensorSpec([None, None, channels], tf.float32)

        def sources_of(latents: tf.Tensor, codes: tf.Tensor, box: tf.Tensor) -> Tensors:
            with weights():
                gained = codec.gained(latents[None], container.quality_of(codes)[None])
                sources = codec.sources(gained)
            places = {name: coding.box(name, box) for name in sources}
            return {name: boxes.crop(sources[name][0], each) for name, each in places.items()}

        choosing = self._choosing(sources_of, latents=analysed) if coding.told_columns else {}
        chosen = choosing.get(model.CHOOSE_BY_MAP.name)

        @traced(*specs(model.QUANTISE_BY_MAP, latents=analysed))
        def quantise_by_map(latents: tf.Tensor, codes: tf.Tensor, box: tf.Tensor) -> Tensors:
            if chosen is not None:
                return model.QUANTISE_BY_MAP.results(chosen(latents, codes, box))._asdict()
            return _as_coded(*coding.quantize(sources_of(latents, codes, box)))._asdict()

        @traced(*specs(model.QUANTISE, latents=analysed))
        def quantise(latents: tf.Tensor, quality: tf.Tensor, box: tf.Tensor) -> Tensors:
            return quantise_by_map(latents, everywhere(quality), box)

        def in_floats(latents: tf.Tensor, hyper_latents: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
            latents = tf.cast(latents, tf.float32)[None] * coding.latent_step
            sides = coding.split(tf.cast(hyper_latents, tf.float32))
            sides = {name: array[None] for name, array in sides.items()}
            with weights():
                pixels = codec.synthesise(latents, sides, container.quality_of(codes)[None])[0]
            return tf.round(tf.clip_by_value(pixels, 0.0, 1.0) * 255.0)

        synthesis = self.integers.at_codes if self.integers else in_floats
        synthesise_by_map = self.synthesising_by_map(synthesis)
        return {
            **choosing,
            model.ANALYSE.name: self.analysing(codec),
            model.QUANTISE.name: quantise,
            model.QUANTISE_BY_MAP.name: quantise_by_map,
            model.SYNTHESISE.name: self.synthesising(synthesise_by_map),
            model.SYNTHESISE_BY_MAP.name: synthesise_by_map,
        }

    def _choosing(
        self, sources_of: Callable[..., Tensors], latents: tf.TensorSpec
    ) -> dict[str, ConcreteFunction]:
        """What rounds latents and tells of them what writing follows from, and what writes it."""
        coding = self.coding
        count = sum(coding.told_columns or ())
        of_codec = dict(self._coded(), latents=latents)
        of_codec["symbols"] = tf.TensorSpec([None, None, coding.channels], LATENT_DTYPE)
        of_codec["parameters"] = tf.TensorSpec([None, None, count], LATENT_DTYPE)

        @traced(*specs(model.CHOOSE_BY_MAP, **of_codec))
        def choose_by_map(latents: tf.Tensor, codes: tf.Tensor, box: tf.Tensor) -> Tensors:
            found = coding.choose(sources_of(latents, codes, box))
            return model.Chosen(*(tf.cast(each, LATENT_DTYPE) for each in found))._asdict()

        @traced(*specs(model.CHOOSE, **of_codec))
        def choose(latents: tf.Tensor, quality: tf.Tensor, box: tf.Tensor) -> Tensors:
            return choose_by_map(latents, everywhere(quality), box)

        @traced(*specs(model.WRITE_CHOSEN, **of_codec))
        def write(hyper_latents: tf.Tensor, symbols: tf.Tensor, parameters: tf.Tensor) -> Tensors:
            given = (tf.cast(each, tf.float32) for each in (hyper_latents, symbols, parameters))
            return model.String(coding.write(*given, self.coder))._asdict()

        return {
            model.CHOOSE.name: choose,
            model.CHOOSE_BY_MAP.name: choose_by_map,
            model.WRITE_CHOSEN.name: write,
        }

    def analysing(self, codec: ImageCodec) -> ConcreteFunction:
        """`model.ANALYSE` of the codec, with the weights that are stored of it."""

        @traced(*specs(model.ANALYSE))
        def analyse(image: tf.Tensor) -> Tensors:
            pixels = as_colours(image)[None]
            with substituted(codec.transforms(), self.stand_ins(codec)):
                latents = codec.analysis(base.centred(base.pad_image(pixels)))[0]
            return model.Analysed(latents)._asdict()

        return analyse

    def synthesising_by_map(self, synthesis: Callable[..., tf.Tensor]) -> ConcreteFunction:
        """`model.SYNTHESISE_BY_MAP` by what makes pixels, as `IntegerSynthesis.at_codes`."""

        @traced(*specs(model.SYNTHESISE_BY_MAP, **self._coded()))
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
            return model.Image(tf.cast(pixels, tf.uint8))._asdict()

        return synthesise_by_map

    def synthesising(self, by_map: ConcreteFunction) -> ConcreteFunction:
        """`model.SYNTHESISE` by a `model.SYNTHESISE_BY_MAP`."""

        @traced(*specs(model.SYNTHESISE, **self._coded()))
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

    def _coded(self) -> dict[str, tf.TensorSpec]:
        """Specs of what a `model.Coded` has, by name."""
        channels = model.Coded(self.coding.channels, self.coding.hyper_channels)
        shapes = {name: [None, None, n] for name, n in channels._asdict().items()}
        return {name: tf.TensorSpec(shape, LATENT_DTYPE) for name, shape in shapes.items()}

    @property
    def reach(self) -> int | None:
        """How far the synthesis looks, pixels, where that is known: of integers with an end."""
        if self.integers is None or math.isinf(self.integers.reach):
            return None
        return math.ceil(self.integers.reach)

    def _coding(self, is_local: bool, reach: int | None) -> dict[str, ConcreteFunction]:
        coding, fingerprint = self.coding, self.fingerprint
        is_interleaved = self.coder == header.INTERLEAVED
        opened = functools.partial(
            opening.opened,
            fingerprint=fingerprint,
            is_local=is_local,
            reads_range=not is_interleaved,
            reach=reach,
        )
        coded = specs(model.WRITE, **self._coded())

        def as_floats(*arrays: tf.Tensor) -> Iterator[tf.Tensor]:
            return (tf.cast(array, tf.float32) for array in arrays)

        @traced(*coded)
        def write(latents: tf.Tensor, hyper_latents: tf.Tensor) -> Tensors:
            string = coding.compress(*as_floats(hyper_latents, latents), self.coder)
            return model.String(string)._asdict()

        @traced(*coded)
        def explain(latents: tf.Tensor, hyper_latents: tf.Tensor) -> Tensors:
            return coding.statistics(*as_floats(hyper_latents, latents))

        @traced(*coded)
        def estimate(latents: tf.Tensor, hyper_latents: tf.Tensor) -> Tensors:
            return model.Estimate(coding.total_bits(explain(latents, hyper_latents)))._asdict()

        @traced(*specs(model.PACK))
        def pack(
            payload: tf.Tensor,
            lengths: tf.Tensor,
            width: tf.Tensor,
            height: tf.Tensor,
            tile_width: tf.Tensor,
            tile_height: tf.Tensor,
            quality: tf.Tensor,
            grayscale: tf.Tensor,
        ) -> Tensors:
            code = container.quality_code(quality)
            tiles = tile_height, tile_width, lengths
            image = width, height, code, grayscale
            file = container.pack(fingerprint, *image, payload, tiles, is_interleaved)
            return model.File(file)._asdict()

        @traced(*specs(model.PLAN))
        def plan(height: tf.Tensor, width: tf.Tensor, longest: tf.Tensor) -> Tensors:
            return tiling.planned(height, width, longest, boxes.MARGIN if reach is None else reach)

        # it is most of what a start has to read, so there is one of it
        parse = traced(*specs(model.OPEN))(container.parse)

        def can_hold(found: Tensors) -> tf.Tensor:
            tiles = model.OPEN.results(found)
            positions = tiles.coded[:, 2:] // HYPER_STRIDE
            held = coding.can_hold(tiles.lengths, positions[:, 0], positions[:, 1])
            return tf.reduce_all(held)

        @traced(*specs(model.OPEN))
        def possible(data: tf.Tensor) -> tf.Tensor:
            return can_hold(opened(data, parse=parse))

        @traced(*specs(model.OPEN))
        def open_(data: tf.Tensor) -> Tensors:
            found = opened(data, parse=parse)
            # more than the strings can hold shows here, before anyone takes memory for it
            with tf.control_dependencies([tf.debugging.Assert(can_hold(found), [TOO_SHORT])]):
                return tf.nest.map_structure(tf.identity, found)

        return {
            model.WRITE.name: write,
            model.STATISTICS.name: explain,
            model.ESTIMATE.name: estimate,
            model.PACK.name: pack,
            model.OPEN.name: open_,
            model.PLAN.name: plan,
            "possible": possible,
            "parse": parse,
            **self._readers(),
        }

    def _readers(self) -> dict[str, Callable[..., Tensors]]:
        """What reads strings, by name: of the coder that writes, and of any that needs no more."""
        made = self._reader(header.INTERLEAVED)
        if self.coder == header.INTERLEAVED:
            return made
        return {**self._reader(self.coder), **self._reader_of_parts(), **made}

    def _reader_of_parts(self) -> dict[str, Callable[..., Tensors]]:
        """What reads a part of a string, by name, where strings have several."""
        if self.coding.parts < 2:
            return {}

        @traced(*specs(model.READ_PARTS))
        def read_parts(
            payload: tf.Tensor, height: tf.Tensor, width: tf.Tensor, wanted: tf.Tensor
        ) -> Tensors:
            sound, hyper_latents, latents = self.coding.read_parts(payload, height, width, wanted)
            return model.CodedParts(*_as_coded(latents, hyper_latents), sound)._asdict()

        return {model.READ_PARTS.name: read_parts}

    def _reader(self, coder: str) -> dict[str, Callable[..., Tensors]]:
        trying, reading = READERS[coder]

        @traced(*specs(trying))
        def try_read(
            payload: tf.Tensor, height: tf.Tensor, width: tf.Tensor, strict: tf.Tensor
        ) -> Tensors:
            found = self.coding.try_read(payload, height, width, strict, coder)
            sound, hyper_latents, latents = found
            return whole.Tried(*_as_coded(latents, hyper_latents), sound)._asdict()

        @traced(*specs(reading))
        def read(payload: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> Tensors:
            return reading.results(try_read(payload, height, width, True))._asdict()

        return {trying.name: try_read, reading.name: read}

    def signatures(self) -> dict[str, Callable[..., Tensors]]:
        """The functions as they are called from outside of TensorFlow, by name.

        Servers call those of `tfclic.export.served`, with batches. The others are for
        `tfclic.runtime`; `model.HEADER` is there what `info` is here.
        """
        return {
            **served.signatures(self._parts, self.fingerprint, self.coder == header.RANGE),
            model.HEADER.name: self.info,
            **{name: part for name, part in self._parts.items() if name not in INTERNAL},
        }


def _as_coded(latents: tf.Tensor, hyper_latents: tf.Tensor) -> model.Coded:
    return model.Coded(tf.cast(latents, LATENT_DTYPE), tf.cast(hyper_latents, LATENT_DTYPE))


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
