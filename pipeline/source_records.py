"""The rows of the table of sources: where each is, what became of it, and what the warehouse holds of it."""

from typing import Final

import duckdb

from pipeline.ingest_report import SourceStatus
from pipeline.warehouse import utc_now


def record(
    connection: duckdb.DuckDBPyConnection, source_id: str, uri: str, status: SourceStatus, reason: str | None
) -> None:
    """Replace the row of a source, and take out those that another has without a run at the same address.

    An address where nothing was found has such a row; a store that has moved there must not be two sources by it.
    """
    values = {"source_id": source_id, "uri": uri, "status": status, "reason": reason, "now": utc_now()}
    connection.execute(_RECORD, values)
    connection.execute(_CLEAR, {"source_id": source_id, "uri": uri})


def record_begun(connection: duckdb.DuckDBPyConnection, source_id: str, uri: str) -> None:
    """Give a source a row with its first batch: it is known even if its ingestion never ends."""
    connection.execute(_BEGUN, {"source_id": source_id, "uri": uri, "now": utc_now()})


_RECORD: Final = """
insert or replace into sources
select $source_id, $uri, $status, $reason, $now, count(*), coalesce(sum(point_count), 0)
from runs where source_id = $source_id
"""

_CLEAR: Final = "delete from sources where uri = $uri and source_id <> $source_id and run_count = 0"

_BEGUN: Final = """
insert or ignore into sources values ($source_id, $uri, 'broken off', 'its ingestion has not ended', $now, 0, 0)
"""
