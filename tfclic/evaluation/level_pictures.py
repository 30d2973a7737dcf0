"""Pictures of hyper latents, level by level, and of what neighbours have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfclic.evaluation import drawing, levels
from tfclic.format.interface import LATENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfclic.evaluation.inspection import View

COLUMNS = 5


def level_maps(view: View) -> Figure | None:
    """One channel of each level of hyper latents: values, what was expected, and bits."""
    if not view.levels:
        return None
    panel = (drawing.WIDTH - 1) / COLUMNS * drawing.aspect(view)
    title = "Hyper latents: the channel of highest entropy of each level"
    figure = drawing.figure_of(view, 0.6 + len(view.levels) * (panel + 1.0), title)
    grid = figure.add_gridspec(len(view.levels), COLUMNS)
    for row, (name, level) in enumerate(view.levels.items()):
        spelled, steps = name.replace("_", " "), "in steps"
        limit = max(1.0, float(np.quantile(np.abs(level.values), 0.995)))
        around_zero = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        maps: list[tuple[str, Any, str, dict[str, Any]]] = [
            (f"{spelled}, channel {level.channel}", level.values, steps, around_zero)
        ]
        if level.means is not None and level.scales is not None:
            scale = {"norm": drawing.logarithmic(level.scales)}
            label = "standard deviations"
            maps += [
                ("mean $\\mu$", level.means, steps, around_zero),
                ("scale $\\sigma$", level.scales, steps, scale),
                ("normalised", level.normalised, label, drawing.DEVIATIONS),
            ]
        average = f"bits, {level.bits.mean():.2f} on average"
        maps.append((average, level.bits, "bits each", {"cmap": "magma", "vmin": 0}))
        for column, (title, values, label, options) in enumerate(maps):
            drawing.column(figure, {title: (grid[row, column], values)}, label, options)
    return figure


def redundancy(view: View) -> Figure | None:
    """The correlation of each level with its own surroundings, as coded and normalised."""
    names = [name for name, pair in view.correlations.items() if pair[1] is not None]
    if not names:
        return None
    reach = levels.REACH
    title = "What neighbours have in common: correlation, mean over channels"
    figure = drawing.figure_of(view, 0.8 + 2.6 * len(names), title)
    rows = figure.subplots(len(names), 2, squeeze=False)
    extent = (-reach - 0.5, reach + 0.5, reach + 0.5, -reach - 0.5)
    spelled = {LATENTS: "latents $\\hat y$"}
    for row, name in zip(rows, names):
        kinds = spelled.get(name, name.replace("_", " ")), "$(\\hat y-\\mu)/\\sigma$ of these"
        for axes, kind, correlation in zip(row, kinds, view.correlations[name]):
            assert correlation
            found = correlation.map()
            found[reach, reach] = np.nan  # with itself: 1
            shown = axes.imshow(found, extent=extent, cmap="RdBu_r", vmin=-0.6, vmax=0.6)
            mean = correlation.of_neighbours()
            axes.set(
                title=f"{kind}: {mean:.3f} between neighbours, absolute",
                xlabel="columns apart", ylabel="rows apart",
            )  # fmt: skip
        figure.colorbar(shown, ax=row, label="correlation", extend="both")
    return figure
