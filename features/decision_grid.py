"""The curve of a run on a grid of decisions: at most 40 intervals of its planned length, each told by what it saw.

Everything that features need of single points is gathered here in one pass; what comes after works on 40 rows a run.
"""

from collections.abc import Iterator
from typing import Final

import polars as pl

from features.columns import Columns, require_columns
from features.trajectories import TRAJECTORY_COLUMNS
from features.windows import WINDOW, lag_correlation, line_residual, scaled_deviation

INTERVALS: Final = 40

RUN_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "planned_steps": pl.Int64,
    "starting_rate": pl.Float64,
    "reference_loss": pl.Float64,
}
GRID_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "interval": pl.Int32,
    "intervals": pl.Int32,
    "starting_rate": pl.Float64,
    "points": pl.UInt32,
    "non_finite_points": pl.UInt32,
    "log_loss": pl.Float64,
    "noise": pl.Float64,
    "autocorrelation": pl.Float64,
    "log_validation_loss": pl.Float64,
    "rate": pl.Float64,
}

FLOOR: Final = 1e-6  # of a relative loss: below a millionth of where it began a loss is not told from none
LEAST_FOR_NOISE: Final = 4  # points: fewer leave nothing beside a fitted line
# So many rows are worked on at once: beyond them memory grows and speed does not.
ROWS_AT_ONCE: Final = 500_000


def decision_grid(trajectories: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Gather each run's points into the intervals of its plan.

    A run of T planned steps has min(40, T) intervals of equal length; a step at or beyond T counts to the last. Its
    loss is the training loss from the first interval on in which that was logged, before it the validation loss, each
    in units of where it began:

        relative loss = (loss - reference) / (median loss of its first interval - reference)

    so that every feature is known by the end of its own interval. The first is the first with a finite loss: for a run
    that was resumed from another, where it was resumed. The reference is 0 for losses that are always positive; a group
    whose losses reach zero or below it needs one below them all, taken from runs that are not to be judged.

    Parameters
    ----------
    trajectories
        `TRAJECTORY_COLUMNS`, sorted by run and step.
    runs
        `RUN_COLUMNS`, one row a run; those without a plan are left out, for their intervals would tell how they ended.

    Returns
    -------
    pl.DataFrame
        `GRID_COLUMNS`, sorted: a row for every interval up to the last one with a point. Per interval: its number,
        points and those of them that are not finite, the median of ln(relative loss) (null without a finite point, or
        where the run has no such unit), the mean rate, ln of the relative validation loss where there is a training
        loss to compare it with. `noise` and `autocorrelation` are those of `features.windows`, over the `WINDOW`
        intervals that end with this one.

    Notes
    -----
    O(points x WINDOW) time, and beyond the table itself the memory of `ROWS_AT_ONCE` rows or of the longest run. Only
    points up to an interval's end are in its row.
    """
    require_columns("trajectories", trajectories, TRAJECTORY_COLUMNS)
    require_columns("runs", runs, RUN_COLUMNS)
    planned = (
        runs.filter(pl.col("planned_steps") >= 1)
        .select(RUN_COLUMNS.keys())
        .with_columns(intervals=pl.min_horizontal(pl.lit(INTERVALS), "planned_steps").cast(pl.Int32))
    )
    return pl.concat(_grid(part, planned) for part in _parts(trajectories))


def _parts(trajectories: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Cut a table of curves between runs into parts of about `ROWS_AT_ONCE` rows, at least one."""
    ends = trajectories.select(end=pl.col("run_id").rle().struct.field("len").cum_sum())["end"]
    start = 0
    while True:
        later = ends.search_sorted(start + ROWS_AT_ONCE)
        end = int(ends[later]) if later < len(ends) else len(trajectories)
        yield trajectories[start:end]
        if end == len(trajectories):
            return
        start = end


def _grid(trajectories: pl.DataFrame, planned: pl.DataFrame) -> pl.DataFrame:
    # Integers for the names: grouping millions of rows by strings costs three times as much.
    seen = trajectories.select(pl.col("run_id").rle().struct.field("value"))
    planned = seen.join(planned, left_on="value", right_on="run_id", maintain_order="left").rename({"value": "run_id"})
    planned = planned.with_row_index("run")
    points = _placed(trajectories, planned)
    return (
        _complete(points, planned)
        .join(_of_intervals(points), on=["run", "interval"], how="left", maintain_order="left")
        .join(_of_windows(points), on=["run", "interval"], how="left", maintain_order="left")
        .with_columns(pl.col("points", "non_finite_points").fill_null(0))
        .select(GRID_COLUMNS.keys())
    )


def _placed(trajectories: pl.DataFrame, planned: pl.DataFrame) -> pl.DataFrame:
    """Give each point its interval and its relative losses: one row a step, by run and step."""
    interval = (pl.col("step") * pl.col("intervals") // pl.col("planned_steps")).clip(0, pl.col("intervals") - 1)
    points = (
        trajectories.select("run_id", "step", "training_loss", "validation_loss", "learning_rate")
        .join(planned.drop("starting_rate"), on="run_id", maintain_order="left")
        .with_columns(interval.cast(pl.Int32).alias("interval"))
        .drop("run_id", "planned_steps", "intervals")
    )
    trained_from = pl.col("interval").filter(pl.col("training_loss").is_not_null()).min()
    units = points.group_by("run").agg(_unit("training"), _unit("validation"), trained_from=trained_from)
    # By what was logged so far, not by all that the run logged: what comes later changes nothing.
    trained = (pl.col("interval") >= pl.col("trained_from")).fill_null(False)
    return (
        points.join(units, on="run", maintain_order="left")
        .with_columns(
            trained=trained,
            loss=pl.when(trained).then("training_loss").otherwise("validation_loss"),
            unit=pl.when(trained).then("training_unit").otherwise("validation_unit"),
        )
        .select(
            "run",
            "step",
            "interval",
            "learning_rate",
            logged=pl.col("loss").is_not_null(),
            finite=pl.col("loss").is_finite(),
            log_loss=_log_relative(pl.col("loss"), pl.col("unit")),
            log_validation_loss=pl.when("trained").then(
                _log_relative(pl.col("validation_loss"), pl.col("validation_unit"))
            ),
        )
    )


def _unit(name: str) -> pl.Expr:
    """Find the loss that a run began with, by which its losses are measured."""
    loss = pl.col(f"{name}_loss")
    finite = loss.is_finite().fill_null(False)
    interval = pl.col("interval").filter(finite)
    return loss.filter(finite).filter(interval == interval.min()).median().alias(f"{name}_unit")


def _log_relative(loss: pl.Expr, unit: pl.Expr) -> pl.Expr:
    reference = pl.col("reference_loss")
    relative = ((loss - reference) / (unit - reference)).clip(lower_bound=FLOOR)
    return pl.when(loss.is_finite() & (unit > reference)).then(relative.log())


def _complete(points: pl.DataFrame, planned: pl.DataFrame) -> pl.DataFrame:
    """Give a row to every interval up to the last one with a point, also to those without."""
    last = points.group_by("run").agg(last=pl.col("interval").max())
    return (
        planned.join(last, on="run", maintain_order="left")
        .with_columns(interval=pl.int_ranges(0, pl.col("last") + 1, dtype=pl.Int32))
        .explode("interval")
        .drop("last")
    )


def _of_intervals(points: pl.DataFrame) -> pl.DataFrame:
    return points.group_by("run", "interval").agg(
        points=pl.col("logged").sum(),
        non_finite_points=(pl.col("logged") & ~pl.col("finite")).sum(),
        log_loss=pl.col("log_loss").median(),
        log_validation_loss=pl.col("log_validation_loss").median(),
        rate=pl.col("learning_rate").filter(pl.col("learning_rate").is_finite()).mean(),
    )


def _of_windows(points: pl.DataFrame) -> pl.DataFrame:
    residual = line_residual(pl.col("log_loss"), pl.col("step"))
    enough = pl.len() >= LEAST_FOR_NOISE
    return (
        points.filter(pl.col("log_loss").is_not_null())
        .group_by_dynamic("interval", every="1i", period=f"{WINDOW}i", offset=f"-{WINDOW - 1}i", group_by="run")
        .agg(
            noise=pl.when(enough).then(scaled_deviation(residual)),
            autocorrelation=pl.when(enough).then(lag_correlation(residual)),
        )
        # A window bears the number of its first interval; its features belong to its last.
        .with_columns(pl.col("interval") + WINDOW - 1)
    )
