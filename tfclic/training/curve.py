"""The picture of a run: how far it has come, and its rate-distortion curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 7.0, 8.0  # inches
DPI = 120
RUN, START = "#1f5fa8", "#8a8a8a"
LINE: dict[str, Any] = {"color": RUN, "marker": "o", "markersize": 4}


def draw(
    title: str,
    entries: Sequence[Mapping[str, Any]],
    planned: int,
    anchor: Mapping[str, Any] | None = None,
    changes: Sequence[tuple[int, float]] = (),
) -> Figure:
    """Draws the validations of a run.

    Args:
      title: of the picture.
      entries: list of dicts with "step", "mean_loss", and lists "bpp" and "psnr", in order, at
        least one.
      planned: steps of the whole run.
      anchor: the validation of the model that the run started from, of the same form; may be None.
      changes: list of (step, BD-rate in percent against `anchor`); without any, the upper part
        shows the loss.

    Returns:
      A matplotlib Figure.
    """
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    upper, lower = figure.subplots(2, 1, height_ratios=(2, 3))
    newest = entries[-1]
    figure.suptitle(f"{title}: step {newest['step']:,} of {planned:,}".replace("$", r"\$"))
    if changes:
        _draw_changes(upper, changes)
    else:
        _draw_losses(upper, entries)
    _steps(upper, max(planned, newest["step"]))
    _draw_rates(lower, newest, anchor)
    for axes in (upper, lower):
        axes.grid(color="#e4e4e4", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_changes(axes: Axes, changes: Sequence[tuple[int, float]]) -> None:
    axes.axhline(0, color=START, linewidth=1.2, linestyle="--")
    axes.plot(*zip(*changes), **LINE)
    _name(axes, changes[-1], f"{_signed(changes[-1][1], '.1f')} %")
    axes.set_ylabel("BD-rate against the start (%)")
    axes.yaxis.set_major_formatter(lambda value, _: _signed(value, "g") if value else "0")


def _draw_losses(axes: Axes, entries: Sequence[Mapping[str, Any]]) -> None:
    losses = [(entry["step"], entry["mean_loss"]) for entry in entries]
    axes.plot(*zip(*losses), **LINE)
    _name(axes, losses[-1], f"{losses[-1][1]:.4f}")
    axes.set_ylabel("validation loss")


def _name(axes: Axes, point: tuple[float, float], text: str) -> None:
    axes.annotate(
        text,
        point,
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        color=RUN,
        fontweight="bold",
    )
    axes.margins(y=0.12)


def _signed(value: float, form: str) -> str:
    return f"{value:+{form}}".replace("-", "\N{MINUS SIGN}")


def _steps(axes: Axes, planned: int) -> None:
    axes.set_xlim(0, planned * 1.14)  # leaves room for the newest point's name
    axes.set_xlabel("steps")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _draw_rates(axes: Axes, newest: Mapping[str, Any], anchor: Mapping[str, Any] | None) -> None:
    if anchor:
        axes.plot(
            anchor["bpp"],
            anchor["psnr"],
            color=START,
            linestyle="--",
            marker="s",
            markersize=4,
            label="start",
        )
    axes.plot(newest["bpp"], newest["psnr"], label=f"step {newest['step']:,}", **LINE)
    axes.set(xlabel="bits per pixel", ylabel="PSNR (dB)", xlim=(0, None))
    axes.legend(loc="lower right", frameon=False)
