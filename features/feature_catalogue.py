"""All features of a moment in a run: how they are computed, and the table that documents them."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from features.columns import require_columns
from features.decision_grid import GRID_COLUMNS
from features.learning_rate_features import rate_below_peak, rate_travelled, relative_rate, since_rate_moved
from features.loss_features import (
    distance_to_best,
    loss_autocorrelation,
    loss_noise,
    loss_slope,
    non_finite_share,
    plateau_length,
    relative_loss,
    validation_gap,
)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature as a table documents it: its definition is the docstring of the function that computes it."""

    name: str
    expression: pl.Expr
    definition: str
    unit: str
    range: str


def progress(interval: pl.Expr, intervals: pl.Expr) -> pl.Expr:
    """Share of the planned run that is over at the end of the interval."""
    return (interval + 1) / intervals


_INTERVAL: Final = (pl.col("interval"), pl.col("intervals"))
_LOSS: Final = pl.col("log_loss")
_RATE: Final = pl.col("rate")

# (function, what it takes, unit, range)
_COMPUTED: Final = (
    (progress, _INTERVAL, "share of the run", "(0, 1]"),
    (relative_loss, (_LOSS,), "nats", "[ln 1e-6, inf)"),
    (loss_slope, (_LOSS, pl.col("intervals")), "nats a run", "(-inf, inf)"),
    (loss_noise, (pl.col("noise"),), "nats", "[0, inf)"),
    (loss_autocorrelation, (pl.col("autocorrelation"),), "1", "[-1, 1]"),
    (distance_to_best, (_LOSS,), "nats", "[0, inf)"),
    (plateau_length, (_LOSS, *_INTERVAL), "share of the run", "[0, 1)"),
    (non_finite_share, (pl.col("non_finite_points"), pl.col("points")), "1", "[0, 1]"),
    (validation_gap, (pl.col("log_validation_loss"), _LOSS), "nats", "(-inf, inf)"),
    (relative_rate, (_RATE, pl.col("starting_rate")), "nats", "(-inf, inf)"),
    (rate_below_peak, (_RATE,), "nats", "[0, inf)"),
    (rate_travelled, (_RATE,), "nats", "[0, inf)"),
    (since_rate_moved, (_RATE, *_INTERVAL), "share of the run", "[0, 1)"),
)

FEATURES: Final = tuple(
    Feature(
        name=function.__name__,
        expression=function(*arguments).cast(pl.Float64),
        definition=(function.__doc__ or "").strip(),
        unit=unit,
        range=values,
    )
    for function, arguments, unit, values in _COMPUTED
)


def with_features(grid: pl.DataFrame) -> pl.DataFrame:
    """Return run_id, interval and all `FEATURES` at the end of each interval of a `decision_grid`; null is unknown."""
    require_columns("grid", grid, GRID_COLUMNS)
    return grid.select(
        "run_id", "interval", *(feature.expression.over("run_id").alias(feature.name) for feature in FEATURES)
    )


def feature_table() -> str:
    """Return the features as a table in Markdown, one line each."""
    rows = [f"| `{feature.name}` | {feature.definition} | {feature.unit} | {feature.range} |" for feature in FEATURES]
    return "\n".join(["| feature | definition | unit | range |", "|---|---|---|---|", *rows]) + "\n"
