"""What does the same as functions of an exported codec, faster, where a machine can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.exact import octets
from tfclic.export import rough, transforming
from tfclic.export.tracing import traced
from tfclic.format import beside, interface

if TYPE_CHECKING:
    from tfclic.exact.ranges import Ranges
    from tfclic.export.exported import ExportedCodec
    from tfclic.models.base import ImageCodec


class Fast(tf.Module):
    """The synthesis in integers of 8 bits, as a graph of its own, with products of bytes.

    So is the analysis, roughly, if it was measured.

    Other machines cannot even load such operations, or compute other sums; `beside.PROBE` tells.
    Its variables are those of the exported codec, and have their names.

    Args:
      stored: the exported codec, its transforms `model.INTEGER8`.
      codec: that of which it was made.
      seen: what `integers.measured` returned.
    """

    def __init__(self, stored: ExportedCodec, codec: ImageCodec, seen: Ranges) -> None:
        super().__init__(name="fast")
        assert stored.integers is not None
        self.integers, self.weights = stored.integers, stored.weights

        @traced()
        def probe() -> dict[str, tf.Tensor]:
            return beside.Probed(octets.sound())._asdict()

        with self.integers.computing_in_bytes():
            by_map = transforming.synthesising_by_map(self.integers.at_codes, stored.coding)
        self.functions = {
            interface.SYNTHESISE.name: transforming.synthesising(by_map, stored.coding),
            interface.SYNTHESISE_BY_MAP.name: by_map,
            beside.PROBE.name: probe,
        }
        if rough.is_possible(codec, seen):
            stand_ins = stored.stand_ins(codec)
            with rough.in_bytes(codec, seen, stand_ins):
                self.functions[interface.ANALYSE.name] = transforming.analysing(codec, stand_ins)
