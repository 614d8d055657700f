"""The same ingestion from a folder of files and from a tracking server."""

import shutil
from pathlib import Path

import pytest

from pipeline.ingest_options import IngestOptions
from pipeline.ingest_report import UNREADABLE
from pipeline.ingestion import ingest
from pipeline.selection import Selection
from pipeline.sources import file_store
from pipeline.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "warehouse.duckdb")


def write_run(folder, name, points):
    """Write one finished run of a file store with points of one series."""
    run = folder / "0" / name
    for part in ("metrics", "params", "tags"):
        (run / part).mkdir(parents=True)
    (folder / "0" / "meta.yaml").write_text("experiment_id: '0'\nlifecycle_stage: active\nname: Default\n")
    lines = [f"170000000000{step} {1 / (step + 1)} {step}\n" for step in range(points)]
    (run / "metrics" / "loss").write_text("".join(lines))
    (run / "params" / "lr").write_text("0.1")
    (run / "meta.yaml").write_text(
        f"experiment_id: '0'\nlifecycle_stage: active\nrun_id: {name}\nrun_uuid: {name}\nrun_name: {name[0]}\n"
        "start_time: 1700000000000\nend_time: 1700000100000\nstatus: 3\n"
    )
    return run


def test_a_folder_is_ingested_and_again_only_what_has_changed(warehouse, tmp_path):
    folder = tmp_path / "mlruns"
    runs = [write_run(folder, letter * 32, points) for letter, points in (("a", 2), ("b", 3), ("c", 4))]
    [source] = ingest(warehouse, [str(folder)]).sources
    assert (source.uri, source.runs_new, source.points, source.reason) == (folder.as_uri(), 3, 9, None)
    with (runs[0] / "metrics" / "loss").open("a") as file:
        file.write("1700000000009 0.1 9\n")
    [source] = ingest(warehouse, [str(tmp_path)]).sources
    assert (source.runs_updated, source.runs_unchanged, source.points) == (1, 2, 3)
    assert warehouse.frame("select run_name, point_count from runs order by 1").rows() == [("a", 3), ("b", 3), ("c", 4)]
    moved = folder.rename(tmp_path / "moved")
    [source] = ingest(warehouse, [str(moved)]).sources
    assert (source.runs_unchanged, source.reason) == (3, f"moved here from {folder.as_uri()}")


def test_a_broken_run_is_counted_with_its_reason_and_has_not_vanished(warehouse, tmp_path):
    folder = tmp_path / "mlruns"
    runs = [write_run(folder, letter * 32, 2) for letter in "abc"]
    ingest(warehouse, [str(folder)])
    (runs[0] / "meta.yaml").write_text("{broken")
    shutil.rmtree(runs[1])
    [source] = ingest(warehouse, [str(folder)]).sources
    assert (source.runs_unchanged, source.runs_vanished, source.skipped) == (1, 1, {UNREADABLE: 1})
    assert source.reason.startswith("not read whole: 1 × meta.yaml: ")
    assert warehouse.frame("select run_name from runs where vanished_at is not null").rows() == [("b",)]


def test_a_folder_that_is_no_more_is_said_to_be_missing_by_the_name_under_which_it_is_known(warehouse, tmp_path):
    folder = tmp_path / "mlruns"
    write_run(folder, "a" * 32, 2)
    ingest(warehouse, [str(folder)])
    shutil.rmtree(folder)
    [source] = ingest(warehouse, [str(folder)]).sources
    assert (source.uri, source.status, source.reason) == (folder.as_uri(), "unreadable", "no such folder")
    recorded = warehouse.frame("select uri, status, run_count from sources").rows()
    assert recorded == [(folder.as_uri(), "unreadable", 1)]


def test_the_runs_of_an_experiment_that_cannot_be_listed_have_not_vanished(warehouse, tmp_path, monkeypatch):
    folder = tmp_path / "mlruns"
    for letter in "abc":
        write_run(folder, letter * 32, 2)
    ingest(warehouse, [str(folder)])
    (folder / "0").rename(tmp_path / "0")
    write_run(folder, "d" * 32, 2)
    (folder / "0").rename(folder / "1")
    (tmp_path / "0").rename(folder / "0")
    found_runs = file_store.found_runs

    def denied(experiment, scope, pool):
        # The tests may run as root, whom no permission stops.
        if experiment.experiment_id == "0":
            raise PermissionError(13, "Permission denied")
        return found_runs(experiment, scope, pool)

    monkeypatch.setattr(file_store, "found_runs", denied)
    [source] = ingest(warehouse, [str(folder)]).sources
    assert (source.runs_new, source.runs_vanished, source.skipped) == (1, 0, {})
    assert source.reason == "not read whole: 1 × folder: cannot be listed: Permission denied"
    assert warehouse.frame("select run_name from runs where vanished_at is not null").rows() == []


@pytest.mark.integration
def test_a_server_is_ingested_and_late_points_are_seen_with_full(warehouse, mlflow_on_sqlite, log_run):
    from mlflow.tracking import MlflowClient

    store = Path(mlflow_on_sqlite.backend)
    done = log_run("ingested", params={"lr": 1}, metrics={"loss": [3.0, 2.0], "accuracy": [0.5]}, store=store)
    running = log_run("ingested", metrics={"loss": [3.0]}, status="RUNNING", store=store)

    def read(**options):
        selection = Selection(experiments=("ingested",))
        [source] = ingest(warehouse, [mlflow_on_sqlite.address], IngestOptions(selection=selection, **options)).sources
        assert (source.status, source.reason) == ("read", None)
        return source.runs_new, source.runs_updated, source.runs_unchanged, source.points

    assert read(choose_series=lambda keys: [key for key in keys if key == "loss"]) == (2, 0, 0, 3)
    assert warehouse.frame("select logged_points from runs order by point_count").rows() == [(1,), (3,)]
    assert read() == (0, 2, 0, 4)
    # What is running is read again; a late point at a lower step of a finished run is not seen.
    client = MlflowClient(mlflow_on_sqlite.address)
    for run_uuid in (done, running):
        client.log_metric(run_uuid, "loss", 9.0, timestamp=5, step=-1)
    assert read() == (0, 1, 1, 2)
    assert read(full=True) == (0, 2, 0, 6)
