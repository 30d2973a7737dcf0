"""The functions of an exported codec, as one graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfclic import errors
from tfclic.export import files, integers, opening, served, stored, strings, transforming, whole
from tfclic.export.tracing import named, specs, traced
from tfclic.format import header, interface, model
from tfclic.layers.substitution import substituted

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.exact.ranges import Ranges
    from tfclic.layers.composite import Tensors
    from tfclic.models.base import ImageCodec

# What `whole` and `served` need of the parts, and nobody else.
INTERNAL = (whole.TRY_READ.name, whole.TRY_READ_INTERLEAVED.name, "possible", "parse")


class ExportedCodec(stored.StoredCodec):
    """The functions of an exported codec.

    | function | takes | gives |
    |---|---|---|
    | `compress` | uint8 `[H, W, 3]` or `[H, W, 1]`, quality float32 | the file, string |
    | `decompress` | the file | uint8 `[H, W, 3]` or `[H, W, 1]` |
    | `info` | the file | header fields by name |

    and, as signatures alone, those of `tfclic.format.served`, and the parts, those of
    `tfclic.format.interface`, which whoever wants to see progress, to code tiles in parallel, or to
    try several qualities calls one by one.

    Args:
      codec: a trained `tfclic.models.base.ImageCodec` with all its variables made.
      coder: the name of that which writes. With the range coder both are read; with the interleaved
        one no operation is any but TensorFlow's own, and nothing else can be read.
      like: as for `stored.StoredCodec`.
      seen: what `integers.measured` returned, for a synthesis in integers; None: in float32.
      transforms: in which, `model.INTEGER` or `model.INTEGER8`.

    Raises:
      errors.ModelError: an entropy network cannot be made exact; names the layer.
      errors.InexactError: nor the synthesis.
    """

    def __init__(
        self,
        codec: ImageCodec,
        coder: str = header.RANGE,
        like: stored.StoredCodec | None = None,
        seen: Ranges | None = None,
        transforms: str = model.INTEGER,
    ) -> None:
        super().__init__(codec, like)
        self.coder = coder
        self.fingerprint = self.digest()
        self.transforms = model.FLOAT32 if seen is None else transforms
        self.integers = self._in_integers(codec, seen) if seen is not None else None
        self._parts = self._functions(codec)
        self.compress = traced(*named("image", "quality"))(
            lambda image, quality: whole.compress(self._parts, image, quality)
        )
        self.decompress = traced(*specs(interface.OPEN))(
            lambda data: whole.decompress(self._parts, data, True)[0]
        )
        parse = self._parts["parse"]
        self.info = traced(*specs(interface.HEADER), autograph=True)(
            lambda data: opening.info(data, parse)
        )

    def _in_integers(self, codec: ImageCodec, seen: Ranges) -> integers.IntegerSynthesis:
        try:
            with substituted(codec.transforms(), self.stand_ins(codec)):
                eight_bits = self.transforms == model.INTEGER8
                return integers.IntegerSynthesis(codec, self.coding, seen, eight_bits)
        except ValueError as error:
            raise errors.InexactError(f"The synthesis has no exact form: {error}.") from error

    def _functions(self, codec: ImageCodec) -> dict[str, ConcreteFunction]:
        synthesis = self.integers.at_codes if self.integers else None
        of_file = self.fingerprint, codec.is_local, self.reach
        return {
            **transforming.functions(codec, self.coding, self.stand_ins(codec), synthesis),
            **strings.functions(self.coding, self.coder),
            **files.functions(self.coding, self.coder, *of_file),
        }

    @property
    def reach(self) -> int | None:
        """How far the synthesis looks, pixels, where that is known: of integers with an end."""
        if self.integers is None or math.isinf(self.integers.reach):
            return None
        return math.ceil(self.integers.reach)

    def signatures(self) -> dict[str, Callable[..., Tensors]]:
        """The functions as they are called from outside of TensorFlow, by name.

        Servers call those of `tfclic.export.served`, with batches. The others are for
        `tfclic.runtime`; `interface.HEADER` is there what `info` is here.
        """
        return {
            **served.signatures(self._parts, self.fingerprint, self.coder == header.RANGE),
            interface.HEADER.name: self.info,
            **{name: part for name, part in self._parts.items() if name not in INTERNAL},
        }
