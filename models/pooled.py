"""One figure for many workloads: averaged within a workload, then within its family, then over families.

A family is a data set and all that is made from it. Two workloads of a family are no two witnesses, so families are
what the bootstrap draws and what the test of a contrast flips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from greedylr.verdict import Interval
from models.cells import PASSING, REGIONS, Cell, Region
from models.comparison import distinct

LEVEL = 0.95
# Of a confirmatory contrast, after Holm.
SIGNIFICANT = 0.05
RESAMPLES = 9_999
BOOTSTRAP_SEED = 20_130_806
# Of up to 16 families all signs are tried.
MOST_SIGNS = 1 << 16

# The two contrasts that docs/method.md, section 7, names as confirmatory.
CONFIRMATORY = ("greedy_smooth50_anneal", "plateau")

Where = Literal["starting rates", "own rate"]


@dataclass(frozen=True, kw_only=True)
class WorkloadCells:
    """The cells of one workload.

    Parameters
    ----------
    workload, family
        Names.
    pooled
        Whether it counts in figures over workloads.
    cells
        Of one and the same preset on all workloads.
    """

    workload: str
    family: str
    pooled: bool = True
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class PooledFigure:
    """A mean over families with its interval.

    Parameters
    ----------
    mean
        Of the families' means.
    interval
        Percentile interval of a bootstrap over families; with few families it is too narrow rather than too wide.
    families, workloads
        Behind it.
    """

    mean: float
    interval: Interval
    families: int
    workloads: int


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A confirmatory contrast: the mean regret difference preset - control over starting rates.

    Parameters
    ----------
    control
        Of the contrast.
    figure
        The difference; below 0 the preset has less regret.
    p_value
        Two-sided, of the test that flips the signs of whole families. It is exact where the bootstrap interval is not
        quite: with eight families that may exclude 0 at a p-value of 0.09.
    adjusted
        By Holm, over the contrasts that were made together.
    """

    control: str
    figure: PooledFigure
    p_value: float
    adjusted: float


def pooled_difference(workloads: Sequence[WorkloadCells], control: str, where: Where) -> PooledFigure:
    """Return the mean regret difference to a control, over starting rates or at own rates.

    Raises
    ------
    ValueError
        For a workload that is in no pooled figure or lacks the cells, or fewer than two families.
    """
    return _pooled(workloads, partial(_difference, control=control, where=where))


def pooled_shares(workloads: Sequence[WorkloadCells]) -> dict[Region | Literal["all"], PooledFigure]:
    """Return the share of cells in which the preset is better or non-inferior, in each group of starting rates.

    Undecided cells are in the denominator. Groups that some workload has no cell of are left out.

    Raises
    ------
    ValueError
        As `pooled_difference`.
    """
    groups: list[Region | Literal["all"]] = [*REGIONS, "all"]
    return {
        group: _pooled(workloads, partial(_share, group=group))
        for group in groups
        if all(_cells_in(workload, group) for workload in workloads)
    }


def contrasts(workloads: Sequence[WorkloadCells], controls: Sequence[str] = CONFIRMATORY) -> list[Contrast]:
    """Return confirmatory contrasts, two or three of them, with p-values that Holm's procedure has adjusted.

    Raises
    ------
    ValueError
        For another number of contrasts; else as `pooled_difference`.
    """
    if not 1 <= len(controls) <= 3:
        raise ValueError(
            f"confirmatory contrasts are at most three, got {len(controls)}; the rest is exploratory and has no test"
        )
    figures = [pooled_difference(workloads, control, "starting rates") for control in controls]
    p_values = [
        _sign_flip_p_value(family_means(workloads, partial(_difference, control=control, where="starting rates")))
        for control in controls
    ]
    return [
        Contrast(control=control, figure=figure, p_value=p_value, adjusted=adjusted)
        for control, figure, p_value, adjusted in zip(controls, figures, p_values, holm(p_values), strict=True)
    ]


def least_p_value(families: int, contrasts: int) -> float:
    """Return the smallest p-value that Holm can leave to one of some contrasts, whatever their families show.

    Of the 2^n ways to give n families a sign the two that are all alike are always as extreme.

    Examples
    --------
    >>> [round(least_p_value(families, contrasts=2), 4) for families in (6, 7)]
    [0.0625, 0.0312]
    """
    return min(1.0, contrasts * 2 / 2.0**families)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the order given.

    The i-th smallest of m is multiplied by m - i + 1, and is never below one before it (Holm, Scandinavian Journal of
    Statistics 1979, section 3). SciPy has the false discovery rate only.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def family_means(workloads: Sequence[WorkloadCells], figure: Callable[[WorkloadCells], float]) -> dict[str, float]:
    """Return a figure's mean within each family, the family's workloads weighing alike.

    Raises
    ------
    ValueError
        For a workload that is in no pooled figure, one that stands twice, or none.
    """
    if left_out := [workload.workload for workload in workloads if not workload.pooled]:
        raise ValueError(
            f"{left_out[0]} is in no pooled figure, since it is a model of training and no data set; "
            "read its own table, and pool the others"
        )
    names = [workload.workload for workload in workloads]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"pooled workloads must be at least one, each once, got {names}")
    values: dict[str, list[float]] = {}
    for workload in workloads:
        values.setdefault(workload.family, []).append(figure(workload))
    return {family: float(np.mean(each)) for family, each in values.items()}


def _pooled(workloads: Sequence[WorkloadCells], figure: Callable[[WorkloadCells], float]) -> PooledFigure:
    means = np.array(list(family_means(workloads, figure).values()))
    if len(means) < 2:
        raise ValueError(
            f"a pooled figure needs at least two families of data, got {len(means)} "
            f"({workloads[0].family}); add a workload that is made from other data"
        )
    return PooledFigure(
        mean=float(means.mean()), interval=_bootstrap(means), families=len(means), workloads=len(workloads)
    )


def _bootstrap(means: NDArray[np.float64]) -> Interval:
    # The percentile interval: BCa has no acceleration where all families are equal, and gains nothing for so few.
    interval = stats.bootstrap(
        (means,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    return Interval(lower=float(interval.low), upper=float(interval.high), level=LEVEL)


def _sign_flip_p_value(means: Mapping[str, float]) -> float:
    """Return the two-sided p-value of no difference, under which each family is as likely to be of either sign."""
    values = np.array(list(means.values()))
    tested = stats.permutation_test(
        (values,), _mean, permutation_type="samples", n_resamples=MOST_SIGNS, rng=np.random.default_rng(BOOTSTRAP_SEED)
    )
    return float(tested.pvalue)


def _mean(sample: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    # Rounded, for sums of the same numbers in another order must tie.
    return np.asarray(np.round(np.mean(sample, axis=axis), 12))


def _difference(workload: WorkloadCells, *, control: str, where: Where) -> float:
    found = [
        cell.difference
        for cell in workload.cells
        if cell.control == control and (cell.region == "own rate") == (where == "own rate")
    ]
    if not found:
        place = "at own rates" if where == "own rate" else "from starting rates"
        raise ValueError(
            f"a pooled figure needs each of its workloads, but {workload.workload} has no cell against {control!r} "
            f"{place}; train it there, or leave that control out of the figure"
        )
    return float(np.mean(found))


def _cells_in(workload: WorkloadCells, group: Region | Literal["all"]) -> list[Cell]:
    return [cell for cell in workload.cells if cell.region == group] if group != "all" else distinct(workload.cells)


def _share(workload: WorkloadCells, *, group: Region | Literal["all"]) -> float:
    return float(np.mean([cell.verdict in PASSING for cell in _cells_in(workload, group)]))
