"""A run or a group as the pipeline sees it: what was logged, what was made of it, and what is wrong with it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl

from features.declared_settings import declared_settings
from features.series_roles import judged_series
from flows.road import RUNS, Road

MOST_NAMES = 8
CURVES = ("training_loss", "validation_loss", "learning_rate")

# What was logged of each series that has a role; `falls` is how often the step went back in the order of time.
LOGGED = """
select key, count(*) as logged, count(distinct (step, timestamp, value)) as distinct_points,
    count(distinct step) as steps, min(step) as first_step, max(step) as last_step,
    count(*) filter (step < step_before) as falls
from (
    select *, lag(step) over (partition by key order by timestamp, step) as step_before
    from role_points where run_id = ?
)
group by key order by key
"""
RUNS_OF_GROUP = """
select run_uuid, run_name, experiment_name, status, start_time, usable_runs.* exclude (run_id),
    (select count(training_loss) from trajectories where trajectories.run_id = runs.run_id) as training_points,
    (select min(confidence) from series_roles where series_roles.run_id = runs.run_id) as confidence
from runs join usable_runs using (run_id) join run_groups using (run_id)
where group_name = ? order by start_time desc nulls last, run_uuid
"""
ROLES_OF_GROUP = """
select role, key, count(*) as runs, min(confidence) as confidence,
    string_agg(distinct reason, '; or ' order by reason) as reason
from series_roles join run_groups using (run_id)
where group_name = ? group by role, key order by role, runs desc, key
"""
# A curve that begins this many of its steps after its beginning was resumed, or its beginning was not logged.
_LATE = 2.0
# Two losses that are equal so often are one.
_MANY = 5


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a name on the command line stands for."""

    kind: Literal["run", "group"]
    name: str


def found(road: Road, name: str) -> Found:
    """Return the group of this name, or the run whose id or name is it or begins with it.

    Raises
    ------
    ValueError
        Nothing is called so (the nearest names are given), or several runs are.
    """
    groups = road.warehouse.frame("select distinct group_name from run_groups order by 1")["group_name"].to_list()
    runs = road.warehouse.frame(f"select run_id, run_uuid, run_name, experiment_name from ({RUNS})")  # noqa: S608
    if name in groups:
        return Found(kind="group", name=name)
    for matches in _matches(name):
        those = runs.filter(matches)
        if len(those) == 1:
            return Found(kind="run", name=those["run_id"][0])
        if len(those) > 1:
            raise ValueError(_ambiguous(name, those))
    known = [*groups, *runs["run_name"].drop_nulls().unique().sort().to_list(), *runs["run_uuid"].to_list()]
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`greedylr runs` lists the groups"
    raise ValueError(f"a run's id or name, the beginning of one, or a group's name must be given, got '{name}'; {hint}")


def _matches(name: str) -> Iterator[pl.Expr]:
    yield pl.col("run_uuid") == name.lower()
    yield pl.col("run_name") == name
    yield pl.col("run_uuid").str.starts_with(name.lower()) | pl.col("run_name").str.starts_with(name).fill_null(False)


def _ambiguous(name: str, runs: pl.DataFrame) -> str:
    shown = [
        f"{run['run_uuid'][:12]} ({run['run_name'] or 'no name'}, {run['experiment_name']})"
        for run in runs.sort("run_name", "run_uuid").head(MOST_NAMES).to_dicts()
    ]
    more = f" and {len(runs) - MOST_NAMES} more" if len(runs) > MOST_NAMES else ""
    return f"'{name}' must stand for one run, got {len(runs)}: {', '.join(shown)}{more}; give more of the id"


def inspected_run(road: Road, run_id: str) -> dict[str, Any]:
    """Return all that is known of a run: where it is from, its series and their roles, its curve, what is wrong."""
    warehouse = road.warehouse
    run = warehouse.frame("select runs.*, uri from runs join sources using (source_id) where run_id = ?", [run_id])
    params = warehouse.frame("from params where run_id = ?", [run_id])
    series = warehouse.frame("from series where run_id = ?", [run_id])
    described = warehouse.frame("from usable_runs where run_id = ?", [run_id]).drop("run_id").to_dicts()[0]
    groups = warehouse.frame("select group_name from run_groups where run_id = ? order by 1", [run_id])
    curve = warehouse.frame("from trajectories where run_id = ? order by position", [run_id]).drop("run_id")
    declared = declared_settings(params).drop("run_id").to_dicts()
    judged = judged_series(series, road.settings.roles.said).join(series, on=["run_id", "key"]).drop("run_id")
    logged = warehouse.frame(LOGGED, [run_id])
    facts = run.to_dicts()[0]
    return {
        "run": facts,
        "groups": groups["group_name"].to_list(),
        "series": judged.join(logged, on="key", how="left").sort("role", "key", nulls_last=True).to_dicts(),
        "declared": declared[0] if declared else {},
        "described": described,
        "trajectory": curve.to_dicts(),
        "remarks": list(_remarks(facts, described, judged, logged, curve)),
    }


def _remarks(
    run: dict[str, Any], described: dict[str, Any], judged: pl.DataFrame, logged: pl.DataFrame, curve: pl.DataFrame
) -> Iterator[str]:
    """Say what is wrong with a run or odd about it, the worst first."""
    if not described["usable"]:
        yield f"not usable: {described['reason']}"
    if described["diverged"]:
        yield "diverged: it ends higher than it began, or not as a number"
    if run["lifecycle_stage"] != "active":
        yield f"{run['lifecycle_stage']} in its store"
    if run["status"] != "FINISHED":
        yield f"status {run['status']}, not FINISHED"
    for row in judged.filter(pl.col("role").is_not_null(), pl.col("non_finite_points") > 0).sort("key").to_dicts():
        yield f"{row['key']}: {row['non_finite_points']:,} of its values are not finite"
    yield from _remarks_on_steps(logged)
    for role in CURVES:
        if not judged["role"].eq(role).any() and curve.height:
            yield _missing(role, described)
    both = curve.filter(pl.col("training_loss").is_not_null(), pl.col("validation_loss").is_not_null())
    if len(both) >= _MANY and both["training_loss"].eq(both["validation_loss"]).all():
        yield "training and validation loss are equal at every step: one of them was logged as both"
    steps = curve.filter(pl.col("training_loss").is_not_null())["step"] if curve.height else pl.Series([0])
    spacing = steps.diff().median()
    if isinstance(spacing, float) and steps[0] > max(1, _LATE * spacing):
        yield f"begins at step {steps[0]:,}: resumed, or its beginning is not logged"
    if curve.height and curve["progress"].null_count():
        yield "its planned length is unknown, so its steps are no share of it"


def _remarks_on_steps(logged: pl.DataFrame) -> Iterator[str]:
    for row in logged.to_dicts():
        key, points = row["key"], row["logged"]
        if copies := points - row["distinct_points"]:
            yield f"{key}: {copies:,} of {points:,} points were logged twice, and count once"
        if row["steps"] == 1 and points > 1:
            yield f"{key}: all {points:,} points are at step {row['first_step']}; taken in the order of time"
        elif row["falls"]:
            yield f"{key}: its step goes back {_times(row['falls'])}; resumed, trials, or logged again at the end"
        elif row["distinct_points"] >= 2 * row["steps"]:
            yield f"{key}: {points:,} points at {row['steps']:,} steps; taken in the order of time"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _missing(role: str, described: dict[str, Any]) -> str:
    if role != "learning_rate":
        return f"no {role.replace('_', ' ')} was found among its series"
    rate = described["starting_rate"]
    return "no rate is logged" + (" nor declared" if rate is None else f"; {rate:g} is declared")


def inspected_group(road: Road, group: str) -> dict[str, Any]:
    """Return the runs of a group, what each was trained with and how it went, and the series that tell it."""
    runs, roles = (road.warehouse.frame(query, [group]) for query in (RUNS_OF_GROUP, ROLES_OF_GROUP))
    return {"group": group, "runs": runs.to_dicts(), "roles": roles.to_dicts()}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: a time as ISO 8601, what is not finite as null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
