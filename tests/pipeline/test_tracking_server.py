"""A real MLflow server over a SQLite store, read over HTTP; SQLite itself is the independent reader."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.source import UNCOUNTED, Scope
from pipeline.sources.tracking_server import TrackingServer

pytestmark = pytest.mark.integration

START = 1_700_000_000_000
LogRun = Callable[..., str]


@dataclass(frozen=True)
class Served:
    store: Path
    address: str


@pytest.fixture
def served(mlflow_on_sqlite: Any) -> Served:
    return Served(Path(mlflow_on_sqlite.backend), mlflow_on_sqlite.address)


def in_store(store: Path, select: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return sorted(connection.execute(select, parameters).fetchall())


def stored_points(store: Path, run_uuids: list[str]) -> list[tuple[Any, ...]]:
    select = "select run_uuid, key, step, timestamp, value, is_nan from metrics where key not like 'system/%'"
    return [row for row in in_store(store, select) if row[0] in run_uuids]


def served_points(server: TrackingServer, run_uuids: list[str], keys: list[str] | None = None) -> list[tuple[Any, ...]]:
    with server.points(run_uuids, keys) as reader:
        return sorted(tuple(row.values()) for row in reader.read_all().to_pylist())


def served_runs(server: TrackingServer, **scope: Any) -> dict[str, dict[str, Any]]:
    with server.runs(Scope(**scope)) as reader:
        return {row["run_uuid"]: row for row in reader.read_all().to_pylist()}


def log_many_points(store: Path, run_uuid: str, key: str, steps: list[int]) -> None:
    """Write points into the store as a training job of some hours would have, in a moment."""
    rows = [(key, 1 / (index + 1), START + index, run_uuid, step, 0) for index, step in enumerate(steps)]
    with closing(sqlite3.connect(store, timeout=60)) as connection, connection:
        insert = "insert into {} (key, value, timestamp, run_uuid, step, is_nan) values (?, ?, ?, ?, ?, ?)"
        connection.executemany(insert.format("metrics"), rows)
        connection.execute(insert.format("latest_metrics"), max(rows, key=lambda row: (row[4], row[2])))


def test_a_history_is_read_over_http_as_the_database_holds_it(served: Served, log_run: LogRun) -> None:
    odd = {
        "train/loss": [(0, START, 2.5), (0, START, 2.5), (0, START + 1, 2.25), (1, START, -0.0), (10**12, 5, 1e-300)],
        "Verlust der Prüfung": [float("nan"), float("inf"), float("-inf"), 0.1 + 0.2, 1e22],
        "損失": [3.0],
        "a.b-c:d/e f": [(-3, 1.0), (5, 2.0), (2, 3.0)],
        "system/cpu_utilization_percentage": [50.0, 60.0],
    }
    params = {"lr": 0.1, "text with spaces/ü": "line\nbreak\n", "none": None}
    finished = log_run("mnist", params=params, metrics=odd, tags={"greedylr.preset": "core"}, store=served.store)
    running = log_run("mnist", metrics={"loss": [1.0]}, status="RUNNING", run_name="läuft", store=served.store)
    empty = log_run("Prüfung 2", status="FAILED", store=served.store)
    ours = log_run("mnist", tags={"greedylr.role": "proof"}, store=served.store)
    all_runs = [finished, running, empty, ours]
    with TrackingServer(served.address) as server:
        rows = served_runs(server)
        assert served_points(server, all_runs) == stored_points(served.store, all_runs)
        assert served_points(server, all_runs, ["loss", "損失"]) == [
            row for row in stored_points(served.store, all_runs) if row[1] in ("loss", "損失")
        ]
        with server.series(all_runs) as reader:
            assert sorted(map(tuple, (row.values() for row in reader.read_all().to_pylist()))) == in_store(
                served.store,
                "select run_uuid, key from latest_metrics where key not like 'system/%' and run_uuid in (?, ?, ?, ?)",
                *all_runs,
            )
        for table, reading in (("params", server.params), ("tags", server.tags)):
            select = f"select run_uuid, key, value from {table} where run_uuid in (?, ?, ?, ?)"
            with reading(all_runs) as reader:
                assert sorted(tuple(row.values()) for row in reader.read_all().to_pylist()) == in_store(
                    served.store, select, *all_runs
                )
    assert {
        key: value for key, value in rows[finished].items() if key not in ("run_name", "watermark", "tag_count")
    } == {
        "run_uuid": finished,
        "experiment_id": rows[running]["experiment_id"],
        "experiment_name": "mnist",
        "status": "FINISHED",
        "lifecycle_stage": "active",
        "start_time": START,
        "end_time": START + 3_600_000,
        "role": "",
        "preset": "core",
        "point_count": UNCOUNTED,
        "param_count": 3,
    }
    told = [(rows[which]["status"], rows[which]["end_time"], rows[which]["point_count"]) for which in (running, empty)]
    assert told == [("RUNNING", -1, UNCOUNTED), ("FAILED", START + 3_600_000, 0)]
    assert (rows[running]["run_name"], rows[ours]["role"]) == ("läuft", "proof")
    assert rows[empty]["experiment_name"] == "Prüfung 2"


def test_histories_longer_than_any_answer_are_whole(
    served: Served, log_run: LogRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="pipeline")
    long, one_epoch, *epochs = [log_run("long", store=served.store) for _ in range(8)]
    log_many_points(served.store, long, "loss", list(range(26_000)))
    # The step is an epoch: histories that look like 60 points have 6,000 each, and one answer holds 25,000.
    log_many_points(served.store, one_epoch, "loss", [0] * 26_000)
    for run_uuid in epochs:
        log_many_points(served.store, run_uuid, "loss", [index // 100 for index in range(6_000)])
    run_uuids = [long, one_epoch, *epochs]
    with TrackingServer(served.address, threads=2) as server:
        served_runs(server)
        points = served_points(server, run_uuids)
    assert len(points) == 26_000 + 26_000 + 6 * 6_000
    assert points == stored_points(served.store, run_uuids)
    assert caplog.messages == []  # it would say so if the server had no endpoint for many histories


def test_deleted_runs_and_runs_of_deleted_experiments_are_told_of(served: Served, log_run: LogRun) -> None:
    from mlflow.tracking import MlflowClient

    deleted = log_run("kept", metrics={"loss": [1.0]}, store=served.store)
    in_deleted = log_run("deleted", metrics={"loss": [1.0, 2.0]}, store=served.store)
    client = MlflowClient(served.address)
    client.delete_run(deleted)
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    with TrackingServer(served.address) as server:
        rows = served_runs(server, experiments=("kept", "del?ted"))
        assert {which: row["lifecycle_stage"] for which, row in rows.items()} == {
            deleted: "deleted",
            in_deleted: "deleted",
        }
        assert len(served_points(server, [deleted, in_deleted])) == 3


def test_all_runs_are_told_of_over_many_pages_and_since_a_time(
    served: Served, log_run: LogRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setattr("pipeline.sources.tracking_server._RUNS_PER_PAGE", 3)
    monkeypatch.setattr("pipeline.sources.tracking_server._EXPERIMENTS_PER_PAGE", 1)
    monkeypatch.setattr("pipeline.sources.tracking_server._EXPERIMENTS_PER_SEARCH", 1)
    client = MlflowClient(served.address)
    names = ["pages 1", "pages 2"]
    ids = [client.create_experiment(name) for name in names]
    logged = {
        client.create_run(ids[index % 2], start_time=START + index // 4).info.run_id: index for index in range(14)
    }
    with TrackingServer(served.address) as server:
        assert served_runs(server, experiments=("pages*",)).keys() == logged.keys()
        late = served_runs(server, experiments=("pages 1",), since=START + 2)
    assert late.keys() == {which for which, index in logged.items() if index % 2 == 0 and index >= 8}


def test_a_late_point_at_a_lower_step_is_read_but_leaves_the_watermark(served: Served, log_run: LogRun) -> None:
    from mlflow.tracking import MlflowClient

    run_uuid = log_run("late", metrics={"loss": [3.0, 2.0]}, store=served.store)
    client = MlflowClient(served.address)
    with TrackingServer(served.address) as server:
        before = served_runs(server, experiments=("late",))[run_uuid]["watermark"]
        client.log_metric(run_uuid, "loss", 2.5, timestamp=START, step=0)
        late = served_runs(server, experiments=("late",))[run_uuid]["watermark"]
        assert [point[4] for point in served_points(server, [run_uuid])] == [2.5, 3.0, 2.0]
        client.log_metric(run_uuid, "loss", 1.0, timestamp=START, step=2)
        after = served_runs(server, experiments=("late",))[run_uuid]["watermark"]
        assert server.exact_watermark is False
    assert before == late != after


def test_a_run_that_grows_while_it_is_read_is_read_as_far_as_it_was_told_of(served: Served, log_run: LogRun) -> None:
    from mlflow.tracking import MlflowClient

    run_uuid = log_run("growing", metrics={"loss": [3.0]}, status="RUNNING", store=served.store)
    with TrackingServer(served.address) as server:
        first = served_runs(server, experiments=("growing",))[run_uuid]["watermark"]
        client = MlflowClient(served.address)
        client.log_metric(run_uuid, "loss", 2.0, timestamp=START + 9, step=1)
        client.log_metric(run_uuid, "new", 1.0, timestamp=START + 9, step=1)
        assert [point[1:3] for point in served_points(server, [run_uuid])] == [("loss", 0), ("loss", 1)]
        assert served_runs(server, experiments=("growing",))[run_uuid]["watermark"] != first
        assert len(served_points(server, [run_uuid])) == 3
