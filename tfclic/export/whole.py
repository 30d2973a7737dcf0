"""A whole image through the functions of an exported codec, tile by tile, inside of the graph.

`part` is everywhere the dict, by name, of the functions of `tfclic.format.interface`, with
`TRY_READ`, `TRY_READ_INTERLEAVED` or both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tfclic.export import tiling
from tfclic.format import boxes, interface
from tfclic.format.latents import HYPER_STRIDE, STRIDE

if TYPE_CHECKING:
    from tfclic.format.interface import Function, Given

Part = Mapping[str, Callable[..., Any]]
Place = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # of a tile, in `interface.Opened`


class ToTry(NamedTuple):
    """As `interface.ToRead`; if `strict`, bool, what is no string of such a tile is an error."""

    payload: Any
    height: Any
    width: Any
    strict: Any


class Tried(NamedTuple):
    """As `interface.Coded`; `sound`, bool, is whether it is the string of such a tile."""

    latents: Any
    hyper_latents: Any
    sound: Any


TRY_READ = interface.Function("try_read", ToTry, Tried)
TRY_READ_INTERLEAVED = interface.Function("try_read_interleaved", ToTry, Tried)


def compress(part: Part, image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """The file, string, of an image uint8 `[H, W, 3]` or `[H, W, 1]`."""
    height, width, channels = tf.unstack(tf.shape(image))
    tiles = _call(part, interface.PLAN, height, width, boxes.DEFAULT_SIDE)

    def string(tile: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        window, coded, seen = tile
        latents = _call(part, interface.ANALYSE, boxes.crop(image, window)).latents
        box = boxes.relative(coded, seen)
        if interface.CHOOSE.name in part:
            chosen = _call(part, interface.CHOOSE, latents, quality, box)
            return _call(part, interface.WRITE_CHOSEN, *chosen[1:]).payload
        found = _call(part, interface.QUANTISE, latents, quality, box)
        return _call(part, interface.WRITE, *found).payload

    strings = _each(string, (tiles.window, tiles.coded, tiles.seen), tf.string)
    packed = interface.ToPack(
        payload=tf.strings.reduce_join(strings),
        lengths=tf.strings.length(strings),
        width=width,
        height=height,
        tile_width=tiles.tile_width,
        tile_height=tiles.tile_height,
        quality=quality,
        grayscale=tf.equal(channels, 1),
    )
    return _call(part, interface.PACK, *packed).file


def decompress(part: Part, data: tf.Tensor, strict: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """The image of a file.

    Args:
      part: see the module.
      data: string, the file.
      strict: bool, whether tiles that are not sound are an error.

    Returns:
      `(image, sound)`: uint8 `[H, W, 3]` or `[H, W, 1]`, and whether all tiles are sound.
    """
    opened = _call(part, interface.OPEN, data)
    places = opened.coded, opened.coded // HYPER_STRIDE

    def coded(tile: Place) -> tuple[tf.Tensor, ...]:
        *found, sound = _read(part, data, opened, tile, strict)
        return (*(_extended(array, box) for array, box in zip(found, places)), sound)

    def pixels(tile: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        core, seen = tile
        box = boxes.relative(core, seen * STRIDE)
        parts = [boxes.crop(a, b) for a, b in zip(whole, (seen, seen // HYPER_STRIDE))]
        arguments = *parts, opened.quality, opened.grayscale, box
        return _extended(_call(part, interface.SYNTHESISE, *arguments).image, opened.core)

    *found, sound = _each(coded, _strings(opened), (tf.int16, tf.int16, tf.bool))
    whole = [_assembled(array, box) for array, box in zip(found, places)]
    found = _each(pixels, (opened.core, opened.seen), tf.uint8)
    image = tiling.assemble(found, opened.height, opened.width, _rows(opened.core))
    return image, tf.reduce_all(sound)


def heat_map(part: Part, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the bits of a file are.

    Args:
      part: see the module.
      data: string, the file.

    Returns:
      `(bits, sound)`: float32 `[H / 16, W / 16]`, rounded up, bits by the model's own probabilities
      of all that belongs to 16x16 pixels; and whether all tiles are sound.
    """
    opened = _call(part, interface.OPEN, data)

    def bits(tile: Place) -> tuple[tf.Tensor, tf.Tensor]:
        *found, sound = _read(part, data, opened, tile, False)
        explained = _call(part, interface.STATISTICS, *found)
        each = [array for name, array in sorted(explained.items()) if name.endswith(interface.BITS)]
        spread = tf.add_n([_spread(array, tile[2][2:]) for array in each])
        return _extended(spread[..., None], opened.coded), sound

    found, sound = _each(bits, _strings(opened), (tf.float32, tf.bool))
    rows, columns = (-(-side // STRIDE) for side in (opened.height, opened.width))
    whole = _assembled(found, opened.coded)
    return whole[:rows, :columns, 0], tf.reduce_all(sound)


def _call(part: Part, function: Function[Given], *arguments: Any) -> Given:
    """What an `interface.Function` gives, as its NamedTuple, or dict."""
    return function.results(part[function.name](*arguments))


def _read(
    part: Part, data: tf.Tensor, opened: interface.Opened, tile: Place, strict: bool
) -> Tried:
    """A tile's `Tried`, by whatever reads the strings of the file."""
    start, length, box = tile
    arguments = tf.strings.substr(data, start, length), box[2], box[3], strict
    readers = [each for each in (TRY_READ, TRY_READ_INTERLEAVED) if each.name in part]
    if len(readers) == 1:
        return _call(part, readers[0], *arguments)
    of_range, of_interleaved = (lambda each=each: _call(part, each, *arguments) for each in readers)
    return tf.cond(opened.interleaved, of_interleaved, of_range)


def _strings(opened: interface.Opened) -> Place:
    return opened.starts, opened.lengths, opened.coded


def _spread(bits: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Bits `[h, w, C]` of positions, evenly over the latents `size` (rows, columns) they cover."""
    positions = tf.reduce_sum(bits, -1)
    times = size // tf.shape(positions)
    for axis in (0, 1):
        positions = tf.repeat(positions, times[axis], axis)
    return positions / tf.cast(times[0] * times[1], tf.float32)


def _each(function: Callable[[Any], Any], tiles: Any, dtypes: Any) -> Any:
    return tf.map_fn(function, tiles, fn_output_signature=dtypes, parallel_iterations=1)


def _rows(boxes: tf.Tensor) -> tf.Tensor:
    """How many rows of tiles there are."""
    return tf.reduce_sum(tf.cast(tf.equal(boxes[:, 1], 0), tf.int32))


def _assembled(tiles: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Tiles `[n, h, w, C]`, each extended to a common size, as one array."""
    ends = tf.reduce_max(boxes[:, :2] + boxes[:, 2:], 0)
    return tiling.assemble(tiles, ends[0], ends[1], _rows(boxes))


def _extended(tile: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """`tile` `[h, w, C]`, extended by zeros to the size of the first and largest of `boxes`."""
    missing = boxes[0, 2:] - tf.shape(tile)[:2]
    return tf.pad(tile, [[0, missing[0]], [0, missing[1]], [0, 0]])
