"""Decisions of past runs as transitions: what was known, how the rate was moved, and how the run ended.

Action 0 is the starting rate; each later one is the log ratio of the mean rate of the next interval to that of this one
(docs/method.md, section 3). The return is that of the whole run: a loss falls as soon as the rate is cut, so its next
value says nothing of whether the cut was good.
"""

import math
from typing import Final

import polars as pl

from features.columns import Columns, require_columns
from features.decision_grid import GRID_COLUMNS
from features.feature_catalogue import FEATURES, with_features
from features.learning_rate_features import log_rate
from features.series_order import begins_late

OUTCOME_COLUMNS: Final[Columns] = {"run_id": pl.String, "final_regret": pl.Float64, "rate_source": pl.String}
STATE: Final = tuple(feature.name for feature in FEATURES)

# A longer move within one interval counts as one of this length: that of a step decay by 10.
LONGEST_MOVE: Final = math.log(10.0)


def transitions(grid: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return one row a decision: at the beginning of each interval that the run entered.

    What came before a resumption was decided in another run, so its intervals are left out: a resumed run has no
    decision 0.

    Parameters
    ----------
    grid
        The table of `decision_grid`.
    outcomes
        `OUTCOME_COLUMNS`, one row a run; runs without one are left out. `rate_source` says how the rate is known.

    Returns
    -------
    pl.DataFrame
        run_id; decision (0, 1, 2 ...); the `STATE`, one column a feature, as it was known before the interval (all null
        at a run's first decision but `progress`); action in nats, null where a rate is unknown: ln of the starting rate
        at decision 0, then the move from the last interval whose rate is known, within +-ln 10, which `action_bounded`
        says was longer; terminal, true in a run's last row; final_regret and rate_source of the run.
    """
    require_columns("grid", grid, GRID_COLUMNS)
    require_columns("outcomes", outcomes, OUTCOME_COLUMNS)
    logged = pl.col("interval").filter(pl.col("points") > 0)
    resumed_at = grid.group_by("run_id").agg(resumed_at=pl.when(begins_late(logged)).then(logged.first()).otherwise(0))
    state = with_features(grid).with_columns(pl.col(STATE).shift().over("run_id"))
    decision = pl.col("interval")
    known_before = log_rate(pl.col("rate")).forward_fill().shift().over("run_id")
    move = pl.when(decision == 0).then(None).otherwise(log_rate(pl.col("rate")) - known_before)
    return (
        state.with_columns(grid.select(progress=pl.col("interval") / pl.col("intervals")))
        .with_columns(grid.select(move=move, start=log_rate(pl.col("starting_rate"))))
        .join(resumed_at, on="run_id", maintain_order="left")
        .filter(decision >= pl.col("resumed_at"))
        .join(outcomes.select(OUTCOME_COLUMNS.keys()), on="run_id", maintain_order="left")
        .select(
            "run_id",
            decision.alias("decision"),
            *STATE,
            action=pl.when(decision == 0).then("start").otherwise(pl.col("move").clip(-LONGEST_MOVE, LONGEST_MOVE)),
            action_bounded=(pl.col("move").abs() > LONGEST_MOVE).fill_null(False),
            terminal=decision == decision.max().over("run_id"),
            final_regret="final_regret",
            rate_source="rate_source",
        )
    )
