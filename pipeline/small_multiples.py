"""Small multiples: the same few schedules or methods on several workloads, a panel each, with one legend for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.plots import (
    COLOURS,
    FAINT_INK,
    INK,
    LOG_FROM,
    MANY_DECADES,
    Curves,
    Line,
    band,
    draw_lines,
    dress,
    ended,
    loss_limits,
    make_logarithmic,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
PANEL = (3.7, 2.75)
DOTS_PER_INCH = 100
HEAD_AND_FOOT = 1.25


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One workload.

    Parameters
    ----------
    title
        Above the panel.
    curves
        By name; every panel has the same names, in the same order.
    rate_unit
        > 0: rates are drawn in multiples of it.
    """

    title: str
    curves: Mapping[str, Curves]
    rate_unit: float = 1.0


def panels_picture(path: Path, title: str, panels: list[Panel], *, what: Literal["rates", "losses"], note: str) -> Path:
    """Draw rates (on a linear axis) or losses of all panels and write them as PNG.

    Parameters
    ----------
    path
        Where to; its folder must exist.
    title, note
        Above and below everything.
    panels
        At least one. Curves may hold NaN and infinities: a run that diverged ends there, at a cross.
    what
        What is drawn of the curves: median over the seeds, and a band from the 10th to the 90th percentile.

    Raises
    ------
    ValueError
        If there is no panel, panels differ in the names of their curves, or there are more of those than colours.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = _common_names(panels)
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = (PANEL[0] * columns, PANEL[1] * rows + HEAD_AND_FOOT)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.supxlabel(note, x=0.99, ha="right", fontsize=9, color=FAINT_INK)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel, what)
    for unused in grid[len(panels) :]:
        unused.set_visible(False)
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("optimizer step", fontsize=9.5, color=INK)
    for axes in grid[::columns]:
        axes.set_ylabel("rate / starting rate" if what == "rates" else "training loss", fontsize=9.5, color=INK)
    _add_legend(figure, title, grid[0], names, columns)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png", pil_kwargs={"optimize": True})
    return path


def _add_legend(figure: Figure, title: str, first: Axes, names: list[str], columns: int) -> None:
    handles = [line for line in first.get_lines() if line.get_label() in names]
    legend = figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=len(names) if columns == COLUMNS else 2,
        frameon=False,
        fontsize=10.5,
        handlelength=2.8,
        title=title,
        alignment="left",
    )
    legend.get_title().set(fontsize=13, fontweight="bold", color=INK)


def _common_names(panels: list[Panel]) -> list[str]:
    if not panels:
        raise ValueError("a picture of small multiples must have a panel, got none")
    names = list(panels[0].curves)
    different = [panel.title for panel in panels if list(panel.curves) != names]
    if different or not 1 <= len(names) <= len(COLOURS):
        raise ValueError(
            f"panels must have the same 1 to {len(COLOURS)} curves in one order, got {names} first"
            + (f" and others in {', '.join(different)}" if different else "")
        )
    return names


def _draw(axes: Axes, panel: Panel, what: Literal["rates", "losses"]) -> None:
    lines = []
    for name, (steps, loss, rate) in panel.curves.items():
        values = rate / panel.rate_unit if what == "rates" else loss
        lines.append(Line(name, steps, *band(values), ended=ended(values)))
    draw_lines(axes, lines)
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlim(0, float(lines[0].steps[-1]))
    if what == "rates":
        axes.set_ylim(bottom=0)
    elif (limits := loss_limits(lines)) is not None:
        if limits[0] > 0 and limits[1] / limits[0] >= LOG_FROM:
            make_logarithmic(axes, decades=limits[1] / limits[0] > MANY_DECADES)
        axes.set_ylim(limits)
    dress(axes)
    axes.tick_params(labelsize=9)
