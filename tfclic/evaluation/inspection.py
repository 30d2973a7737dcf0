"""What is in a file, and what it costs: figures to print, and what pictures are drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np
import numpy.typing as npt

from tfclic import errors
from tfclic.evaluation import levels
from tfclic.format import picture
from tfclic.format.interface import LATENTS
from tfclic.format.latents import FLOOR, LATENT_MAX, LATENT_MIN, MASS_BITS, STRIDE
from tfclic.format.model import INTEGER, INTEGER8

if TYPE_CHECKING:
    from tfclic import runtime
    from tfclic.evaluation.levels import Level, Pair
    from tfclic.runtime import statistics

Values = Union[Sequence[float], np.ndarray]

LEAST_PROBABILITY = FLOOR / 2**MASS_BITS  # that the exact coder gives to every latent
ALPHA, METADATA, MAP = "alpha", "metadata", "map"
HEADER = "header"  # and the index of the tiles, the checksum, and what frames all parts
# Of all latents of a channel, those which take more bits than this share of the others.
QUANTILES = (1.0, 0.99, 0.9, 0.5, 0.1)


class Position(NamedTuple):
    """One latent, chosen to be looked at.

    Attributes:
      x, y: pixels, the middle of what it stands for or what was asked for.
      row, column: its place in the channel.
    """

    x: int
    y: int
    row: int
    column: int


class View(NamedTuple):
    """What pictures are drawn from.

    Attributes:
      title: what they are of.
      pixels: uint8 [H, W, 3] or [H, W], the image.
      parts: dict of `statistics.Part`s.
      header_bits: of everything but the strings.
      channel: the one that is drawn.
      found: dict of arrays, what `statistics.Statistics.channel` says of it.
      positions: list of `Position`s.
      levels: dict of `levels.Level`s, of hyper latents.
      correlations: as `levels.correlations` has them.
      slices: list of channels of each slice of the latents.
      qualities: float32 `[h, w]`, that of each 16x16 pixels; None: it is the same everywhere.
    """

    title: str
    pixels: npt.NDArray[np.uint8]
    parts: Mapping[str, statistics.Part]
    header_bits: int
    channel: int
    found: Mapping[str, np.ndarray]
    positions: list[Position]
    levels: Mapping[str, Level]
    correlations: Mapping[str, Pair]
    slices: list[int]
    qualities: npt.NDArray[np.float32] | None = None

    def bits_per_pixel(self) -> npt.NDArray[np.float64]:
        """Float64 `[h, w]`: what each block of 16x16 pixels takes, of all parts, per pixel.

        What is coded reaches beyond the right and the lower edge, to multiples of 64 pixels.
        """
        shape = self.parts[LATENTS].positions.shape
        total = np.zeros(shape)
        for part in self.parts.values():
            each = shape[0] // part.positions.shape[0]
            total += np.kron(part.positions, np.full([each, each], 1 / each**2))
        return total / STRIDE**2


def report(
    codec: runtime.Codec,
    data: bytes,
    explanation: statistics.Statistics,
    parts: Mapping[str, statistics.Part] | None,
) -> dict[str, Any]:
    """What a file is and what it holds, fit for JSON.

    Args:
      codec: the `tfclic.runtime.Codec` of the model that made it.
      data: the file.
      explanation: `statistics.Statistics` of it.
      parts: its `parts`, or None: sizes only.

    Returns:
      Dict with `file` (what its header says), `model`, `strings` (a list: each tile's place in
      pixels, its bytes, and the `bits` of each part by the model's own probabilities), `parts`
      (bits of each part by name, and what lies around it), `slices` (a list: the
      `channels` and `bits` of each slice of the latents, if there are several) and `estimated_bits`
      of the whole file. The last three, and the strings' bits, are None without `parts`.
    """
    info = codec.info(data)
    info["format_version"] = picture.version(data)
    if info[f"{MAP}_bytes"]:
        found = codec.qualities(data)
        info["qualities"] = [float(found.min()), float(found.max())]
    beside = {name: info[f"{name}_bytes"] for name in (MAP, ALPHA, METADATA)}
    header_bits = 8 * (info["file_bytes"] - info["payload_bytes"] - sum(beside.values()))
    strings = [
        {
            **dict(zip(("y", "x", "height", "width"), box.tolist())),
            "bytes": int(length),
            "bits": {name: float(part.strings[i]) for name, part in parts.items()}
            if parts
            else None,
        }
        for i, (box, length) in enumerate(zip(explanation.boxes, explanation.lengths))
    ]
    bits: dict[str, float] | None = None
    if parts:
        bits = {**{name: part.bits for name, part in parts.items()}, HEADER: header_bits}
        bits.update({name: 8 * size for name, size in beside.items() if size})
    model = {name: getattr(codec.model, name) for name in ("name", "version", "fingerprint")}
    model["transforms"], model["pixels"] = codec.model.card.transforms, codec.model.card.pixels
    return {
        "file": {name: value for name, value in info.items() if name != "fingerprint"},
        "model": model,
        "strings": strings,
        "parts": bits,
        "slices": _slices(explanation) if parts else None,
        "estimated_bits": sum(bits.values()) if bits else None,
    }


_ARITHMETIC = {INTEGER: "integers", INTEGER8: "integers of 8 bits"}


def _told(pixels: str | None) -> str:
    return f", {pixels}, the same on every machine" if pixels else ""


def _beside(file: Mapping[str, Any]) -> str:
    if "qualities" not in file:
        return ""
    low, high = file["qualities"]
    return f", from place to place {low:.4g} to {high:.4g}"


def _slices(explanation: statistics.Statistics) -> list[dict[str, float]]:
    if len(explanation.slices) < 2:
        return []
    pairs = zip(explanation.slices, explanation.slice_bits())
    return [{"channels": channels, "bits": float(bits)} for channels, bits in pairs]


def lines(found: Mapping[str, Any]) -> list[str]:
    """The lines of text that tell what `report` found."""
    file, model = found["file"], found["model"]
    pixels = file["width"] * file["height"]
    arithmetic = _ARITHMETIC.get(model["transforms"], model["transforms"])
    kind = "grayscale" if file["grayscale"] else "colour"
    tile = f"{file['tiles']} of at most {file['tile_width']}x{file['tile_height']}"
    rows = [
        ("image", f"{file['width']}x{file['height']}, {kind}"),
        ("quality", f"{file['quality']:.4g}{_beside(file)}"),
        ("format", f"version {file['format_version']}, strings of the {file['coder']} coder"),
        ("tiles", "1" if file["tiles"] == 1 else tile),
        ("model", f"{model['name']}/{model['version']}, fingerprint {model['fingerprint']}"),
        ("pixels", f"made in {arithmetic}{_told(model['pixels'])}"),
        ("file", f"{file['file_bytes']:,} bytes, {8 * file['file_bytes'] / pixels:.4f} bpp"),
    ]
    for name in (MAP, ALPHA, METADATA):
        if file[f"{name}_bytes"]:
            rows.append((name, f"{file[f'{name}_bytes']:,} bytes of it"))
    told = [f"{name:<10}{value}" for name, value in rows] + ["", *_string_lines(found)]
    told += ["", *_part_lines(found, pixels)] if found["parts"] else []
    return told + (["", *_slice_lines(found)] if found["slices"] else [])


def _string_lines(found: Mapping[str, Any]) -> list[str]:
    names = list(found["strings"][0]["bits"] or {})
    rows = [["string of tile", "bytes", *(f"{_spelled(name)}, bits" for name in names)]]
    for string in found["strings"]:
        place = "{width}x{height} at {x},{y}".format(**string)
        bits = (f"{string['bits'][name]:,.1f}" for name in names)
        rows.append([place, f"{string['bytes']:,}", *bits])
    if len(names) < 2:
        return _aligned(rows)
    what, coder = ", then ".join(map(_spelled, names)), found["file"]["coder"]
    return [
        *_aligned(rows),
        f"Each string of the {coder} coder holds {what}, with no byte between them;",
        "their bits are by the model's own probabilities.",
    ]


def _part_lines(found: Mapping[str, Any], pixels: int) -> list[str]:
    bits, total = found["parts"], found["estimated_bits"]
    rows = [["part", "bits", "share", "bits per pixel"]]
    for name, value in {**bits, "sum by the model": total}.items():
        share = f"{100 * value / total:.2f} %"
        rows.append([_spelled(name), f"{value:,.1f}", share, f"{value / pixels:.5f}"])
    actual = 8 * found["file"]["file_bytes"]
    share = f"{100 * actual / total:.2f} %"
    return _aligned([*rows, ["file as written", f"{actual:,.1f}", share, f"{actual / pixels:.5f}"]])


def _slice_lines(found: Mapping[str, Any]) -> list[str]:
    total = sum(each["bits"] for each in found["slices"])
    rows = [["slice of the latents", "channels", "bits", "share", "bits per channel"]]
    for number, each in enumerate(found["slices"], 1):
        channels, bits = each["channels"], each["bits"]
        share = f"{100 * bits / total:.2f} %"
        rows.append([f"{number}", f"{channels}", f"{bits:,.1f}", share, f"{bits / channels:,.1f}"])
    return _aligned(rows)


def _spelled(name: str) -> str:
    return name.replace("_", " ")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    first, *others = (max(map(len, column)) for column in zip(*rows))
    return [
        f"{row[0]:<{first}}" + "".join(f"  {cell:>{n}}" for cell, n in zip(row[1:], others))
        for row in rows
    ]


def view(
    title: str,
    pixels: npt.NDArray[np.uint8],
    explanation: statistics.Statistics,
    header_bits: int,
    channel: int | None = None,
    places: Iterable[tuple[int, int]] = (),
    qualities: npt.NDArray[np.float32] | None = None,
) -> View:
    """Looks closer at one channel and at some positions.

    Args:
      title, pixels, header_bits, qualities: as in `View`.
      explanation: `statistics.Statistics` of the file.
      channel: None: the one of highest entropy, that takes the most bits.
      places: list of (x, y) in pixels; none: a few of the channel's latents, chosen by their bits.

    Raises:
      errors.UsageError: there is no such channel or place.
    """
    parts = explanation.parts
    per_channel, (height, width) = parts[LATENTS].channels, pixels.shape[:2]
    if channel is None:
        channel = int(np.argmax(per_channel))
    if not 0 <= channel < len(per_channel):
        raise errors.UsageError(
            f"There is no channel {channel}: the model has 0 to {len(per_channel) - 1}."
        )
    for x, y in places:
        if not (0 <= x < width and 0 <= y < height):
            raise errors.UsageError(f"{x},{y} is not inside of the image, {width}x{height}.")
    positions = [Position(x, y, y // STRIDE, x // STRIDE) for x, y in places]
    found = explanation.channel(channel)
    chosen = positions or _chosen(found["latents_bits"], height, width)
    more = levels.of(explanation), levels.correlations(explanation), explanation.slices
    return View(title, pixels, parts, header_bits, channel, found, chosen, *more, qualities)


def _chosen(bits: np.ndarray, height: int, width: int) -> list[Position]:
    """Positions of latents inside of the image that take the most bits, and fewer and fewer."""
    inside = bits[: -(-height // STRIDE), : -(-width // STRIDE)]
    order = np.argsort(inside, axis=None, kind="stable")
    ranks = dict.fromkeys(round(share * (order.size - 1)) for share in QUANTILES)
    places = (divmod(int(order[rank]), inside.shape[1]) for rank in ranks)
    return [_middle(row, column, height, width) for row, column in places]


def _middle(row: int, column: int, height: int, width: int) -> Position:
    x, y = (min(STRIDE * i + STRIDE // 2, n - 1) for i, n in ((column, width), (row, height)))
    return Position(x, y, row, column)


def mixture_masses(weights: Values, means: Values, scales: Values) -> npt.NDArray[np.float64]:
    """P(y) of all latents y that can be coded, by equation 8 of the paper.

    Args:
      weights, means, scales: `[K]` each.

    Returns:
      Float64 `[512]`, for y = -255 to 256; their sum is 1.
    """
    edges = np.arange(LATENT_MIN, LATENT_MAX) + 0.5
    below = np.zeros(len(edges))
    for weight, mean, scale in zip(weights, means, scales):
        z = (edges - mean) / (scale * math.sqrt(2))
        below += weight / 2 * np.array([math.erfc(-value) for value in z])
    return np.diff(below, prepend=0.0, append=float(np.sum(weights)))


def bits(probability: float) -> float:
    """What a latent of this probability takes, float."""
    return -math.log2(max(probability, LEAST_PROBABILITY))


def moments(weights: np.ndarray, means: np.ndarray, scales: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of a mixture of Gaussians, floats; arguments `[K]` each."""
    mean = float(np.dot(weights, means))
    variance = float(np.dot(weights, np.square(scales) + np.square(means - mean)))
    return mean, math.sqrt(variance)
