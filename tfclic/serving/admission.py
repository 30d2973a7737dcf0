"""Requests begin when what they may take of memory is there: estimates, and a line to wait in.

TensorFlow does not always survive an allocation that fails, and a kernel that has no memory left
ends whole processes. So a request of a codec is estimated by the sizes that its images and files
claim, before anything is decoded, and waits until that fits beside what others may still take.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from tfclic import errors
from tfclic.format import boxes, header, picture
from tfclic.format.latents import MULTIPLE
from tfclic.format.served import COMPRESS, DECOMPRESS, HEAT_MAP, INFO
from tfclic.serving import extras, limits
from tfclic.serving.memory import NOTHING, Amount
from tfclic.serving.refusals import Refusal, StatusCode

LOOK_SECONDS = 0.1  # while requests wait: others than this process free memory, too
_MIB = 1 << 20
COPIES = 4  # of what a client sent: of its request, as arrays, in TensorFlow, and of the answer


class Cost(NamedTuple):
    """What a kind of request takes.

    Attributes:
      fixed: `memory.Amount`, bytes of any request.
      tile: of each pixel of the largest tile, whose transform is the most that there is at once.
      image: of each pixel of all images.
    """

    fixed: Amount
    tile: Amount
    image: Amount

    def of(self, tile: int, image: int) -> Amount:
        """The `memory.Amount` for so many pixels."""
        return Amount(
            *(a + b * tile + c * image for a, b, c in zip(self.fixed, self.tile, self.image))
        )


_BY_INPUT = "areas", "efforts"  # kinds of `compress`, the more of which counts last
# The most that any shipped model has taken, and a fifth more at the least, by
# `benchmarks/serving_memory.py`. Each thread that allocates for the first time reserves 64 MiB of
# the address space.
COSTS = {
    COMPRESS.name: Cost(Amount(128 * _MIB, 96 * _MIB), Amount(360, 140), Amount(190, 100)),
    "areas": Cost(Amount(192 * _MIB, 160 * _MIB), Amount(340, 180), Amount(200, 180)),
    "efforts": Cost(Amount(500 * _MIB, 400 * _MIB), Amount(2200, 1500), Amount(600, 300)),
    DECOMPRESS.name: Cost(Amount(192 * _MIB, 96 * _MIB), Amount(400, 300), Amount(200, 110)),
    HEAT_MAP.name: Cost(Amount(160 * _MIB, 120 * _MIB), Amount(380, 440), Amount(60, 60)),
    INFO.name: Cost(Amount(16 * _MIB, 16 * _MIB), NOTHING, NOTHING),
}


def estimate(signature: str, inputs: Mapping[str, np.ndarray], most: int) -> Amount:
    """What a request of a codec may take at most.

    Elements are worked on one after the other, so that of the tiles' transforms the largest counts.

    Args:
      signature, inputs: of the request, with what `tfclic.serving.extras` knows.
      most: pixels of an image; what has more will be refused, and counts nothing.
    """
    kind = signature
    for name in _BY_INPUT:
        if name in inputs and extras.says_something(signature, name, inputs[name]):
            kind = name
    if kind not in COSTS:
        return NOTHING
    tile = image = sent = 0
    for name, sizes_of in (("images", _of_image), ("files", _of_file)):
        strings = inputs.get(name)
        if strings is None or strings.dtype != object:
            continue
        for data in strings.flat:
            sent += len(data)
            size, part = sizes_of(data)
            if _pixels(size) <= most:
                tile, image = max(tile, _pixels(part)), image + _pixels(size)
    return COSTS[kind].of(tile, image).plus(Amount(COPIES * sent, COPIES * sent))


class Admission:
    """Lets requests begin, in the order in which they ask.

    Attributes:
      held: `memory.Amount`, what those who have begun may take.

    Args:
      free: function that tells what is free now, a `memory.Amount`.
      give_back: function that gives memory back that the process keeps for later.
    """

    def __init__(
        self, free: Callable[[], Amount], give_back: Callable[[], object] = lambda: None
    ) -> None:
        self._free, self._give_back = free, give_back
        self._line: collections.deque[object] = collections.deque()
        self._changed = threading.Condition()
        self.held = NOTHING
        self._alone = NOTHING  # what was free when nothing was held, as far as is known

    def count(self) -> int:
        """How many wait."""
        return len(self._line)

    @contextlib.contextmanager
    def admitted(self, need: Amount, is_wanted: Callable[[], bool]) -> Iterator[None]:
        """Waits until there is room for `need`, and holds it until the context is left.

        Args:
          need: what is estimated; what takes nothing, as far as is known, does not wait.
          is_wanted: whether anybody still waits for the answer.

        Raises:
          Refusal: there is not so much, even if nothing else is worked on; or nobody waits.
        """
        if need == NOTHING:
            yield
            return
        self._wait(need, is_wanted)
        try:
            yield
        finally:
            with self._changed:
                self.held = self.held.minus(need)
                self._changed.notify_all()

    def _wait(self, need: Amount, is_wanted: Callable[[], bool]) -> None:
        place = object()
        with self._changed:
            self._line.append(place)
            try:
                while not self._has_room(need, self._line[0] is place):
                    if not is_wanted():
                        raise limits.too_late()
                    self._changed.wait(LOOK_SECONDS)
                self.held = self.held.plus(need)
            finally:
                self._line.remove(place)
                self._changed.notify_all()

    def _has_room(self, need: Amount, is_first: bool) -> bool:
        free = self._free()
        if self.held == NOTHING:
            if not is_first:
                return False
            if not need.fits(free):
                self._give_back()
                free = self._free()
            self._alone = free
        # what is held has been taken in part, so that this much is free without it, or more
        self._alone = self._alone.most(free)
        if not need.fits(self._alone):
            raise _never(need, self._alone)
        return is_first and self.held.plus(need).fits(self._alone) and need.fits(free)


def _never(need: Amount, free: Amount) -> Refusal:
    wanted, there = next(pair for pair in zip(need, free) if pair[0] > pair[1])
    return Refusal(
        StatusCode.RESOURCE_EXHAUSTED,
        f"The request may take {wanted / (1 << 20):,.0f} MiB of memory, and the server has "
        f"{max(there, 0) / (1 << 20):,.0f} for it.",
    )


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _of_image(data: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of an image, and of its tiles with what is computed around them."""
    width, height = limits.image_size(data) or (0, 0)
    return (width, height), _window(width, height, (boxes.DEFAULT_SIDE, boxes.DEFAULT_SIDE))


def _of_file(data: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """The same of a file."""
    try:
        image = picture.beginning(data).image
    except errors.FileFormatError:
        return (0, 0), (0, 0)
    width, height = header.claimed_size(image) or (0, 0)
    return (width, height), _window(width, height, header.claimed_tile(image) or (0, 0))


def _window(width: int, height: int, tile: tuple[int, int]) -> tuple[int, int]:
    sides = (min(side, most + 2 * boxes.MARGIN) for side, most in zip((width, height), tile))
    across, down = (boxes.round_up(side, MULTIPLE) for side in sides)
    return across, down
