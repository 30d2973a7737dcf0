"""What a file says of itself, before any of it is decoded."""

import tensorflow as tf

from tfclic.export import container, tiling


def info(data, parse=container.parse):
    """The header of a file (string) as a dict; the fingerprint is in hexadecimal digits.

    `parse` is `container.parse`, or a trace of it.
    """
    return fields(container.check(parse(data)))


def fields(header):
    """What a `container.Header` says, as a dict; void unless its status is OK."""
    names = ("width", "height", "tile_width", "tile_height", "grayscale")
    found = {name: getattr(header, name) for name in names}
    found["quality"] = container.quality_of(header.quality)
    found["tiles"] = tf.size(header.lengths)
    found["payload_bytes"] = tf.strings.length(header.payload)
    return {**found, "fingerprint": container.hexadecimal(header.fingerprint)}


def opened(data, fingerprint, parse=container.parse):
    """A file of this model: what its header says, the tiles' boxes, and where their strings are."""
    header = container.check(parse(data), fingerprint)
    sides = header.tile_height, header.tile_width
    layout = tiling.layout(header.height, header.width, *sides)
    after_payload = tf.strings.length(data) - container.CHECKSUM_BYTES
    starts = after_payload - tf.strings.length(header.payload)
    return {
        "height": header.height,
        "width": header.width,
        "grayscale": header.grayscale,
        "quality": container.quality_of(header.quality),
        "lengths": header.lengths,
        "starts": starts + tf.cumsum(header.lengths, exclusive=True),
        **layout._asdict(),
    }
