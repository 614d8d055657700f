"""Several trainings that were logged into the series of one run: trials of a search, folds, restarts from scratch.

A search that logs each trial's loss into the parent run leaves one series whose steps begin again with every trial.
Each trial is a curve of its own, `<run_id>#1`, `<run_id>#2` ... in the order of time, and the run itself has none.
"""

from typing import Final

import polars as pl

from features.columns import require_columns
from features.series_order import SERIES_POINTS, same_series

_MARK: Final = r"#\d+$"

MINIMUM_TRIALS: Final = 3
"""Fewer beginnings are a resumption."""
MINIMUM_TRIAL_POINTS: Final = 5
"""Of the typical trial."""

_NEAR: Final = 0.01  # of the span of the steps: a beginning
_EDGE: Final = 0.1  # first and last share of a trial's points
_CHANGES: Final = 2.0  # so many times a typical change from point to point lie between a trial's end and the next start
_LONGEST_CYCLE: Final = 1.5  # times the typical one


def parent_run_id(curve_id: pl.Expr) -> pl.Expr:
    """Give the run that a curve was logged into: `a#2` is of run `a`, and `a` of itself."""
    return curve_id.str.replace(_MARK, "")


def is_trial(curve_id: pl.Expr) -> pl.Expr:
    """Say whether a curve is one of several of its run."""
    return curve_id.str.contains(_MARK)


def with_trials(runs: pl.DataFrame, trajectories: pl.DataFrame) -> pl.DataFrame:
    """Add a row for each trial to a table of runs: its run's row under the trial's id, but with an unknown status.

    How a search ended says nothing of whether a trial was cut short. Nor do its params and tags speak of each trial:
    they may be the search's, or the best trial's, so a trial has none.

    Parameters
    ----------
    runs
        By run_id, with or without a status.
    trajectories
        Or any other table by curve.
    """
    require_columns("runs", runs, {"run_id": pl.String})
    require_columns("trajectories", trajectories, {"run_id": pl.String})
    trials = trajectories.filter(is_trial(pl.col("run_id"))).select(trial="run_id").unique().sort("trial")
    if trials.is_empty():
        return runs
    rows = trials.with_columns(run_id=parent_run_id(pl.col("trial"))).join(runs, on="run_id", maintain_order="left")
    unknown = [pl.lit(None, dtype=pl.String).alias("status")] if "status" in runs.columns else []
    return pl.concat([runs, rows.with_columns(*unknown, run_id="trial").select(runs.columns)])


def split_trials(
    points: pl.DataFrame, series: pl.DataFrame, reference: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
    """Tell runs that hold several trials, and series whose steps count within a cycle.

    A series begins again where its step falls back to its first step (within 1 % of the span of its steps). A lone
    point there is a summary and begins nothing.

    The run's reference loss decides. With at least 3 beginnings, of typically at least 5 points (medians throughout),
    the run holds trials if the later ones start nearer to where the first started than to where they end, and the
    distance from end to start is more than twice the typical change between two points. What other series logged goes
    to the trial of its time: whole stretches where a series begins again itself, else point by point.

    Otherwise a series with at least 3 stretches of like length (none longer than 1.5 times the typical one) is cyclic:
    the step counts the batches of an epoch, and the curve goes on.

    Not told apart: two trials (read as one training that was resumed), trials that ran at the same time, trials of a
    loss that noise hides. Since later points can show that a run holds trials, they can change its earlier rows.

    Parameters
    ----------
    points
        `SERIES_POINTS` in the order of time.
    series
        `SERIES_TABLE`, one row a series.
    reference
        The series that decides for its run.

    Returns
    -------
    tuple[pl.DataFrame, pl.DataFrame, pl.Series]
        points and series, where each trial has a run and series of its own; and the cyclic series.
    """
    falling = points.filter(same_series(), pl.col("step") < pl.col("step").shift())["series"].unique()
    if falling.is_empty():
        return points, series, falling
    stretched = _with_stretches(points.filter(pl.col("series").is_in(falling.implode())))
    stretches = _stretches(stretched)
    judged = _judged(stretches).join(series.select("series", "run"), on="series")
    is_reference = pl.col("series").is_in(reference.implode())
    searches = judged.filter(is_reference & pl.col("trials")).select("run", "series")
    cyclic = judged.join(searches, on="run", how="anti").filter("cycles")["series"]
    if searches.is_empty():
        return points, series, cyclic
    starts = stretches.filter(pl.col("length") > 1).join(searches, on="series").select("run", begun="first_time")
    return (*_split(points, series, stretched, starts), cyclic)


def _with_stretches(points: pl.DataFrame) -> pl.DataFrame:
    step = pl.col("step")
    first, last = step.min().over("series"), step.max().over("series")
    begins = step <= first + _NEAR * (last - first)
    again = (same_series() & begins & ~begins.shift()).fill_null(False)
    # Counted on over all series, which tells them apart as well as a count within each.
    return points.with_columns(stretch=(again | ~same_series().fill_null(False)).cum_sum())


def _stretches(stretched: pl.DataFrame) -> pl.DataFrame:
    value = pl.col("value")
    finite = value.filter(value.is_finite())
    edge = (finite.len() * _EDGE).ceil().cast(pl.Int64)
    return stretched.group_by("series", "stretch", maintain_order=True).agg(
        length=pl.len(),
        start=finite.head(edge).median(),
        end=finite.tail(edge).median(),
        change=finite.diff().abs().median(),
        first_time=pl.col("timestamp").first(),
    )


def _judged(stretches: pl.DataFrame) -> pl.DataFrame:
    """Judge each series by its stretches: trials, cycles or neither."""
    measured = (
        stretches.filter(pl.col("length") > 1)
        .group_by("series")
        .agg(
            count=pl.len(),
            typical=pl.col("length").median(),
            longest=pl.col("length").max(),
            first_start=pl.col("start").first(),
            start=pl.col("start").slice(1).median(),
            end=pl.col("end").median(),
            change=pl.col("change").median(),
        )
    )
    several = pl.col("count") >= MINIMUM_TRIALS
    back_up = (pl.col("start") - pl.col("end")).abs()
    starts_over = ((pl.col("start") - pl.col("first_start")).abs() < back_up) & (back_up > _CHANGES * pl.col("change"))
    return measured.select(
        "series",
        trials=(several & (pl.col("typical") >= MINIMUM_TRIAL_POINTS) & starts_over).fill_null(False),
        cycles=several & (pl.col("longest") <= _LONGEST_CYCLE * pl.col("typical")),
    )


def _split(
    points: pl.DataFrame, series: pl.DataFrame, stretched: pl.DataFrame, starts: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    searched = series.join(starts.select("run").unique(), on="run", how="semi")
    is_searched = pl.col("series").is_in(searched["series"].implode())
    whole = points.filter(~is_searched)
    # A stretch goes by its middle: what is logged just before the reference begins would else be of the trial before.
    anchored = stretched.filter(is_searched).with_columns(
        at=pl.col("timestamp").get(pl.len() // 2).over("series", "stretch")
    )
    alone = points.filter(is_searched & ~pl.col("series").is_in(stretched["series"].unique().implode()))
    columns = [*SERIES_POINTS, "at"]
    numbered = starts.sort("begun", "run").with_columns(trial=pl.int_range(1, pl.len() + 1).over("run"))
    pieces = (
        pl.concat([anchored.select(columns), alone.with_columns(at="timestamp").select(columns)])
        .join(searched, on="series")
        .sort("at")
        .join_asof(numbered, left_on="at", right_on="begun", by="run", strategy="backward", check_sortedness=False)
        .with_columns(pl.col("trial").fill_null(1), parent_series="series")
    )
    table = _trial_series(pieces, series)
    split = pieces.drop("series").join(table.select("parent_series", "trial", "series"), on=["parent_series", "trial"])
    split = split.select(*SERIES_POINTS).sort("series", "timestamp", "step")
    return pl.concat([whole, split]), pl.concat([series, table.select(series.columns)])


def _trial_series(pieces: pl.DataFrame, series: pl.DataFrame) -> pl.DataFrame:
    """Give numbers to the runs and series that the trials become, after all those there are."""
    kept = [name for name in series.columns if name not in ("series", "run", "run_id")]
    table = (
        pieces.select("parent_series", "trial", "run", "run_id", *kept).unique().sort("run", "trial", "parent_series")
    )
    number = pl.struct("run", "trial").rank("dense") + series["run"].max()
    return table.with_columns(
        run=number.cast(pl.UInt32),
        run_id=pl.format("{}#{}", "run_id", "trial"),
        series=(pl.int_range(pl.len()) + series.height).cast(pl.UInt32),
    )
