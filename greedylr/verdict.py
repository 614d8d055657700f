"""What a retraining says of a preset: intervals, verdicts of cells, the verdict of the preset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from greedylr.rule import require_choice, require_count, require_number

CellVerdict = Literal["better", "non-inferior", "worse", "undecided"]
Selection = Literal["apart", "report"]

# Margin of non-inferiority in units of regret (docs/method.md, section 6); fixed, never tuned on results.
MARGIN = 0.02


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A two-sided confidence interval of a paired regret difference; negative means the preset has less regret."""

    lower: float
    upper: float
    level: float

    def __post_init__(self) -> None:
        if not self.lower <= self.upper:
            raise ValueError(f"an interval must have lower <= upper, got {self.lower!r} and {self.upper!r}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie in (0, 1), got {self.level!r}; 95 % is 0.95")

    def verdict(self, margin: float = MARGIN) -> CellVerdict:
        """Return the verdict: the better side first, so that an interval inside (-margin, 0) is "better"."""
        if self.upper < 0:
            return "better"
        if self.lower > 0:
            return "worse"
        return "non-inferior" if self.upper < margin else "undecided"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of a preset: its cell against the primary control, with what it rests on.

    Parameters
    ----------
    verdict, difference, interval, margin
        Of the paired regret difference preset - control, both at their own rates.
    primary_control
        Name of the control: "incumbent", or "cosine".
    workload
        What was retrained; `own_workload` is false where a reference workload stood in for the group's own.
    seeds
        Paired seeds behind the interval.
    attempt
        How often a preset of this group has been put to the proof, this time included.
    cells
        Count of the cells by verdict over all controls and starting rates.
    device_seconds
        What the proof cost.
    selection
        What rates and candidates were chosen by: "apart", a loss on other data than the reported one; "report", the
        reported loss itself, which is kinder to whatever was tuned.
    """

    verdict: CellVerdict
    difference: float
    interval: Interval
    margin: float = MARGIN
    primary_control: str
    workload: str
    own_workload: bool
    seeds: int
    attempt: int
    cells: Mapping[str, int] = field(default_factory=dict)
    device_seconds: float = 0.0
    selection: Selection = "apart"

    def __post_init__(self) -> None:
        require_choice("verdict", self.verdict, get_args(CellVerdict))
        require_choice("selection", self.selection, get_args(Selection))
        require_count("seeds", self.seeds, minimum=2)
        require_count("attempt", self.attempt, minimum=1)
        require_number("margin", self.margin, minimum=0.0)
        require_number("device_seconds", self.device_seconds, minimum=0.0)
        for name, value in (
            ("difference", self.difference),
            ("interval.lower", self.interval.lower),
            ("interval.upper", self.interval.upper),
        ):
            require_number(name, value, minimum=-math.inf)
        if self.verdict != self.interval.verdict(self.margin):
            raise ValueError(
                f"the verdict of [{self.interval.lower:g}, {self.interval.upper:g}] with margin {self.margin:g} is "
                f"{self.interval.verdict(self.margin)!r}, got {self.verdict!r}; take it from the interval"
            )
        for cell, count in self.cells.items():
            require_choice("each key of cells", cell, get_args(CellVerdict))
            require_count(f"cells[{cell!r}]", count, minimum=0)

    @property
    def within_margin(self) -> bool:
        """Whether the whole interval lies below the margin: a "worse" that is so by less than it."""
        return self.interval.upper < self.margin
