"""Trajectories written by hand."""

from collections.abc import Sequence

import polars as pl

from features.decision_grid import RUN_COLUMNS
from features.trajectories import TRAJECTORY_COLUMNS

Values = Sequence[float | None]


def curve(
    training_loss: Values,
    *,
    run_id: str = "s/a",
    steps: Sequence[int] | None = None,
    validation_loss: Values | None = None,
    learning_rate: Values | None = None,
) -> pl.DataFrame:
    """One run's trajectory, at steps 0, 1, 2 ... unless told otherwise."""
    count = len(training_loss)
    nothing = [None] * count
    return pl.DataFrame(
        {
            "run_id": [run_id] * count,
            "position": range(count),
            "step": range(count) if steps is None else steps,
            "progress": nothing,
            "training_loss": training_loss,
            "validation_loss": validation_loss or nothing,
            "learning_rate": learning_rate or nothing,
        },
        schema=dict(TRAJECTORY_COLUMNS),
        strict=False,
    )


def planned(
    steps: int | None, *, run_id: str = "s/a", starting_rate: float | None = None, reference: float = 0.0
) -> pl.DataFrame:
    """The row of a run that `decision_grid` takes."""
    return pl.DataFrame([(run_id, steps, starting_rate, reference)], schema=dict(RUN_COLUMNS), orient="row")
