"""An exported model from outside: its files, and its card."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfclic.format.header import CODERS, INTERLEAVED, RANGE

# `{"inputs": names, "outputs": names}`
Signature = dict[str, dict[str, str]]

GRAPH = "saved_model.pb"
CARD = "model_card.json"
WARM_UP = "assets.extra/tf_serving_warmup_requests"
# Tags of the graph in the SavedModel. Where there are two, which share the variables, these are of
# the one in TensorFlow's own operations, which any server finds; OF_RANGE of the one that has the
# range coder, too.
TAGS = ("serve",)
OF_RANGE = (*TAGS, RANGE)
# What the synthesis computes in: floats, or integers, which give the same pixels everywhere; of
# INTEGER8 most have 8 bits, which many processors are faster with.
FLOAT32, INTEGER, INTEGER8 = TRANSFORMS = "float32", "integer", "integer8"
BOTH = "both"  # what an export is called that has the two
VARIABLES = "variables/variables"
# A folder with a graph of its own, which refines latents; for VARIABLES `beside.RESTORE`.
REFINEMENT = "refinement"
# Likewise, with some functions that do the same faster, where `beside.PROBE` finds that they can.
FAST = "fast"
# Arrays that make thumbnails of latents, where there are any.
THUMBNAILS = "thumbnails.npz"


@dataclasses.dataclass(frozen=True)
class Card:
    """What a model's card says, a JSON file.

    Attributes:
      name: str; None: it does not say.
      version: int.
      fingerprint: 8 hex digits, lower case; every file that the model makes carries them.
      transforms: str, what the synthesis computes in, of `TRANSFORMS`.
      pixels: 8 hex digits, by which one synthesis in integers is told from another; None: it is in
        floating point.
      coder: str, that of its files' strings, one of `header.CODERS`; if there are two, the one that
        writes where both can.
      format_version: of the files that it makes, int; None: it does not say.
      config: dict, the configuration that it was trained with; what builds it is in `model`.
      training: dict, the record of its training.
      slices: int, how many parts of the latents `interface.READ_PARTS` reads, one after the other.
      functions: dict by name of `{"inputs": names, "outputs": names}`, where `names` maps what a
        function takes or gives to its tensor in the graph ("operation:index"); None: not listed.
      stock: likewise, of the graph in TensorFlow's own operations, where `functions` are those of
        another; None: there is but one graph.
      refinement: likewise, of the graph in REFINEMENT; None: there is none.
      fast: likewise, of the graph in FAST; None: there is none.
      checksums: dict from the paths of files, below the model's folder, to the SHA-256 of each, 64
        hex digits; None: earlier exports have none.
      results: dict by the names of test sets, in the form of the published curves; None: nothing
        was measured.
    """

    name: str | None
    version: int
    fingerprint: str
    format_version: int | None = None
    coder: str = RANGE
    transforms: str = FLOAT32
    pixels: str | None = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    slices: int = 1
    functions: dict[str, Signature] | None = None
    stock: dict[str, Signature] | None = None
    refinement: dict[str, Signature] | None = None
    fast: dict[str, Signature] | None = None
    checksums: dict[str, str] | None = None
    results: dict[str, Any] | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Card:
        """The `Card` of what JSON has of it; fields that are not known are left out.

        Raises:
          KeyError, TypeError, ValueError: it is not that of a card; says why.
        """
        fingerprint = content["fingerprint"]
        if len(bytes.fromhex(fingerprint)) != 4 or fingerprint != fingerprint.lower():
            raise ValueError("its fingerprint is not 8 lower-case hex digits")
        names = [field.name for field in dataclasses.fields(cls)]
        said = {name: content[name] for name in names if content.get(name) is not None}
        return cls(**{"name": None, "version": 0, **said})

    @property
    def coders(self) -> tuple[str, ...]:
        """Those that can write its files, names."""
        return CODERS if self.stock else (self.coder,)

    def graph(self, coder: str) -> tuple[tuple[str, ...], dict[str, Signature] | None]:
        """Tags and functions of the graph that writes with a coder, one of `coders`."""
        if self.stock is None:
            return TAGS, self.functions
        return (TAGS, self.stock) if coder == INTERLEAVED else (OF_RANGE, self.functions)

    def content(self) -> dict[str, Any]:
        """It for JSON: a dict."""
        fields = dataclasses.asdict(self).items()
        return {name: value for name, value in fields if value is not None}
