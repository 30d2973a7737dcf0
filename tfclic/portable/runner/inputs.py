"""What a portable step is fed with: crops, seeds, quality levels and the learning rate.

Needs numpy alone; it travels with the folder.
"""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

Stacked = list[np.ndarray]
Call = tuple[range, Stacked]

PREFETCHED_CALLS = 4


def learning_rate(step: int, training: Mapping[str, Any]) -> np.float32:
    """The learning rate of a step, float32: as `tfclic.training.schedule` has it, in numpy."""
    one = np.float32
    peak, final = float(training["learning_rate"]), float(training["final_learning_rate"])
    rate, at = one(peak), one(step)
    decay_steps = float(training["decay_share"]) * training["steps"]
    if decay_steps > 0:
        done = (at - one(training["steps"] - decay_steps)) / one(decay_steps)
        rate = one(peak) + one(final - peak) * np.clip(done, one(0), one(1))
    if training["warmup_steps"] > 0:
        rate = rate * np.minimum(one(1), (at + one(1)) / one(training["warmup_steps"]))
    return one(rate)


class Batches:
    """The inputs of every step, each a function of the seed and the step, made ahead in threads."""

    def __init__(self, images: Sequence[np.ndarray], meta: Mapping[str, Any], seed: int) -> None:
        """images: list of uint8 [H, W, 3]; meta: portable.json's content; seed: of the images."""
        self._images, self._seed = images, seed
        self._batch, self._crop, self._levels = meta["batch"], meta["crop"], meta["levels"]
        training = meta["config"]["training"]
        self._run_seed = training["seed"]
        self._stratified = training["level_sampling"] == "stratified"
        areas = np.cumsum([image.shape[0] * image.shape[1] for image in images])
        self._shares = areas / areas[-1]

    def step(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns (images uint8 [B, P, P, 3], seed int32 [2], levels int32 [B])."""
        random = np.random.Generator(np.random.Philox(key=[self._seed % 2**64, step]))
        crops = np.empty([self._batch, self._crop, self._crop, 3], np.uint8)
        for number in range(self._batch):
            drawn = np.searchsorted(self._shares, random.random(), side="right")
            image = self._images[min(int(drawn), len(self._images) - 1)]
            top, left = (random.integers(s - self._crop + 1) for s in image.shape[:2])
            crop = image[top : top + self._crop, left : left + self._crop]
            crops[number] = crop[:, ::-1] if random.random() < 0.5 else crop
        seed = np.array([self._run_seed, step], np.int32)
        return crops, seed, self._draw_levels(random)

    def _draw_levels(self, random: np.random.Generator) -> np.ndarray:
        """As `tfclic.training.levels.draw_levels`, with other random numbers: int32 [B]."""
        if not self._stratified:
            return random.integers(self._levels, size=self._batch, dtype=np.int32)
        places = np.arange(self._batch) + random.random(self._batch)
        drawn = np.int32(places * (self._levels / self._batch))
        return np.minimum(drawn, np.int32(self._levels - 1))

    def calls(self, first: int, last: int, per_call: int) -> Generator[Call, None, None]:
        """Yields (steps, inputs) call by call, `steps` a range and `inputs` stacked over it."""
        pool = concurrent.futures.ThreadPoolExecutor(4)
        ahead: collections.deque[concurrent.futures.Future[Call]] = collections.deque()

        def make(steps: range) -> Call:
            return steps, [np.stack(column) for column in zip(*map(self.step, steps))]

        try:
            while first < last or ahead:
                while first < last and len(ahead) < PREFETCHED_CALLS:
                    count = per_call if last - first >= per_call else 1
                    ahead.append(pool.submit(make, range(first, first + count)))
                    first += count
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
