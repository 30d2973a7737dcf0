"""Images of any size through an exported codec's functions, tile by tile, on all cores.

The functions are those of `tfclic.format.model`; boxes, (top, left, height, width), are explained
in `tfclic.format.boxes`.
"""

from __future__ import annotations

import concurrent.futures
import copy
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from tfclic.format import boxes, header, model, picture
from tfclic.format.latents import HYPER_STRIDE, STRIDE
from tfclic.format.picture import Picture
from tfclic.runtime.qualities import Qualities, Wanted

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfclic.format.model import Function, Given
    from tfclic.images import Pixels
    from tfclic.runtime import thumbnails

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
Done = Callable[[], None]
Region = tuple[int, int, int, int]

# Transforms use all cores, and most of the memory: one at a time. Range coding uses one core.
_TRANSFORM = threading.Lock()
# So do refinements, for much longer. After so many steps whoever waits is told.
_REFINEMENT, AT_ONCE = threading.Lock(), 5


class Call(Protocol):
    """What calls a `model.Function` with what it takes, and returns what it gives."""

    def __call__(self, function: Function[Given], *arguments: Any) -> Given: ...


# Of a tile's index, what a file has of it: see `read_tile`.
Reading = Callable[[Call, bytes, "model.Opened", int], "model.Coded"]


class Encoder:
    """An image on its way to a file: analysed once, written at any quality.

    Args:
      call: calls a `model.Function` with what it takes, and returns what it gives.
      pixels: uint8 array [H, W, 1] or [H, W, 3].
      longest: int, pixels, the longest side of a tile.
      keeps: whether several things will be asked for, so that the analysis is kept in memory (for
        192 channels, as many bytes as the image has samples), and what was quantised last (half of
        that).
      progress: function of (steps done, steps in all), or None; a tile is a step, and so is each
        part of a refinement.
      refinement: int, the steps of `model.REFINE` that latents take before they are rounded.
      wanted: the image's `qualities.Wanted`, which qualities that are asked for move as a whole;
        None: they are the same everywhere.
      finish: function of a `Picture` of the image alone that makes it what `file` returns.
      chooses: whether the model has `model.CHOOSE`.
    """

    def __init__(
        self,
        call: Call,
        pixels: Pixels,
        longest: int,
        keeps: bool = False,
        progress: Progress | None = None,
        refinement: int = 0,
        wanted: Wanted | None = None,
        finish: Callable[[Picture], bytes] = picture.pack,
        chooses: bool = False,
    ) -> None:
        self._chooses = chooses
        self._call, self._pixels, self._keeps, self._progress = call, pixels, keeps, progress
        self.refinement, self._finish = refinement, finish
        height, width = pixels.shape[:2]
        self._sides = np.array([height, width], np.int32)
        self._wanted = wanted or Wanted(height, width, 0)
        self._plan = call(model.PLAN, *self._sides, np.int32(longest))
        self._grayscale = np.bool_(pixels.shape[2] == 1)
        self._analysed: dict[int, np.ndarray] = {}
        self._latest: dict[int, tuple[float, model.Coded]] = {}

    def plain(self) -> Encoder:
        """One of the same image that refines nothing; both share the analysis."""
        other = copy.copy(self)
        other.refinement, other._latest = 0, {}
        return other

    def file(self, quality: float) -> bytes:
        """The file, bytes, at `quality` (0..100)."""
        strings = self._each(self._string, quality)
        qualities, (height, width) = self._wanted.at(quality), self._sides
        packed = model.ToPack(
            payload=b"".join(strings),
            lengths=np.array([len(string) for string in strings], np.int32),
            width=width,
            height=height,
            tile_width=self._plan.tile_width,
            tile_height=self._plan.tile_height,
            quality=qualities.quality,
            grayscale=self._grayscale,
        )
        image = self._call(model.PACK, *packed).file
        return self._finish(Picture(image, quality_map=qualities.coded))

    def estimated_bits(self, quality: float) -> float:
        """What the strings should take by the model's own probabilities, float."""
        return float(sum(self._each(self._bits, quality)))

    def latents(self, quality: float) -> np.ndarray:
        """Latents as coded, int16 [h, w, C]."""
        return self._shelf(quality).take(hull(self._plan.coded)).latents

    def reconstruction(self, quality: float) -> Pixels:
        """The image that the file at `quality` gives, uint8 [H, W, 1] or [H, W, 3]."""
        canvas = Canvas((0, 0, *self._pixels.shape[:2]))
        for image, core in self._synthesised(quality):
            canvas.paste(image, core)
        return canvas.array

    def psnr(self, quality: float) -> float:
        """Its peak signal-to-noise ratio, dB; infinite if nothing is lost."""
        error = 0
        for image, core in self._synthesised(quality):
            difference = boxes.crop(self._pixels, core).astype(np.int32) - image
            error += int(np.sum(np.square(difference), dtype=np.int64))
        return 10 * math.log10(255**2 * self._pixels.size / error) if error else math.inf

    def _synthesised(self, quality: float) -> Iterator[tuple[Pixels, np.ndarray]]:
        settings = self._wanted.at(quality), self._grayscale
        whole, shelf = hull(self._plan.coded), self._shelf(quality)
        steps = Steps(len(self._plan.core), self._progress)
        for core in self._plan.core:
            seen = _around(core, whole, self._plan.reach)
            yield _synthesised(self._call, shelf.take(seen), seen, core, *settings), core
            steps.add()

    def _shelf(self, quality: float) -> Shelf:
        def read(tiles: Sequence[int]) -> Iterator[model.Coded]:
            return (self._quantised(tile, quality) for tile in tiles)

        return Shelf(self._plan.coded, range(len(self._plan.coded)), read)

    def _string(self, tile: int, quality: float, done: Done) -> bytes:
        """A tile's string."""
        if not self._chooses or self._kept(tile, quality):
            return self._call(model.WRITE, *self._quantised(tile, quality, done)).payload
        found = self._quantise(tile, quality, done, model.CHOOSE, model.CHOOSE_BY_MAP)
        self._keep(tile, quality, model.Coded(found.latents, found.hyper_latents))
        given = model.ToWriteChosen(found.hyper_latents, found.symbols, found.parameters)
        return self._call(model.WRITE_CHOSEN, *given).payload

    def _bits(self, tile: int, quality: float, done: Done) -> float:
        """What a tile's string should take."""
        return self._call(model.ESTIMATE, *self._quantised(tile, quality, done)).bits

    def _quantised(self, tile: int, quality: float, done: Done = lambda: None) -> model.Coded:
        coded = self._kept(tile, quality)
        if coded:
            for _ in range(self._parts()):
                done()
            return coded
        coded = self._quantise(tile, quality, done, model.QUANTISE, model.QUANTISE_BY_MAP)
        self._keep(tile, quality, coded)
        return coded

    def _kept(self, tile: int, quality: float) -> model.Coded | None:
        latest = self._latest.get(tile)
        return latest[1] if latest and latest[0] == quality else None

    def _keep(self, tile: int, quality: float, coded: model.Coded) -> None:
        if self._keeps:
            self._latest[tile] = quality, coded

    def _quantise(
        self,
        tile: int,
        quality: float,
        done: Done,
        plain: Function[Given],
        by_map: Function[Given],
    ) -> Given:
        latents = self._analysed.get(tile)
        window = boxes.crop(self._pixels, self._plan.window[tile])
        if latents is None:
            with _TRANSFORM:
                latents = self._call(model.ANALYSE, window).latents
            if self._keeps:
                self._analysed[tile] = latents
        seen, qualities = self._plan.seen[tile], self._wanted.at(quality)
        if self.refinement:
            latents = self._refined(latents, window, qualities, seen, done)
        box = boxes.relative(self._plan.coded[tile], seen)
        with _TRANSFORM:
            if qualities.deviations is None:
                return self._call(plain, latents, qualities.quality, box)
            return self._call(by_map, latents, qualities.codes(seen), box)

    def _refined(
        self,
        latents: np.ndarray,
        window: Pixels,
        qualities: Qualities,
        seen: np.ndarray,
        done: Done,
    ) -> np.ndarray:
        function: Function[model.Refined] = model.REFINE
        how: Any = qualities.quality
        if qualities.deviations is not None:
            function, how = model.REFINE_BY_MAP, qualities.codes(seen)
        moments = np.zeros([2, *latents.shape], np.float32)
        with _REFINEMENT:
            for first in range(0, self.refinement, AT_ONCE):
                last = min(first + AT_ONCE, self.refinement)
                steps = (np.int32(each) for each in (first, last, self.refinement))
                found = self._call(function, latents, window, how, moments, *steps)
                latents, moments = found.latents, found.moments
                done()
        return latents

    def _parts(self) -> int:
        return -(-self.refinement // AT_ONCE)

    def _each(self, work: Callable[[int, float, Done], Result], quality: float) -> list[Result]:
        """What work on a tile at a quality, which tells of parts that are done, gives for each."""
        tiles = range(len(self._plan.core))
        steps = Steps(len(tiles) * (1 + self._parts()), self._progress)
        return list(in_parallel(lambda tile: work(tile, quality, steps.add), tiles, steps))


def decode_latents(call: Call, data: bytes) -> np.ndarray:
    """Decodes the latents of a file (bytes): int16 [h, w, C]; `call` as for `Encoder`."""
    opened = call(model.OPEN, data)
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
    opened = call(model.OPEN, data)
    x, y, width, height = region or (0, 0, opened.width, opened.height)
    canvas = Canvas((y, x, height, width))
    shown = opened.core[_touching(opened.core, canvas.box)]
    if opened.is_local:
        shown = [_common(core, canvas.box) for core in shown]
    whole = hull(opened.coded)
    seen = np.stack([_around(box, whole, opened.reach) for box in shown])
    needed = _touching(opened.coded, hull(seen))
    steps = Steps(len(shown) + len(needed), progress)
    shelf = _shelf(call, data, opened, needed, steps, reading or read_tile)
    settings = qualities or Qualities(opened.quality), opened.grayscale
    for box, around in zip(shown, seen):
        canvas.paste(_synthesised(call, shelf.take(around), around, box, *settings), box)
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
    opened = call(model.OPEN, data)
    x, y, width, height = region or (0, 0, opened.width, opened.height)
    box = np.array([y, x, height, width], np.int32)
    seen = _around(box, hull(opened.coded), STRIDE)
    needed = _touching(opened.coded, seen)

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
    opened: model.Opened,
    tiles: Sequence[int] | np.ndarray,
    steps: Steps,
    reading: Reading,
) -> Shelf:
    """A `Shelf` of some tiles of a file, read side by side."""

    def read(several: Sequence[int]) -> Iterator[model.Coded]:
        return in_parallel(lambda tile: reading(call, data, opened, tile), several, steps)

    return Shelf(opened.coded, tiles, read)


def read_tile(call: Call, data: bytes, opened: model.Opened, tile: int) -> model.Coded:
    """Everything that one string of a file holds, a `model.Coded`.

    Args:
      call: as for `Encoder`.
      data: bytes.
      opened: what the model's `OPEN` says of the file.
      tile: int, its index.
    """
    start, length = opened.starts[tile], opened.lengths[tile]
    function = model.READ_INTERLEAVED if opened.interleaved else model.READ
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

    def __call__(self, call: Call, data: bytes, opened: model.Opened, tile: int) -> model.Coded:
        """As `read_tile`; what nothing is known of is gray."""
        start, length = int(opened.starts[tile]), int(opened.lengths[tile])
        there = length
        if self._received is not None:
            there = min(max(self._received + int(opened.starts[0]) - start, 0), length)
        string, sides = data[start : start + there], opened.coded[tile][2:]
        sound = self._wanted
        found = call(model.READ_PARTS, string, *sides, np.int32(sound))
        if there < length:
            sound = int(found.sound)
            if 0 <= sound < self._wanted:
                # what was read of the others may be anything
                found = call(model.READ_PARTS, string, *sides, np.int32(sound))
        self.sound[tile] = sound
        coded = model.Coded(found.latents, found.hyper_latents)
        return coded if sound >= 0 else model.Coded(*map(np.zeros_like, coded))


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
      fields: those of `model.ToPack` after the lengths.
      progress: function of (tiles done, tiles in all), or None.

    Returns:
      bytes, the file.
    """
    opened = call(model.OPEN, data)

    def work(tile: int) -> bytes:
        return writing(model.WRITE, *read_tile(call, data, opened, tile)).payload

    tiles = range(len(opened.coded))
    strings = list(in_parallel(work, tiles, Steps(len(tiles), progress)))
    lengths = np.array([len(string) for string in strings], np.int32)
    return writing(model.PACK, b"".join(strings), lengths, *fields).file


def _synthesised(
    call: Call,
    coded: model.Coded,
    seen: np.ndarray,
    box: np.ndarray,
    qualities: Qualities,
    grayscale: np.bool_,
) -> Pixels:
    """The pixels of `box`, from what is coded, `Coded.cut`, of the box `seen`."""
    box = boxes.relative(box, STRIDE * seen)
    function: Function[model.Image] = model.SYNTHESISE
    how: Any = qualities.quality
    if qualities.deviations is not None:
        function, how = model.SYNTHESISE_BY_MAP, qualities.codes(seen)
    with _TRANSFORM:
        return call(function, *coded, how, grayscale, box).image


class Steps:
    """Counts what is done, in any thread, and tells it."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self._done, self._progress = total, 0, progress
        self._lock, self._stopped = threading.Lock(), False

    def add(self) -> None:
        """One more is done; raises `Stopped` if nobody waits for more."""
        with self._lock:
            if self._stopped:
                raise Stopped
            self._done += 1
            if self._progress:
                self._progress(self._done, self.total)

    def stop(self) -> None:
        """Nobody waits for more."""
        self._stopped = True


class Stopped(Exception):
    """Work that nobody waits for any more."""


class Canvas:
    """A part of a larger array, filled by pieces that may reach beyond it."""

    def __init__(self, box: npt.ArrayLike) -> None:
        self.box = np.array(box, np.int32)
        self._array: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """`[H, W, C]`, once there was a piece."""
        assert self._array is not None
        return self._array

    def paste(self, piece: np.ndarray, box: np.ndarray) -> None:
        """Puts in what of `piece`, which fills `box`, belongs here."""
        if self._array is None:
            # without touching the memory: a forged file may claim much and hold nothing
            self._array = np.zeros([*self.box[2:], piece.shape[2]], piece.dtype)
        common = _common(box, self.box)
        mine, of_piece = (boxes.relative(common, frame) for frame in (self.box, box))
        boxes.crop(self.array, mine)[...] = boxes.crop(piece, of_piece)


class Shelf:
    """What tiles hold, read shortly before something is made of it, and put away after that.

    What is made of them goes through the image as they do, row by row: so there are never more than
    three rows of them, and some.

    Args:
      coded: the box of each tile, in latents, on the grid of hyper latents.
      tiles: the indices of those there are, in order.
      read: of some of them, a `model.Coded` of each, in order.
    """

    def __init__(
        self,
        coded: np.ndarray,
        tiles: Sequence[int] | np.ndarray,
        read: Callable[[Sequence[int]], Iterator[model.Coded]],
    ) -> None:
        self._coded, self._waiting, self._read = coded, [int(tile) for tile in tiles], read
        self._held: dict[int, model.Coded] = {}

    def take(self, box: np.ndarray) -> model.Coded:
        """What lies in a box, of latents and of hyper latents; no box after it begins above it."""
        ends = self._coded[:, 0] + self._coded[:, 2]
        self._held = {tile: held for tile, held in self._held.items() if ends[tile] > box[0]}
        needed = [int(tile) for tile in _touching(self._coded, box)]
        self._fetch(needed[-1])
        canvases = model.Coded(Canvas(box), Canvas(box // HYPER_STRIDE))
        for tile in needed:
            held, of_tile = self._held[tile], self._coded[tile]
            canvases.latents.paste(held.latents, of_tile)
            canvases.hyper_latents.paste(held.hyper_latents, of_tile // HYPER_STRIDE)
        return model.Coded(canvases.latents.array, canvases.hyper_latents.array)

    def _fetch(self, last: int) -> None:
        """Reads all tiles up to one of them, and then some more: as many as keep cores busy."""
        wanted = sum(tile <= last for tile in self._waiting)
        if wanted:
            count = max(wanted, 2 * (os.cpu_count() or 1))
            several, self._waiting = self._waiting[:count], self._waiting[count:]
            self._held.update(zip(several, self._read(several)))


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item] | np.ndarray, steps: Steps
) -> Iterator[Result]:
    """Yields `work(item)` of each item, in order, as cores get free."""
    pool = concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, len(items)))
    try:
        for result in pool.map(work, items):
            steps.add()
            yield result
    except (Exception, KeyboardInterrupt, SystemExit):
        steps.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _around(box: np.ndarray, latents: np.ndarray, reach: int) -> np.ndarray:
    """The box of the latents that a box of pixels is made from, of those there are."""
    needed = boxes.latents(boxes.around(_span(box), reach))
    return _box(boxes.common(needed, _span(latents)))


def _common(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What two boxes have in common."""
    return _box(boxes.common(_span(box), _span(other)))


def _span(box: np.ndarray) -> boxes.Span[np.ndarray]:
    """The first corner of a box, and the one beyond it."""
    return box[:2], box[:2] + box[2:]


def _box(span: boxes.Span[np.ndarray]) -> np.ndarray:
    start, end = span
    return np.concatenate([start, end - start])


def hull(several: np.ndarray) -> np.ndarray:
    """The smallest box around some."""
    start, end = several[:, :2].min(0), (several[:, :2] + several[:, 2:]).max(0)
    return _box((start, end))


def _touching(several: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Indices of the boxes that have something in common with `box`."""
    after = several[:, :2] + several[:, 2:] > box[:2]
    before = several[:, :2] < box[:2] + box[2:]
    return np.flatnonzero((after & before).all(1))
