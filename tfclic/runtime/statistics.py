"""What a file's strings hold and what it costs, by the probabilities of the model that made it.

Nothing here needs TensorFlow's Python package, nor knows which parts and parameters a model has:
whatever its functions `READ` and `STATISTICS` give (see `tfclic.format.interface`) is put together
over the tiles.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from tfclic.format import interface
from tfclic.format.interface import BITS, LATENTS
from tfclic.runtime import tiles
from tfclic.runtime.canvas import Canvas, hull
from tfclic.runtime.progress import Steps, in_parallel

if TYPE_CHECKING:
    from tfclic.runtime.progress import Progress
    from tfclic.runtime.tiles import Call

Result = TypeVar("Result")
Arrays = dict[str, np.ndarray]


class Part(NamedTuple):
    """What one part of a file costs: the latents, for example.

    Attributes:
      positions: float32 `[h, w]`, bits of each position, over all channels.
      channels: float64 `[C]`, bits of each channel, over all positions.
      strings: float64 `[n]`, bits of each tile's string.
    """

    positions: np.ndarray
    channels: np.ndarray
    strings: np.ndarray

    @property
    def bits(self) -> float:
        """All of them, float."""
        return float(self.channels.sum())


class Statistics:
    """What a file holds and what it costs.

    A large image is gone through tile by tile, once for `parts` and once for each `channel`; what
    is kept of a tile are its latents.

    Attributes:
      lengths: int32 `[n]`, bytes of each tile's string.
      boxes: int32 `[n, 4]`, each tile's (top, left, height, width) in pixels.

    Args:
      call: as for `encoder.Encoder`; the model's functions raise what it raises.
      data: bytes, the file.
      progress: function of (steps done, steps in all), or None; a tile is a step.
    """

    def __init__(self, call: Call, data: bytes, progress: Progress | None = None) -> None:
        self._call, self._data, self._progress = call, data, progress
        self._opened = call(interface.OPEN, data)
        self.lengths, self.boxes = self._opened.lengths, self._opened.core
        self._read: dict[int, interface.Coded] = {}
        self._only: Arrays | None = None

    @property
    def parts(self) -> dict[str, Part]:
        """Dict of the `Part`s by name, such as "latents" and "hyper_latents"."""
        return self._costs[0]

    @property
    def slices(self) -> list[int]:
        """How many channels of the latents each slice has, list of ints, in the order of coding.

        A model that codes all channels together has one.
        """
        return self._costs[1]

    @functools.cached_property
    def _costs(self) -> tuple[dict[str, Part], list[int]]:
        """`parts` and `slices`, in one pass over the tiles."""

        def work(found: Arrays) -> tuple[list[int], dict[str, tuple[np.ndarray, np.ndarray]]]:
            # hyper latents have no channels where the model has none of them
            bits = {k: array for k, array in found.items() if k.endswith(BITS) and array.size}
            slices = found.get(interface.SLICES, found[LATENTS].shape[2:3])
            return [int(size) for size in slices], {
                name[: -len(BITS)]: (array.sum(2), array.sum((0, 1), np.float64))
                for name, array in bits.items()
            }

        (slices, *_), sums = zip(*self.each(work))
        parts = {}
        for name in sums[0]:
            positions, channels = zip(*(tile[name] for tile in sums))
            strings = np.array([each.sum() for each in channels])
            parts[name] = Part(self.assembled(positions), np.sum(channels, 0), strings)
        return parts, slices

    def slice_bits(self) -> np.ndarray:
        """What each slice takes, float64 `[slices]`."""
        ends = np.cumsum(self.slices)[:-1]
        return np.array([part.sum() for part in np.split(self.parts[LATENTS].channels, ends)])

    def channel(self, index: int) -> Arrays:
        """What there is to know of one channel of the latents.

        Args:
          index: int, of the channel.

        Returns:
          Dict of arrays, `[h, w]` or `[h, w, K]`: `latents` as coded, `latents_bits`, and whatever
          parameters the model's `explain` gives for each latent.
        """

        def work(found: Arrays) -> Arrays:
            shape = found[LATENTS].shape
            return {k: a[:, :, index].copy() for k, a in found.items() if a.shape[:3] == shape}

        pieces = self.each(work)
        return {name: self.assembled([piece[name] for piece in pieces]) for name in pieces[0]}

    def _tile(self, tile: int) -> Arrays:
        """All arrays of one tile, `[h, w, C]` or `[h, w, C, K]`."""
        if self._only is not None:
            return self._only
        if tile not in self._read:
            self._read[tile] = tiles.read_tile(self._call, self._data, self._opened, tile)
        coded = self._read[tile]
        costs = self._call(interface.STATISTICS, *coded)
        found = {**coded._asdict(), **costs}
        if len(self.lengths) == 1:
            self._only = found
        return found

    def each(self, work: Callable[[Arrays], Result]) -> list[Result]:
        """Does something with what is known of each tile.

        Args:
          work: function of a dict of arrays: those of the model's `read` and `explain`.

        Returns:
          List of what it returned, tile by tile.
        """
        steps = Steps(len(self.lengths), self._progress)
        return list(in_parallel(lambda tile: work(self._tile(tile)), range(steps.total), steps))

    def assembled(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        """The whole of what there is of each tile.

        Args:
          pieces: list of `[h, w]` or `[h, w, K]` for each tile, on whatever grid.
        """
        coded = self._opened.coded
        # hyper latents have fewer rows and columns than latents
        boxes = np.stack([box * len(piece) // box[2] for box, piece in zip(coded, pieces)])
        canvas = Canvas(hull(boxes))
        for box, piece in zip(boxes, pieces):
            canvas.paste(np.atleast_3d(piece), box)
        return canvas.array.reshape(*canvas.array.shape[:2], *pieces[0].shape[2:])
