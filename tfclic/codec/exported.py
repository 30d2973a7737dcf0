"""The functions of an exported codec, as one graph."""

import hashlib

import numpy as np
import tensorflow as tf

from tfclic import errors
from tfclic.codec import container, opening, tiling
from tfclic.layers.substitution import substituted
from tfclic.models import base
from tfclic.models.coding import HYPER_STRIDE, TOO_SHORT

# Transforms need not repeat bit for bit, so their weights are stored with half the bits.
STORED_DTYPE = tf.float16
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


class ExportedCodec(tf.Module):
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
        super().__init__(name="tfclic")
        try:
            self.coding = codec.coding()
        except ValueError as error:
            raise errors.ModelError(f"The model cannot be exported: {error}.") from error
        transforms = codec.transforms()
        variables = {id(v): v for module in transforms for v in module.variables}
        stored = {
            key: tf.Variable(tf.cast(v, STORED_DTYPE), trainable=False, name="weight")
            for key, v in variables.items()
        }
        self.weights = list(stored.values())
        self.fingerprint = _fingerprint(self.variables)
        self._parts = self._transforms(codec, lambda: substituted(transforms, stored))
        self._parts.update(self._coding(codec.is_local))
        self.compress = _traced(IMAGE, QUALITY)(self._compress)
        self.decompress = _traced(DATA)(self._decompress)
        self.info = _traced(DATA, autograph=True)(opening.info)

    def _transforms(self, codec, weights):
        coding, channels = self.coding, codec.config.latent_channels

        @_traced(IMAGE)
        def analyse(image):
            shape = tf.shape(image)
            pixels = tf.cast(tf.broadcast_to(image, [shape[0], shape[1], 3]), tf.float32) / 255.0
            with weights():
                return {"latents": codec.analysis(base.centred(base.pad_image(pixels[None])))[0]}

        @_traced(tf.TensorSpec([None, None, channels], tf.float32, "latents"), QUALITY, BOX)
        def quantise(latents, quality, box):
            with weights():
                gained = codec.gain(latents[None], snapped(quality)[None])
                hyper_latents = codec.hyper_latents(gained)
            hyper_box = box // (tiling.MULTIPLE // tiling.STRIDE)
            latents, hyper_latents = coding.round(
                tiling.crop(gained[0], box), tiling.crop(hyper_latents[0], hyper_box)
            )
            return {
                "latents": tf.cast(latents, LATENT_DTYPE),
                "hyper_latents": tf.cast(hyper_latents, LATENT_DTYPE),
            }

        @_traced(*self._coded(), QUALITY, tf.TensorSpec([], tf.bool, "grayscale"), BOX)
        def synthesise(latents, hyper_latents, quality, grayscale, box):
            coded = [tf.cast(array, tf.float32)[None] for array in (latents, hyper_latents)]
            coded[0] *= coding.latent_step
            with weights():
                pixels = codec.synthesise(*coded, snapped(quality)[None])[0]
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

        @_traced(*coded)
        def write(latents, hyper_latents):
            return {"payload": coding.compress(*as_floats(hyper_latents, latents))}

        @_traced(*coded)
        def explain(latents, hyper_latents):
            return coding.explain(*as_floats(hyper_latents, latents))

        @_traced(*coded)
        def estimate(latents, hyper_latents):
            return {"bits": coding.total_bits(explain(latents, hyper_latents))}

        @_traced(PAYLOAD, size("height"), size("width"))
        def read(payload, height, width):
            hyper_latents, latents = coding.read(payload, height, width)
            return {
                "latents": tf.cast(latents, LATENT_DTYPE),
                "hyper_latents": tf.cast(hyper_latents, LATENT_DTYPE),
            }

        @_traced(*PACKED.values())
        def pack(payload, lengths, width, height, tile_width, tile_height, quality, grayscale):
            code = container.quality_code(quality)
            tiles = tile_height, tile_width, lengths
            return {
                "file": container.pack(fingerprint, width, height, code, grayscale, payload, tiles)
            }

        @_traced(DATA)
        def open_(data):
            found = {**opening.opened(data, fingerprint), "is_local": tf.constant(is_local)}
            # more than the strings can hold shows here, before anyone takes memory for it
            positions = found["coded"][:, 2:] // (tiling.MULTIPLE // tiling.STRIDE)
            possible = coding.can_hold(found["lengths"], positions[:, 0], positions[:, 1])
            possible = tf.debugging.Assert(tf.reduce_all(possible), [TOO_SHORT])
            with tf.control_dependencies([possible]):
                return tf.nest.map_structure(tf.identity, found)

        plan = _traced(size("height"), size("width"), size("longest"))(tiling.plan)
        named = {"write": write, "explain": explain, "estimate": estimate, "read": read}
        return {**named, "pack": pack, "open": open_, "plan": plan}

    def _compress(self, image, quality):
        part = self._parts
        height, width, channels = tf.unstack(tf.shape(image))
        tiles = part["plan"](height, width, tiling.DEFAULT_SIDE)

        def string(boxes):
            window, coded, seen = boxes
            found = part["analyse"](tiling.crop(image, window))
            box = tiling.relative(coded, seen)
            return part["write"](**part["quantise"](found["latents"], quality, box))["payload"]

        boxes = tuple(tiles[name] for name in ("window", "coded", "seen"))
        strings = tf.map_fn(string, boxes, fn_output_signature=DATA, parallel_iterations=1)
        return part["pack"](
            payload=tf.strings.reduce_join(strings),
            lengths=tf.strings.length(strings),
            width=width,
            height=height,
            tile_width=tiles["tile_width"],
            tile_height=tiles["tile_height"],
            quality=quality,
            grayscale=tf.equal(channels, 1),
        )["file"]

    def _decompress(self, data):
        part = self._parts
        header = part["open"](data)
        rows = tf.reduce_sum(tf.cast(tf.equal(header["core"][:, 1], 0), tf.int32))

        boxes = header["coded"], header["coded"] // HYPER_STRIDE

        def coded(tile):
            start, length, box = tile
            found = part["read"](tf.strings.substr(data, start, length), box[2], box[3])
            return tuple(
                _extended(found[k], b) for k, b in zip(("latents", "hyper_latents"), boxes)
            )

        def pixels(tile):
            core, seen = tile
            box = tiling.relative(core, seen * tiling.STRIDE)
            parts = (tiling.crop(a, b) for a, b in zip(whole, (seen, seen // HYPER_STRIDE)))
            made = part["synthesise"](*parts, header["quality"], header["grayscale"], box)
            return _extended(made["image"], header["core"])

        def each(function, tiles, dtypes):
            return tf.map_fn(function, tiles, fn_output_signature=dtypes, parallel_iterations=1)

        tiles = tuple(header[k] for k in ("starts", "lengths", "coded"))
        found = each(coded, tiles, (LATENT_DTYPE, LATENT_DTYPE))
        whole = [tiling.assemble(array, *_ends(box), rows) for array, box in zip(found, boxes)]
        found = each(pixels, (header["core"], header["seen"]), tf.uint8)
        return tiling.assemble(found, header["height"], header["width"], rows)

    def signatures(self):
        """The functions as they are called from outside of TensorFlow, by name.

        Servers call `compress` and `decompress` on batches of encoded images and of files. The
        others are for `tfclic.codec.runtime`.
        """

        def compress(images, qualities):
            def one(pair):
                image = tf.io.decode_image(pair[0], channels=3, expand_animations=False)
                return self.compress(image, pair[1])

            return {"files": tf.map_fn(one, (images, qualities), fn_output_signature=tf.string)}

        def decompress(files):
            def one(data):
                return tf.io.encode_png(self.decompress(data))

            return {"images": tf.map_fn(one, files, fn_output_signature=tf.string)}

        images = tf.TensorSpec([None], tf.string, "images")
        qualities = tf.TensorSpec([None], tf.float32, "qualities")
        files = tf.TensorSpec([None], tf.string, "files")
        return {
            "compress": tf.function(compress, [images, qualities]),
            "decompress": tf.function(decompress, [files]),
            "info": self.info,
            **self._parts,
        }


def _traced(*specs, autograph=False):
    """Traces a function at once, for `specs`, so that whoever calls it calls the same trace.

    A tf.function would be traced once more inside of others, and every process that runs a part of
    the SavedModel would read all of it twice.
    """

    def trace(function):
        return tf.function(function, specs, autograph=autograph).get_concrete_function()

    return trace


def _ends(boxes):
    return tf.reduce_max(boxes[:, 0] + boxes[:, 2]), tf.reduce_max(boxes[:, 1] + boxes[:, 3])


def _extended(tile, boxes):
    """`tile` `[h, w, C]`, extended by zeros to the size of the first and largest of `boxes`."""
    missing = boxes[0, 2:] - tf.shape(tile)[:2]
    return tf.pad(tile, [[0, missing[0]], [0, missing[1]], [0, 0]])


def _fingerprint(variables):
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.digest()[:4]
