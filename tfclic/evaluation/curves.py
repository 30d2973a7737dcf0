"""Rate-distortion curves: measured ones, published ones, and the difference of two."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from tfclic import bd_rate, errors
from tfclic.evaluation import evaluate, metrics, perceptual

if TYPE_CHECKING:
    import os

    from tfclic.evaluation.codecs import Codec

# Folders of curves, by the images that they were measured on.
STORED = pathlib.Path(__file__).with_name("curves")
# Names of the fields of a `Measurement` in JSON files, which are those of published curves.
JSON_NAMES = ("bpp", "psnr-rgb", "ms-ssim-rgb", "flip", "encoding_time", "decoding_time")


class Axis(NamedTuple):
    """What curves are compared by.

    Attributes:
      title: of a column.
      field: the list in `results` that has it.
      quality: function of a value there to one that rises with quality.
      unit: of that.
    """

    title: str
    field: str
    quality: Callable[[float], float] = float
    unit: str = "dB"


def _axis(name: str, metric: perceptual.Metric) -> Axis:
    quality = metrics.decibels if metric.is_similarity else float
    return Axis(metric.title, name, quality, metric.unit)


METRICS: dict[str, Axis] = {
    "psnr": Axis("PSNR", "psnr-rgb"),
    "ms-ssim": Axis("MS-SSIM", "ms-ssim-db"),
    "flip": Axis("FLIP", "flip", lambda error: metrics.decibels(1 - error)),
    **{name: _axis(name, metric) for name, metric in perceptual.KNOWN.items()},
}
USUAL = "psnr", "ms-ssim"  # what they are compared by if nothing else is said


class _Known(TypedDict):
    name: str
    title: str
    meta: dict[str, Any]
    results: dict[str, list[float | None]]


class Curve(_Known, total=False):
    """A rate-distortion curve, fit for JSON.

    Attributes:
      name: that of its file.
      title: for people.
      description: likewise, one line.
      meta: where it is from (`source`), the images (`dataset`), what was optimised (`opt_metric`).
      results: a list for each measure, with an entry for each setting.
      images: the same of each image, by its name, in curves that were measured.
    """

    description: str
    images: dict[str, dict[str, list[float | None]]]


def from_measurements(
    codec: Codec, dataset: str, by_image: Mapping[str, Sequence[evaluate.Measurement]], threads: int
) -> Curve:
    """Makes a curve, in the form of the published ones.

    Args:
      codec: the `tfclic.evaluation.codecs.Codec` that was measured.
      dataset: the name of the images as a whole.
      by_image: dict from an image's name to its list of `Measurement`s, one per setting.
      threads: processor cores of each measuring process.

    Returns:
      A JSON-compatible dict: `results` has a list of averages over the images for each measure,
      one entry per setting; `images` the same for each of them.
    """
    averages = [evaluate.average(level) for level in zip(*by_image.values())]
    meta: dict[str, Any] = {"source": "measured", "dataset": dataset, "identity": codec.identity}
    meta["threads"] = threads
    if codec.objective:
        meta["opt_metric"] = codec.objective
    results: dict[str, list[float | None]] = {"quality": [*codec.settings], **_columns(averages)}
    results["ms-ssim-db"] = [
        None if s is None else _finite(metrics.decibels(s)) for s in results["ms-ssim-rgb"]
    ]
    count = len(by_image)
    return {
        "name": codec.name,
        "title": codec.title,
        "description": f"{codec.description}; {count} image{'s' * (count != 1)}, from real files",
        "meta": meta,
        "results": results,
        "images": {name: _columns(levels) for name, levels in by_image.items()},
    }


def stored(dataset: str = "kodak") -> list[str]:
    """The names (list of str) of the published curves on these images."""
    return sorted(path.stem for path in (STORED / dataset).glob("*.json"))


def read(name_or_path: str) -> Curve:
    """Reads a curve.

    Args:
      name_or_path: one of `stored()`, or the path of a JSON file of that form.

    Returns:
      A dict with `name` (that of the file), `title`, `description` and `results`; MS-SSIM is in
      `ms-ssim-db` too.

    Raises:
      errors.UsageError: there is no such curve.
    """
    path = STORED / "kodak" / f"{name_or_path}.json"
    path = path if path.is_file() else pathlib.Path(name_or_path)
    if not path.is_file():
        known = ", ".join(stored())
        raise errors.UsageError(f"There is no curve {name_or_path}; there are {known}, and files.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results = content["results"]
        count = len(results["bpp"])
        if not count or any(len(values) != count for values in results.values()):
            raise ValueError("its lists differ in length")
        if any(rate is None or rate <= 0 for rate in results["bpp"]):
            raise ValueError("a rate is not positive")
        for axis in METRICS.values():
            _check_numbers(axis.field, results.get(axis.field) or [])
        if "ms-ssim-rgb" in results and "ms-ssim-db" not in results:
            similarities = results["ms-ssim-rgb"]
            results["ms-ssim-db"] = [
                None if s is None else metrics.decibels(float(s)) for s in similarities
            ]
        meta = {"source": "published", **content.get("meta", {})}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UsageError(f"{path} is not a rate-distortion curve: {error}.") from error
    title = content.get("title") or content.get("name") or path.stem
    return cast(Curve, {**content, "name": path.stem, "title": title, "meta": meta})


def _check_numbers(name: str, values: Sequence[Any]) -> None:
    if not all(value is None or isinstance(value, (int, float)) for value in values):
        raise ValueError(f"{name} is no list of numbers")


def difference(anchor: Curve, curve: Curve, metric: str = "psnr") -> bd_rate.Difference:
    """Compares two curves over the quality that both reach.

    Args:
      anchor: dict whose `results` has the lists `bpp` and the metric's, one entry per point.
      curve: the same, of the codec that is judged.
      metric: one of `METRICS`.

    Returns:
      A `bd_rate.Difference`.
    """
    return bd_rate.difference(_points(anchor, metric), _points(curve, metric))


def has(curve: Curve, metric: str) -> bool:
    """Whether a curve has two points or more of a metric, one of `METRICS`."""
    return len(bd_rate.increasing(_points(curve, metric))) > 1


def _points(curve: Curve, metric: str) -> list[bd_rate.Point]:
    results, axis = curve["results"], METRICS[metric]
    found = results.get(axis.field) or []
    values = (None if value is None else axis.quality(value) for value in found)
    return list(zip(results["bpp"], values))


def write(curve: Curve, path: str | os.PathLike[str]) -> None:
    """Writes a curve as JSON, replacing what is there."""
    temporary = pathlib.Path(f"{path}.tmp")
    temporary.write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _columns(measurements: Iterable[evaluate.Measurement]) -> dict[str, list[float | None]]:
    known = list(measurements)
    columns = dict(zip(JSON_NAMES, map(list, zip(*known))))
    for name in dict.fromkeys(name for each in known for name in each.more):
        columns[name] = [each.more.get(name) for each in known]
    # JSON has no infinity, the PSNR of equal images.
    return {name: [_finite(value) for value in values] for name, values in columns.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
