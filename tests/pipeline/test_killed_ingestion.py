"""Whoever is killed while ingesting has lost one batch: the same command, given again, comes to the same tables."""

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import copying
from pipeline.ingest_options import IngestOptions
from pipeline.ingestion import ingest
from pipeline.warehouse import Warehouse

pytestmark = pytest.mark.integration

POINTS_PER_BATCH = 2000
TABLES = {
    "runs": "* exclude (ingested_at, vanished_at), vanished_at is null as is_there",
    "params": "*",
    "tags": "*",
    "metrics": "*",
    "logged_series": "*",
    "sources": "* exclude last_ingested_at",
}
CHILD = f"""
import sys
from pipeline import copying
from pipeline.ingest_options import IngestOptions
from pipeline.ingestion import ingest
from pipeline.warehouse import Warehouse
copying.POINTS_PER_BATCH = {POINTS_PER_BATCH}
print("begins", flush=True)
choose = lambda keys: [key for key in keys if key != "accuracy"]
ingest(Warehouse(sys.argv[1]), [sys.argv[2]], IngestOptions(choose_series=choose))
"""


def fill(path: Path, first: int, count: int) -> None:
    """Log runs of 500 points in each of three series, and a param and a tag."""
    numbers = range(first, first + count)
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "insert into runs (run_uuid, name, status, lifecycle_stage, experiment_id, start_time) "
            "values (?, ?, 'FINISHED', 'active', 0, ?)",
            [(f"{number:032x}", f"run-{number}", number) for number in numbers],
        )
        for table in ("params", "tags"):
            connection.executemany(
                f"insert into {table} (run_uuid, key, value) values (?, 'number', ?)",
                [(f"{number:032x}", str(number)) for number in numbers],
            )
        connection.executemany(
            "insert into metrics (run_uuid, key, step, timestamp, value, is_nan) values (?, ?, ?, ?, ?, 0)",
            (
                (f"{number:032x}", key, step, step, number + 1.0 / (step + 1))
                for number in numbers
                for key in ("loss", "lr", "accuracy")
                for step in range(500)
            ),
        )
        connection.execute(
            "insert or replace into latest_metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "select key, value, timestamp, run_uuid, step, is_nan from metrics where step = 499"
        )
    connection.close()


def tables(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    return {name: warehouse.frame(f"select {what} from {name} order by all").rows() for name, what in TABLES.items()}


def killed_after(seconds: float, warehouse: Path, store: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(warehouse), str(store)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "begins\n"
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()


@pytest.mark.timeout(1800)
def test_a_killed_ingestion_given_again_comes_to_the_same_tables(tmp_path, mlflow_store_template, monkeypatch):
    monkeypatch.setattr(copying, "POINTS_PER_BATCH", POINTS_PER_BATCH)
    earlier, store = tmp_path / "earlier.duckdb", tmp_path / "mlflow.db"

    def ingest_undisturbed(path: Path) -> None:
        ingest(
            Warehouse(path),
            [str(store)],
            IngestOptions(choose_series=lambda keys: [key for key in keys if key != "accuracy"]),
        )

    shutil.copyfile(mlflow_store_template, store)
    fill(store, 0, 30)
    ingest_undisturbed(earlier)
    # Half of the old runs have grown since, and there are new ones: batches that delete, and batches that only insert.
    with sqlite3.connect(store) as connection:
        connection.execute(
            "insert into metrics select key, 0.0, timestamp, run_uuid, 900, 0 from metrics where step = 1"
        )
        connection.execute("update runs set status = 'FAILED' where start_time < 15")
        connection.execute("delete from runs where start_time = 20")
    connection.close()
    fill(store, 30, 30)

    undisturbed = shutil.copyfile(earlier, tmp_path / "undisturbed.duckdb")
    started = time.perf_counter()
    ingest_undisturbed(undisturbed)
    seconds = time.perf_counter() - started
    before, expected = tables(Warehouse(earlier)), tables(Warehouse(undisturbed))

    landed = 0
    moments = random.Random(0)
    for attempt in range(20):
        path = shutil.copyfile(earlier, tmp_path / f"killed-{attempt}.duckdb")
        killed_after(moments.uniform(0, seconds), path, store)
        found = tables(Warehouse(path))
        landed += found not in (before, expected)
        # What is there is whole: no run without its points, no points without their run.
        counted = "select point_count from runs except all select count(*) from metrics group by run_id"
        assert Warehouse(path).frame(counted).is_empty()
        ingest_undisturbed(path)
        assert tables(Warehouse(path)) == expected
        path.unlink()
    assert landed >= 5
