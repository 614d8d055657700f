"""One clean curve a run, made of what it logged in what order.

Real logs repeat points, resume, log a summary at step 0 when all is over, forget the step altogether, or count the
steps of one series in batches and of another in epochs.
"""

from typing import Final, Literal, get_args

import polars as pl

from features.columns import Columns, require_columns
from features.series_order import EPOCH, SERIES_POINTS, VALIDATION, in_time_order, with_settled_steps
from features.step_units import on_one_axis
from features.trials import split_trials

POINT_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "key": pl.String,
    "step": pl.Int64,
    "timestamp": pl.Int64,
    "value": pl.Float64,
}
ROLE_COLUMNS: Final[Columns] = {"run_id": pl.String, "key": pl.String, "role": pl.String}
TRAJECTORY_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "position": pl.Int64,
    "step": pl.Int64,
    "progress": pl.Float64,
    "training_loss": pl.Float64,
    "validation_loss": pl.Float64,
    "learning_rate": pl.Float64,
}
PLAN_COLUMNS: Final[Columns] = {"run_id": pl.String, "planned_steps": pl.Int64}

Role = Literal["training_loss", "validation_loss", "learning_rate", "epoch"]

# In the order of their numbers.
_ROLES: Final = get_args(Role)
_CURVES: Final = _ROLES[:EPOCH]
_JUDGING_POINTS: Final = 10  # of the loss that says whether a run holds trials


def trajectories(points: pl.DataFrame, roles: pl.DataFrame) -> pl.DataFrame:
    """Turn logged points into one row a curve and step.

    Within a series: exact duplicates count once, and of two values logged at the same step and time their mean.

    - Steps that begin again and again: several trials, a curve each, or the batches of an epoch, numbered in the order
      of time (`features.trials`).
    - All points at one step, or on average two or more a step whose steps never fall in the order of time: the points
      are numbered in the order of time, and the number is the step.
    - Else at each step the earliest point stands (what was logged again came after a resumption or at the end), and a
      point at step 0 that is later than the last step is a summary and is dropped.

    Between series of a run: those that count in another unit than the reference are moved to its steps
    (`features.step_units`). Of several series in one role the sum is taken, at the steps that all of them have.

    A run that was resumed keeps its offset: its first step is the first that it logged. Not a number and infinity stay:
    they are how a run diverged.

    Later points change nothing of earlier rows, except where they are what shows how a series counts: that a step holds
    several points, that steps begin again, that two series count in different units.

    Parameters
    ----------
    points
        `POINT_COLUMNS`, in any order; series without a role are ignored.
    roles
        `ROLE_COLUMNS`: the parts of a role, usually one, or "epoch".

    Returns
    -------
    pl.DataFrame
        `TRAJECTORY_COLUMNS`, sorted by run_id and position (0, 1, 2 ... by step). `run_id` is the run's own, or
        `<run_id>#<n>` for trial n of a run that holds several. Null: nothing logged at that step. `progress` is null
        until `with_progress` knows the plan.
    """
    require_columns("points", points, POINT_COLUMNS)
    require_columns("roles", roles, ROLE_COLUMNS)
    # Numbers for the names: grouping millions of rows by strings costs many times as much.
    series = _series_table(roles)
    logged = points.join(series.select("run_id", "key", "series"), on=["run_id", "key"]).select(*SERIES_POINTS)
    logged = in_time_order(logged)
    logged, series, cyclic = split_trials(logged, series.drop("key"), _judges(logged, series))
    settled, numbered = with_settled_steps(logged, cyclic)
    del logged
    curves = _with_sums(on_one_axis(settled, series, numbered), series)
    return _by_step(curves, series)


def with_progress(trajectories: pl.DataFrame, plans: pl.DataFrame) -> pl.DataFrame:
    """Fill in progress = step / planned steps, in [0, 1]; null where the plan is unknown.

    The observed length is no substitute: a killed run's would tell how it ended.

    Parameters
    ----------
    trajectories
        `TRAJECTORY_COLUMNS`.
    plans
        `PLAN_COLUMNS`, one row a run: the table of `run_descriptors`.
    """
    require_columns("trajectories", trajectories, TRAJECTORY_COLUMNS)
    require_columns("plans", plans, PLAN_COLUMNS)
    return (
        trajectories.join(plans.select("run_id", "planned_steps"), on="run_id", how="left", maintain_order="left")
        .with_columns(progress=pl.col("step") / pl.col("planned_steps"))
        .select(*TRAJECTORY_COLUMNS)
    )


def _series_table(roles: pl.DataFrame) -> pl.DataFrame:
    """Give each series a number, by run, role and name; `parts` says of how many a role is the sum."""
    return (
        roles.select(
            "run_id", "key", role=pl.col("role").replace_strict(_ROLES, range(len(_ROLES)), return_dtype=pl.Int8)
        )
        .sort("run_id", "role", "key")
        .with_row_index("series")
        .with_columns(run=pl.col("run_id").rle_id(), parts=pl.len().over("run_id", "role"))
    )


def _judges(logged: pl.DataFrame, series: pl.DataFrame) -> pl.Series:
    """Choose the loss that says whether its run holds trials: the first that is long enough."""
    long_enough = logged["series"].value_counts().filter(pl.col("count") >= _JUDGING_POINTS)
    losses = series.filter(pl.col("role") <= VALIDATION)
    return losses.join(long_enough, on="series", maintain_order="left").unique(
        "run", keep="first", maintain_order=True
    )["series"]


def _with_sums(curves: pl.DataFrame, series: pl.DataFrame) -> pl.DataFrame:
    """Put the sum of its parts in the place of each role, as run, role, step, value."""
    curves = curves.join(series.select("series", "run", "role", "parts"), on="series").drop("series")
    whole = curves.filter(pl.col("parts") == 1).drop("parts")
    parts = curves.filter(pl.col("parts") > 1)
    if parts.is_empty():
        return whole
    sums = (
        parts.group_by("run", "role", "step")
        # Sorted, without which the sum of the same floats would depend on their order.
        .agg(pl.col("value").sort().sum(), complete=pl.len() == pl.col("parts").first())
        .filter("complete")
    )
    return pl.concat([whole, sums.select(whole.columns)])


def _by_step(curves: pl.DataFrame, series: pl.DataFrame) -> pl.DataFrame:
    """Bring the roles of a run and step, which are neighbours once sorted, into one row."""
    ordered = curves.sort("run", "step", "role")
    same = [
        (pl.col("run") == pl.col("run").shift(-ahead)) & (pl.col("step") == pl.col("step").shift(-ahead))
        for ahead in (1, 2)
    ]

    def value_of(role: int) -> pl.Expr:
        is_role, value = pl.col("role") == role, pl.col("value")
        ahead = [pl.when(same[n - 1] & is_role.shift(-n)).then(value.shift(-n)) for n in (1, 2)]
        return pl.coalesce(pl.when(is_role).then(value), *ahead)

    first = (pl.col("run") != pl.col("run").shift()) | (pl.col("step") != pl.col("step").shift())
    rows = ordered.select(
        "run", "step", *(value_of(number).alias(role) for number, role in enumerate(_CURVES)), first=first
    ).filter(pl.col("first").fill_null(True))
    names = series.select("run", "run_id").unique().sort("run_id")
    rows = names.join(rows, on="run", maintain_order="left_right")
    return rows.with_columns(
        position=pl.int_range(pl.len()).over("run"), progress=pl.lit(None, dtype=pl.Float64)
    ).select(*TRAJECTORY_COLUMNS)
