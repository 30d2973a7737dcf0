"""Pictures of what a model does with an image.

Each picture is a function of an `inspection.View` in `PICTURES` that returns a Figure, or None
where the model has nothing of the kind; another model adds its own. matplotlib is used without
pyplot, which keeps what it draws in global state.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from PIL import Image

from tfclic import errors, images
from tfclic.evaluation import drawing, inspection, level_pictures
from tfclic.format.interface import LATENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tfclic.runtime.statistics import Part

DPI = 130  # of PNG files
LONGEST = 1200  # pixels of the image, as drawn
TAIL = 1e-3  # what a distribution may leave out on each side when it is drawn
MIXTURE, COMPONENT, GAUSSIAN, CODED = "#8fb3d9", "#1f4e79", "#e45756", "#222222"
STYLE = {"font.size": 8, "axes.titlesize": 9, "figure.titlesize": 11, "image.cmap": "viridis"}
ENDINGS = (".pdf", ".png")


def check_ending(path: str) -> None:
    """Raises errors.UsageError if pictures cannot be written to `path`: its ending says how."""
    if os.path.splitext(path)[1].lower() not in ENDINGS:
        raise errors.UsageError(f"{path}: pictures are written to .pdf or .png files.")


def encode(view: inspection.View, path: str) -> bytes:
    """Draws all pictures of a View.

    Args:
      view: an `inspection.View`.
      path: only its ending is used: .pdf has a page for each picture, .png has them one below the
        other.

    Returns:
      Bytes of the file.
    """
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # of letters in a file's name that the font does not have
        warnings.simplefilter("ignore", UserWarning)
        figures = [figure for figure in (draw(view) for draw in PICTURES) if figure]
        if path.lower().endswith(".png"):
            return images.encode(_stacked([_rendered(figure) for figure in figures]), path)
        buffer = io.BytesIO()
        with PdfPages(buffer) as pages:
            for figure in figures:
                pages.savefig(figure)
        return buffer.getvalue()


def _rendered(figure: Figure) -> np.ndarray:
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    width = max(picture.shape[1] for picture in pictures)
    margins = [((0, 0), (0, width - picture.shape[1]), (0, 0)) for picture in pictures]
    return np.concatenate(
        [np.pad(p, margin, constant_values=255) for p, margin in zip(pictures, margins)]
    )


def _percent(part: Any, whole: float) -> Any:
    """Also of nothing: an image without content may take no bits at all."""
    return 100 * part / max(whole, 1e-9)


def _show_image(axes: Axes, view: inspection.View) -> None:
    height, width = view.pixels.shape[:2]
    shown = Image.fromarray(view.pixels).convert("RGB")
    shown = shown.reduce(max(1, math.ceil(max(height, width) / LONGEST)))
    axes.imshow(shown, extent=(0, width, height, 0), interpolation="none")
    axes.set_xlabel("x in pixels")
    axes.set_ylabel("y in pixels")


def mixture_maps(view: inspection.View) -> Figure | None:
    """Figure 3 of the paper: one channel, what it is predicted by, and what is left to code."""
    found = view.found
    if "weights" not in found:
        return None
    latents, count = found[LATENTS].astype(np.float32), found["weights"].shape[2]
    share = _percent(view.parts[LATENTS].channels[view.channel], view.parts[LATENTS].bits)
    title = f"Channel {view.channel} of the latents: {share:.1f} % of their bits"
    panel = (drawing.WIDTH - 1) / 6 * drawing.aspect(view)
    figure = drawing.figure_of(view, 1.6 + count * (panel + 0.25), title)
    grid = figure.add_gridspec(count, 6)
    limit = max(1.0, float(np.quantile(np.abs(latents), 0.995)))
    around_zero = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    scales, bits, steps = found["scales"], found["latents_bits"], "in steps of the latents"
    normalised = (latents[..., None] - found["means"]) / scales
    by_mixture = [
        ("mean $\\mu$", found["means"], steps, around_zero),
        ("scale $\\sigma$", scales, steps, {"norm": drawing.logarithmic(scales)}),
        ("weight $w$", found["weights"], "share of the mixture", {"vmin": 0, "vmax": 1}),
        (
            "$(\\hat y-\\mu)/\\sigma$",
            normalised,
            "normalised: standard deviations",
            drawing.DEVIATIONS,
        ),
    ]
    drawing.column(figure, {"latent $\\hat y$": (grid[:, 0], latents)}, steps, around_zero)
    for j, (name, values, label, options) in enumerate(by_mixture, 1):
        names = [f"{name}, Gaussian {k + 1}" if count > 1 else name for k in range(count)]
        maps = {each: (grid[k, j], values[..., k]) for k, each in enumerate(names)}
        drawing.column(figure, maps, label, options)
    name = f"bits, {bits.mean():.2f} on average"
    drawing.column(
        figure, {name: (grid[:, 5], bits)}, "bits per latent", {"cmap": "magma", "vmin": 0}
    )
    return figure


def bits_map(view: inspection.View) -> Figure:
    """The image, and over it what each place of it takes."""
    height, width = view.pixels.shape[:2]
    rate = view.bits_per_pixel()
    mean = rate.sum() * inspection.STRIDE**2 / (height * width)
    inside = rate[: -(-height // inspection.STRIDE), : -(-width // inspection.STRIDE)].sum()
    beyond = _percent(rate.sum() - inside, rate.sum())
    title = f"Where the bits are: {mean:.4f} per pixel on average, without the header"
    if beyond >= 0.05:
        title += f"; {beyond:.1f} % beyond the edges"
    return _over_image(view, rate, title, "bits per pixel", ", all parts", cmap="inferno")


def qualities_map(view: inspection.View) -> Figure | None:
    """The image, and over it the quality of each place of it; None where it is one for all."""
    if view.qualities is None:
        return None
    low, high = view.qualities.min(), view.qualities.max()
    title = f"Qualities from {low:.4g} to {high:.4g}"
    return _over_image(view, view.qualities, title, "quality", vmax=100)


def _over_image(
    view: inspection.View, values: np.ndarray, title: str, name: str, of: str = "", **options: Any
) -> Figure:
    """The image, and beside it the image with values, `[h, w]`, of 16x16 pixels each."""
    height, width = view.pixels.shape[:2]
    panel = min((drawing.WIDTH - 1.5) / 2 * drawing.aspect(view), 9)
    figure = drawing.figure_of(view, panel + 1.4, title)
    left, right = figure.subplots(1, 2)
    _show_image(left, view)
    left.set_title("image")
    _show_image(right, view._replace(pixels=np.array(Image.fromarray(view.pixels).convert("L"))))
    rows, columns = (inspection.STRIDE * side for side in values.shape)
    extent = (0, columns, rows, 0)
    how = {"vmin": 0, "alpha": 0.75, "interpolation": "nearest", **options}
    shown = right.imshow(values, extent=extent, **how)
    right.set(title=f"{name}{of}, by blocks of 16x16 pixels", ylabel="")
    for axes in (left, right):
        axes.set(xlim=(0, width), ylim=(height, 0))
    # within the axes' own frame, so that it is as high as the image
    figure.colorbar(shown, cax=right.inset_axes((1.02, 0, 0.03, 1)), label=name)
    return figure


def channel_bits(view: inspection.View) -> Figure:
    """What each channel takes, and each part."""
    pixels = view.pixels.shape[0] * view.pixels.shape[1]
    figure = drawing.figure_of(view, 5.8, "Where the bits are, by channel and by part")
    grid = figure.add_gridspec(2, len(view.parts), height_ratios=[5, 1])
    for j, (name, part) in enumerate(_largest_first(view)):
        axes = figure.add_subplot(grid[0, j])
        ordered = np.sort(part.channels)[::-1]
        places = np.arange(1, len(ordered) + 1)
        axes.bar(places, ordered / pixels, width=1.0, color=MIXTURE)
        spelled = name.replace("_", " ")
        axes.set(
            title=f"{spelled}, {len(ordered)} channels", xlim=(0.5, len(ordered) + 0.5),
            xlabel="channels, the most expensive first", ylabel="bits per pixel of the image",
        )  # fmt: skip
        share = axes.twinx()
        share.step(places, _percent(np.cumsum(ordered), ordered.sum()), color=GAUSSIAN, where="mid")
        share.set(ylim=(0, 104))
        share.set_ylabel("share of these channels and those before, %", color=GAUSSIAN)
        share.tick_params(axis="y", colors=GAUSSIAN)
    _share_bar(figure.add_subplot(grid[1, :]), view)
    return figure


def slice_bits(view: inspection.View) -> Figure | None:
    """What each slice of the latents takes; None where there is one."""
    if len(view.slices) < 2:
        return None
    pixels = view.pixels.shape[0] * view.pixels.shape[1]
    figure = drawing.figure_of(view, 3.4, "Where the bits are, by slice of the latents")
    ends = np.cumsum([0, *view.slices])
    channels = view.parts[LATENTS].channels / pixels
    left, right = figure.subplots(1, 2)
    names = [f"{i}\n{size} channels" for i, size in enumerate(view.slices, 1)]
    left.bar(names, [channels[a:b].sum() for a, b in zip(ends, ends[1:])], color=MIXTURE)
    left.set(xlabel="slice, in the order of coding", ylabel="bits per pixel of the image")
    right.bar(np.arange(len(channels)), channels, width=1.0, color=MIXTURE)
    for end in ends[1:-1]:
        right.axvline(end - 0.5, color=CODED, linewidth=0.6)
    right.set(xlim=(-0.5, len(channels) - 0.5), xlabel="channel; lines are between slices")
    right.set_ylabel("bits per pixel of the image")
    return figure


def _largest_first(view: inspection.View) -> list[tuple[str, Part]]:
    return sorted(view.parts.items(), key=lambda item: -item[1].bits)


def _share_bar(axes: Axes, view: inspection.View) -> None:
    """One bar of all parts of the file, with their shares in the legend."""
    parts = {name.replace("_", " "): part.bits for name, part in _largest_first(view)}
    parts[inspection.HEADER] = view.header_bits
    total, start = sum(parts.values()), 0.0
    for color, (name, bits) in zip(matplotlib.colormaps["tab10"].colors, parts.items()):
        share = _percent(bits, total)
        label = f"{name}: {share:.2f} %, {bits / 8:,.0f} bytes"
        axes.barh(0, share, left=start, color=color, label=label)
        start += share
    axes.set(xlim=(0, 100), ylim=(-0.4, 0.4), yticks=[], xlabel="share of the file, %")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(parts), frameon=False)


def distributions(view: inspection.View) -> Figure | None:
    """Figure 14 of the paper: mixtures, and single Gaussians of the same mean and variance."""
    if "weights" not in view.found:
        return None
    columns = 2
    rows = -(-(len(view.positions) + 1) // columns)
    title = f"What channel {view.channel} is expected to be at some positions"
    figure = drawing.figure_of(view, 0.8 + 2.7 * rows, title)
    grid = figure.add_gridspec(rows, columns)
    _locator(figure.add_subplot(grid[0, 0]), view)
    for number, position in enumerate(view.positions, 1):
        axes = figure.add_subplot(grid[divmod(number, columns)])
        _distribution(axes, view.found, number, position)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _locator(axes: Axes, view: inspection.View) -> None:
    _show_image(axes, view)
    axes.set_title("positions")
    for number, position in enumerate(view.positions, 1):
        box = {"boxstyle": "circle", "facecolor": "white", "edgecolor": CODED, "pad": 0.2}
        axes.text(
            position.x, position.y, str(number), ha="center", va="center", bbox=box, fontsize=7
        )


def _distribution(
    axes: Axes, found: Mapping[str, np.ndarray], number: int, position: inspection.Position
) -> None:
    place = position.row, position.column
    weights, means, scales = (
        found[name][place].astype(np.float64) for name in ("weights", "means", "scales")
    )
    coded = float(found[LATENTS][place])
    # where differences from the means are coded, latents lie between whole numbers
    whole = round(coded)
    mixture = weights, means - (coded - whole), scales
    mean, deviation = inspection.moments(*mixture)
    masses = inspection.mixture_masses(*mixture)
    single = inspection.mixture_masses([1.0], [mean], [deviation])
    values: np.ndarray = np.arange(inspection.LATENT_MIN, inspection.LATENT_MAX + 1)
    both = np.cumsum((masses + single) / 2)
    low, high = np.searchsorted(both, [TAIL, 1 - TAIL]) + inspection.LATENT_MIN
    low, high = min(low, whole) - 1, max(high, whole) + 1
    shown = (values >= low) & (values <= high)
    values, low, high = (x + coded - whole for x in (values, low, high))
    axes.bar(values[shown], masses[shown], width=0.85, color=MIXTURE, label="mixture")
    label: str | None = "its Gaussians, by weight"
    for weight, *gaussian in zip(*mixture):
        part = inspection.mixture_masses([weight], *([value] for value in gaussian))
        axes.plot(values[shown], part[shown], color=COMPONENT, linewidth=0.8, label=label)
        label = None
    label = "single Gaussian of the same mean and variance"
    marks = {"marker": "o", "markersize": 2.5, "linewidth": 1}
    axes.plot(values[shown], single[shown], color=GAUSSIAN, label=label, **marks)
    axes.axvline(coded, color=CODED, linestyle=":", linewidth=1.2, label="what is coded")
    at = whole - inspection.LATENT_MIN
    bits, single_bits = (f"{inspection.bits(each[at]):.2f}" for each in (masses, single))
    axes.set(
        title=f"{number}: pixel {position.x},{position.y}, latent row {position.row}, column "
        f"{position.column}\n{coded:g} is coded: {bits} bits, by the single Gaussian {single_bits}",
        xlim=(low - 0.5, high + 0.5), xlabel="latent, in steps", ylabel="probability",
    )  # fmt: skip
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


PICTURES = (
    mixture_maps,
    qualities_map,
    bits_map,
    channel_bits,
    slice_bits,
    distributions,
    level_pictures.level_maps,
    level_pictures.redundancy,
)
