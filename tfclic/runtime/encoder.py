"""An image on its way to a file, tile by tile."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfclic.format import beside, boxes, interface, picture
from tfclic.format.picture import Picture
from tfclic.runtime.canvas import Canvas, Shelf, hull, latents_around
from tfclic.runtime.progress import Steps, in_parallel
from tfclic.runtime.qualities import Qualities, Wanted
from tfclic.runtime.tiles import TRANSFORM, synthesised

if TYPE_CHECKING:
    from tfclic.format.interface import Function, Given
    from tfclic.images import Pixels
    from tfclic.runtime.progress import Progress, Result
    from tfclic.runtime.tiles import Call

Done = Callable[[], None]

# Refinements take long, and most of the memory: one at a time. After so many steps whoever waits is
# told.
_REFINEMENT, AT_ONCE = threading.Lock(), 5


class Encoder:
    """An image on its way to a file: analysed once, written at any quality.

    Args:
      call: calls an `interface.Function` with what it takes, and returns what it gives.
      pixels: uint8 array [H, W, 1] or [H, W, 3].
      longest: int, pixels, the longest side of a tile.
      keeps: whether several things will be asked for, so that the analysis is kept in memory (for
        192 channels, as many bytes as the image has samples), and what was quantised last (half of
        that).
      progress: function of (steps done, steps in all), or None; a tile is a step, and so is each
        part of a refinement.
      refinement: int, the steps of `beside.REFINE` that latents take before they are rounded.
      wanted: the image's `qualities.Wanted`, which qualities that are asked for move as a whole;
        None: they are the same everywhere.
      finish: function of a `Picture` of the image alone that makes it what `file` returns.
      chooses: whether the model has `interface.CHOOSE`.
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
        self._plan = call(interface.PLAN, *self._sides, np.int32(longest))
        self._grayscale = np.bool_(pixels.shape[2] == 1)
        self._analysed: dict[int, np.ndarray] = {}
        self._latest: dict[int, tuple[float, interface.Coded]] = {}

    def plain(self) -> Encoder:
        """One of the same image that refines nothing; both share the analysis."""
        other = copy.copy(self)
        other.refinement, other._latest = 0, {}
        return other

    def file(self, quality: float) -> bytes:
        """The file, bytes, at `quality` (0..100)."""
        strings = self._each(self._string, quality)
        qualities, (height, width) = self._wanted.at(quality), self._sides
        packed = interface.ToPack(
            payload=b"".join(strings),
            lengths=np.array([len(string) for string in strings], np.int32),
            width=width,
            height=height,
            tile_width=self._plan.tile_width,
            tile_height=self._plan.tile_height,
            quality=qualities.quality,
            grayscale=self._grayscale,
        )
        image = self._call(interface.PACK, *packed).file
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
            seen = latents_around(core, whole, self._plan.reach)
            yield synthesised(self._call, shelf.take(seen), seen, core, *settings), core
            steps.add()

    def _shelf(self, quality: float) -> Shelf:
        def read(tiles: Sequence[int]) -> Iterator[interface.Coded]:
            return (self._quantised(tile, quality) for tile in tiles)

        return Shelf(self._plan.coded, range(len(self._plan.coded)), read)

    def _string(self, tile: int, quality: float, done: Done) -> bytes:
        """A tile's string."""
        if not self._chooses or self._kept(tile, quality):
            return self._call(interface.WRITE, *self._quantised(tile, quality, done)).payload
        found = self._quantise(tile, quality, done, interface.CHOOSE, interface.CHOOSE_BY_MAP)
        self._keep(tile, quality, interface.Coded(found.latents, found.hyper_latents))
        given = interface.ToWriteChosen(found.hyper_latents, found.symbols, found.parameters)
        return self._call(interface.WRITE_CHOSEN, *given).payload

    def _bits(self, tile: int, quality: float, done: Done) -> float:
        """What a tile's string should take."""
        return self._call(interface.ESTIMATE, *self._quantised(tile, quality, done)).bits

    def _quantised(self, tile: int, quality: float, done: Done = lambda: None) -> interface.Coded:
        coded = self._kept(tile, quality)
        if coded:
            for _ in range(self._parts()):
                done()
            return coded
        coded = self._quantise(tile, quality, done, interface.QUANTISE, interface.QUANTISE_BY_MAP)
        self._keep(tile, quality, coded)
        return coded

    def _kept(self, tile: int, quality: float) -> interface.Coded | None:
        latest = self._latest.get(tile)
        return latest[1] if latest and latest[0] == quality else None

    def _keep(self, tile: int, quality: float, coded: interface.Coded) -> None:
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
            with TRANSFORM:
                latents = self._call(interface.ANALYSE, window).latents
            if self._keeps:
                self._analysed[tile] = latents
        seen, qualities = self._plan.seen[tile], self._wanted.at(quality)
        if self.refinement:
            latents = self._refined(latents, window, qualities, seen, done)
        box = boxes.relative(self._plan.coded[tile], seen)
        with TRANSFORM:
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
        function: Function[beside.Refined] = beside.REFINE
        how: Any = qualities.quality
        if qualities.deviations is not None:
            function, how = beside.REFINE_BY_MAP, qualities.codes(seen)
        curvature = np.float32(0)
        with _REFINEMENT:
            for first in range(0, self.refinement, AT_ONCE):
                last = min(first + AT_ONCE, self.refinement)
                steps = np.int32(first), np.int32(last)
                latents, curvature = self._call(function, latents, window, how, curvature, *steps)
                done()
        return latents

    def _parts(self) -> int:
        return -(-self.refinement // AT_ONCE)

    def _each(self, work: Callable[[int, float, Done], Result], quality: float) -> list[Result]:
        """What work on a tile at a quality, which tells of parts that are done, gives for each."""
        tiles = range(len(self._plan.core))
        steps = Steps(len(tiles) * (1 + self._parts()), self._progress)
        return list(in_parallel(lambda tile: work(tile, quality, steps.add), tiles, steps))
