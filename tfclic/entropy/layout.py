"""Which streams an entropy model has, and how those of side information lie in one array."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from tfclic.entropy.program import LATENTS
from tfclic.format.latents import HYPER_STRIDE

if TYPE_CHECKING:
    from tfclic.layers.composite import Tensors

SIDE_STRIDE = HYPER_STRIDE  # of what streams of side information are joined to


class Stream(NamedTuple):
    """What a stream is like.

    Attributes:
      channels: int.
      stride: int, latents between its positions, each way.
      columns: how many parameters it has at a position, if these follow from other streams.
    """

    channels: int
    stride: int
    columns: int | None


class Layout:
    """The streams of an entropy model, as its program codes them one after the other.

    Side information is all streams whose positions lie farther apart than those of the latents.
    Joined they are one array `[h/4, w/4, Z]`, each with its positions by depth.
    """

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}

    def describe(self, name: str, channels: int, stride: int, columns: int | None = None) -> None:
        """Notes what a stream is like; `columns` of parameters, if these follow from others."""
        self._streams[name] = Stream(channels, stride, columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all streams."""
        return tuple(self._streams)

    @property
    def latents(self) -> tuple[str, ...]:
        """The names of the streams of latents."""
        return tuple(name for name in self._streams if not self.is_side(name))

    @property
    def sides(self) -> tuple[str, ...]:
        """The names of the streams of side information, joined from fine to coarse."""
        return tuple(sorted(filter(self.is_side, self._streams), key=self.stride))

    def is_side(self, name: str) -> bool:
        """Whether a stream is side information."""
        return self.stride(name) > 1

    def stride(self, name: str) -> int:
        """Latents between the positions of a stream, each way."""
        return self._streams[name].stride

    def channels(self, name: str) -> int:
        """How many channels a stream has."""
        return self._streams[name].channels

    def joined_channels(self, name: str) -> int:
        """How many channels a stream has when it is joined with others."""
        return self.channels(name) * (SIDE_STRIDE // self.stride(name)) ** 2

    @property
    def hyper_channels(self) -> int:
        """Z, of all side information."""
        return sum(map(self.joined_channels, self.sides))

    @property
    def told_columns(self) -> list[int] | None:
        """How many parameters each stream of latents has at a position.

        None: not all of them follow from other streams alone.
        """
        columns = [self._streams[name].columns for name in self.latents]
        known = [each for each in columns if each is not None]
        return known if len(known) == len(columns) else None

    def box(self, name: str, box: tf.Tensor) -> tf.Tensor:
        """A box of latents as it lies in the source `name`."""
        if name == LATENTS:
            return box
        return box // (self.stride(name) if name in self._streams else SIDE_STRIDE)

    def join(self, streams: Tensors) -> tf.Tensor:
        """Streams of side information, a dict, as one array `[h/4, w/4, Z]`; see `split`."""
        arrays = []
        for name in self.sides:
            times, array = SIDE_STRIDE // self.stride(name), streams[name]
            arrays.append(tf.nn.space_to_depth(array[None], times)[0] if times > 1 else array)
        return tf.concat(arrays, -1)

    def split(self, hyper_latents: tf.Tensor) -> Tensors:
        """The dict of streams that `join` was given."""
        found, sizes = {}, [self.joined_channels(name) for name in self.sides]
        parts = tf.split(hyper_latents, sizes, -1) if sizes else []
        for name, part in zip(self.sides, parts):
            times = SIDE_STRIDE // self.stride(name)
            found[name] = tf.nn.depth_to_space(part[None], times)[0] if times > 1 else part
        return found
