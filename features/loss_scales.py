"""What losses are measured by where runs of a group are compared: a reference below them, and where they began.

Both come from runs to learn from, never from those to be judged.
"""

from typing import Final

import polars as pl

from features.columns import Columns, require_columns
from features.series_roles import MINIMUM_VALIDATION_POINTS
from features.trajectories import TRAJECTORY_COLUMNS

END_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "group_name": pl.String,
    "first_loss": pl.Float64,
    "lowest_loss": pl.Float64,
    "final_loss": pl.Float64,
    "diverged": pl.Boolean,
}

# Of the way from the first loss to the lowest one: so far below the lowest a reference lies, that a later run may do
# better and still have a logarithm. It is the margin of non-inferiority of a verdict; any small share would do.
ROOM: Final = 0.02


def run_ends(trajectories: pl.DataFrame) -> pl.DataFrame:
    """Return what each run's scale is made of.

    Parameters
    ----------
    trajectories
        `TRAJECTORY_COLUMNS`, sorted by run and step.

    Returns
    -------
    pl.DataFrame
        run_id; first_loss, the first finite value of the loss that `run_descriptors` takes the final loss of (the
        validation loss where it has 5 points, else the training loss); lowest_loss, of both. Null where there is none.
    """
    require_columns("trajectories", trajectories, TRAJECTORY_COLUMNS)
    training, validation = (
        pl.col(name).filter(pl.col(name).is_finite()) for name in ("training_loss", "validation_loss")
    )
    validated = pl.col("validation_loss").count() >= MINIMUM_VALIDATION_POINTS
    return (
        trajectories.group_by("run_id", maintain_order=True)
        .agg(
            first_loss=pl.when(validated).then(validation.first()).otherwise(training.first()),
            training=training.min(),
            validation=validation.min(),
        )
        .select("run_id", "first_loss", lowest_loss=pl.min_horizontal("training", "validation"))
    )


def loss_scales(runs: pl.DataFrame) -> pl.DataFrame:
    """Find the scale of each group.

    Parameters
    ----------
    runs
        `END_COLUMNS`, the runs to learn from: `run_ends` and `run_descriptors` have them.

    Returns
    -------
    pl.DataFrame
        group_name; reference_loss, 0 if all losses of the group are above 0, else below the lowest by 2 % of the
        way to it from the first; best_loss, the lowest final loss of a run that did not diverge; naive_loss, the median
        first loss. Null where no run has one.
    """
    require_columns("runs", runs, END_COLUMNS)
    lowest = pl.col("lowest_loss").filter(pl.col("lowest_loss").is_finite()).min()
    first = pl.col("first_loss").filter(pl.col("first_loss").is_finite()).median()
    survived = ~pl.col("diverged") & pl.col("final_loss").is_finite()
    return (
        runs.group_by("group_name")
        .agg(lowest=lowest, naive_loss=first, best_loss=pl.col("final_loss").filter(survived).min())
        .with_columns(
            reference_loss=pl.when(pl.col("lowest") > 0)
            .then(0.0)
            .otherwise(pl.col("lowest") - ROOM * (pl.col("naive_loss") - pl.col("lowest")))
        )
        .select("group_name", "reference_loss", "best_loss", "naive_loss")
        .sort("group_name")
    )


def final_regrets(runs: pl.DataFrame, scales: pl.DataFrame) -> pl.DataFrame:
    """Return how each run ended, as regret within its group: at most 1, and 1 where it diverged.

        regret = (final loss - best loss) / (naive loss - best loss)

    Parameters
    ----------
    runs
        `END_COLUMNS`, the runs to be told of.
    scales
        The table of `loss_scales`, of runs to learn from.

    Returns
    -------
    pl.DataFrame
        run_id, final_regret (null where the group has no scale or the run no final loss), in the order of `runs`.
    """
    require_columns("runs", runs, END_COLUMNS)
    spread = pl.col("naive_loss") - pl.col("best_loss")
    regret = ((pl.col("final_loss") - pl.col("best_loss")) / spread).clip(upper_bound=1.0)
    ended = pl.when("diverged").then(1.0).when(pl.col("final_loss").is_finite()).then(regret)
    return runs.join(scales, on="group_name", how="left", maintain_order="left").select(
        "run_id", final_regret=pl.when(spread > 0).then(ended)
    )
