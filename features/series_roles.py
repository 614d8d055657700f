"""Which logged series of a run is its training loss, its validation loss, its learning rate, its epoch.

Decided by name, for nothing else tells a loss from an accuracy for sure; the numbers break ties and rule out what
cannot be. An override names what the rules get wrong.
"""

from collections.abc import Collection, Mapping
from typing import Final

import polars as pl

from features.columns import Columns, require_columns
from features.series_names import (
    GUESS,
    IGNORED,
    ONCE,
    ONE_OF_SEVERAL,
    SAID,
    STAND_IN,
    SUMMED,
    could_mean_a_role,
    named_roles,
    said_roles,
)

MINIMUM_TRAINING_POINTS: Final = 10
MINIMUM_VALIDATION_POINTS: Final = 5
"""A loss with fewer points is no curve: another series of the run is preferred, whatever the names."""

SERIES_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "key": pl.String,
    "points": pl.Int64,
    "non_finite_points": pl.Int64,
    "minimum": pl.Float64,
    "maximum": pl.Float64,
    "whole_numbers": pl.Boolean,
}

# No optimizer is given a rate above this, while counters and scores in per cent soon are.
_HIGHEST_RATE: Final = 100.0
# Whole numbers up to here or further are counted, not scheduled; a constant rate of 1 is Adadelta's.
_COUNTED: Final = 2.0
# Some loggers write one more point in some series than in others.
_MISSED_POINTS: Final = 1


def possible_names(keys: Collection[str], overrides: Mapping[str, str] | None = None) -> list[str]:
    """Name those of some metrics that could have a role, by their names alone; in alphabetical order.

    Generous: everything that is named anything like a loss, an error, a rate or an epoch.

    Parameters
    ----------
    keys
        Names of metrics, as they were logged.
    overrides
        Role by the name of a metric or by a glob, or `IGNORED`; comes before every rule.

    Raises
    ------
    ValueError
        An override names no role.
    """
    said = said_roles(keys, overrides or {})
    names = pl.DataFrame({"key": sorted(set(keys))}, schema={"key": pl.String})
    perhaps = names.filter(could_mean_a_role(pl.col("key")))["key"].to_list()
    return sorted(key for key in {*perhaps, *said} if said.get(key) != IGNORED)


def series_roles(series: pl.DataFrame, overrides: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Give the series of each run their roles: one for the rate and one for the epoch, one or several for each loss.

    Several series have the role of a loss where they are the parts of one that is not logged as a whole (`box_loss`,
    `cls_loss`, `dfl_loss`): they are to be summed step by step, and their reason says so.

    Among the series that a name allows: first those long enough to be a curve and not constant, then the better name
    (`train_loss` before `loss` before `train_mse` before `train/box_loss`), then more points, then the alphabet. Of
    several rates of parameter groups: the one whose highest value is the most common, then that which begins lowest,
    for YOLO warms up the biases downwards.

    Parameters
    ----------
    series
        One row a series, with `SERIES_COLUMNS`: `points`, `minimum`, `maximum` and `whole_numbers` are of the finite
        values.
    overrides
        Role by the name of a metric or by a glob, or `IGNORED`; comes before every rule. Several series said to be one
        loss are summed.

    Returns
    -------
    pl.DataFrame
        run_id, key, role, confidence in (0, 1], reason; sorted by run_id, role and key.

    Raises
    ------
    ValueError
        A column is missing, or an override names no role.
    """
    return judged_series(series, overrides).filter(pl.col("role").is_not_null()).sort("run_id", "role", "key")


def guessed_losses(roles: pl.DataFrame) -> pl.Series:
    """Name the runs whose loss, the training loss where there is one, is only guessed at: it may tell no progress.

    Parameters
    ----------
    roles
        run_id, role, confidence: of `series_roles`.
    """
    # In the order of the alphabet a training loss comes before a validation loss.
    losses = roles.filter(pl.col("role").str.ends_with("_loss")).sort("run_id", "role", "confidence")
    return losses.unique("run_id", keep="first", maintain_order=True).filter(pl.col("confidence") <= GUESS)["run_id"]


def judged_series(series: pl.DataFrame, overrides: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Give every series its role or the reason why it has none.

    Parameters, errors and columns are those of `series_roles`; role and confidence are null where there is none. One
    row for each of `series`, in no order.
    """
    require_columns("series", series, SERIES_COLUMNS)
    named = named_roles(series["key"], overrides)
    rows = series.select(*SERIES_COLUMNS).join(named, on="key", how="left")
    judged = _judged(rows.filter(pl.col("role").is_not_null()))
    unnamed = rows.filter(pl.col("role").is_null()).with_columns(confidence=pl.lit(None, dtype=pl.Float64))
    columns = ["run_id", "key", "role", "confidence", "reason"]
    return pl.concat([judged.select(columns), unnamed.select(columns)])


def _judged(rows: pl.DataFrame) -> pl.DataFrame:
    """Choose among the series of each run that have the name for a role."""
    said = pl.col("confidence") == SAID
    rows = rows.with_columns(logged=pl.col("points") + pl.col("non_finite_points"), said=said)
    rows = rows.with_columns(ruled_out=_ruled_out())
    ordered = _in_order(rows.filter(pl.col("ruled_out").is_null()))
    first = ordered.unique(["run_id", "role"], keep="first", maintain_order=True)
    parts = _parts(ordered, first)
    chosen = pl.concat([parts, first.join(parts, on=["run_id", "role"], how="anti").pipe(_alone, ordered)])
    taken = first.select("run_id", "role", taken="key")
    others = (
        rows.join(chosen, on=["run_id", "key"], how="anti")
        .join(taken, on=["run_id", "role"], how="left")
        .with_columns(
            reason=pl.coalesce(
                "ruled_out", pl.format("'{}' was taken as {}", "taken", pl.col("role").str.replace("_", " "))
            ),
            role=pl.lit(None, dtype=pl.String),
            confidence=pl.lit(None, dtype=pl.Float64),
        )
    )
    return pl.concat([chosen, others.select(chosen.columns)])


def _ruled_out() -> pl.Expr:
    """Say why a series cannot be, by its values, what its name says; null if it can."""
    rate, epoch = pl.col("role") == "learning_rate", pl.col("role") == "epoch"
    loss = ~rate & ~epoch
    longest = pl.col("logged").filter(loss).max().over("run_id")
    counted = pl.col("whole_numbers").fill_null(False) & (pl.col("maximum") >= _COUNTED)
    never_above_zero = (pl.col("points") == 0) | (pl.col("minimum") < 0) | (pl.col("maximum") <= 0)
    return (
        pl.when("said")
        .then(None)
        .when(rate & never_above_zero.fill_null(True))
        .then(pl.lit("named a rate, but below zero or never above it"))
        .when(rate & (counted | (pl.col("maximum") > _HIGHEST_RATE)))
        .then(pl.lit("named a rate, but counts or is too high for one"))
        .when(epoch & (pl.col("logged") == 1))
        .then(pl.lit("an epoch logged once maps no steps"))
        .when(epoch & ((pl.col("points") == 0) | (pl.col("minimum") < 0)).fill_null(True))
        .then(pl.lit("named an epoch, but below zero or no number"))
        .when(loss & (pl.col("logged") == 1) & (longest > 1))
        .then(pl.lit("logged once: a mean or a summary, no curve"))
    )


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort so that the first series of each run and role is the one to take."""
    rate = pl.col("role") == "learning_rate"
    peak = pl.when(rate).then(pl.col("maximum").round_sig_figs(3))
    return (
        rows.with_columns(
            is_curve=_is_curve(),
            # Of rates alone: how many groups reach the same peak, and where they begin.
            shared=pl.when(rate).then(pl.len().over("run_id", "role", "rank", peak)).otherwise(0),
            lowest=pl.when(rate).then("minimum").otherwise(0.0),
        )
        .sort(
            *("run_id", "role", "said", "is_curve", "rank", "shared", "lowest", "points", "key"),
            descending=[False, False, True, True, False, True, False, True, False],
        )
        .drop("shared", "lowest", "is_curve")
    )


def _is_curve() -> pl.Expr:
    varies = ((pl.col("maximum") > pl.col("minimum")) | (pl.col("non_finite_points") > 0)).fill_null(False)
    return (
        pl.when(pl.col("role").is_in(["learning_rate", "epoch"]))
        .then(pl.col("points") >= 2)
        .when(pl.col("role") == "validation_loss")
        .then(varies & (pl.col("logged") >= MINIMUM_VALIDATION_POINTS))
        .otherwise(varies & (pl.col("logged") >= MINIMUM_TRAINING_POINTS))
    )


def _parts(ordered: pl.DataFrame, first: pl.DataFrame) -> pl.DataFrame:
    """Gather the parts of a loss where the first of a run's series is one: those logged as often as it.

    Of parts that only a number tells apart, folds and loaders, the first stands alone.
    """
    of_first = first.filter(pl.col("family").is_not_null()).select("run_id", "role", "family", first_logged="logged")
    parts = (
        ordered.join(of_first, on=["run_id", "role", "family"], maintain_order="left")
        .filter(pl.col("said") | ((pl.col("logged") - pl.col("first_logged")).abs() <= _MISSED_POINTS))
        .filter(pl.col("said") | pl.struct("run_id", "role", "alike").is_first_distinct())
        .filter(pl.len().over("run_id", "role") > 1)
        .select(first.columns)
    )
    names = parts.group_by("run_id", "role").agg(names=pl.col("key").sort())
    others = pl.col("names").list.set_difference(pl.concat_list("key")).list.sort().list.join(", ")
    return (
        parts.join(names, on=["run_id", "role"], maintain_order="left")
        .with_columns(
            reason=pl.format(
                "{}part of a loss, summed with {}",
                pl.when("said").then(pl.lit("override: ")).otherwise(pl.lit("")),
                others,
            ),
            confidence=pl.when("said").then(SAID).otherwise(SUMMED),
        )
        .select(first.columns)
    )


def _alone(first: pl.DataFrame, ordered: pl.DataFrame) -> pl.DataFrame:
    """Lower the confidence where a series was one of several alike, or was logged once."""
    alike = ordered.group_by("run_id", "role", "alike").agg(several=pl.len())
    rate = pl.col("role") == "learning_rate"
    once = (pl.col("logged") == 1) & ~pl.col("said")
    several = (pl.col("several") > 1) & ~pl.col("said")
    least = (
        pl.when(once & rate)
        .then(STAND_IN)
        .when(once)
        .then(ONCE)
        .when(several & ~rate)
        .then(ONE_OF_SEVERAL)
        .otherwise(1.0)
    )
    added = (
        pl.when(once & rate)
        .then(pl.lit("; logged once: constant, or where it starts"))
        .when(once)
        .then(pl.lit("; logged once"))
        .when(several & rate)
        .then(pl.format("; the most usual of {} groups", "several"))
        .when(several)
        .then(pl.format("; the first of {} alike", "several"))
        .otherwise(pl.lit(""))
    )
    return (
        first.join(alike, on=["run_id", "role", "alike"], how="left", maintain_order="left")
        .with_columns(confidence=pl.min_horizontal("confidence", least), reason=pl.col("reason") + added)
        .select(first.columns)
    )
