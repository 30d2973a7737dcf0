"""What a file says of itself, before any of it is decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.export import container, tiling
from tfclic.format import boxes, interface
from tfclic.format.header import INTERLEAVED, RANGE

if TYPE_CHECKING:
    from tfclic.layers.composite import Tensors

Parse = Callable[[tf.Tensor], container.Header]


def info(data: tf.Tensor, parse: Parse = container.parse) -> Tensors:
    """The header of a file (string): the dict of an `interface.Info`.

    `parse` is `container.parse`, or a trace of it.
    """
    return fields(container.check(parse(data)))._asdict()


def fields(header: container.Header) -> interface.Info:
    """What a `container.Header` says, an `interface.Info`; void unless its status is OK."""
    return interface.Info(
        width=header.width,
        height=header.height,
        tile_width=header.tile_width,
        tile_height=header.tile_height,
        grayscale=header.grayscale,
        quality=container.quality_of(header.quality),
        tiles=tf.size(header.lengths),
        payload_bytes=tf.strings.length(header.payload),
        fingerprint=container.hexadecimal(header.fingerprint),
        coder=tf.where(header.interleaved, INTERLEAVED, RANGE),
    )


def opened(
    data: tf.Tensor,
    fingerprint: bytes,
    is_local: bool = True,
    parse: Parse = container.parse,
    reads_range: bool = True,
    reach: int | None = None,
) -> Tensors:
    """A file of this model: the dict of an `interface.Opened`; `reach` as for `boxes.spans`."""
    header = container.check(parse(data), fingerprint, reads_range)
    sides = header.tile_height, header.tile_width
    layout = tiling.layout(header.height, header.width, *sides, reach)
    after_payload = tf.strings.length(data) - container.CHECKSUM_BYTES
    starts = after_payload - tf.strings.length(header.payload)
    return interface.Opened(
        height=header.height,
        width=header.width,
        grayscale=header.grayscale,
        quality=container.quality_of(header.quality),
        lengths=header.lengths,
        starts=starts + tf.cumsum(header.lengths, exclusive=True),
        is_local=tf.constant(is_local),
        interleaved=header.interleaved,
        reach=tf.constant(boxes.MARGIN if reach is None else reach),
        **layout._asdict(),
    )._asdict()
