"""A condition on runs that a user writes: a boolean expression of DuckDB, evaluated where nothing can be reached.

The connection is one of its own in memory: it sees no warehouse, and may open no file and no network, whatever the
expression calls. What is bound is a single expression, so no statement can follow it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb
import pyarrow as pa

from pipeline.sources.source import PAIR_SCHEMA, RUN_SCHEMA

_CLOSED: Final = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}

_RUNS: Final = """
create temp view runs as
with given as (
    select run_uuid, map_from_entries(list((key, value))) as params
    from (select run_uuid, key, any_value(value) as value from given_params group by run_uuid, key) group by run_uuid
), marked as (
    select run_uuid, map_from_entries(list((key, value))) as tags
    from (select run_uuid, key, any_value(value) as value from given_tags group by run_uuid, key) group by run_uuid
)
select
    run_uuid, run_name, experiment_name, status, lifecycle_stage,
    epoch_ms(nullif(start_time, -1)) as start_time,
    epoch_ms(nullif(end_time, -1)) as end_time,
    coalesce(params, map()) as params,
    coalesce(tags, map()) as tags
from given_runs left join given using (run_uuid) left join marked using (run_uuid)
"""
_COLUMNS: Final = (
    "run_uuid, run_name, experiment_name, status, lifecycle_stage, start_time, end_time (timestamps, UTC), "
    "params['...'], tags['...']"
)


def check_where(expression: str) -> None:
    """Raise ValueError, with what DuckDB says, unless this is a boolean expression over a run."""
    try:
        with _over(RUN_SCHEMA.empty_table(), PAIR_SCHEMA.empty_table(), PAIR_SCHEMA.empty_table()) as runs:
            condition = duckdb.SQLExpression(expression)
            # Binding as a filter refuses aggregates, binding as a column tells the type.
            runs.filter(condition).fetchall()
            kind = str(runs.select(condition).types[0])
    except duckdb.Error as error:
        raise ValueError(_refusal(expression, str(error))) from error
    if kind != "BOOLEAN":
        raise ValueError(_refusal(expression, f"its type is {kind}"))


def matching(expression: str, runs: pa.Table, params: pa.Table, tags: pa.Table) -> frozenset[str]:
    """Give the run_uuids of the runs for which the expression is true.

    Parameters
    ----------
    expression
        Over the columns run_uuid, run_name, experiment_name, status and lifecycle_stage, start_time and end_time
        (timestamps in UTC, or null), params and tags (maps from text to text; a missing key gives null).
    runs
        With the columns of `Source.runs`.
    params, tags
        run_uuid, key, value of these runs.

    Raises
    ------
    ValueError
        It cannot be evaluated on these runs: the message is DuckDB's.
    """
    try:
        with _over(runs, params, tags) as relation:
            rows = relation.filter(duckdb.SQLExpression(expression)).select("run_uuid").fetchall()
    except duckdb.Error as error:
        raise ValueError(_refusal(expression, str(error))) from error
    return frozenset(run_uuid for (run_uuid,) in rows)


@contextmanager
def _over(runs: pa.Table, params: pa.Table, tags: pa.Table) -> Iterator[duckdb.DuckDBPyRelation]:
    connection = duckdb.connect(config=dict(_CLOSED))
    try:
        for name, table in {"given_runs": runs, "given_params": params, "given_tags": tags}.items():
            connection.register(name, table)
        connection.execute(_RUNS)
        connection.execute("set lock_configuration = true")
        yield connection.table("runs")
    finally:
        connection.close()


def _refusal(expression: str, said: str) -> str:
    reason = " ".join(said.partition("\nLINE ")[0].split())
    return f"where must be a boolean expression of DuckDB, got '{expression}': {reason}; a run has {_COLUMNS}"
