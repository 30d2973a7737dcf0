"""A whole image through the functions of an exported codec, tile by tile, inside of the graph.

`part` is everywhere the dict of these functions (see `tfclic.export.exported.ExportedCodec`), with
one more: `try_read` takes a tile's string, its rows and columns of latents, and `strict`, and gives
what `read` gives and `sound`, whether it is the string of such a tile; if `strict`, it fails where
it is not.
"""

import tensorflow as tf

from tfclic.entropy.coding import SIDE_STRIDE
from tfclic.export import tiling
from tfclic.runtime.explained import BITS

_CODED = ("latents", "hyper_latents")


def compress(part, image, quality):
    """The file, string, of an image uint8 `[H, W, 3]` or `[H, W, 1]`."""
    height, width, channels = tf.unstack(tf.shape(image))
    tiles = part["plan"](height, width, tiling.DEFAULT_SIDE)

    def string(boxes):
        window, coded, seen = boxes
        found = part["analyse"](tiling.crop(image, window))
        box = tiling.relative(coded, seen)
        return part["write"](**part["quantise"](found["latents"], quality, box))["payload"]

    boxes = tuple(tiles[name] for name in ("window", "coded", "seen"))
    strings = _each(string, boxes, tf.string)
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


def decompress(part, data, strict):
    """The image of a file.

    Args:
      part: see the module.
      data: string, the file.
      strict: bool, whether tiles that are not sound are an error.

    Returns:
      `(image, sound)`: uint8 `[H, W, 3]` or `[H, W, 1]`, and whether all tiles are sound.
    """
    header = part["open"](data)
    boxes = header["coded"], header["coded"] // SIDE_STRIDE

    def coded(tile):
        found = _read(part, data, tile, strict)
        arrays = (_extended(found[name], box) for name, box in zip(_CODED, boxes))
        return (*arrays, found["sound"])

    def pixels(tile):
        core, seen = tile
        box = tiling.relative(core, seen * tiling.STRIDE)
        parts = (tiling.crop(a, b) for a, b in zip(whole, (seen, seen // SIDE_STRIDE)))
        made = part["synthesise"](*parts, header["quality"], header["grayscale"], box)
        return _extended(made["image"], header["core"])

    *found, sound = _each(coded, _strings(header), (tf.int16, tf.int16, tf.bool))
    whole = [_assembled(array, box) for array, box in zip(found, boxes)]
    found = _each(pixels, (header["core"], header["seen"]), tf.uint8)
    rows = _rows(header["core"])
    image = tiling.assemble(found, header["height"], header["width"], rows)
    return image, tf.reduce_all(sound)


def heat_map(part, data):
    """Where the bits of a file are.

    Args:
      part: see the module.
      data: string, the file.

    Returns:
      `(bits, sound)`: float32 `[H / 16, W / 16]`, rounded up, bits by the model's own probabilities
      of all that belongs to 16x16 pixels; and whether all tiles are sound.
    """
    header = part["open"](data)

    def bits(tile):
        found = _read(part, data, tile, False)
        explained = part["explain"](*(found[name] for name in _CODED))
        each = [array for name, array in sorted(explained.items()) if name.endswith(BITS)]
        spread = tf.add_n([_spread(array, tile[2][2:]) for array in each])
        return _extended(spread[..., None], header["coded"]), found["sound"]

    found, sound = _each(bits, _strings(header), (tf.float32, tf.bool))
    rows, columns = (-(-header[side] // tiling.STRIDE) for side in ("height", "width"))
    whole = _assembled(found, header["coded"])
    return whole[:rows, :columns, 0], tf.reduce_all(sound)


def _read(part, data, tile, strict):
    start, length, box = tile
    return part["try_read"](tf.strings.substr(data, start, length), box[2], box[3], strict)


def _strings(header):
    return tuple(header[name] for name in ("starts", "lengths", "coded"))


def _spread(bits, size):
    """Bits `[h, w, C]` of positions, evenly over the latents `size` (rows, columns) they cover."""
    positions = tf.reduce_sum(bits, -1)
    times = size // tf.shape(positions)
    for axis in (0, 1):
        positions = tf.repeat(positions, times[axis], axis)
    return positions / tf.cast(times[0] * times[1], tf.float32)


def _each(function, tiles, dtypes):
    return tf.map_fn(function, tiles, fn_output_signature=dtypes, parallel_iterations=1)


def _rows(boxes):
    """How many rows of tiles there are."""
    return tf.reduce_sum(tf.cast(tf.equal(boxes[:, 1], 0), tf.int32))


def _assembled(tiles, boxes):
    """Tiles `[n, h, w, C]`, each extended to a common size, as one array."""
    ends = tf.reduce_max(boxes[:, :2] + boxes[:, 2:], 0)
    return tiling.assemble(tiles, ends[0], ends[1], _rows(boxes))


def _extended(tile, boxes):
    """`tile` `[h, w, C]`, extended by zeros to the size of the first and largest of `boxes`."""
    missing = boxes[0, 2:] - tf.shape(tile)[:2]
    return tf.pad(tile, [[0, missing[0]], [0, missing[1]], [0, 0]])
