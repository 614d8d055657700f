"""Runs from a source into the warehouse, a batch at a time.

A batch is read into memory first and written then, in one transaction with the rows that say it was read: the
warehouse's lock is never held while a source is waited for, and whoever is killed in between has lost one batch.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.catalogue import chunks
from pipeline.examination import Examination
from pipeline.selection import ChooseSeries
from pipeline.source_records import record_begun
from pipeline.sources.source import POINT_SCHEMA, SERIES_SCHEMA, UNCOUNTED, Source
from pipeline.warehouse import Warehouse, utc_now

POINTS_PER_BATCH: Final = 500_000
POINTS_OF_A_RUN: Final = 20_000
"""What a run is taken to have where the source cannot count: a batch is then 25 runs."""

TABLES_BY_RUN: Final = ("params", "tags", "metrics", "logged_series", "runs")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some runs of a source, whole.

    Parameters
    ----------
    run_uuids
        Of these runs.
    points
        run_uuid, key, step, timestamp, value, is_nan of the series that were asked for.
    series
        run_uuid, key of all their series; None where all were asked for.
    """

    run_uuids: list[str]
    points: pa.Table
    series: pa.Table | None


def batches(source: Source, examination: Examination, choose: ChooseSeries | None) -> Iterator[Batch]:
    """Read the new and the updated runs of an open source, the next batch while the one before is written."""
    runs, copied = examination.to_copy, examination.copied
    lists = chunks(zip(runs["run_uuid"], expected_points(runs), strict=True), POINTS_PER_BATCH)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading") as reader:
        first = next(lists, None)
        coming = None if first is None else reader.submit(_read, source, first, choose, copied)
        while coming is not None:
            batch = coming.result()
            following = next(lists, None)
            coming = None if following is None else reader.submit(_read, source, following, choose, copied)
            yield batch


def expected_points(runs: pl.DataFrame) -> list[int]:
    """Give what each run is taken to have."""
    counts = runs["point_count"]
    return [POINTS_OF_A_RUN if count == UNCOUNTED else count for count in counts]


def read_series(source: Source, run_uuids: list[str]) -> pa.Table:
    """Read the names of the series of some runs."""
    with source.series(run_uuids) as reader:
        return reader.read_all()


def read_points(source: Source, run_uuids: list[str], keys: list[str] | None) -> pa.Table:
    """Read the points of some runs into memory."""
    with source.points(run_uuids, keys) as reader:
        return reader.read_all()


def _read(source: Source, run_uuids: list[str], choose: ChooseSeries | None, copied: pl.DataFrame) -> Batch:
    if choose is None:
        return Batch(run_uuids=run_uuids, points=read_points(source, run_uuids, None), series=None)
    series = read_series(source, run_uuids)
    chosen = set(choose(series["key"].unique().to_pylist()))
    copied = copied.filter(pl.col("run_uuid").is_in(run_uuids) & ~pl.col("key").is_in(list(chosen)))
    points = read_points(source, run_uuids, sorted(chosen | set(copied["key"])))
    if len(copied):
        # What one run keeps is not asked for of the others.
        points = asked_for(pl.DataFrame(points), chosen, copied).to_arrow().cast(POINT_SCHEMA)
    return Batch(run_uuids=run_uuids, points=points, series=series)


def asked_for(rows: pl.DataFrame, chosen: Collection[str], copied: pl.DataFrame) -> pl.DataFrame:
    """Keep the rows of chosen series, and of those that were copied of a run before (run_uuid, key)."""
    was_copied = copied.select("run_uuid", "key", was_copied=pl.lit(True))
    both = rows.join(was_copied, on=["run_uuid", "key"], how="left", maintain_order="left")
    return both.filter(pl.col("key").is_in(list(chosen)) | pl.col("was_copied").is_not_null()).drop("was_copied")


def write(warehouse: Warehouse, batch: Batch, examination: Examination, uri: str) -> int:
    """Replace the runs of a batch in one transaction; return how many points they have now.

    Parameters
    ----------
    warehouse, batch
        Where to, and what.
    examination
        What the source said of its runs.
    uri
        The address of the source.
    """
    rows = examination.runs.filter(pl.col("run_uuid").is_in(batch.run_uuids)).with_columns(
        run_id=pl.lit(f"{examination.source_id}/") + pl.col("run_uuid")
    )
    tables = {
        "batch_runs": rows.to_arrow(),
        "batch_points": batch.points,
        "batch_series": batch.series if batch.series is not None else SERIES_SCHEMA.empty_table(),
        "source_params": examination.catalogue.params,
        "source_tags": examination.catalogue.tags,
    }
    with warehouse.writing() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        updated = rows.filter(pl.col("change") == "updated")["run_id"].to_list()
        if updated:
            delete_runs(connection, updated)
        for insert in (_PARAMS, _TAGS, _COPIED, _SERIES):
            connection.execute(insert)
        [(points,)] = connection.execute(_POINTS).fetchall()
        connection.execute(_RUNS, {"source_id": examination.source_id, "now": utc_now()})
        record_begun(connection, examination.source_id, uri)
    return int(points)


def delete_runs(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> None:
    """Take runs out of all tables that ingestion fills."""
    connection.register("stale", pl.DataFrame({"run_id": run_ids}, schema={"run_id": pl.String}).to_arrow())
    for table in TABLES_BY_RUN:
        connection.execute(f"delete from {table} where run_id in (from stale)")  # noqa: S608 - literal names
    connection.unregister("stale")


# A join that gives run_id is cheaper than putting half a million texts together.
_PARAMS: Final = "insert into params select run_id, key, value from source_params join batch_runs using (run_uuid)"
_TAGS: Final = "insert into tags select run_id, key, value from source_tags join batch_runs using (run_uuid)"

# MLflow cannot store what is not a number: NaN is 0 with a flag, the infinities are the largest floats.
_POINTS: Final = """
insert into metrics
select
    run_id,
    key,
    step,
    timestamp,
    case
        when is_nan <> 0 then 'nan'::double
        when value >= 1.7976931348623157e308 then 'inf'::double
        when value <= -1.7976931348623157e308 then '-inf'::double
        else value
    end
from batch_points join batch_runs using (run_uuid)
"""

_COPIED: Final = """
create temp table copied as
select run_id, key, count(*) as points from batch_points join batch_runs using (run_uuid) group by all
"""

_SERIES: Final = """
insert into logged_series
select run_id, key, true from copied
union all
select distinct run_id, key, false
from batch_series join batch_runs using (run_uuid) anti join copied using (run_id, key)
"""

# A source that cannot count has logged what was copied, and at least one point of every other series.
_RUNS: Final = f"""
insert into runs by name
with logged as (
    select run_id, coalesce(sum(points), 0) as points, count(*) filter (not copied) as others
    from logged_series left join copied using (run_id, key)
    where run_id in (select run_id from batch_runs) group by run_id
)
select
    run_id,
    $source_id as source_id,
    run_uuid, experiment_id, experiment_name,
    nullif(run_name, '') as run_name,
    status, lifecycle_stage,
    nullif(start_time, -1) as start_time,
    nullif(end_time, -1) as end_time,
    coalesce(points, 0) as point_count,
    case point_count when {UNCOUNTED} then coalesce(points + others, 0) else point_count end as logged_points,
    watermark, content,
    false as is_ours,
    nullif(preset, '') as trained_with_preset,
    $now as ingested_at
from batch_runs left join logged using (run_id)
"""  # noqa: S608 - a number of this project
