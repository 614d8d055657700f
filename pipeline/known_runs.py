"""What the warehouse knows of the sources and their runs, read in one short visit before a source is asked for more."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import duckdb
import polars as pl

from pipeline.changes import KNOWN_COLUMNS
from pipeline.selection import ChooseSeries
from pipeline.warehouse import Warehouse, frame_of

_SOURCES = "select uri, source_id from sources order by uri"
_RUNS = """
select
    run_id, source_id, run_uuid, status, lifecycle_stage, experiment_name, coalesce(run_name, '') as run_name,
    start_time, coalesce(end_time, -1) as end_time, watermark, content, vanished_at is not null as has_vanished
from runs where not is_ours
"""
_NAMES = "select distinct key from logged_series where not copied and starts_with(run_id, ? || '/')"
_LACKING = """
select distinct run_id, true as lacks_series
from logged_series join asked_for using (key) where not copied and starts_with(run_id, ? || '/')
"""
_COPIED = "select run_uuid, key from logged_series join runs using (run_id) join asked_for using (run_id) where copied"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the warehouse holds.

    Parameters
    ----------
    source_ids
        By address.
    runs
        Of all sources: source_id and `changes.KNOWN_COLUMNS` except `lacks_series`.
    """

    source_ids: Mapping[str, str]
    runs: pl.DataFrame

    def uri_of(self, source_id: str) -> str:
        """Give the address that a source had last."""
        return next(uri for uri, known in self.source_ids.items() if known == source_id)

    def of(self, source_id: str) -> pl.DataFrame:
        """Give the runs of one source."""
        return self.runs.filter(pl.col("source_id") == source_id)


def known(warehouse: Warehouse) -> Known:
    """Read it; nothing where there is no warehouse yet."""
    if not warehouse.path.exists():
        runs = pl.DataFrame(schema={"source_id": pl.String, **KNOWN_COLUMNS}).drop("lacks_series")
        return Known(source_ids={}, runs=runs)
    with warehouse.reading() as connection:
        return Known(
            source_ids=dict(frame_of(connection, _SOURCES).iter_rows()), runs=frame_of(connection, _RUNS).sort("run_id")
        )


def with_lacking_series(
    warehouse: Warehouse, runs: pl.DataFrame, source_id: str, choose: ChooseSeries | None
) -> pl.DataFrame:
    """Add to the known runs of a source whether one of their series is asked for now and was not copied."""
    if runs.is_empty():
        return runs.with_columns(lacks_series=pl.lit(False))
    with warehouse.reading() as connection:
        lacking = _lacking(connection, source_id, choose)
    return runs.join(lacking, on="run_id", how="left").with_columns(pl.col("lacks_series").fill_null(False))


def _lacking(connection: duckdb.DuckDBPyConnection, source_id: str, choose: ChooseSeries | None) -> pl.DataFrame:
    names = frame_of(connection, _NAMES, [source_id])["key"].to_list()
    asked_for: Collection[str] = names if choose is None else choose(names)
    connection.register("asked_for", pl.DataFrame({"key": list(asked_for)}, schema={"key": pl.String}).to_arrow())
    return frame_of(connection, _LACKING, [source_id])


def copied_series(warehouse: Warehouse, run_ids: Collection[str]) -> pl.DataFrame:
    """Name the series that were copied of some runs: run_uuid, key."""
    if not run_ids:
        return pl.DataFrame(schema={"run_uuid": pl.String, "key": pl.String})
    with warehouse.reading() as connection:
        connection.register("asked_for", pl.DataFrame({"run_id": list(run_ids)}).to_arrow())
        return frame_of(connection, _COPIED)
