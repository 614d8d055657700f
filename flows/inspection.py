"""A run or a group as the pipeline sees it: what was logged, what was made of it, and what is wrong with it."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any, Final

from features.declared_settings import declared_settings
from features.series_roles import judged_series, possible_names
from flows.past_decisions import run_features
from flows.road import Road
from flows.run_remarks import remarks

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
# A trial of a run has the run's id with '#' and its number after it.
RUNS_OF_GROUP = r"""
select run_uuid || coalesce(regexp_extract(usable_runs.run_id, '#\d+$'), '') as run, run_name, experiment_name, status,
    start_time, usable_runs.* exclude (run_id),
    (select count(training_loss) from trajectories where trajectories.run_id = usable_runs.run_id) as training_points
from run_groups
join usable_runs using (run_id)
join runs on runs.run_id = regexp_replace(usable_runs.run_id, '#\d+$', '')
where group_name = ?
order by start_time desc nulls last, run_uuid, length(usable_runs.run_id), usable_runs.run_id
"""
ROLES_OF_GROUP = r"""
select role, key, count(*) as runs, min(confidence) as confidence,
    string_agg(distinct reason, '; or ' order by reason) as reason
from series_roles
where run_id in (select regexp_replace(run_id, '#\d+$', '') from run_groups where group_name = ?)
group by role, key order by role, runs desc, key
"""
TRIALS = """
select usable_runs.*, (select count(*) from trajectories where trajectories.run_id = usable_runs.run_id) as points
from usable_runs where starts_with(run_id, ? || '#') order by length(run_id), run_id
"""

TRIAL: Final = re.compile(r"#\d+$")


def inspected_run(road: Road, run_id: str) -> dict[str, Any]:
    """Return all that is known of a run: where it is from, its series and their roles, its curve, what is wrong.

    Parameters
    ----------
    road
        Whose warehouse is described.
    run_id
        Of a run, or of one of the trials that were logged into it.
    """
    warehouse, logged_into = road.warehouse, TRIAL.sub("", run_id)
    run = warehouse.frame("select runs.*, uri from runs join sources using (source_id) where run_id = ?", [logged_into])
    series = warehouse.frame("from series where run_id = ?", [logged_into])
    judged = judged_series(series, road.settings.roles.said).join(series, on=["run_id", "key"])
    judged = judged.join(warehouse.frame(LOGGED, [logged_into]), on="key", how="left").drop("run_id")
    declared = (
        declared_settings(warehouse.frame("from params where run_id = ?", [logged_into])).drop("run_id").to_dicts()
    )
    described = warehouse.frame("from usable_runs where run_id = ?", [run_id]).drop("run_id").to_dicts()[0]
    left_out = warehouse.frame(
        "select key from logged_series where run_id = ? and not copied order by key", [logged_into]
    )
    groups = warehouse.frame("select group_name from run_groups where run_id = ? order by 1", [run_id])
    curve = warehouse.frame("from trajectories where run_id = ? order by position", [run_id]).drop("run_id")
    facts = run.to_dicts()[0] | {"trial": run_id[len(logged_into) + 1 :] or None}
    return {
        "run": facts,
        "groups": groups["group_name"].to_list(),
        "series": judged.sort("role", "key", nulls_last=True).to_dicts(),
        "not_copied": left_out["key"].to_list(),
        "awaited": possible_names(left_out["key"].to_list(), road.settings.roles.said),
        "declared": declared[0] if declared else {},
        "described": described,
        "trials": warehouse.frame(TRIALS, [run_id]).to_dicts(),
        "trajectory": curve.to_dicts(),
        "features": run_features(warehouse, run_id).to_dicts(),
        "remarks": list(remarks(facts, described, judged, curve)),
    }


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
