"""One row a run: is its curve usable, and what trained it."""

from typing import Final, Literal

import polars as pl

from features.columns import Columns, require_columns
from features.declared_settings import declared_settings
from features.learning_rates import RATE_COLUMNS
from features.planned_lengths import planned_lengths
from features.series_roles import MINIMUM_TRAINING_POINTS, MINIMUM_VALIDATION_POINTS
from features.trajectories import TRAJECTORY_COLUMNS
from features.trials import is_trial, parent_run_id

Reason = Literal[
    "no metrics",
    "no loss series",
    "fewer than 10 points",
    "constant loss",
    "no loss that surely tells progress",
    "several trials, each counted as a run",
]
"""Why a run cannot be used. Deleted, failed and running runs can: their curves are as good as any. Where a run holds
several trials, each is a curve, and the run itself has none."""

RUN_COLUMNS: Final[Columns] = {"run_id": pl.String, "status": pl.String, "point_count": pl.Int64}
DESCRIPTOR_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "usable": pl.Boolean,
    "reason": pl.String,
    "optimizer": pl.String,
    "starting_rate": pl.Float64,
    "schedule": pl.String,
    "diverged": pl.Boolean,
    "final_loss": pl.Float64,
    "planned_steps": pl.Int64,
    "rate_source": pl.String,
    "rate_reason": pl.String,
    "first_step": pl.Int64,
}

NO_SURE_LOSS: Final[Reason] = "no loss that surely tells progress"

_EDGE: Final = 0.05  # first and last share of a curve's points
_RISE: Final = 0.5  # a training loss that ends this share of its size above its beginning has diverged


def run_descriptors(
    runs: pl.DataFrame,
    params: pl.DataFrame,
    trajectories: pl.DataFrame,
    rates: pl.DataFrame,
    guessed: pl.Series | None = None,
) -> pl.DataFrame:
    """Describe every run, and every trial of those that hold several.

    - optimizer: as declared by a param.
    - starting_rate, schedule, rate_source, rate_reason: as `features.learning_rates` finds them.
    - planned_steps: as `features.planned_lengths` finds it, in the unit of the trajectory's steps.
    - diverged: the last 5 % of the training loss (of the validation loss where there is no other) hold a value that is
      not finite, or the training loss ends (median of the last 5 %) above where it began (median of the first 5 %) by
      more than half of its size. A passing NaN is no divergence; nor is a rising validation loss, which may be
      overfitting, or a rising loss that is only guessed at, such as a generator's.
    - final_loss: median of the last 5 % of the validation loss, if it has at least 5 points, else of the training loss;
      null where that is not finite.
    - first_step: where the curve begins, in the unit of the trajectory's steps: above 0 for a run that was resumed in a
      new one. Progress counts from step 0, not from there.
    - usable: the training or the validation loss has at least 10 points, which are not all equal, and is more than a
      guess; else `reason`.

    Parameters
    ----------
    runs
        `RUN_COLUMNS`; with a row for each trial, from `with_trials`. Of a trial only the curve is known, so what params
        declare and the plan stay null.
    params
        run_id, key, value.
    trajectories
        `TRAJECTORY_COLUMNS`, sorted by run and position.
    rates
        `RATE_COLUMNS`, one row a run: of `learning_rates`.
    guessed
        run_ids of `features.series_roles.guessed_losses`.

    Returns
    -------
    pl.DataFrame
        `DESCRIPTOR_COLUMNS`, one row for each of `runs`, in their order.
    """
    require_columns("runs", runs, RUN_COLUMNS)
    require_columns("trajectories", trajectories, TRAJECTORY_COLUMNS)
    require_columns("rates", rates, RATE_COLUMNS)
    settings = declared_settings(params)
    plans = planned_lengths(runs, settings, trajectories)
    trials = runs["run_id"].filter(runs.select(is_trial(pl.col("run_id"))).to_series())
    parents = trials.to_frame().select(parent_run_id(pl.col("run_id")).unique())["run_id"]
    described = runs.select(
        *RUN_COLUMNS,
        holds_trials=pl.col("run_id").is_in(parents.implode()),
        guessed=parent_run_id(pl.col("run_id")).is_in([] if guessed is None else guessed.to_list()),
    )
    for table in (
        _curves(trajectories),
        settings.select("run_id", "optimizer"),
        plans.select("run_id", "planned_steps", "first_step"),
        rates.select(*RATE_COLUMNS),
    ):
        described = described.join(table, on="run_id", how="left", maintain_order="left")
    return (
        described.with_columns(reason=_reason(), diverged=_diverged().fill_null(False), final_loss=_final_loss())
        .with_columns(usable=pl.col("reason").is_null())
        .select(*DESCRIPTOR_COLUMNS)
    )


def _curves(trajectories: pl.DataFrame) -> pl.DataFrame:
    """Gather what the rules need to know of each run's two losses, in one pass."""
    return trajectories.group_by("run_id").agg(*_of_loss("training"), *_of_loss("validation"))


def _of_loss(name: str) -> list[pl.Expr]:
    loss = pl.col(f"{name}_loss").drop_nulls()
    finite = loss.filter(loss.is_finite())
    edge = (loss.len() * _EDGE).ceil().cast(pl.Int64)
    return [
        loss.len().alias(f"{name}_points"),
        ((finite.max() > finite.min()) | (finite.len() < loss.len())).fill_null(False).alias(f"{name}_varies"),
        loss.head(edge).median().alias(f"{name}_first"),
        loss.tail(edge).median().alias(f"{name}_final"),
        loss.tail(edge).is_finite().all().alias(f"{name}_ends_finite"),
    ]


def _diverged() -> pl.Expr:
    trained = pl.col("training_points") > 0
    rose = pl.col("training_final") > pl.col("training_first") + _RISE * pl.col("training_first").abs()
    return (
        pl.when(trained)
        .then(~pl.col("training_ends_finite") | (rose & ~pl.col("guessed")))
        .otherwise((pl.col("validation_points") > 0) & ~pl.col("validation_ends_finite"))
    )


def _final_loss() -> pl.Expr:
    validated = pl.col("validation_points") >= MINIMUM_VALIDATION_POINTS
    name = pl.when(validated).then("validation_final").otherwise("training_final")
    ends_finite = pl.when(validated).then("validation_ends_finite").otherwise("training_ends_finite")
    return pl.when(ends_finite).then(name)


def _reason() -> pl.Expr:
    """Give the first reason that holds, or null for a usable run."""
    training, validation = pl.col("training_points").fill_null(0), pl.col("validation_points").fill_null(0)
    usable = (
        ((training >= MINIMUM_TRAINING_POINTS) & pl.col("training_varies"))
        | ((validation >= MINIMUM_TRAINING_POINTS) & pl.col("validation_varies"))
    ).fill_null(False)
    return (
        pl.when(usable & ~pl.col("guessed"))
        .then(pl.lit(None, dtype=pl.String))
        .when(usable)
        .then(pl.lit(NO_SURE_LOSS))
        .when("holds_trials")
        .then(pl.lit("several trials, each counted as a run"))
        .when(pl.col("point_count") == 0)
        .then(pl.lit("no metrics"))
        .when(pl.max_horizontal(training, validation) == 0)
        .then(pl.lit("no loss series"))
        .when(pl.max_horizontal(training, validation) < MINIMUM_TRAINING_POINTS)
        .then(pl.lit("fewer than 10 points"))
        .otherwise(pl.lit("constant loss"))
    )
