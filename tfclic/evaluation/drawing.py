"""What pictures of one kind and another share: figures, rows and columns of maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colors, ticker
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.gridspec import SubplotSpec

    from tfclic.evaluation.inspection import View

WIDTH = 11.7  # inches, A4 across
NORMALISED_LIMIT = 3  # standard deviations
DEVIATIONS: dict[str, Any] = {
    "cmap": "RdBu_r",
    "vmin": -NORMALISED_LIMIT,
    "vmax": NORMALISED_LIMIT,
}


def figure_of(view: View, height: float, title: str) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    # names of files may be no text, which fonts do not take
    name = view.title.encode(errors="replace").decode().replace("$", r"\$")
    figure.suptitle(f"{title}\n{name}")
    return figure


def aspect(view: View) -> float:
    """Height over width of a panel that shows the image, within what fits a page."""
    height, width = view.pixels.shape[:2]
    return min(max(height / width, 0.2), 2.5)


def column(
    figure: Figure,
    maps: Mapping[str, tuple[SubplotSpec, np.ndarray]],
    label: str,
    options: Mapping[str, Any],
) -> None:
    """Draws maps, title to (place in the grid, values), and one colour bar below them."""
    drawn = []
    for title, (place, values) in maps.items():
        drawn.append(figure.add_subplot(place))
        shown = drawn[-1].imshow(values, interpolation="nearest", **options)
        drawn[-1].set(title=title, xticks=[], yticks=[])
    outside = "both" if options.get("vmin") else "neither"
    bar = figure.colorbar(
        shown, ax=drawn, label=label, extend=outside, location="bottom", panchor=False
    )
    if "norm" in options:
        bar.set_ticks(ticker.LogLocator(subs=(1, 2, 5)), minor=False)
        bar.ax.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        bar.minorticks_off()


def logarithmic(values: np.ndarray) -> colors.LogNorm:
    low, high = float(values.min()), float(values.max())
    return colors.LogNorm(low, max(high, 1.01 * low))
