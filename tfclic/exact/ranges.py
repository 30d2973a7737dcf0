"""How large the values around each layer of a transform get, but for rare ones."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfclic import layers

ROOM = 1.25  # beyond what was seen
# Of an image, one in a thousand values may be clipped: what finer steps gain elsewhere is more.
CLIPPED = 1 / 1000
LEAST = 1 / 64  # of the largest channel's range, for channels that were silent


class Around(NamedTuple):
    """Of a layer: magnitudes that hardly any value of each channel passes, given to it or made.

    Attributes:
      given, made: float64 `[C]`.
    """

    given: np.ndarray
    made: np.ndarray


Ranges = Mapping[str, Around]


class Observed(layers.Floats):
    """What `tfclic.layers.Floats` does, with an eye on what layers take and make.

    Args:
      names: of layers, by their ids.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._seen: dict[str, Around] = {}

    def run(self, network: tf.Module, *values: Any, hidden_bits: int | None = None) -> tf.Tensor:
        if isinstance(network, layers.Composite):
            return network.compose(self, *values)
        if isinstance(network, layers.Sequential):
            return self.in_turn(network.layers, *values)
        made = tf.cast(network(*values), tf.float32)
        name = self._names[id(network)]
        found = Around(usual(values[0]), usual(made))
        before = self._seen.get(name, found)
        self._seen[name] = Around(*(np.maximum(a, b) for a, b in zip(before, found)))
        return made

    def ranges(self) -> dict[str, Around]:
        """What was seen, with some room, by the names of layers."""
        return {name: Around(*map(with_room, each)) for name, each in self._seen.items()}


def largest(value: tf.Tensor) -> np.ndarray:
    """The largest magnitude of each channel of `[..., C]`, float64 `[C]`."""
    return _sizes(value).max(0).astype(np.float64)


def usual(value: tf.Tensor) -> np.ndarray:
    """What all but `CLIPPED` of the magnitudes of a channel are within, float64 `[C]`."""
    sizes = _sizes(value)
    last = len(sizes) - 1 - int(CLIPPED * len(sizes))
    return np.partition(sizes, last, axis=0)[last].astype(np.float64)


def _sizes(value: tf.Tensor) -> np.ndarray:
    """The magnitudes of `[..., C]`, float32 `[n, C]`."""
    return np.abs(np.asarray(value, np.float32)).reshape(-1, value.shape[-1])


def with_room(seen: np.ndarray) -> np.ndarray:
    """Ranges that what is like what was seen fits, and that are not zero."""
    return ROOM * np.maximum(seen, max(LEAST * seen.max(), 1e-6))


def restored(kept: Mapping[str, np.ndarray]) -> Ranges:
    """A dict of `Around` by name, of arrays by `NAME_given` and `NAME_made`."""
    found: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    for path, value in kept.items():
        name, _, side = path.rpartition("_")
        found[name][side] = np.asarray(value, np.float64)
    return {name: Around(**sides) for name, sides in found.items()}
