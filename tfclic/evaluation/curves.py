"""Rate-distortion curves: measured ones, published ones, and the difference of two."""

import json
import math
import os
import pathlib

from tfclic import bd_rate, errors
from tfclic.evaluation import evaluate, metrics

# Folders of curves, by the images that they were measured on.
STORED = pathlib.Path(__file__).with_name("curves")
# Names of the fields of a `Measurement` in JSON files, which are those of published curves.
JSON_NAMES = ("bpp", "psnr-rgb", "ms-ssim-rgb", "flip", "encoding_time", "decoding_time")
METRICS = {"psnr": "psnr-rgb", "ms-ssim": "ms-ssim-db"}


def from_measurements(codec, dataset, by_image, threads):
    """Makes a curve, in the form of the published ones.

    Args:
      codec: the `tfclic.evaluation.codecs.Codec` that was measured.
      dataset: str, the name of the images as a whole.
      by_image: dict from an image's name to its list of `Measurement`s, one per setting.
      threads: int, processor cores of each measuring process.

    Returns:
      A JSON-compatible dict: `results` has a list of averages over the images for each measure,
      one entry per setting; `images` the same for each of them.
    """
    averages = [evaluate.average(level) for level in zip(*by_image.values())]
    meta = {"source": "measured", "dataset": dataset, "identity": codec.identity}
    meta["threads"] = threads
    if codec.objective:
        meta["opt_metric"] = codec.objective
    results = {"quality": list(codec.settings), **_columns(averages)}
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


def stored(dataset="kodak"):
    """The names (list of str) of the published curves on these images."""
    return sorted(path.stem for path in (STORED / dataset).glob("*.json"))


def read(name_or_path):
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
        if "ms-ssim-rgb" in results and "ms-ssim-db" not in results:
            similarities = results["ms-ssim-rgb"]
            results["ms-ssim-db"] = [
                None if s is None else metrics.decibels(float(s)) for s in similarities
            ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UsageError(f"{path} is not a rate-distortion curve: {error}.") from error
    title = content.get("title") or content.get("name") or path.stem
    meta = {"source": "published", **content.get("meta", {})}
    return {**content, "name": path.stem, "title": title, "meta": meta}


def difference(anchor, curve, metric="psnr"):
    """Compares two curves over the quality that both reach.

    Args:
      anchor: dict whose `results` has the lists `bpp` and the metric's, one entry per point.
      curve: the same, of the codec that is judged.
      metric: one of `METRICS`.

    Returns:
      A `bd_rate.Difference`.
    """
    return bd_rate.difference(_points(anchor, metric), _points(curve, metric))


def has(curve, metric):
    """Whether a curve has two points or more of a metric, one of `METRICS`."""
    return len(bd_rate.increasing(_points(curve, metric))) > 1


def _points(curve, metric):
    results = curve["results"]
    return list(zip(results["bpp"], results.get(METRICS[metric]) or []))


def write(curve, path):
    """Writes a curve as JSON, replacing what is there."""
    temporary = pathlib.Path(f"{path}.tmp")
    temporary.write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _columns(measurements):
    columns = dict(zip(JSON_NAMES, map(list, zip(*measurements))))
    # JSON has no infinity, the PSNR of equal images.
    return {name: [_finite(value) for value in values] for name, values in columns.items()}


def _finite(value):
    return value if value is not None and math.isfinite(value) else None
