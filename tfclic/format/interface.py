"""The functions that the graph of an exported model has: what each takes, and what it gives.

`tfclic.export` makes what is described here, `tfclic.runtime` calls it; what servers call is in
`tfclic.format.served`, what has a graph of its own in `tfclic.format.beside`. A function takes and
gives tensors by name; what it takes and what it gives is a NamedTuple each, with the names as
fields. Images are uint8 `[H, W, 3]` or `[H, W, 1]`; latents `[h, w, C]` and hyper latents
`[h / 4, w / 4, Z]` are int16 where they are as coded; boxes are those of `tfclic.format.boxes`;
numbers of pixels, latents and bytes are int32; qualities are float32, 0..100; codes are those of
qualities, 0..65535, int32 `[h, w]`, one for each position of the latents, or `[1, 1]` for all of
them; files and strings are bytes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, NamedTuple, TypeVar

from tfclic.format.boxes import MARGIN

Given = TypeVar("Given", bound=Any)

# Of what `STATISTICS` gives: after the name of a part, what its elements cost
BITS = "_bits"
# the part with a place for each 16x16 pixels, whose parameters are told
LATENTS = "latents"
# how many of its channels are coded together, where these are not all
SLICES = "slices"


@dataclasses.dataclass(frozen=True)
class Function(Generic[Given]):
    """A function of an exported model.

    Attributes:
      name: str, of its signature in the SavedModel.
      takes: NamedTuple class of its arguments.
      gives: NamedTuple class of its results; dict where these depend on the model.
    """

    name: str
    takes: type[NamedTuple]
    gives: type[Given]

    def results(self, found: dict[str, Any]) -> Given:
        """`gives` of a dict of results; what an earlier export did not have is as by default."""
        names = getattr(self.gives, "_fields", found)
        return self.gives(**{name: found[name] for name in names if name in found})


class ToPlan(NamedTuple):
    """Of an image; `longest` is the longest side of a tile."""

    height: Any
    width: Any
    longest: Any


class Plan(NamedTuple):
    """How an image is cut into n tiles: their sides, and their boxes `[n, 4]`.

    `reach`: pixels, how far the synthesis looks beyond a box.
    """

    tile_height: Any
    tile_width: Any
    core: Any
    window: Any
    coded: Any
    seen: Any
    reach: Any = MARGIN


class Image(NamedTuple):
    """An image, or a part of one."""

    image: Any


class Analysed(NamedTuple):
    """Latents before the gain, float32."""

    latents: Any


class ToQuantise(NamedTuple):
    """What `Analysed` has; `box` is what is coded of it."""

    latents: Any
    quality: Any
    box: Any


class ToQuantiseByMap(NamedTuple):
    """As `ToQuantise`, with codes in the place of a quality."""

    latents: Any
    codes: Any
    box: Any


class Coded(NamedTuple):
    """What a tile's string holds."""

    latents: Any
    hyper_latents: Any


class Chosen(NamedTuple):
    """As `Coded`, and what a string of it follows from: symbols and parameters of the latents."""

    latents: Any
    hyper_latents: Any
    symbols: Any
    parameters: Any


class ToWriteChosen(NamedTuple):
    """What `Chosen` has."""

    hyper_latents: Any
    symbols: Any
    parameters: Any


class String(NamedTuple):
    """A tile's string."""

    payload: Any


class ToRead(NamedTuple):
    """A tile's string; rows and columns of its latents."""

    payload: Any
    height: Any
    width: Any


class ToReadParts(NamedTuple):
    """As `ToRead`; `wanted` is how many parts of the latents are read, such as slices of channels.

    The string may be the beginning of one.
    """

    payload: Any
    height: Any
    width: Any
    wanted: Any


class CodedParts(NamedTuple):
    """As `Coded`, with what is expected for parts that were not read.

    `sound` is how many of those that were wanted lie within the string; -1: not even what comes
    before them does.
    """

    latents: Any
    hyper_latents: Any
    sound: Any


class Estimate(NamedTuple):
    """The bits that a string should take, float32."""

    bits: Any


class ToPack(NamedTuple):
    """A file's strings, one after the other, and the length of each, `[n]`; `grayscale` is bool."""

    payload: Any
    lengths: Any
    width: Any
    height: Any
    tile_width: Any
    tile_height: Any
    quality: Any
    grayscale: Any


class File(NamedTuple):
    """A file that was made."""

    file: Any


class Data(NamedTuple):
    """A file that is read."""

    data: Any


class Info(NamedTuple):
    """What a file says of itself; `tiles` is their number, the fingerprint in hexadecimal.

    `coder` is the name of that of its strings; earlier exports do not tell.
    """

    width: Any
    height: Any
    tile_width: Any
    tile_height: Any
    grayscale: Any
    quality: Any
    tiles: Any
    payload_bytes: Any
    fingerprint: Any
    coder: Any = None


class Opened(NamedTuple):
    """A file, ready to be read.

    For each of n tiles the boxes `[n, 4]`, and where its string starts and how long it is, `[n]`.
    `is_local`, bool: whether pixels depend on what is near them alone. Of models whose earlier
    export does not say so they do. `interleaved`, bool: whether its strings are for
    `READ_INTERLEAVED`, not for `READ`. `reach` as in `Plan`.
    """

    height: Any
    width: Any
    grayscale: Any
    quality: Any
    lengths: Any
    starts: Any
    core: Any
    window: Any
    coded: Any
    seen: Any
    is_local: Any = True
    interleaved: Any = False
    reach: Any = MARGIN


class ToSynthesise(NamedTuple):
    """What is coded of a part of the image; `box` are the pixels of it that are wanted."""

    latents: Any
    hyper_latents: Any
    quality: Any
    grayscale: Any
    box: Any


class ToSynthesiseByMap(NamedTuple):
    """As `ToSynthesise`, with codes in the place of a quality."""

    latents: Any
    hyper_latents: Any
    codes: Any
    grayscale: Any
    box: Any


PLAN = Function("plan", ToPlan, Plan)
ANALYSE = Function("analyse", Image, Analysed)
QUANTISE = Function("quantise", ToQuantise, Coded)
WRITE = Function("write", Coded, String)
# of models whose latents follow from side information and from other slices alone: what rounds them
# knows their parameters, and need not find them twice; earlier exports have none of these
CHOOSE = Function("choose", ToQuantise, Chosen)
CHOOSE_BY_MAP = Function("choose_by_map", ToQuantiseByMap, Chosen)
WRITE_CHOSEN = Function("write_chosen", ToWriteChosen, String)
ESTIMATE = Function("estimate", Coded, Estimate)
# float32 arrays `[h, w, C]`: `PART_bits`, and what these follow from
STATISTICS = Function("explain", Coded, dict)
PACK = Function("pack", ToPack, File)
HEADER = Function("header", Data, Info)
OPEN = Function("open", Data, Opened)
# strings of the range coder
READ = Function("read", ToRead, Coded)
READ_INTERLEAVED = Function("read_interleaved", ToRead, Coded)
# of models whose latents have several parts, and strings of the range coder
READ_PARTS = Function("read_parts", ToReadParts, CodedParts)
SYNTHESISE = Function("synthesise", ToSynthesise, Image)
# with a quality for each position of the latents; earlier exports have none of these
QUANTISE_BY_MAP = Function("quantise_by_map", ToQuantiseByMap, Coded)
SYNTHESISE_BY_MAP = Function("synthesise_by_map", ToSynthesiseByMap, Image)
# of exports that have no functions for servers
EARLIER_HEADER = dataclasses.replace(HEADER, name="info")
