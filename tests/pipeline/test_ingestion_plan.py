import shutil

import pytest

from pipeline.ingest_options import IngestOptions
from pipeline.ingestion import ingest
from pipeline.ingestion_plan import plan_ingestion
from pipeline.selection import Selection
from pipeline.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "new" / "warehouse.duckdb")


@pytest.fixture
def store(mlflow_store, log_run):
    for length in (2, 4):
        log_run("mnist", metrics={"loss": [1.0] * length, "accuracy": [0.5] * length})
    return str(mlflow_store)


def named_loss(keys):
    return [key for key in keys if "loss" in key]


def test_a_plan_counts_and_writes_nothing(warehouse, store):
    [plan] = plan_ingestion(warehouse, [store])
    assert (plan.uri, plan.is_readable, plan.reason) == (f"sqlite:///{store}", True, None)
    assert (plan.runs_new, plan.runs_updated, plan.runs_unchanged) == (2, 0, 0)
    assert (plan.points, plan.is_exact) == (12, True)
    assert plan.points_per_second > 0
    assert plan.seconds > 0
    assert not warehouse.path.parent.exists()


def test_the_points_of_a_part_of_the_series_are_estimated_from_their_share(warehouse, store):
    [plan] = plan_ingestion(warehouse, [store], IngestOptions(choose_series=named_loss))
    assert (plan.points, plan.is_exact) == (6, False)


def test_what_is_known_is_compared(warehouse, store, log_run):
    ingest(warehouse, [store])
    [plan] = plan_ingestion(warehouse, [store])
    assert (plan.runs_new, plan.runs_unchanged, plan.points, plan.points_per_second) == (0, 2, 0, None)
    log_run("digits", metrics={"loss": [1.0] * 5})
    before = warehouse.path.read_bytes()
    [plan] = plan_ingestion(warehouse, [store], IngestOptions(full=True, selection=Selection(experiments=("mnist",))))
    assert (plan.runs_new, plan.runs_updated, plan.points) == (0, 2, 12)
    [plan] = plan_ingestion(warehouse, [store])
    assert (plan.runs_new, plan.runs_unchanged, plan.points) == (1, 2, 5)
    assert warehouse.path.read_bytes() == before


def test_a_source_that_cannot_be_read_does_not_stop_the_others(warehouse, store, tmp_path):
    missing, there = plan_ingestion(warehouse, [str(tmp_path / "missing.db"), store])
    assert (missing.is_readable, missing.reason) == (False, "no such file; it was not created")
    assert there.runs_new == 2


def test_a_store_whose_series_are_none_of_those_asked_for_takes_no_points(warehouse, store):
    [plan] = plan_ingestion(warehouse, [store], IngestOptions(selection=Selection(metrics=("nothing",))))
    assert (plan.runs_new, plan.points, plan.points_per_second) == (2, 0, None)


def test_a_condition_that_fails_on_the_runs_of_one_source_does_not_stop_the_plan_of_the_others(
    warehouse, store, tmp_path, mlflow_store_template
):
    empty = shutil.copyfile(mlflow_store_template, tmp_path / "empty.db")
    selection = Selection(where="tags['mlflow.runName']::integer = 1")
    failed, fine = plan_ingestion(warehouse, [store, str(empty)], IngestOptions(selection=selection))
    assert (failed.is_readable, fine.is_readable) == (False, True)
    assert "Could not convert string" in failed.reason
