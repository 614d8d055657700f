"""The points of each series in one order, each step once.

Here a series is a number, and points are `SERIES_POINTS`: one sort of numbers does what a window over names would do
slowly. What goes on in the order of time, step after step, as nearly every series does, is let through; only the others
are looked into.
"""

from typing import Final

import polars as pl

from features.columns import Columns

SERIES_POINTS: Final[Columns] = {
    "series": pl.UInt32,
    "step": pl.Int64,
    "timestamp": pl.Int64,
    "value": pl.Float64,
}

SERIES_TABLE: Final[Columns] = {"series": pl.UInt32, "run": pl.UInt32, "run_id": pl.String, "role": pl.Int8}
"""Whose they are: one row a series; further columns go along."""

TRAINING, VALIDATION, RATE, EPOCH = range(4)
"""The roles as numbers: the losses first, for the first of them that is long enough speaks for its run."""

# Two points a step on average, in the order of time, are measurements within the step; fewer are repetitions.
_POINTS_A_STEP: Final = 2.0
# What begins this many of its steps after its beginning was resumed, or its beginning was not logged.
_LATE: Final = 2.0


def in_time_order(points: pl.DataFrame) -> pl.DataFrame:
    """Sort `SERIES_POINTS` by series, time and step; exact duplicates count once, ties become their mean."""
    at = ("series", "timestamp", "step")
    ordered = points.sort(*at, "value")
    ordered = ordered.filter(~_same_as_before(*at, "value"))
    tie = _same_as_before(*at)
    if not ordered.select(tie.any()).item():
        return ordered
    # What was logged in the same millisecond has no order, so no choice among it would be stable. The values are sorted
    # by now, without which the mean of the same floats would depend on their order.
    return ordered.group_by(at, maintain_order=True).agg(pl.col("value").mean()).select(*SERIES_POINTS)


def with_settled_steps(points: pl.DataFrame, cyclic: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Leave one point a step in each series.

    Parameters
    ----------
    points
        `SERIES_POINTS` in the order of time.
    cyclic
        The series whose steps begin again and again while what they measure goes on.

    Returns
    -------
    tuple[pl.DataFrame, pl.Series]
        `SERIES_POINTS`, and the series whose step is now the number of the point in time.
    """
    unsettled = points.filter(same_series(), pl.col("step") <= pl.col("step").shift())["series"].unique()
    if unsettled.is_empty():
        return points, unsettled
    is_unsettled = pl.col("series").is_in(unsettled.implode())
    numbered, stepped = _numbered_or_stepped(points.filter(is_unsettled), cyclic)
    settled = pl.concat([points.filter(~is_unsettled), numbered, stepped])
    return settled, numbered["series"].unique()


def same_series() -> pl.Expr:
    """Say of each point whether the one before it is of its series."""
    return pl.col("series") == pl.col("series").shift()


def begins_late(step: pl.Expr) -> pl.Expr:
    """Say of a curve's steps, in order, whether its beginning is missing: it was resumed, or not logged from there."""
    return (step.first() > (_LATE * step.diff().median()).clip(lower_bound=1)).fill_null(False)


def _same_as_before(*columns: str) -> pl.Expr:
    return pl.all_horizontal(pl.col(column).eq_missing(pl.col(column).shift()) for column in columns)


def _numbered_or_stepped(points: pl.DataFrame, cyclic: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    one_step = pl.col("step").n_unique().over("series") == 1
    is_cyclic = pl.col("series").is_in(cyclic.implode())
    # A value logged twice at its step, by a callback and by hand, is one point.
    first_of_its_value = pl.struct("series", "step", "value").is_first_distinct()
    points = points.with_columns(in_cycles=is_cyclic).filter(pl.col("in_cycles") | one_step | first_of_its_value)
    crowded = pl.len().over("series") >= _POINTS_A_STEP * pl.col("step").n_unique().over("series")
    forward = ~(same_series() & (pl.col("step") < pl.col("step").shift())).any().over("series")
    points = points.with_columns(numbered=pl.col("in_cycles") | (crowded & forward).fill_null(True))
    numbered = points.filter("numbered").with_columns(step=pl.int_range(pl.len()).over("series").cast(pl.Int64))
    stepped = points.filter(~pl.col("numbered")).unique(["series", "step"], keep="first", maintain_order=True)
    end = pl.col("timestamp").get(pl.col("step").arg_max()).over("series")
    summary = (pl.col("step") == 0) & (pl.col("timestamp") > end)
    return numbered.select(*SERIES_POINTS), stepped.filter(~summary).select(*SERIES_POINTS)
