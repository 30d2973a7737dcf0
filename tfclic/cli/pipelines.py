"""Work on several files at once, in the order in which they are asked for."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pipeline(Generic[Item, Result]):
    """Begins work on the next few items while one is waited for.

    Args:
      work: function of an item.
      items: list of hashable items, in the order in which `result` will be asked for them.
      ahead: how many are worked on at once, that which is waited for included.
    """

    def __init__(self, work: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> None:
        self._work, self._waiting, self._ahead = work, list(items), ahead
        self._begun: dict[Item, concurrent.futures.Future[Result]] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(ahead)

    def result(self, item: Item) -> Result:
        """What `work` of this item returned; raises what it raised."""
        while self._waiting and len(self._begun) < self._ahead:
            following = self._waiting.pop(0)
            self._begun[following] = self._pool.submit(self._work, following)
        return self._begun.pop(item).result()
