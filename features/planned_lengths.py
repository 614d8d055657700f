"""How long a run was meant to be, and what its steps count."""

from typing import Final, Literal

import polars as pl

Unit = Literal["step", "epoch"]

# A finished run that did less than this share of a declared length counts its steps in another unit.
_LEAST_SHARE_OF_PLAN: Final = 0.1


def planned_lengths(runs: pl.DataFrame, settings: pl.DataFrame, trajectories: pl.DataFrame) -> pl.DataFrame:
    """Give each run its planned length, in the unit of its trajectory's steps.

    The declared number of steps; else the declared number of epochs where steps are epochs (they come one by one and
    stay within that number); else the last step + 1 of a FINISHED run; else null. A declared length below the last
    step, or of which a finished run did less than a tenth, is of another unit and is passed over.

    Parameters
    ----------
    runs
        run_id, status.
    settings
        run_id, steps, epochs: of `declared_settings`.
    trajectories
        run_id, step, training_loss, validation_loss; sorted by run and step.

    Returns
    -------
    pl.DataFrame
        run_id, planned_steps, unit (`Unit`; null where no declared length fits), first_step, last_step; one row for
        each of `runs`, in their order.
    """
    reference = pl.coalesce("training_loss", "validation_loss").is_not_null()
    seen = trajectories.group_by("run_id").agg(
        first_step=pl.col("step").min(),
        last_step=pl.col("step").max(),
        spacing=pl.col("step").filter(reference).diff().median(),
    )
    last, finished = pl.col("last_step"), pl.col("status") == "FINISHED"

    def plausible(plan: pl.Expr) -> pl.Expr:
        return (plan >= last) & ~(finished & (last < _LEAST_SHARE_OF_PLAN * plan))

    unit = (
        pl.when(plausible(pl.col("steps")))
        .then(pl.lit("step"))
        .when(plausible(pl.col("epochs")) & (pl.col("spacing") == 1))
        .then(pl.lit("epoch"))
    )
    planned = (
        pl.when(pl.col("unit") == "step")
        .then("steps")
        .when(pl.col("unit") == "epoch")
        .then("epochs")
        .when(finished)
        .then(last + 1)
    )
    return (
        runs.select("run_id", "status")
        .join(seen, on="run_id", how="left", maintain_order="left")
        .join(settings.select("run_id", "steps", "epochs"), on="run_id", how="left", maintain_order="left")
        .with_columns(unit=unit)
        .with_columns(planned_steps=planned)
        .select("run_id", "planned_steps", "unit", "first_step", "last_step")
    )
