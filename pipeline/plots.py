"""Pictures of a group: learning rates and losses of its champion beside the controls, with the spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Curves: TypeAlias = tuple[Array, Array, Array]
"""Steps (n_points,), losses (n_seeds, n_points), rates (n_seeds, n_points)."""

# Okabe & Ito's colours, told apart by every kind of colour blindness; the first is the preset's.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (6, 2)),
    (0, (2, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (4, 1)),
    (0, (1, 1)),
    (0, (8, 2, 1, 2, 1, 2)),
)
PERCENTILES = (10, 50, 90)
DOTS_PER_INCH = 150
SIZE = (11.0, 4.6)
INK = "#333333"
FAINT_INK = "#777777"
LOG_FROM = 8.0
MANY_DECADES = 300.0
FLOOR_OF_RATES = 1e-3
HEAD = 0.1
LABEL_GAP = 0.055


@dataclass(frozen=True)
class Line:
    """What is drawn of one curve: percentiles over the seeds, and whether most of them had diverged at the end."""

    name: str
    steps: Array
    low: Array
    middle: Array
    high: Array
    ended: bool


def group_picture(path: Path, title: str, curves: Mapping[str, Curves]) -> Path:
    """Draw learning rates and losses side by side, or losses alone where no rate is known, and write them as PNG.

    Parameters
    ----------
    path
        Where to; its folder must exist.
    title
        Above both panels.
    curves
        By name, the preset first. Losses and rates may hold NaN and infinities: a run that diverged ends there.

    Raises
    ------
    ValueError
        If there are no curves, more than there are colours, or the shapes of one do not fit together.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _check(curves)
    figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    figure.supxlabel(_legend(curves), x=0.99, ha="right", fontsize=8.5, color=FAINT_INK)
    rate_lines = [Line(name, steps, *band(rate), ended=ended(rate)) for name, (steps, _, rate) in curves.items()]
    loss_lines = [Line(name, steps, *band(loss), ended=ended(loss)) for name, (steps, loss, _) in curves.items()]
    knows_rates = any(np.isfinite(line.middle).any() for line in rate_lines)
    panels = figure.subplots(1, 2 if knows_rates else 1, squeeze=False)[0]
    if knows_rates:
        _panel(panels[0], "Learning rate", rate_lines, _rate_limits(rate_lines))
    _panel(panels[-1], "Loss", loss_lines, loss_limits(loss_lines))
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    return path


def _check(curves: Mapping[str, Curves]) -> None:
    if not 1 <= len(curves) <= len(COLOURS):
        raise ValueError(f"a picture holds 1 to {len(COLOURS)} curves, got {len(curves)}; leave some out")
    for name, (steps, loss, rate) in curves.items():
        if steps.ndim != 1 or loss.ndim != 2 or loss.shape != rate.shape or loss.shape[1:] != steps.shape:
            raise ValueError(
                f"curves must be steps (n_points,), losses and rates (n_seeds, n_points), got {steps.shape}, "
                f"{loss.shape} and {rate.shape} for {name!r}"
            )


def _legend(curves: Mapping[str, Curves]) -> str:
    seeds = sorted({loss.shape[0] for _, loss, _ in curves.values()})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return "one seed" if seeds == [1] else f"line: median of {count} seeds, band: 10th to 90th percentile"


def band(values: Array) -> tuple[Array, Array, Array]:
    """Return 10th percentile, median and 90th of the seeds that are still finite; NaN where most have diverged."""
    finite = np.where(np.isfinite(values), values, np.nan)
    alive = np.isfinite(values).mean(axis=0) >= 0.5
    result = np.full((3, values.shape[1]), np.nan)
    if alive.any():
        result[:, alive] = np.nanpercentile(finite[:, alive], PERCENTILES, axis=0)
    return result[0], result[1], result[2]


def ended(values: Array) -> bool:
    """Return whether most of the seeds had diverged at the end."""
    return bool(np.isfinite(values[:, -1]).mean() < 0.5)


def _rate_limits(lines: Sequence[Line]) -> tuple[float, float] | None:
    drawn = np.concatenate([np.concatenate([line.low, line.high]) for line in lines])
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size or drawn.max() <= 0:
        return None
    # A schedule that ends at 0 leaves a logarithmic axis below; what lies under a thousandth of the top shows nothing.
    top = float(drawn.max())
    return max(float(drawn[drawn > 0].min()) / 1.3, top * FLOOR_OF_RATES), top * 1.4


def loss_limits(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Return limits that show the run and not its first steps: starts and divergences come in from above the frame."""
    shown = []
    for line in (survivors := [line for line in lines if not line.ended]) or lines:
        late = line.steps >= HEAD * line.steps[-1] if survivors else np.full(line.steps.shape, True)
        shown += [line.low[late], line.high[late]]
    drawn = np.concatenate(shown)
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return None
    low, high = float(drawn.min()), float(drawn.max())
    if low > 0 and high / low >= LOG_FROM:
        return low / 1.15, high * 1.15
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _panel(axes: Axes, title: str, lines: Sequence[Line], limits: tuple[float, float] | None) -> None:
    draw_lines(axes, lines)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel("optimizer step", fontsize=9, color=INK)
    axes.set_xlim(0, max(1.0, *(float(line.steps[-1]) for line in lines)))
    if limits is not None:
        if limits[0] > 0 and limits[1] / limits[0] >= LOG_FROM:
            make_logarithmic(axes, decades=limits[1] / limits[0] > MANY_DECADES)
        axes.set_ylim(limits)
    dress(axes)
    _name_lines(axes, lines)


def draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw each line in its colour and dashes over its band, the first one heavier; a cross where it diverged."""
    for index, line in enumerate(lines):
        first = index == 0
        axes.fill_between(line.steps, line.low, line.high, color=COLOURS[index], alpha=0.18, linewidth=0, zorder=2)
        axes.plot(
            line.steps,
            line.middle,
            color=COLOURS[index],
            linestyle=DASHES[index],
            linewidth=2.4 if first else 1.6,
            zorder=5 if first else 4,
            label=line.name,
        )
        if line.ended:
            last = np.flatnonzero(np.isfinite(line.middle))[-1:]
            axes.plot(line.steps[last], line.middle[last], marker="x", color=COLOURS[index], markersize=7, zorder=6)


def make_logarithmic(axes: Axes, *, decades: bool) -> None:
    """Label plain numbers; over few decades 2 and 5 of each as well, for a single label gives no scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.yaxis.set_minor_formatter(NullFormatter() if decades else plain)


def dress(axes: Axes) -> None:
    """Take off what carries nothing: two sides of the frame, ticks' colours, a grid that is louder than the lines."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    axes.grid(axis="y", which="major", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8.5, which="both")
    axes.tick_params(which="minor", length=2)


def _name_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Write each name at the right end of its line; where ends lie together, apart and tied to them."""
    ends = [_end(axes, line) for line in lines]
    order = sorted(range(len(lines)), key=lambda index: ends[index])
    gaps = [LABEL_GAP * (2 if lines[index].ended else 1) for index in order]
    for place, index in zip(_apart([ends[index] for index in order], gaps), order, strict=True):
        line, colour = lines[index], COLOURS[index]
        if not line.ended:
            axes.plot(
                (1.0, 1.025),
                (ends[index], place),
                transform=axes.transAxes,
                color=colour,
                linewidth=0.8,
                alpha=0.7,
                clip_on=False,
            )
        axes.text(
            1.032,
            place,
            f"{line.name}\ndiverged" if line.ended else line.name,
            transform=axes.transAxes,
            color=colour,
            fontsize=9.5 if index == 0 else 9,
            fontweight="bold" if index == 0 else "normal",
            va="center",
        )


def _end(axes: Axes, line: Line) -> float:
    """Return the height at which a line ends, in [0, 1]; the top where it has no point."""
    shown = line.middle[np.isfinite(line.middle)]
    if not shown.size:
        return 1.0
    bottom, top = axes.get_ylim()
    inside = min(max(float(shown[-1]), bottom), top)
    return float(axes.transAxes.inverted().transform(axes.transData.transform((0.0, inside)))[1])


def _apart(heights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Return places for sorted heights, neighbours apart by the mean of their gaps, moved as little as that takes.

    Neighbours that touch become one block, which lies at the mean of the heights that its members want.
    """
    blocks: list[tuple[list[float], list[float]]] = []  # wanted height of the block's start for each member; offsets
    for index, height in enumerate(heights):
        starts, offsets = [height], [0.0]
        while blocks:
            before, held = blocks[-1]
            distance = held[-1] + (gaps[index - len(offsets)] + gaps[index - len(offsets) + 1]) / 2
            if float(np.mean(starts)) - float(np.mean(before)) >= distance:
                break
            starts = [*before, *(start - distance for start in starts)]
            offsets = [*held, *(offset + distance for offset in offsets)]
            blocks.pop()
        blocks.append((starts, offsets))
    return [float(np.mean(starts)) + offset for starts, offsets in blocks for offset in offsets]
