"""Copy the runs of MLflow stores into the warehouse: read-only, only what has changed, one transaction a store.

A run is read whole again when its number of points, its status, its lifecycle stage, its names, or the content of its
params and tags differ from what was copied (`latest_metrics` would miss late points at lower steps, a count of tags an
edited one). A run that has vanished from its store stays: history outlives `mlflow gc`.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import duckdb

from pipeline.errors import GreedyLRPipelineError, SourceUnreadableError
from pipeline.sources.source import Source, source_id_of
from pipeline.sources.sql_address import canonical_uri
from pipeline.sources.sql_store import reason_of
from pipeline.sources.sqlite_store import SQLiteStore
from pipeline.warehouse import Warehouse, utc_now

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total)."""

OURS: Final = "trained by greedylr"
"""Why a run is skipped: it carries the tag `greedylr.role`, and what we made is never history."""

# One SELECT holds SQLite's shared lock until its last row, and a training job that logs into the same store waits that
# long: half a million rows take about half a second, well below the five seconds after which its client gives up.
_ROWS_PER_SELECT: Final = 500_000


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What became of one source; `points` counts those copied now."""

    uri: str
    status: Literal["read", "unreadable"]
    reason: str | None = None
    runs_new: int = 0
    runs_updated: int = 0
    runs_unchanged: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    points: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What became of every source, in the order given."""

    sources: tuple[SourceReport, ...]


def ingest(
    warehouse: Warehouse,
    addresses: Sequence[str],
    *,
    registry_uri: str | None = None,
    allow_registry_as_source: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Copy what is new in each store; a store that cannot be read is reported and never stops the others.

    Parameters
    ----------
    warehouse
        Where to; created if there is none yet and at least one source can be read.
    addresses
        `sqlite:////absolute`, `sqlite:///relative`, or paths.
    registry_uri
        Where presets are registered: refused as a source.
    allow_registry_as_source
        Read it all the same (a team with one store); runs of ours are skipped there as everywhere.
    progress
        Called with (address, points copied, points to copy).

    Raises
    ------
    ValueError
        No address, the same store twice, the registry, or the warehouse itself.
    WarehouseLockedError, WarehouseTooNewError, WarehouseUnreadableError, WarehouseInaccessibleError
        The warehouse cannot be written; found out before any source is read.
    """
    _check_addresses(addresses, warehouse, None if allow_registry_as_source else registry_uri)
    warehouse.check_writable()
    report = IngestReport(sources=tuple(_ingest_store(warehouse, address, progress) for address in addresses))
    unreadable = [source for source in report.sources if source.status == "unreadable"]
    # Where nothing could be read and no warehouse is yet, none is made.
    if unreadable and warehouse.path.exists():
        with warehouse.writing() as connection:
            for source in unreadable:
                _record(connection, source)
    return report


def _check_addresses(addresses: Sequence[str], warehouse: Warehouse, registry_uri: str | None) -> None:
    if not addresses:
        raise ValueError("at least one source must be given, got none; name an MLflow store: sqlite:////path/mlflow.db")
    seen: dict[str, str] = {}
    registry = None if registry_uri is None else canonical_uri(registry_uri)
    for address in addresses:
        uri = canonical_uri(address)
        if uri in seen:
            raise ValueError(
                f"each source must be given once, got '{seen[uri]}' and '{address}', which are both {uri}; drop one"
            )
        if uri == canonical_uri(str(warehouse.path)):
            raise ValueError(
                f"the warehouse must be a file of its own, got the source '{address}' for it; name another with "
                "--warehouse"
            )
        if uri == registry:
            raise ValueError(
                f"a source must not be the registry, got '{address}' for both; name the registry a store of its own, "
                "or allow the registry as a source"
            )
        seen[uri] = address


def _ingest_store(warehouse: Warehouse, address: str, progress: Progress | None) -> SourceReport:
    started = time.perf_counter()
    try:
        with SQLiteStore(address) as store, warehouse.writing() as connection:
            return _copy(connection, store, progress, started)
    except SourceUnreadableError as error:
        reason = str(error)
    except GreedyLRPipelineError:
        raise
    except Exception as error:  # the border that keeps one broken store from stopping the others
        reason = reason_of(error)
        logger.warning("reading %s failed: %s", address, reason)
        logger.debug("where it failed", exc_info=True)
    return SourceReport(
        uri=canonical_uri(address), status="unreadable", reason=reason, seconds=time.perf_counter() - started
    )


def _copy(
    connection: duckdb.DuckDBPyConnection, store: Source, progress: Progress | None, started: float
) -> SourceReport:
    _load(connection, store.runs(), _STORE_RUNS, [store.source_id])
    _load_params_and_tags(connection, store)
    connection.execute(_CHANGES, {"source_id": store.source_id})
    connection.execute(_STALE)
    connection.execute(_FRESH)
    counts = dict(connection.execute("select change, count(*) from changes group by change").fetchall())
    for table in ("params", "tags", "metrics", "runs"):
        connection.execute(f"delete from {table} where run_id in (from stale)")  # noqa: S608 - literal names
    for table in ("params", "tags"):
        connection.execute(f"insert into {table} from store_{table} where run_id in (from fresh)")
    points = _copy_points(connection, store, progress)
    connection.execute(_RUNS, {"source_id": store.source_id, "now": utc_now()})
    report = SourceReport(
        uri=store.uri,
        status="read",
        reason=_oddity(counts),
        runs_new=counts.get("new", 0),
        runs_updated=counts.get("updated", 0),
        runs_unchanged=counts.get("unchanged", 0),
        skipped={OURS: counts["ours"]} if "ours" in counts else {},
        points=points,
        seconds=time.perf_counter() - started,
    )
    _record(connection, report)
    return report


def _load_params_and_tags(connection: duckdb.DuckDBPyConnection, store: Source) -> None:
    for table in ("params", "tags"):
        connection.execute(f"create temp table store_{table} as from {table} limit 0")
    runs = connection.execute("select run_uuid, param_count + tag_count from store_runs where role = ''").fetchall()
    for run_uuids in _chunks(runs):
        _load(connection, store.params(run_uuids), _PARAMS, [store.source_id])
        _load(connection, store.tags(run_uuids), _TAGS, [store.source_id])


def _copy_points(connection: duckdb.DuckDBPyConnection, store: Source, progress: Progress | None) -> int:
    changed = connection.execute(
        "select run_uuid, point_count from changes where change in ('new', 'updated') order by start_time, run_uuid"
    ).fetchall()
    total = sum(points for _, points in changed)
    copied = 0
    for run_uuids in _chunks(changed):
        copied += _load(connection, store.points(run_uuids), _POINTS, [store.source_id])
        if progress is not None:
            # A run that is being logged to right now may have grown since it was counted.
            progress(store.uri, copied, max(total, copied))
    return copied


def _chunks(runs: Iterable[tuple[str, int]]) -> Iterator[list[str]]:
    chunk: list[str] = []
    rows_in_chunk = 0
    for run_uuid, rows in runs:
        if chunk and rows_in_chunk + rows > _ROWS_PER_SELECT:
            yield chunk
            chunk, rows_in_chunk = [], 0
        chunk.append(run_uuid)
        rows_in_chunk += rows
    if chunk:
        yield chunk


def _load(
    connection: duckdb.DuckDBPyConnection, opened: AbstractContextManager[Any], insert: str, parameters: list[Any]
) -> int:
    with opened as batches:
        connection.register("batches", batches)
        [(count,)] = connection.execute(insert, parameters).fetchall()
        connection.unregister("batches")
    return int(count)


def _oddity(counts: Mapping[str, int]) -> str | None:
    if not counts:
        return "holds no runs"
    return "holds no runs but those trained by greedylr" if set(counts) == {"ours"} else None


def _record(connection: duckdb.DuckDBPyConnection, report: SourceReport) -> None:
    connection.execute(
        _SOURCES,
        {
            "source_id": source_id_of(report.uri),
            "uri": report.uri,
            "status": report.status,
            "reason": report.reason,
            "now": utc_now(),
        },
    )


_STORE_RUNS: Final = "create temp table store_runs as select ? || '/' || run_uuid as run_id, * from batches"

# DuckDB combines the arguments of its own hash() so loosely that two tags which swap their values leave it as it was.
_CHANGES: Final = """
create temp table changes as
with copied as (
    select run_id, bit_xor(md5_number_lower(concat_ws(':', kind, length(key), key, value))) as content
    from (select 'param' as kind, * from params union all select 'tag', * from tags)
    where starts_with(run_id, $source_id || '/') group by run_id
), found as (
    select run_id, bit_xor(md5_number_lower(concat_ws(':', kind, length(key), key, value))) as content
    from (select 'param' as kind, * from store_params union all select 'tag', * from store_tags)
    group by run_id
)
select
    store_runs.*,
    case
        when store_runs.role <> '' then 'ours'
        when runs.run_id is null then 'new'
        when store_runs.point_count = runs.point_count
            and found.content is not distinct from copied.content
            and store_runs.status = runs.status
            and store_runs.lifecycle_stage = runs.lifecycle_stage
            and store_runs.experiment_name = runs.experiment_name
            and store_runs.run_name = coalesce(runs.run_name, '')
        then 'unchanged'
        else 'updated'
    end as change
from store_runs
left join runs using (run_id)
left join copied using (run_id)
left join found using (run_id)
"""

_STALE: Final = "create temp view stale as select run_id from changes where change in ('updated', 'ours')"
_FRESH: Final = "create temp view fresh as select run_id from changes where change in ('new', 'updated')"

_PARAMS: Final = "insert into store_params select ? || '/' || run_uuid, key, value from batches"
_TAGS: Final = "insert into store_tags select ? || '/' || run_uuid, key, value from batches"

# MLflow cannot store what is not a number: NaN is 0 with a flag, the infinities are the largest floats.
_POINTS: Final = """
insert into metrics
select
    ? || '/' || run_uuid,
    key,
    step,
    timestamp,
    case
        when is_nan <> 0 then 'nan'::double
        when value >= 1.7976931348623157e308 then 'inf'::double
        when value <= -1.7976931348623157e308 then '-inf'::double
        else value
    end
from batches
"""

_RUNS: Final = """
insert into runs
select
    changes.run_id, $source_id, run_uuid, experiment_id, experiment_name, nullif(run_name, ''), status, lifecycle_stage,
    nullif(start_time, -1), nullif(end_time, -1), coalesce(copied.points, 0), false, nullif(preset, ''), $now
from changes
left join (
    select run_id, count(*) as points from metrics
    where run_id in (from fresh)
    group by run_id
) as copied using (run_id)
where change in ('new', 'updated')
"""

_SOURCES: Final = """
insert or replace into sources
select $source_id, $uri, $status, $reason, $now, count(*), coalesce(sum(point_count), 0)
from runs where source_id = $source_id
"""
