"""One HTML file that shows what was measured: curves, differences, speed, and the images."""

from __future__ import annotations

import base64
import io
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from tfclic import images
from tfclic.evaluation import curves, evaluate, perceptual
from tfclic.format import header, vp8l

if TYPE_CHECKING:
    from tfclic.bd_rate import Difference
    from tfclic.evaluation.codecs import Codec
    from tfclic.evaluation.curves import Curve
    from tfclic.images import Pixels

_AXES = {
    "psnr-rgb": "PSNR (dB)",
    "ms-ssim-db": "MS-SSIM (dB: -10 log10(1 - MS-SSIM))",
    "flip": "FLIP (lower is better)",
    **{name: metric.axis for name, metric in perceptual.KNOWN.items()},
}


class Row(TypedDict):
    """A curve against an anchor.

    Attributes:
      title: the curve's.
      optimized: what its codec was trained for; empty if that is not known.
      metrics: for some of `curves.METRICS` the difference; None if it is not known of both.
    """

    title: str
    optimized: str
    metrics: dict[str, Difference | None]


class Table(TypedDict):
    """All curves against one anchor, whose title is in `anchor`; `metrics` by what, names."""

    anchor: str
    metrics: list[str]
    rows: list[Row]


def write(
    path: str | os.PathLike[str],
    dataset: str,
    measured: Sequence[Curve],
    others: Sequence[Curve],
    tables: Sequence[Table],
    gallery: Sequence[dict[str, Any]],
    machine: tuple[int, int],
) -> None:
    """Writes the report, replacing what is there.

    Args:
      path: of the HTML file. It needs no network, and no other file.
      dataset: the name of the images.
      measured: curves that were measured here.
      others: curves that were not.
      tables: what `differences` makes.
      gallery: list of dicts that `shown` makes, one per image.
      machine: (number of measuring processes, processor cores of each).
    """
    import jinja2
    import plotly.offline

    here = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
    environment = jinja2.Environment(loader=here, autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.get_template("report.html").render(
        dataset=dataset,
        curves=[*measured, *others],
        figures=_figures([*measured, *others]),
        tables=[
            {
                "anchor": table["anchor"],
                "metrics": [curves.METRICS[name].title for name in table["metrics"]],
                "rows": [{**row, "metrics": in_order(row)} for row in table["rows"]],
            }
            for table in tables
        ],
        speeds=[_speed(curve) for curve in measured],
        processes=machine[0],
        threads=machine[1],
        gallery=[{key: image[key] for key in ("name", "width", "height")} for image in gallery],
        # "</script" would end the script, and "<!--" with "<script" after it keep it from its end
        data=json.dumps(gallery).replace("<", "\\u003c"),
        plotly=plotly.offline.get_plotlyjs() if measured or others else "",
    )
    temporary = f"{path}.tmp"
    # names of files may be no text
    pathlib.Path(temporary).write_text(text, encoding="utf-8", errors="replace")
    os.replace(temporary, path)


def shown(
    path: str,
    versions: Iterable[tuple[Codec, evaluate.Measurement, str | os.PathLike[str]]],
    max_pixels: int = header.DEFAULT_MAX_PIXELS,
) -> dict[str, Any]:
    """What the report needs of one image.

    Args:
      path: of the original.
      versions: list of (`codecs.Codec`, `evaluate.Measurement`, path of the file).
      max_pixels: of an image, as `images.read` has it.

    Returns:
      A JSON-compatible dict.
    """
    pixels = evaluate.as_colour(images.read(path, max_pixels=max_pixels).pixels)
    height, width = pixels.shape[:2]
    return {
        "name": os.path.basename(path),
        "width": width,
        "height": height,
        "versions": [
            {"title": "original", "bytes": None, "source": _lossless(pixels)},
            *(_version(*version) for version in versions),
        ],
    }


def _version(
    codec: Codec, measured: evaluate.Measurement, path: str | os.PathLike[str]
) -> dict[str, Any]:
    data = pathlib.Path(path).read_bytes()
    if codec.is_shown_by_browsers:
        kind = "jpeg" if codec.suffix == ".jpg" else codec.suffix[1:]
        source = _data_url(kind, data)
    else:
        source = _lossless(evaluate.as_colour(codec.decode(data)))
    ms_ssim = measured.ms_ssim
    return {
        "title": codec.title,
        "bytes": len(data),
        "bpp": round(measured.bpp, 4),
        "psnr": round(measured.psnr, 2) if measured.psnr < 1000 else None,
        "ms_ssim": None if ms_ssim is None else round(ms_ssim, 4),
        "flip": round(measured.flip, 4),
        "source": source,
    }


def _lossless(pixels: Pixels) -> str:
    """A file of these pixels: WebP, the smallest that browsers show, or PNG beyond its sides."""
    from PIL import Image

    form, how = "webp", {"lossless": True, "quality": 50, "method": 3}
    if max(pixels.shape) > vp8l.MAX_SIDE:
        form, how = "png", {}
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, form, **how)
        return _data_url(form, file.getvalue())


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _figures(all_curves: Iterable[Curve]) -> list[str]:
    """Plots as HTML, of all measures that some curve has."""
    import plotly.graph_objects as go

    made = []
    for measure, axis in _AXES.items():
        figure = go.Figure()
        for curve in all_curves:
            found = curve["results"].get(measure) or []
            points = sorted(
                (rate, value)
                for rate, value in zip(curve["results"]["bpp"], found)
                if rate is not None and value is not None
            )
            if points:
                rates, values = zip(*points)
                is_ours = curve["meta"]["source"] == "measured"
                line = {"dash": "solid" if is_ours else "dot"}
                figure.add_scatter(x=rates, y=values, name=curve["title"], line=line)
        if not figure.data:
            continue
        scales = [
            {"label": name, "method": "relayout", "args": [{"xaxis.type": kind}]}
            for name, kind in (("linear", "linear"), ("logarithmic", "log"))
        ]
        menu = {"type": "buttons", "direction": "right", "x": 0, "y": 1.12, "xanchor": "left"}
        figure.update_layout(
            xaxis_title="bits per pixel",
            yaxis_title=axis,
            template="plotly_white",
            height=560,
            margin={"l": 60, "r": 20, "t": 60, "b": 50},
            updatemenus=[{**menu, "buttons": scales, "showactive": True}],
        )
        config = {"displaylogo": False, "responsive": True}
        made.append(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
    return made


def _speed(curve: Curve) -> dict[str, Any]:
    def middle(values: Iterable[float | None]) -> float | None:
        known = sorted(value for value in values if value is not None)
        return known[len(known) // 2] if known else None

    results = curve["results"]
    return {
        "title": curve["title"],
        "description": curve["description"],
        "encoding": middle(results["encoding_time"]),
        "decoding": middle(results["decoding_time"]),
    }


def differences(
    anchors: Iterable[Curve], judged: Iterable[Curve], by: Sequence[str] = curves.USUAL
) -> list[Table]:
    """The tables of differences: one per anchor.

    Args:
      anchors: list of curves.
      judged: list of curves.
      by: names of `curves.METRICS`.

    Returns:
      A list of `Table`s, the rows of each ordered by the difference in rate by the first metric.
    """
    tables: list[Table] = []
    for anchor in anchors:
        rows: list[Row] = []
        for curve in judged:
            if curve["name"] == anchor["name"]:
                continue
            found = {
                metric: curves.difference(anchor, curve, metric)
                if curves.has(anchor, metric) and curves.has(curve, metric)
                else None
                for metric in by
            }
            goal = curve["meta"].get("opt_metric") or ""
            rows.append({"title": curve["title"], "optimized": goal, "metrics": found})

        def order(row: Row) -> tuple[bool, float]:
            found = row["metrics"][by[0]]
            return (found is None or found.rate is None, found.rate if found and found.rate else 0)

        rows.sort(key=order)
        tables.append({"anchor": anchor["title"], "metrics": [*by], "rows": rows})
    return tables


def in_order(row: Row) -> list[str]:
    """The differences of a row as text."""
    return [in_words(found, curves.METRICS[name].unit) for name, found in row["metrics"].items()]


def in_words(difference: Difference | None, unit: str = "dB") -> str:
    """A `bd_rate.Difference` by values of a unit as text; None as a dash."""
    if difference is None:
        return "-"
    if difference.lowest is None or difference.highest is None:
        return "no two points"
    if difference.highest <= difference.lowest:
        return "no overlap"
    digits = 1 if difference.highest > 2 else 3
    reach = f"{difference.lowest:.{digits}f} to {difference.highest:.{digits}f} {unit}".rstrip()
    if difference.rate is None:
        return f"too little overlap ({reach})"
    has_none = difference.decibels is None or unit != "dB"
    decibels = "" if has_none else f", {difference.decibels:+.2f} dB"
    return f"{difference.rate:+.1f} %{decibels} ({reach})"
