"""One clean curve a run, made of what it logged in what order.

Real logs repeat points, resume, log a summary at step 0 when all is over, forget the step altogether, or count the
steps of one series in batches and of another in epochs.
"""

from typing import Final

import polars as pl

from features.columns import Columns, require_columns

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

# In this order a run's series set the unit of its steps.
_ROLES: Final = ("training_loss", "validation_loss", "learning_rate")
_SERIES: Final = ("run", "role")

# Two points a step on average, in the order of time, are measurements within the step; fewer are repetitions.
_POINTS_A_STEP: Final = 2.0
# Steps that run this many times faster than the reference, and end this many times further, are counted differently.
_OTHER_UNIT: Final = 4.0


def trajectories(points: pl.DataFrame, roles: pl.DataFrame) -> pl.DataFrame:
    """Turn logged points into one row a run and step.

    Within a series: exact duplicates count once, and of two values logged at the same step and time their mean.

    - All points at one step, or on average two or more a step whose steps never fall in the order of time: the points
      are numbered in the order of time, and the number is the step.
    - Else at each step the earliest point stands (what was logged again came after a resumption or at the end), and a
      point at step 0 that is later than the last step is a summary and is dropped.

    Between series of a run, the training loss sets the unit of the steps (else the validation loss, else the rate). A
    series that counts in another unit is moved to the reference's step at its time.

    Not a number and infinity stay: they are how a run diverged.

    Parameters
    ----------
    points
        `POINT_COLUMNS`, in any order; series without a role are ignored.
    roles
        `ROLE_COLUMNS`, at most one series for each role of a run.

    Returns
    -------
    pl.DataFrame
        `TRAJECTORY_COLUMNS`, sorted by run_id and position (0, 1, 2 ... by step). Null: nothing logged at that step.
        `progress` is null until `with_progress` knows the plan.
    """
    require_columns("points", points, POINT_COLUMNS)
    require_columns("roles", roles, ROLE_COLUMNS)
    # Integers for the names: grouping millions of rows by strings costs three times as much.
    roles = roles.filter(pl.col("role").is_in(_ROLES)).sort("key").unique(["run_id", "role"], keep="first")
    runs = roles.select("run_id").unique().sort("run_id").with_row_index("run")
    series = roles.join(runs, on="run_id").select(
        "run_id", "key", "run", role=pl.col("role").replace_strict(_ROLES, range(len(_ROLES)), return_dtype=pl.Int8)
    )
    logged = points.join(series, on=["run_id", "key"]).select("run", "role", "step", "timestamp", "value")
    curves = _in_one_unit(_in_order(_without_ties(logged)))
    return _by_step(curves, runs)


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


def _without_ties(logged: pl.DataFrame) -> pl.DataFrame:
    """Sort by series and time, exact duplicates and ties made one."""
    at = ("run", "role", "timestamp", "step")
    ordered = logged.sort(*at, "value")
    ordered = ordered.filter(~_same_as_before(*at, "value"))
    ordered = ordered.with_columns(point=(~_same_as_before(*at)).cum_sum())
    # What was logged in the same millisecond has no order, so no choice among it would be stable. The values are sorted
    # by now, without which the mean of the same floats would depend on their order.
    tied = ordered.filter(~pl.col("point").is_unique())
    if tied.is_empty():
        return ordered.drop("point")
    means = tied.group_by("point", maintain_order=True).agg(pl.col(*at).first(), pl.col("value").mean())
    single = ordered.filter(pl.col("point").is_unique())
    return pl.concat([single, means.select(single.columns)]).sort("point").drop("point")


def _same_as_before(*columns: str) -> pl.Expr:
    return pl.all_horizontal(pl.col(column).eq_missing(pl.col(column).shift()) for column in columns)


def _in_order(points: pl.DataFrame) -> pl.DataFrame:
    """Settle the step of each point of each series; `numbered` says whether it is its number in time."""
    one_step = pl.col("step").n_unique().over(_SERIES) == 1
    # A value logged twice at its step, by a callback and by hand, is one point.
    first_of_its_value = pl.struct("step", "value").is_first_distinct().over(_SERIES)
    points = points.filter(one_step | first_of_its_value)
    steps = pl.col("step").n_unique().over(_SERIES)
    forward = (pl.col("step").diff().fill_null(0) >= 0).all().over(_SERIES)
    crowded = pl.len().over(_SERIES) >= _POINTS_A_STEP * steps
    points = points.with_columns(numbered=crowded & forward)
    numbered = points.filter("numbered").with_columns(step=pl.int_range(pl.len()).over(_SERIES).cast(pl.Int64))
    stepped = points.filter(~pl.col("numbered")).unique([*_SERIES, "step"], keep="first", maintain_order=True)
    end = pl.col("timestamp").get(pl.col("step").arg_max()).over(_SERIES)
    summary = (pl.col("step") == 0) & (pl.col("timestamp") > end)
    return pl.concat([numbered, stepped.filter(~summary)])


def _in_one_unit(points: pl.DataFrame) -> pl.DataFrame:
    """Move the series of a run that count in another unit than its reference to the reference's steps."""
    shape = points.group_by(_SERIES).agg(
        pl.len().alias("length"),
        pl.col("numbered").first(),
        last=pl.col("step").max(),
        steps=pl.col("step").max() - pl.col("step").min(),
        time=pl.col("timestamp").max() - pl.col("timestamp").min(),
    )
    reference = shape.sort(_SERIES).unique("run", keep="first", maintain_order=True)
    compared = shape.join(reference, on="run", suffix="_reference").with_columns(_other_unit().alias("other_unit"))
    points = points.join(compared.select(*_SERIES, "other_unit"), on=_SERIES)
    moved = _moved(points.filter("other_unit"), points.join(reference.select(_SERIES), on=_SERIES, how="semi"))
    columns = ["run", "role", "step", "value"]
    return pl.concat([points.filter(~pl.col("other_unit")).select(columns), moved.select(columns)])


def _other_unit() -> pl.Expr:
    is_reference = pl.col("role") == pl.col("role_reference")
    numbered_alone = pl.col("numbered") != pl.col("numbered_reference")
    numbered_apart = (
        pl.col("numbered") & pl.col("numbered_reference") & (pl.col("length") != pl.col("length_reference"))
    )
    further = pl.col("last").clip(1) / pl.col("last_reference").clip(1)
    faster = (pl.col("steps") / pl.col("time").clip(1)) / (pl.col("steps_reference") / pl.col("time_reference").clip(1))
    counted_apart = _far_from_one(further) & _far_from_one(faster)
    # One point has no unit that could be told from its step.
    alone = pl.col("length") == 1
    is_curve = pl.col("length_reference") > 1
    return is_curve & ~is_reference & (alone | numbered_alone | numbered_apart | counted_apart)


def _far_from_one(ratio: pl.Expr) -> pl.Expr:
    return (ratio > _OTHER_UNIT) | (ratio < 1 / _OTHER_UNIT)


def _moved(points: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Give each point the reference's step at its time; of several at one step the last stands."""
    clock = reference.select("run", "timestamp", "step").sort("timestamp", "step")
    first = clock.group_by("run").agg(first_step=pl.col("step").min())
    return (
        points.drop("step")
        .sort("timestamp", "run", "role")
        .join_asof(clock, on="timestamp", by="run", strategy="backward", check_sortedness=False)
        .join(first, on="run", how="left", maintain_order="left")
        .with_columns(step=pl.coalesce("step", "first_step"))
        .unique([*_SERIES, "step"], keep="last", maintain_order=True)
    )


def _by_step(curves: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    return (
        curves.group_by("run", "step")
        .agg(pl.col("value").filter(pl.col("role") == code).first().alias(role) for code, role in enumerate(_ROLES))
        .sort("run", "step")
        .with_columns(
            position=pl.int_range(pl.len()).over("run").cast(pl.Int64), progress=pl.lit(None, dtype=pl.Float64)
        )
        .join(runs, on="run", how="left", maintain_order="left")
        .select(*TRAJECTORY_COLUMNS)
    )
