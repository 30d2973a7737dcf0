"""The container of an exported codec as functions: tiles' strings to a file, and back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.export import container, opening, tiling
from tfclic.export.tracing import specs, traced
from tfclic.format import boxes, header, interface
from tfclic.format.header import TOO_SHORT
from tfclic.format.latents import HYPER_STRIDE

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.entropy.coding import EntropyCoder
    from tfclic.layers.composite import Tensors


def functions(
    coding: EntropyCoder, coder: str, fingerprint: bytes, is_local: bool, reach: int | None
) -> dict[str, ConcreteFunction]:
    """All of them, by name, and what `served` needs.

    Args:
      coding: the exact entropy model, which knows what strings can hold.
      coder: the name of that which writes the strings.
      fingerprint: 4 bytes, the model's.
      is_local: bool, as in `interface.Opened`.
      reach: as for `boxes.spans`.
    """

    @traced(*specs(interface.PLAN))
    def plan(height: tf.Tensor, width: tf.Tensor, longest: tf.Tensor) -> Tensors:
        return tiling.planned(height, width, longest, boxes.MARGIN if reach is None else reach)

    is_interleaved = coder == header.INTERLEAVED
    opened = functools.partial(
        opening.opened,
        fingerprint=fingerprint,
        is_local=is_local,
        reads_range=not is_interleaved,
        reach=reach,
    )
    return {
        interface.PACK.name: _packing(fingerprint, is_interleaved),
        interface.PLAN.name: plan,
        **_opening(coding, opened),
    }


def _packing(fingerprint: bytes, is_interleaved: bool) -> ConcreteFunction:
    @traced(*specs(interface.PACK))
    def pack(
        payload: tf.Tensor,
        lengths: tf.Tensor,
        width: tf.Tensor,
        height: tf.Tensor,
        tile_width: tf.Tensor,
        tile_height: tf.Tensor,
        quality: tf.Tensor,
        grayscale: tf.Tensor,
    ) -> Tensors:
        code = container.quality_code(quality)
        tiles = tile_height, tile_width, lengths
        image = width, height, code, grayscale
        file = container.pack(fingerprint, *image, payload, tiles, is_interleaved)
        return interface.File(file)._asdict()

    return pack


def _opening(coding: EntropyCoder, opened: Callable[..., Tensors]) -> dict[str, ConcreteFunction]:
    # it is most of what a start has to read, so there is one of it
    parse = traced(*specs(interface.OPEN))(container.parse)

    def can_hold(found: Tensors) -> tf.Tensor:
        tiles = interface.OPEN.results(found)
        positions = tiles.coded[:, 2:] // HYPER_STRIDE
        held = coding.can_hold(tiles.lengths, positions[:, 0], positions[:, 1])
        return tf.reduce_all(held)

    @traced(*specs(interface.OPEN))
    def possible(data: tf.Tensor) -> tf.Tensor:
        return can_hold(opened(data, parse=parse))

    @traced(*specs(interface.OPEN))
    def open_(data: tf.Tensor) -> Tensors:
        found = opened(data, parse=parse)
        # more than the strings can hold shows here, before anyone takes memory for it
        with tf.control_dependencies([tf.debugging.Assert(can_hold(found), [TOO_SHORT])]):
            return tf.nest.map_structure(tf.identity, found)

    return {interface.OPEN.name: open_, "possible": possible, "parse": parse}
