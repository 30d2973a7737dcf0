"""What protects the server: few requests at once and in a second, a bounded queue, small images."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import io
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from PIL import Image

from tfclic.format import header
from tfclic.images.reading import at_most
from tfclic.serving.refusals import Refusal, StatusCode, invalid

if TYPE_CHECKING:
    import numpy as np

Result = TypeVar("Result")

# What TensorFlow's `decode_image` reads; no other decoder of Pillow's sees what a client sent.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP")


class Most(NamedTuple):
    """The most that an element of a request may ask for.

    Attributes:
      pixels: of its image.
      effort: of its encoding, 0 to 9.
    """

    pixels: int
    effort: int = 0


class Rate:
    """How much may begin in a second: as many as that at once, then one after the other.

    Args:
      most: in a second; 0: any number.
      clock: function without arguments that returns seconds.
    """

    def __init__(self, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self._clock = most, clock
        self._left, self._looked = self._full, clock()

    @property
    def _full(self) -> float:
        # slower than one a second is not never
        return max(1.0, self.most)

    def take(self) -> bool:
        """Whether one more may begin now; not for several threads at once."""
        if not self.most:
            return True
        now = self._clock()
        self._left = min(self._full, self._left + self.most * (now - self._looked))
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Workers:
    """Runs work in threads: at most `concurrency` at once, while at most `queue` more wait.

    Args:
      concurrency: pieces of work at once.
      queue: pieces that may wait beside them.
      rate: pieces in a second; 0: any number.
    """

    def __init__(self, concurrency: int, queue: int, rate: float = 0) -> None:
        self._rate = Rate(rate)
        self._pool = concurrent.futures.ThreadPoolExecutor(concurrency, "predict")
        self._most, self._queue = concurrency + queue, queue
        self._pending, self._lock = 0, threading.Lock()
        self._ending = False

    def pending(self) -> int:
        """How much is worked on or waits."""
        return self._pending

    async def run(
        self,
        work: Callable[[Callable[[], bool]], Result],
        seconds: float | None = None,
        done: Callable[[], object] = lambda: None,
    ) -> Result:
        """Returns what `work` does, which is not begun once nobody waits for it.

        Args:
          work: function of another one, which tells whether anybody still waits.
          seconds: until the deadline; None: there is none.
          done: called when `work` has ended, or will never begin.

        Raises:
          Refusal: too many wait already, the deadline has passed, or no more is taken.
          asyncio.CancelledError: the client is gone.
        """
        with self._lock:
            refusal = self._refusal()
            self._pending += refusal is None
        if refusal is not None:
            done()
            raise refusal
        end = None if seconds is None else time.monotonic() + seconds
        gone = threading.Event()

        def begin() -> Result:
            if end is not None and time.monotonic() >= end:
                raise too_late()
            return work(lambda: not gone.is_set())

        def finished(_: concurrent.futures.Future[Result]) -> None:
            with self._lock:
                self._pending -= 1
            done()

        future = self._pool.submit(contextvars.copy_context().run, begin)
        future.add_done_callback(finished)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except asyncio.TimeoutError:
            raise too_late() from None
        finally:
            gone.set()

    async def end(self, seconds: float) -> None:
        """Takes no more, and returns once what was taken has ended or `seconds` have passed."""
        with self._lock:
            self._ending = True
        loop, pool = asyncio.get_running_loop(), self._pool
        ended = loop.run_in_executor(None, functools.partial(pool.shutdown, wait=True))
        await asyncio.wait([ended], timeout=seconds)

    def _refusal(self) -> Refusal | None:
        if self._ending:
            return Refusal(StatusCode.UNAVAILABLE, "The server is ending; ask another one.")
        if self._pending >= self._most:
            sentence = f"The server is busy and {self._queue} requests wait already"
            return Refusal(StatusCode.RESOURCE_EXHAUSTED, f"{sentence}; try again later.")
        if not self._rate.take():
            sentence = f"The server takes {self._rate.most:g} requests a second; try again later."
            return Refusal(StatusCode.RESOURCE_EXHAUSTED, sentence)
        return None


def too_late() -> Refusal:
    """The `Refusal` of what nobody waits for any more."""
    return Refusal(StatusCode.DEADLINE_EXCEEDED, "The deadline has passed.")


def check_pixels(inputs: Mapping[str, np.ndarray], most: int) -> None:
    """Refuses images and files that say to have too many pixels, before anything is decoded.

    Args:
      inputs: dict of arrays; the strings in `images` and `files` are looked at. What is neither an
        image nor a file is left for the model to tell.
      most: pixels.

    Raises:
      Refusal: one of them has more.
    """
    for name, size_of in (("images", image_size), ("files", header.claimed_size)):
        strings = inputs.get(name)
        if strings is None or strings.dtype != object:
            continue
        for index, data in enumerate(strings.flat):
            width, height = size_of(data) or (0, 0)
            if width * height > most:
                raise invalid(
                    f"{name}[{index}] has more pixels than the {most:,} that this server takes."
                )


def image_size(data: bytes) -> tuple[int, int] | None:
    """The (width, height) in the header of an image file (bytes); None if there is none."""
    try:
        # whoever asks for the size knows what is too large
        with at_most(header.MAX_PIXELS), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return image.size
    except Image.DecompressionBombError:
        return 1 << 31, 1
    # headers can be damaged in any way
    except Exception:
        return None
