"""The rows of the table of sources: where each is, what became of it, and what the warehouse holds of it."""

from typing import Final

import duckdb

from pipeline.ingest_report import SourceStatus
from pipeline.warehouse import utc_now


def record(
    connection: duckdb.DuckDBPyConnection, source_id: str, uri: str, status: SourceStatus, reason: str | None
) -> None:
    """Replace the row of a source."""
    values = {"source_id": source_id, "uri": uri, "status": status, "reason": reason, "now": utc_now()}
    connection.execute(_RECORD, values)


def record_begun(connection: duckdb.DuckDBPyConnection, source_id: str, uri: str) -> None:
    """Give a source a row with its first batch: it is known even if its ingestion never ends."""
    connection.execute(_BEGUN, {"source_id": source_id, "uri": uri, "now": utc_now()})


_RECORD: Final = """
insert or replace into sources
select $source_id, $uri, $status, $reason, $now, count(*), coalesce(sum(point_count), 0)
from runs where source_id = $source_id
"""

_BEGUN: Final = """
insert or ignore into sources values ($source_id, $uri, 'broken off', 'its ingestion has not ended', $now, 0, 0)
"""
