"""The functions of an exported codec, as one graph."""

import tensorflow as tf

from tfclic.entropy.coding import TOO_SHORT
from tfclic.export import container, opening, served, stored, tiling, whole
from tfclic.layers.substitution import substituted
from tfclic.models import base

# Latents outside of the graph: 100 megapixels have 75 million of them.
LATENT_DTYPE = tf.int16

IMAGE = tf.TensorSpec([None, None, None], tf.uint8, "image")
QUALITY = tf.TensorSpec([], tf.float32, "quality")
DATA = tf.TensorSpec([], tf.string, "data")
PAYLOAD = tf.TensorSpec([], tf.string, "payload")
BOX = tf.TensorSpec([4], tf.int32, "box")


def size(name):
    """Spec of a number of pixels or latents."""
    return tf.TensorSpec([], tf.int32, name)


# What `whole` and `served` need of the parts, and nobody else.
INTERNAL = ("try_read", "possible", "parse")
PACKED = {
    "payload": PAYLOAD,
    "lengths": tf.TensorSpec([None], tf.int32, "lengths"),
    "width": size("width"),
    "height": size("height"),
    "tile_width": size("tile_width"),
    "tile_height": size("tile_height"),
    "quality": QUALITY,
    "grayscale": tf.TensorSpec([], tf.bool, "grayscale"),
}


def snapped(quality):
    """The nearest quality that a file can state, float32."""
    return container.quality_of(container.quality_code(quality))


class ExportedCodec(stored.StoredCodec):
    """The functions of an exported codec.

    | function | takes | gives |
    |---|---|---|
    | `compress` | uint8 `[H, W, 3]` or `[H, W, 1]`, quality float32 | the file, string |
    | `decompress` | the file | uint8 `[H, W, 3]` or `[H, W, 1]` |
    | `info` | the file | header fields by name |

    and, as signatures alone, the parts of these, which whoever wants to see progress, to code tiles
    in parallel, or to try several qualities calls one by one:

    | function | takes | gives |
    |---|---|---|
    | `plan` | size of an image, longest side of a tile | the tiles: `tiling.Layout` |
    | `analyse` | a window of the image | latents before the gain |
    | `quantise` | these, quality, the box of what is coded | latents and hyper latents as coded |
    | `write` | these | a tile's string |
    | `estimate` | these | the bits that it should take |
    | `explain` | these | the bits of each element, `PART_bits`, and what they follow from |
    | `pack` | `PACKED` | the file |
    | `open` | the file | header, `tiling.Layout`, where the strings are |
    | `read` | a tile's string, number of rows and columns of latents | what `write` took |
    | `synthesise` | what `read` gives, quality, grayscale, box in pixels | that part of the image |

    Args:
      codec: a trained `tfclic.models.base.ImageCodec` with all its variables made.

    Raises:
      errors.ModelError: an entropy network cannot be made exact; names the layer.
    """

    def __init__(self, codec):
        super().__init__(codec)
        self.fingerprint = self.digest()
        self._parts = self._transforms(codec, self.stand_ins(codec))
        self._parts.update(self._coding(codec.is_local))
        self.compress = traced(IMAGE, QUALITY)(
            lambda image, quality: whole.compress(self._parts, image, quality)
        )
        self.decompress = traced(DATA)(lambda data: whole.decompress(self._parts, data, True)[0])
        parse = self._parts["parse"]
        self.info = traced(DATA, autograph=True)(lambda data: opening.info(data, parse))

    def _transforms(self, codec, stand_ins):
        coding, channels = self.coding, codec.config.latent_channels

        def weights():
            return substituted(codec.transforms(), stand_ins)

        @traced(IMAGE)
        def analyse(image):
            shape = tf.shape(image)
            pixels = tf.cast(tf.broadcast_to(image, [shape[0], shape[1], 3]), tf.float32) / 255.0
            with weights():
                return {"latents": codec.analysis(base.centred(base.pad_image(pixels[None])))[0]}

        @traced(tf.TensorSpec([None, None, channels], tf.float32, "latents"), QUALITY, BOX)
        def quantise(latents, quality, box):
            with weights():
                gained = codec.gained(latents[None], snapped(quality)[None])
                sources = codec.sources(gained)
            boxes = {name: coding.box(name, box) for name in sources}
            cropped = {name: tiling.crop(sources[name][0], each) for name, each in boxes.items()}
            latents, hyper_latents = coding.quantize(cropped)
            return {
                "latents": tf.cast(latents, LATENT_DTYPE),
                "hyper_latents": tf.cast(hyper_latents, LATENT_DTYPE),
            }

        @traced(*self._coded(), QUALITY, tf.TensorSpec([], tf.bool, "grayscale"), BOX)
        def synthesise(latents, hyper_latents, quality, grayscale, box):
            latents = tf.cast(latents, tf.float32)[None] * coding.latent_step
            sides = coding.split(tf.cast(hyper_latents, tf.float32))
            sides = {name: array[None] for name, array in sides.items()}
            with weights():
                pixels = codec.synthesise(latents, sides, snapped(quality)[None])[0]
            pixels = tf.round(tf.clip_by_value(tiling.crop(pixels, box), 0.0, 1.0) * 255.0)
            gray = tf.round(tf.reduce_mean(pixels, -1, keepdims=True))
            pixels = tf.cond(grayscale, lambda: gray, lambda: pixels)
            return {"image": tf.cast(pixels, tf.uint8)}

        return {"analyse": analyse, "quantise": quantise, "synthesise": synthesise}

    def _coded(self):
        """Specs of latents and hyper latents."""
        sizes = {"latents": self.coding.channels, "hyper_latents": self.coding.hyper_channels}
        return [tf.TensorSpec([None, None, n], LATENT_DTYPE, name) for name, n in sizes.items()]

    def _coding(self, is_local):
        coding, fingerprint, coded = self.coding, self.fingerprint, self._coded()

        def as_floats(*arrays):
            return (tf.cast(array, tf.float32) for array in arrays)

        @traced(*coded)
        def write(latents, hyper_latents):
            return {"payload": coding.compress(*as_floats(hyper_latents, latents))}

        @traced(*coded)
        def explain(latents, hyper_latents):
            return coding.explain(*as_floats(hyper_latents, latents))

        @traced(*coded)
        def estimate(latents, hyper_latents):
            return {"bits": coding.total_bits(explain(latents, hyper_latents))}

        @traced(PAYLOAD, size("height"), size("width"), tf.TensorSpec([], tf.bool, "strict"))
        def try_read(payload, height, width, strict):
            sound, hyper_latents, latents = coding.try_read(payload, height, width, strict)
            return {
                "sound": sound,
                "latents": tf.cast(latents, LATENT_DTYPE),
                "hyper_latents": tf.cast(hyper_latents, LATENT_DTYPE),
            }

        @traced(PAYLOAD, size("height"), size("width"))
        def read(payload, height, width):
            found = try_read(payload, height, width, True)
            return {name: found[name] for name in ("latents", "hyper_latents")}

        @traced(*PACKED.values())
        def pack(payload, lengths, width, height, tile_width, tile_height, quality, grayscale):
            code = container.quality_code(quality)
            tiles = tile_height, tile_width, lengths
            return {
                "file": container.pack(fingerprint, width, height, code, grayscale, payload, tiles)
            }

        # it is most of what a start has to read, so there is one of it
        parse = traced(DATA)(container.parse)

        def can_hold(found):
            positions = found["coded"][:, 2:] // (tiling.MULTIPLE // tiling.STRIDE)
            held = coding.can_hold(found["lengths"], positions[:, 0], positions[:, 1])
            return tf.reduce_all(held)

        @traced(DATA)
        def possible(data):
            return can_hold(opening.opened(data, fingerprint, parse))

        @traced(DATA)
        def open_(data):
            found = opening.opened(data, fingerprint, parse)
            found["is_local"] = tf.constant(is_local)
            # more than the strings can hold shows here, before anyone takes memory for it
            with tf.control_dependencies([tf.debugging.Assert(can_hold(found), [TOO_SHORT])]):
                return tf.nest.map_structure(tf.identity, found)

        plan = traced(size("height"), size("width"), size("longest"))(tiling.plan)
        named = {"write": write, "explain": explain, "estimate": estimate, "read": read}
        named.update(try_read=try_read, possible=possible, parse=parse)
        return {**named, "pack": pack, "open": open_, "plan": plan}

    def signatures(self):
        """The functions as they are called from outside of TensorFlow, by name.

        Servers call those of `tfclic.export.served`, with batches. The others are for
        `tfclic.runtime`; `header` is there what `info` is here.
        """
        return {
            **served.signatures(self._parts, self.fingerprint),
            "header": self.info,
            **{name: part for name, part in self._parts.items() if name not in INTERNAL},
        }


def traced(*specs, autograph=False):
    """Traces a function at once, for `specs`, so that whoever calls it calls the same trace.

    A tf.function would be traced once more inside of others, and every process that runs a part of
    the SavedModel would read all of it twice. It stays a function, too: what TensorFlow takes apart
    and puts into the loop over a batch runs slower there.
    """
    alone = {"_noinline": True}

    def trace(function):
        made = tf.function(function, specs, autograph=autograph, experimental_attributes=alone)
        return made.get_concrete_function()

    return trace
