"""An exported model from outside: its files, its card, and the functions that its graph has.

`tfclic.export` makes what is described here, `tfclic.runtime` and `tfclic.serving` call it. A
function takes and gives tensors by name; what it takes and what it gives is a NamedTuple each, with
the names as fields. Images are uint8 `[H, W, 3]` or `[H, W, 1]`; latents `[h, w, C]` and hyper
latents `[h / 4, w / 4, Z]` are int16 where they are as coded; boxes are those of
`tfclic.format.boxes`; numbers of pixels, latents and bytes are int32; qualities are float32,
0..100; codes are those of qualities, 0..65535, int32 `[h, w]`, one for each position of the
latents, or `[1, 1]` for all of them; files and strings are bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from tfclic.format.boxes import MARGIN
from tfclic.format.header import CODERS, INTERLEAVED, RANGE

Given = TypeVar("Given", bound=Any)

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
# A folder with a graph of its own, which has REFINE, REFINE_BY_MAP and, for VARIABLES, RESTORE.
REFINEMENT = "refinement"
# Likewise, with some functions that do the same faster, where PROBE finds that they can.
FAST = "fast"
# Arrays that make thumbnails of latents, where there are any.
THUMBNAILS = "thumbnails.npz"

# Of what `STATISTICS` gives: after the name of a part, what its elements cost
BITS = "_bits"
# the part with a place for each 16x16 pixels, whose parameters are told
LATENTS = "latents"
# how many of its channels are coded together, where these are not all
SLICES = "slices"
# Of the functions for servers: an element that is well
GOOD = "OK"


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


class ToRefine(NamedTuple):
    """An image, and what `Analysed` has of it, for some of the steps of a refinement.

    These are the steps from number `first` on, of `steps` in all, that come before number `last`;
    `moments`, float32 `[2, h, w, C]`, are zero at first.
    """

    latents: Any
    image: Any
    quality: Any
    moments: Any
    first: Any
    last: Any
    steps: Any


class ToRefineByMap(NamedTuple):
    """As `ToRefine`, with codes in the place of a quality."""

    latents: Any
    image: Any
    codes: Any
    moments: Any
    first: Any
    last: Any
    steps: Any


class Refined(NamedTuple):
    """Latents, in the place of those that were given, and moments for the steps that follow."""

    latents: Any
    moments: Any


class Variables(NamedTuple):
    """The files that a SavedModel's variables are in."""

    prefix: Any


class Restored(NamedTuple):
    """What comes of reading them: nothing of interest."""

    done: Any


class Nothing(NamedTuple):
    """No arguments."""


class Probed(NamedTuple):
    """Whether this machine computes what it has to; `sound` is bool."""

    sound: Any


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


REFINE = Function("refine", ToRefine, Refined)
RESTORE = Function("restore", Variables, Restored)
PROBE = Function("probe", Nothing, Probed)
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
REFINE_BY_MAP = Function("refine_by_map", ToRefineByMap, Refined)
QUANTISE_BY_MAP = Function("quantise_by_map", ToQuantiseByMap, Coded)
SYNTHESISE_BY_MAP = Function("synthesise_by_map", ToSynthesiseByMap, Image)
# of exports that have no functions for servers
EARLIER_HEADER = dataclasses.replace(HEADER, name="info")

# The functions for servers take and give batches, `[N]`. Each element has a status, string: GOOD,
# or one sentence that says what is wrong with it; its other results are then empty or 0.
# TensorFlow Serving writes strings in base64 where a name ends in BINARY, and nowhere else.
BINARY = "_bytes"


class Images(NamedTuple):
    """Encoded images, string, and qualities."""

    images: Any
    qualities: Any


class Files(NamedTuple):
    """Files that are read."""

    files: Any


class CompressedImages(NamedTuple):
    """Files that were made."""

    files_bytes: Any
    statuses: Any


class DecompressedFiles(NamedTuple):
    """PNG files."""

    images_bytes: Any
    statuses: Any


class HeatMaps(NamedTuple):
    """Grayscale PNG files with a pixel for 16x16 of the image; bits per pixel that white is."""

    maps_bytes: Any
    scale: Any
    statuses: Any


class Infos(NamedTuple):
    """The fields of `Info`, and statuses."""

    width: Any
    height: Any
    tile_width: Any
    tile_height: Any
    grayscale: Any
    quality: Any
    tiles: Any
    payload_bytes: Any
    fingerprint: Any
    coder: Any
    statuses: Any


COMPRESS = Function("compress", Images, CompressedImages)
DECOMPRESS = Function("decompress", Files, DecompressedFiles)
INFO = Function("info", Files, Infos)
HEAT_MAP = Function("heat_map", Files, HeatMaps)
SERVED: tuple[Function[Any], ...] = (COMPRESS, DECOMPRESS, INFO, HEAT_MAP)


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
      slices: int, how many parts of the latents `READ_PARTS` reads, one after the other.
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
