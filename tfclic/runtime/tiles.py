"""Images of any size through an exported codec's functions, tile by tile, on all cores.

The functions are those of `tfclic.format.interface`; boxes, (top, left, height, width), are
explained in `tfclic.format.boxes`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tfclic.format import boxes, header, interface
from tfclic.format.latents import STRIDE
from tfclic.runtime.canvas import Canvas, Shelf, hull, latents_around, overlap, touching
from tfclic.runtime.progress import Steps, in_parallel
from tfclic.runtime.qualities import Qualities

if TYPE_CHECKING:
    from tfclic.format.interface import Function, Given
    from tfclic.images import Pixels
    from tfclic.runtime import thumbnails
    from tfclic.runtime.progress import Progress

Region = tuple[int, int, int, int]

# Transforms use all cores, and most of the memory: one at a time. Range coding uses one core.
TRANSFORM = threading.Lock()


class Call(Protocol):
    """What calls an `interface.Function` with what it takes, and returns what it gives."""

    def __call__(self, function: Function[Given], *arguments: Any) -> Given: ...


# Of a tile's index, what a file has of it: see `read_tile`.
Reading = Callable[[Call, bytes, "interface.Opened", int], "interface.Coded"]


def decode_latents(call: Call, data: bytes) -> np.ndarray:
    """Decodes the latents of a file (bytes): int16 [h, w, C]; `call` as for `Encoder`."""
    opened = call(interface.OPEN, data)
    tiles = range(len(opened.coded))
    steps = Steps(len(tiles), None)
    shelf = _shelf(call, data, opened, tiles, steps, read_tile)
    return shelf.take(hull(opened.coded)).latents


def decode(
    call: Call,
    data: bytes,
    region: Region | None = None,
    progress: Progress | None = None,
    reading: Reading | None = None,
    qualities: Qualities | None = None,
) -> Pixels:
    """Decodes a file.

    Args:
      call: as for `Encoder`.
      data: bytes, the file of an image alone.
      region: (x, y, width, height), pixels, inside of the image; None: the image. Only the tiles in
        which it and its margin lie are read. Its pixels are those of the image; some of them are
        rounded to the other side where the synthesis computes in floating point. Where a pixel
        depends on all of its tile, all of the tile is made.
      progress: function of (steps done, steps in all), or None; reading a tile and making its
        pixels are a step each.
      reading: what reads a tile; None: `read_tile`.
      qualities: where they are others than the file says; None: nowhere.

    Returns:
      uint8 array [h, w, 1] or [h, w, 3].
    """
    opened = call(interface.OPEN, data)
    x, y, width, height = region or (0, 0, opened.width, opened.height)
    canvas = Canvas((y, x, height, width))
    shown = opened.core[touching(opened.core, canvas.box)]
    if opened.is_local:
        shown = [overlap(core, canvas.box) for core in shown]
    whole = hull(opened.coded)
    seen = np.stack([latents_around(box, whole, opened.reach) for box in shown])
    needed = touching(opened.coded, hull(seen))
    steps = Steps(len(shown) + len(needed), progress)
    shelf = _shelf(call, data, opened, needed, steps, reading or read_tile)
    settings = qualities or Qualities(opened.quality), opened.grayscale
    for box, around in zip(shown, seen):
        canvas.paste(synthesised(call, shelf.take(around), around, box, *settings), box)
        steps.add()
    return canvas.array


def decode_reduced(
    call: Call,
    data: bytes,
    mapped: thumbnails.Map,
    region: Region | None = None,
    progress: Progress | None = None,
    qualities: Qualities | None = None,
) -> Pixels:
    """Makes a thumbnail of a file's latents.

    Args:
      call, data, progress, qualities: as for `decode`.
      mapped: what makes it.
      region: as for `decode`; x and y are multiples of what sides are divided by.

    Returns:
      uint8 array [h, w, 1] or [h, w, 3].
    """
    opened = call(interface.OPEN, data)
    x, y, width, height = region or (0, 0, opened.width, opened.height)
    box = np.array([y, x, height, width], np.int32)
    seen = latents_around(box, hull(opened.coded), STRIDE)
    needed = touching(opened.coded, seen)

    def work(tile: int) -> np.ndarray:
        return mapped.taken(read_tile(call, data, opened, tile).latents)

    canvas = Canvas(seen)
    steps = Steps(len(needed), progress)
    for tile, latents in zip(needed, in_parallel(work, needed, steps)):
        canvas.paste(latents, opened.coded[tile])
    codes = (qualities or Qualities(opened.quality)).codes(seen)
    image = mapped.image(canvas.array, header.quality_of(codes))
    by = STRIDE // mapped.side
    ends = -(-(box[:2] + box[2:]) // by)
    top, left = box[:2] // by - mapped.side * seen[:2]
    height, width = ends - box[:2] // by
    pixels = np.round(image[top : top + height, left : left + width])
    gray = np.round(pixels.mean(-1, keepdims=True))
    return (gray if opened.grayscale else pixels).astype(np.uint8)


def _shelf(
    call: Call,
    data: bytes,
    opened: interface.Opened,
    tiles: Sequence[int] | np.ndarray,
    steps: Steps,
    reading: Reading,
) -> Shelf:
    """A `Shelf` of some tiles of a file, read side by side."""

    def read(several: Sequence[int]) -> Iterator[interface.Coded]:
        return in_parallel(lambda tile: reading(call, data, opened, tile), several, steps)

    return Shelf(opened.coded, tiles, read)


def read_tile(call: Call, data: bytes, opened: interface.Opened, tile: int) -> interface.Coded:
    """Everything that one string of a file holds, an `interface.Coded`.

    Args:
      call: as for `Encoder`.
      data: bytes.
      opened: what the model's `OPEN` says of the file.
      tile: int, its index.
    """
    start, length = opened.starts[tile], opened.lengths[tile]
    function = interface.READ_INTERLEAVED if opened.interleaved else interface.READ
    return call(function, data[start : start + length], *opened.coded[tile][2:])


class Parts:
    """Reads a part of what tiles hold, and takes what is expected for the rest; a `Reading`.

    Attributes:
      sound: dict, by tile, of how many parts of its latents were read; -1: nothing of it.

    Args:
      wanted: int, how many parts of the latents, at most.
      received: int, how many bytes of the strings there are; what follows may be anything. None:
        all of them.
    """

    def __init__(self, wanted: int, received: int | None = None) -> None:
        self._wanted, self._received = wanted, received
        self.sound: dict[int, int] = {}

    def __call__(
        self, call: Call, data: bytes, opened: interface.Opened, tile: int
    ) -> interface.Coded:
        """As `read_tile`; what nothing is known of is gray."""
        start, length = int(opened.starts[tile]), int(opened.lengths[tile])
        there = length
        if self._received is not None:
            there = min(max(self._received + int(opened.starts[0]) - start, 0), length)
        string, sides = data[start : start + there], opened.coded[tile][2:]
        sound = self._wanted
        found = call(interface.READ_PARTS, string, *sides, np.int32(sound))
        if there < length:
            sound = int(found.sound)
            if 0 <= sound < self._wanted:
                # what was read of the others may be anything
                found = call(interface.READ_PARTS, string, *sides, np.int32(sound))
        self.sound[tile] = sound
        coded = interface.Coded(found.latents, found.hyper_latents)
        return coded if sound >= 0 else interface.Coded(*map(np.zeros_like, coded))


def recode(
    call: Call,
    writing: Call,
    data: bytes,
    fields: tuple[Any, ...],
    progress: Progress | None = None,
) -> bytes:
    """The same latents in strings of another coder.

    Args:
      call: as for `Encoder`, of the model that reads.
      writing: the same of the model that writes.
      data: bytes, the file.
      fields: those of `interface.ToPack` after the lengths.
      progress: function of (tiles done, tiles in all), or None.

    Returns:
      bytes, the file.
    """
    opened = call(interface.OPEN, data)

    def work(tile: int) -> bytes:
        return writing(interface.WRITE, *read_tile(call, data, opened, tile)).payload

    tiles = range(len(opened.coded))
    strings = list(in_parallel(work, tiles, Steps(len(tiles), progress)))
    lengths = np.array([len(string) for string in strings], np.int32)
    return writing(interface.PACK, b"".join(strings), lengths, *fields).file


def synthesised(
    call: Call,
    coded: interface.Coded,
    seen: np.ndarray,
    box: np.ndarray,
    qualities: Qualities,
    grayscale: np.bool_,
) -> Pixels:
    """The pixels of `box`, from what is coded, `Coded.cut`, of the box `seen`."""
    box = boxes.relative(box, STRIDE * seen)
    function: Function[interface.Image] = interface.SYNTHESISE
    how: Any = qualities.quality
    if qualities.deviations is not None:
        function, how = interface.SYNTHESISE_BY_MAP, qualities.codes(seen)
    with TRANSFORM:
        return call(function, *coded, how, grayscale, box).image
