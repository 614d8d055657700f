"""What is asked of an MLflow database, in the SQL that SQLite and PostgreSQL share.

The lists that a query chooses by (names of runs, of series, of experiments) stand behind a column as `{run_uuids}`,
`{keys}` and `{experiment_ids}`; a store puts the comparison there in which its database unfolds a JSON list.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from pipeline.sources.source import (
    PAIR_SCHEMA,
    POINT_SCHEMA,
    PRESET_TAG,
    ROLE_TAG,
    RUN_SCHEMA,
    SERIES_SCHEMA,
    SYSTEM_PREFIX,
)

REQUIRED_COLUMNS: Final = {
    "experiments": ("experiment_id", "name"),
    "runs": ("run_uuid", "experiment_id", "name", "status", "lifecycle_stage", "start_time", "end_time"),
    "params": ("run_uuid", "key", "value"),
    "tags": ("run_uuid", "key", "value"),
    "metrics": ("run_uuid", "key", "step", "timestamp", "value", "is_nan"),
}
"""What a database must have to be an MLflow store that can be read; those of 2022 have it, and those of today."""

DEFAULT_WORKSPACE: Final = "default"


@dataclass(frozen=True, kw_only=True)
class Query:
    """One SELECT, the lists it chooses by, and the columns that come out."""

    sql: str
    schema: pa.Schema
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)


def experiments_query(*, has_workspaces: bool) -> Query:
    """Ask for the experiments, named as in `runs_query`."""
    name = _experiment_name(has_workspaces)
    return Query(
        sql=f"select cast(experiment_id as text) as experiment_id, {name} as experiment_name from experiments",  # noqa: S608
        schema=pa.schema([("experiment_id", pa.string()), ("experiment_name", pa.string())]),
    )


def runs_query(*, has_workspaces: bool, experiment_ids: Sequence[str] | None = None, since: int | None = None) -> Query:
    """Ask for runs, with `RUN_COLUMNS`.

    Parameters
    ----------
    has_workspaces
        Whether experiments have a workspace (MLflow 3.10 and later). Two workspaces may have experiments of one name,
        so outside the default workspace a name is `workspace/name`; a workspace's own name has no `/`.
    experiment_ids
        Of which experiments; None for all.
    since
        Only runs that started then or later (milliseconds since 1970), or never; None for all.
    """
    conditions = []
    if experiment_ids is not None:
        conditions.append("cast(experiment_id as text) {experiment_ids}")
    if since is not None:
        conditions.append(f"coalesce(start_time, {since:d}) >= {since:d}")
    # Without a scope no such condition: it would keep PostgreSQL from counting with several processes.
    chosen = "true"
    if conditions:
        chosen = f"run_uuid in (select run_uuid from runs where {' and '.join(conditions)})"  # noqa: S608 - ours alone
    return Query(
        sql=_RUNS.format(chosen=chosen, experiment_name=_experiment_name(has_workspaces)),
        schema=RUN_SCHEMA,
        lists={} if experiment_ids is None else {"experiment_ids": experiment_ids},
    )


def pairs_query(table: str, run_uuids: Sequence[str]) -> Query:
    """Ask for the params or the tags of these runs."""
    return Query(
        sql=f"select run_uuid, key, coalesce(value, '') as value from {table} where run_uuid {{run_uuids}}",  # noqa: S608
        schema=PAIR_SCHEMA,
        lists={"run_uuids": run_uuids},
    )


def series_query(run_uuids: Sequence[str], *, of_latest: bool) -> Query:
    """Ask for the names of the series of these runs: by `latest_metrics`, or by the points themselves.

    `latest_metrics` has one row a series. MLflow writes it in the transaction that writes the point, so it is complete,
    though the row is not always that of the last point written.
    """
    select = "select run_uuid, key from latest_metrics" if of_latest else "select distinct run_uuid, key from metrics"
    return Query(
        sql=f"{select} where run_uuid {{run_uuids}} and {_NOT_SYSTEM}",
        schema=SERIES_SCHEMA,
        lists={"run_uuids": run_uuids},
    )


def points_query(run_uuids: Sequence[str], keys: Collection[str] | None) -> Query:
    """Ask for the points of these runs: all, or those of the series with these names."""
    return Query(
        sql=_POINTS if keys is None else f"{_POINTS} and key {{keys}}",
        schema=POINT_SCHEMA,
        lists={"run_uuids": run_uuids} if keys is None else {"run_uuids": run_uuids, "keys": sorted(keys)},
    )


def _experiment_name(has_workspaces: bool) -> str:
    if not has_workspaces:
        return "coalesce(experiments.name, '')"
    return (
        f"case when coalesce(experiments.workspace, '{DEFAULT_WORKSPACE}') = '{DEFAULT_WORKSPACE}'"
        " then coalesce(experiments.name, '') else experiments.workspace || '/' || experiments.name end"
    )


_NOT_SYSTEM: Final = f"substr(key, 1, {len(SYSTEM_PREFIX)}) <> '{SYSTEM_PREFIX}'"

# No text may be null: SQLite's driver types a column by its first batch, and makes integers of a batch of nulls.
_RUNS: Final = f"""
with logged as (
    select run_uuid, count(*) as points from metrics where {{chosen}} and {_NOT_SYSTEM} group by run_uuid
), given as (
    select run_uuid, count(*) as params from params where {{chosen}} group by run_uuid
), marked as (
    select
        run_uuid,
        count(*) as tags,
        max(case when key = '{ROLE_TAG}' then value end) as role,
        max(case when key = '{PRESET_TAG}' then value end) as preset,
        max(case when key = 'mlflow.runName' then value end) as name
    from tags where {{chosen}} group by run_uuid
)
select
    runs.run_uuid as run_uuid,
    cast(runs.experiment_id as text) as experiment_id,
    {{experiment_name}} as experiment_name,
    coalesce(nullif(runs.name, ''), marked.name, '') as run_name,
    coalesce(runs.status, '') as status,
    coalesce(runs.lifecycle_stage, 'active') as lifecycle_stage,
    coalesce(runs.start_time, -1) as start_time,
    coalesce(runs.end_time, -1) as end_time,
    coalesce(marked.role, '') as role,
    coalesce(marked.preset, '') as preset,
    coalesce(logged.points, 0) as point_count,
    coalesce(given.params, 0) as param_count,
    coalesce(marked.tags, 0) as tag_count,
    cast(coalesce(logged.points, 0) as text) as watermark
from (select * from runs where {{chosen}}) as runs
left join experiments on experiments.experiment_id = runs.experiment_id
left join logged on logged.run_uuid = runs.run_uuid
left join given on given.run_uuid = runs.run_uuid
left join marked on marked.run_uuid = runs.run_uuid
"""  # noqa: S608 - the names are literals of this project

_POINTS: Final = f"""
select
    run_uuid, key, step, timestamp, cast(value as double precision) as value,
    cast(cast(is_nan as integer) as bigint) as is_nan
from metrics where run_uuid {{run_uuids}} and {_NOT_SYSTEM}
"""  # noqa: S608
