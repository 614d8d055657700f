"""One row a run: is its curve usable, and what trained it."""

from typing import Final, Literal

import polars as pl

from features.columns import Columns, require_columns
from features.declared_settings import declared_settings
from features.schedule_shapes import schedule_shapes
from features.series_roles import MINIMUM_TRAINING_POINTS, MINIMUM_VALIDATION_POINTS
from features.trajectories import TRAJECTORY_COLUMNS
from features.trials import is_trial, parent_run_id

Reason = Literal[
    "no metrics", "no loss series", "fewer than 10 points", "constant loss", "several trials, each counted as a run"
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
    "first_step": pl.Int64,
}

_EDGE: Final = 0.05  # first and last share of a curve's points
_RISE: Final = 0.5  # a training loss that ends this share of its size above its beginning has diverged
# A finished run that did less than this share of a declared length counts its steps in another unit.
_LEAST_SHARE_OF_PLAN: Final = 0.1


def run_descriptors(runs: pl.DataFrame, params: pl.DataFrame, trajectories: pl.DataFrame) -> pl.DataFrame:
    """Describe every run.

    - optimizer, schedule: as declared by a param; the schedule else as recognised from the logged rate.
    - starting_rate: as declared, else the first logged rate above 0, or the peak where the rate warms up.
    - planned_steps, in the unit of the trajectory's steps: the declared number of steps; else the declared number of
      epochs where steps are epochs (they come one by one and stay within that number); else the last step + 1 of a
      FINISHED run; else null. A declared length below the last step, or of which a finished run did less than a tenth,
      is of another unit and is passed over.
    - diverged: the last 5 % of the training loss (of the validation loss where there is no other) hold a value that is
      not finite, or the training loss ends (median of the last 5 %) above where it began (median of the first 5 %) by
      more than half of its size. A passing NaN is no divergence; nor is a rising validation loss, which may be
      overfitting.
    - final_loss: median of the last 5 % of the validation loss, if it has at least 5 points, else of the training loss;
      null where that is not finite.
    - first_step: where the curve begins, in the unit of the trajectory's steps: above 0 for a run that was resumed in a
      new one. Progress counts from step 0, not from there.
    - usable: the training or the validation loss has at least 10 points, which are not all equal; else `reason`.

    Parameters
    ----------
    runs
        `RUN_COLUMNS`; with a row for each trial, from `with_trials`. Of a trial only the curve is known, so what params
        declare and the plan stay null.
    params
        run_id, key, value.
    trajectories
        `TRAJECTORY_COLUMNS`, sorted by run and position.

    Returns
    -------
    pl.DataFrame
        `DESCRIPTOR_COLUMNS`, one row for each of `runs`, in their order.
    """
    require_columns("runs", runs, RUN_COLUMNS)
    require_columns("trajectories", trajectories, TRAJECTORY_COLUMNS)
    trials = runs["run_id"].filter(runs.select(is_trial(pl.col("run_id"))).to_series())
    parents = trials.to_frame().select(parent_run_id(pl.col("run_id")).unique())["run_id"]
    described = (
        runs.select(*RUN_COLUMNS)
        .with_columns(holds_trials=pl.col("run_id").is_in(parents.implode()))
        .join(_curves(trajectories), on="run_id", how="left", maintain_order="left")
        .join(declared_settings(params), on="run_id", how="left", maintain_order="left")
        .with_columns(planned_steps=_planned_steps())
    )
    rates = trajectories.filter(pl.col("learning_rate").is_not_null())
    shapes = schedule_shapes(
        rates.join(described.select("run_id", "planned_steps"), on="run_id", maintain_order="left")
    )
    return (
        described.join(shapes, on="run_id", how="left", maintain_order="left")
        .with_columns(
            reason=_reason(),
            starting_rate=pl.coalesce("rate", "logged_start"),
            schedule=pl.coalesce("schedule", "shape"),
            diverged=_diverged().fill_null(False),
            final_loss=_final_loss(),
        )
        .with_columns(usable=pl.col("reason").is_null())
        .select(*DESCRIPTOR_COLUMNS)
    )


def _curves(trajectories: pl.DataFrame) -> pl.DataFrame:
    """Gather what the rules need to know of each run's two losses, in one pass."""
    reference = pl.coalesce("training_loss", "validation_loss").is_not_null()
    return trajectories.group_by("run_id").agg(
        pl.col("step").min().alias("first_step"),
        pl.col("step").max().alias("last_step"),
        pl.col("step").filter(reference).diff().median().alias("spacing"),
        *_of_loss("training"),
        *_of_loss("validation"),
    )


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


def _planned_steps() -> pl.Expr:
    last = pl.col("last_step")
    finished = pl.col("status") == "FINISHED"

    def plausible(plan: pl.Expr) -> pl.Expr:
        return (plan >= last) & ~(finished & (last < _LEAST_SHARE_OF_PLAN * plan))

    steps, epochs = pl.col("steps"), pl.col("epochs")
    return (
        pl.when(plausible(steps))
        .then(steps)
        .when(plausible(epochs) & (pl.col("spacing") == 1))
        .then(epochs)
        .when(finished)
        .then(last + 1)
    )


def _diverged() -> pl.Expr:
    trained = pl.col("training_points") > 0
    rose = pl.col("training_final") > pl.col("training_first") + _RISE * pl.col("training_first").abs()
    return (
        pl.when(trained)
        .then(~pl.col("training_ends_finite") | rose)
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
        pl.when(usable)
        .then(pl.lit(None, dtype=pl.String))
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
