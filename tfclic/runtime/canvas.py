"""Parts of arrays, put together of the pieces that tiles are; boxes as in `tfclic.format.boxes`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfclic import machine
from tfclic.format import boxes, interface
from tfclic.format.latents import HYPER_STRIDE

if TYPE_CHECKING:
    import numpy.typing as npt


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
        common = overlap(box, self.box)
        mine, of_piece = (boxes.relative(common, frame) for frame in (self.box, box))
        boxes.crop(self.array, mine)[...] = boxes.crop(piece, of_piece)


class Shelf:
    """What tiles hold, read shortly before something is made of it, and put away after that.

    What is made of them goes through the image as they do, row by row: so there are never more than
    three rows of them, and some.

    Args:
      coded: the box of each tile, in latents, on the grid of hyper latents.
      tiles: the indices of those there are, in order.
      read: of some of them, an `interface.Coded` of each, in order.
    """

    def __init__(
        self,
        coded: np.ndarray,
        tiles: Sequence[int] | np.ndarray,
        read: Callable[[Sequence[int]], Iterator[interface.Coded]],
    ) -> None:
        self._coded, self._waiting, self._read = coded, [int(tile) for tile in tiles], read
        self._held: dict[int, interface.Coded] = {}

    def take(self, box: np.ndarray) -> interface.Coded:
        """What lies in a box, of latents and of hyper latents; no box after it begins above it."""
        ends = self._coded[:, 0] + self._coded[:, 2]
        self._held = {tile: held for tile, held in self._held.items() if ends[tile] > box[0]}
        needed = [int(tile) for tile in touching(self._coded, box)]
        self._fetch(needed[-1])
        canvases = interface.Coded(Canvas(box), Canvas(box // HYPER_STRIDE))
        for tile in needed:
            held, of_tile = self._held[tile], self._coded[tile]
            canvases.latents.paste(held.latents, of_tile)
            canvases.hyper_latents.paste(held.hyper_latents, of_tile // HYPER_STRIDE)
        return interface.Coded(canvases.latents.array, canvases.hyper_latents.array)

    def _fetch(self, last: int) -> None:
        """Reads all tiles up to one of them, and then some more: as many as keep cores busy."""
        wanted = sum(tile <= last for tile in self._waiting)
        if wanted:
            count = max(wanted, 2 * machine.cores())
            several, self._waiting = self._waiting[:count], self._waiting[count:]
            self._held.update(zip(several, self._read(several)))


def latents_around(box: np.ndarray, latents: np.ndarray, reach: int) -> np.ndarray:
    """The box of the latents that a box of pixels is made from, of those there are."""
    needed = boxes.latents(boxes.around(_span(box), reach))
    return _box(boxes.common(needed, _span(latents)))


def overlap(box: np.ndarray, other: np.ndarray) -> np.ndarray:
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


def touching(several: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Indices of the boxes that have something in common with `box`."""
    after = several[:, :2] + several[:, 2:] > box[:2]
    before = several[:, :2] < box[:2] + box[2:]
    return np.flatnonzero((after & before).all(1))
