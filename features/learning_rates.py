"""The learning rate of every run: logged, rebuilt from its params, assumed constant, or unknown.

Few runs log their rate. Where it is missing it is rebuilt if the params tell the schedule whole; the mark says which.
"""

from typing import Final, Literal, NamedTuple

import polars as pl

from features.columns import Columns, require_columns
from features.declared_settings import declared_settings
from features.planned_lengths import planned_lengths
from features.rebuilt_rates import rebuilt_rates
from features.schedule_shapes import CONSTANT, schedule_shapes
from features.told_schedules import CLOCK_COLUMNS, told_schedules
from features.trajectories import TRAJECTORY_COLUMNS

RateSource = Literal["logged", "rebuilt", "assumed constant", "unknown"]

RATE_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "rate_source": pl.String,
    "rate_reason": pl.String,
    "starting_rate": pl.Float64,
    "schedule": pl.String,
}
RUN_COLUMNS: Final[Columns] = {"run_id": pl.String, "status": pl.String, "sibling_moves": pl.Boolean}
EXPERIMENT_COLUMNS: Final[Columns] = {"run_id": pl.String, "source_id": pl.String, "experiment_id": pl.String}
RATE_SERIES_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "points": pl.Int64,
    "minimum": pl.Float64,
    "maximum": pl.Float64,
}

_MINIMUM_LOGGED: Final = 2  # one point is no series: it says as much as a param does
_AGREES: Final = 0.1  # a declared rate is the logged one up to this share: the first may be logged a little late


class LearningRates(NamedTuple):
    """Trajectories with the rates filled in, and one row a run with `RATE_COLUMNS`."""

    trajectories: pl.DataFrame
    runs: pl.DataFrame


def with_siblings(runs: pl.DataFrame, rate_series: pl.DataFrame) -> pl.DataFrame:
    """Say of each run whether a logged rate moves in its experiment: `sibling_moves`.

    Parameters
    ----------
    runs
        `EXPERIMENT_COLUMNS`: all runs, for those of an experiment speak for one another.
    rate_series
        `RATE_SERIES_COLUMNS`, one row for each logged rate.
    """
    require_columns("runs", runs, EXPERIMENT_COLUMNS)
    require_columns("rate_series", rate_series, RATE_SERIES_COLUMNS)
    moving = rate_series.filter(pl.col("points") >= _MINIMUM_LOGGED, pl.col("maximum") > CONSTANT * pl.col("minimum"))[
        "run_id"
    ]
    moves = pl.col("run_id").is_in(moving.implode())
    return runs.with_columns(sibling_moves=moves.any().over("source_id", "experiment_id"))


def learning_rates(
    runs: pl.DataFrame, params: pl.DataFrame, trajectories: pl.DataFrame, epochs: pl.DataFrame | None = None
) -> LearningRates:
    """Say where each run's rate comes from, and fill it in where it is not logged.

    - logged: at least two points of the rate are logged. They stay as they are, and stand before every param; where a
      param says otherwise, the reason does so.
    - rebuilt: the params tell the whole schedule (`features.declared_schedules`), or declare it constant.
    - assumed constant: a rate is declared (or logged once), and there is no sign of a schedule, neither in the params
      nor in another run of the experiment, whose logged rate moves. This is a guess, so it names no `schedule`.
    - unknown: the rest; `rate_reason` says why. The declared rate may still be the starting one.

    starting_rate: as declared where what was logged agrees within a tenth or nothing was; else the first logged rate
    above 0, or the peak where the rate warms up (at any length if a param declares a warm-up). Where a run was resumed,
    the first logged rate is not its starting one: the declared one stands, and without it only a constant rate.

    schedule: as declared; else as recognised from the logged rate, which wins where the two exclude each other.

    Cost: a pass of Polars over the points for each kind of schedule; params run by run; a plateau is replayed loss by
    loss, about 0.1 us each.

    Parameters
    ----------
    runs
        `RUN_COLUMNS`, the last of them from `with_siblings`.
    params
        run_id, key, value.
    trajectories
        `TRAJECTORY_COLUMNS`, sorted by run and position.
    epochs
        `CLOCK_COLUMNS`: the points of the metric `epoch`, by which a Trainer's number of steps is known.
    """
    require_columns("runs", runs, RUN_COLUMNS)
    require_columns("trajectories", trajectories, TRAJECTORY_COLUMNS)
    settings = declared_settings(params)
    plans = planned_lengths(runs, settings, trajectories)
    logged = _logged(trajectories, plans)
    known = plans.join(settings.drop("steps", "epochs"), on="run_id", how="left", maintain_order="left").join(
        logged, on="run_id", how="left", maintain_order="left"
    )
    clocks = pl.DataFrame(schema=CLOCK_COLUMNS) if epochs is None else epochs
    told = told_schedules(known, params, clocks)
    quiet = known.filter(pl.col("logged_points").fill_null(0) < _MINIMUM_LOGGED)
    points = rebuilt_rates(trajectories, told.join(quiet, on="run_id", how="semi"))
    rules = told.select("run_id", "own_rate", "warms_up", "untold", "kind", "reason", "assumed", rule_rate="rate")
    fits = points.group_by("run_id").agg(
        contradicted=pl.col("apart").any(), rebuilds=pl.col("built").is_not_null().any()
    )
    marks = _marked(
        known.join(runs.select("run_id", "sibling_moves"), on="run_id", how="left", maintain_order="left")
        .join(rules, on="run_id", how="left", maintain_order="left")
        .join(fits, on="run_id", how="left", maintain_order="left")
        .with_columns(pl.col("contradicted").fill_null(False))
    )
    return LearningRates(_filled(trajectories, points, marks), marks.select(*RATE_COLUMNS))


def _logged(trajectories: pl.DataFrame, plans: pl.DataFrame) -> pl.DataFrame:
    """Describe the logged rates: run_id, logged_points and what `schedule_shapes` tells."""
    rates = trajectories.filter(pl.col("learning_rate").is_finite())
    counts = rates.group_by("run_id").agg(logged_points=pl.len())
    shapes = schedule_shapes(rates.join(plans.select("run_id", "planned_steps"), on="run_id", maintain_order="left"))
    return counts.join(shapes, on="run_id", how="left")


_FAMILIES: Final = {
    "constant": "constant",
    "ultralytics_linear": "linear",
    "ultralytics_cosine": "cosine",
    "torch_one_cycle": "one-cycle",
}


def _marked(known: pl.DataFrame) -> pl.DataFrame:
    logged = (pl.col("logged_points") >= _MINIMUM_LOGGED).fill_null(False)
    told = pl.col("kind").is_not_null() & ~pl.col("contradicted") & pl.col("rebuilds").fill_null(False)
    refuted = pl.col("assumed") & pl.col("sibling_moves")
    source = (
        pl.when(logged)
        .then(pl.lit("logged"))
        .when(told & ~pl.col("assumed"))
        .then(pl.lit("rebuilt"))
        .when(told & ~refuted)
        .then(pl.lit("assumed constant"))
        .otherwise(pl.lit("unknown"))
    )
    return (
        known.with_columns(
            rate_source=source,
            declared_rate=pl.when(pl.col("own_rate").is_null()).then("rate"),
            logged_start=pl.when("warms_up").then("logged_peak").otherwise("logged_start"),
        )
        .with_columns(
            other_rate=((pl.col("rate") / pl.col("logged_start") - 1).abs() > _AGREES).fill_null(False)
            & pl.col("resumed_at").is_null(),
            other_schedule=_excluded(pl.col("schedule"), pl.col("shape")),
        )
        .with_columns(rate_reason=_reason(), starting_rate=_starting_rate(), schedule=_schedule())
        .select(*RATE_COLUMNS)
    )


def _excluded(declared: pl.Expr, shape: pl.Expr) -> pl.Expr:
    """Whether a logged rate cannot be of the declared schedule: shapes are recognised roughly, so only where sure."""
    return (
        ((declared == "constant") & (shape != "constant"))
        | (declared.is_in(["linear", "cosine", "exponential"]) & (shape == "constant"))
        | ((declared == "linear") & (shape == "cosine"))
        | ((declared == "cosine") & (shape == "linear"))
    ).fill_null(False)


def _starting_rate() -> pl.Expr:
    source, declared = pl.col("rate_source"), pl.col("declared_rate")
    agreed = pl.when(pl.col("other_rate") | declared.is_null()).then("logged_start").otherwise(declared)
    return (
        pl.when(source == "logged")
        .then(agreed)
        .when(source.is_in(["rebuilt", "assumed constant"]))
        .then("rule_rate")
        .when(~pl.col("contradicted"))
        .then(pl.coalesce(declared, "logged_start"))
    )


def _schedule() -> pl.Expr:
    source, declared = pl.col("rate_source"), pl.col("schedule")
    return (
        pl.when(source == "logged")
        .then(pl.when("other_schedule").then("shape").otherwise(pl.coalesce(declared, "shape")))
        .when(source == "rebuilt")
        .then(pl.coalesce(declared, pl.col("kind").replace_strict(_FAMILIES, default=None, return_dtype=pl.String)))
        .when(source == "unknown")
        .then(declared)
    )


def _reason() -> pl.Expr:
    source, start = pl.col("rate_source"), pl.col("logged_start").round_sig_figs(4)
    rate = pl.format("; a param says {}, the log {}: the log stands", "rate", start)
    shape = pl.format("; a param says {}, the log {}: the log stands", "schedule", "shape")
    logged = pl.concat_str(
        pl.format("{} points logged", "logged_points"),
        pl.format(", from step {} on, after the start", "resumed_at").fill_null(""),
        pl.when("other_rate").then(rate).otherwise(pl.lit("")),
        pl.when("other_schedule").then(shape).otherwise(pl.lit("")),
    )
    return (
        pl.when(source == "logged")
        .then(logged)
        .when((source == "assumed constant") & pl.col("rate").is_null())
        .then(pl.lit("a rate was logged once, and there is no sign of a schedule"))
        .when(source.is_in(["rebuilt", "assumed constant"]))
        .then("reason")
        .when("contradicted")
        .then(pl.format("{} was logged once, which is not the rate of: {}", start, "reason"))
        .when(pl.col("untold").is_not_null())
        .then("untold")
        .when(pl.col("assumed") & pl.col("sibling_moves"))
        .then(pl.lit("no schedule is declared, but in a run of this experiment that logs it the rate moves"))
        .when(pl.col("kind").is_in(["torch_plateau", "keras_plateau"]))
        .then(pl.lit("a plateau is replayed only where every epoch has one validation loss"))
        .otherwise(pl.lit("the run has no curve"))
    )


def _filled(trajectories: pl.DataFrame, points: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    standing = marks.filter(pl.col("rate_source").is_in(["rebuilt", "assumed constant"])).select("run_id")
    built = points.join(standing, on="run_id", how="semi").select("row", "built")
    return (
        trajectories.with_row_index("row")
        .join(built, on="row", how="left", maintain_order="left")
        .with_columns(learning_rate=pl.coalesce("learning_rate", "built"))
        .select(trajectories.columns)
    )
