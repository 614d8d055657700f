"""What is wrong with a run or odd about it, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from features.run_descriptors import NO_SURE_LOSS
from features.series_order import begins_late

CURVES = ("training_loss", "validation_loss", "learning_rate")

# Two losses that are equal so often are one.
_MANY = 5


def remarks(
    run: Mapping[str, Any], described: Mapping[str, Any], series: pl.DataFrame, curve: pl.DataFrame
) -> Iterator[str]:
    """Say what is wrong with a run or odd about it, the worst first.

    Parameters
    ----------
    run
        Its row of the table of runs.
    described
        Its row of the table of usable runs.
    series
        All that it logged: key, role (null for none), non_finite_points, and of those with a role logged,
        distinct_points, steps, first_step and falls.
    curve
        Its trajectory, sorted.
    """
    if not described["usable"]:
        yield f"not usable: {described['reason']}"
    if described["reason"] == NO_SURE_LOSS:
        yield "[roles] in greedylr.toml can say which series is its loss"
    if described["diverged"]:
        yield "diverged: it ends higher than it began, or not as a number"
    if run["lifecycle_stage"] != "active":
        yield f"{run['lifecycle_stage']} in its store"
    if run["status"] != "FINISHED":
        yield f"status {run['status']}, not FINISHED"
    for row in series.filter(pl.col("role").is_not_null(), pl.col("non_finite_points") > 0).sort("key").to_dicts():
        yield f"{row['key']}: {row['non_finite_points']:,} of its values are not finite"
    yield from _on_steps(series.filter(pl.col("role").is_in(CURVES)).sort("key"))
    if curve.height:
        yield from _on_curve(described, series, curve)


def _on_curve(described: Mapping[str, Any], series: pl.DataFrame, curve: pl.DataFrame) -> Iterator[str]:
    for role in CURVES:
        if not series["role"].eq(role).any():
            yield _missing(role, described)
    both = curve.filter(pl.col("training_loss").is_not_null(), pl.col("validation_loss").is_not_null())
    if len(both) >= _MANY and both["training_loss"].eq(both["validation_loss"]).all():
        yield "training and validation loss are equal at every step: one of them was logged as both"
    losses = curve.filter(pl.coalesce("training_loss", "validation_loss").is_not_null())
    if losses.select(begins_late(pl.col("step"))).item():
        yield f"begins at step {losses['step'][0]:,}: resumed, or its beginning is not logged"
    if curve["progress"].null_count():
        yield "its planned length is unknown, so its steps are no share of it"


def _on_steps(series: pl.DataFrame) -> Iterator[str]:
    for row in series.to_dicts():
        key, points = row["key"], row["logged"]
        if copies := points - row["distinct_points"]:
            yield f"{key}: {copies:,} of {points:,} points were logged twice, and count once"
        if row["steps"] == 1 and points > 1:
            yield f"{key}: all {points:,} points are at step {row['first_step']}; taken in the order of time"
        elif row["falls"]:
            yield f"{key}: its step goes back {_times(row['falls'])}; resumed, trials, or logged again at the end"
        elif row["distinct_points"] >= 2 * row["steps"]:
            yield f"{key}: {points:,} points at {row['steps']:,} steps; taken in the order of time"
        elif (more := row["distinct_points"] - row["steps"]) > 0:
            yield f"{key}: {_times(more)} a step was logged again; its earliest point stands"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _missing(role: str, described: Mapping[str, Any]) -> str:
    if role != "learning_rate":
        return f"no {role.replace('_', ' ')} was found among its series"
    rate = described["starting_rate"]
    return "no rate is logged" + (" nor declared" if rate is None else f"; {rate:g} is declared")
