"""Which runs and series an ingestion copies, and what becomes of those that it leaves out."""

import sqlite3

import pytest

from pipeline.catalogue import OURS, OUTSIDE
from pipeline.ingest_options import IngestOptions
from pipeline.ingestion import ingest
from pipeline.ingestion_plan import plan_ingestion
from pipeline.selection import Selection
from pipeline.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "warehouse.duckdb")


@pytest.fixture
def store(mlflow_store, log_run):
    """Four runs of two experiments; those of `mnist` are named by their age, the third is the newest."""
    for number, optimizer in enumerate(("sgd", "adamw", "adamw")):
        run_uuid = log_run(
            "mnist", params={"optimizer": optimizer}, metrics={"loss": [2.0, 1.0]}, run_name=f"m{number}"
        )
        edit(mlflow_store, f"update runs set start_time = start_time + {number} where run_uuid = '{run_uuid}'")
    log_run(
        "digits", metrics={"loss": [2.0], "accuracy": [0.1] * 3, "system/cpu": [1.0]}, run_name="d0", tags={"x": "1"}
    )
    return str(mlflow_store)


def edit(path, statement):
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def names(warehouse):
    return "".join(warehouse.frame("select run_name from runs order by 1")["run_name"])


def keys(warehouse):
    return warehouse.frame("select distinct key from metrics order by 1")["key"].to_list()


def named_loss(given):
    return [key for key in given if "loss" in key]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), "d0m0m1m2"),
        (Selection(experiments=("mni*", "nothing")), "m0m1m2"),
        (Selection(since="2023-11-14T22:13:20.001"), "m1m2"),
        (Selection(where="params['optimizer'] = 'adamw'"), "m1m2"),
        (Selection(where="tags['x'] = '1' or run_name = 'm0'"), "d0m0"),
        (Selection(max_runs_per_group=1), "d0m2"),
        # The newest of those that the condition leaves.
        (Selection(max_runs_per_group=1, where="params['optimizer'] = 'sgd'"), "m0"),
    ],
)
def test_the_runs_in_the_choice_are_copied(warehouse, store, selection, expected):
    [source] = ingest(warehouse, [store], IngestOptions(selection=selection)).sources
    assert names(warehouse) == expected
    assert source.runs_new == len(expected) // 2
    assert warehouse.frame("select count(*) from params").item() == expected.count("m")


def test_what_is_left_out_is_counted(warehouse, store, log_run):
    log_run("mnist", metrics={"loss": [1.0]}, tags={"greedylr.role": "champion"})
    [source] = ingest(warehouse, [store], IngestOptions(selection=Selection(max_runs_per_group=1))).sources
    assert (source.runs_new, source.skipped) == (2, {OURS: 1, OUTSIDE: 2})


def test_runs_that_a_choice_leaves_out_stay_as_they_are(warehouse, store):
    ingest(warehouse, [store])
    before = warehouse.frame("from runs order by all")
    for selection in (Selection(experiments=("mnist",)), Selection(since="1h"), Selection(where="run_name = 'm0'")):
        [source] = ingest(warehouse, [store], IngestOptions(selection=selection)).sources
        assert (source.runs_new, source.runs_updated, source.runs_vanished) == (0, 0, 0)
    assert warehouse.frame("from runs order by all").equals(before)


def test_a_run_whose_experiment_left_the_choice_has_not_vanished(warehouse, store):
    selection = Selection(experiments=("mnist",))
    ingest(warehouse, [store], IngestOptions(selection=selection))
    edit(store, "update experiments set name = 'renamed' where name = 'mnist'")
    [source] = ingest(warehouse, [store], IngestOptions(selection=selection)).sources
    assert (source.runs_vanished, source.reason) == (0, "holds no runs of the experiments and the time asked for")
    assert warehouse.frame("select count(*) from runs where vanished_at is null").item() == 3


def test_only_series_that_could_have_a_role_are_copied(warehouse, store):
    [source] = ingest(warehouse, [store], IngestOptions(choose_series=named_loss)).sources
    assert (source.points, keys(warehouse)) == (7, ["loss"])
    run = warehouse.frame("select point_count, logged_points from runs where run_name = 'd0'").row(0)
    assert run == (1, 4)
    assert warehouse.frame("select key, copied from logged_series where key <> 'loss'").rows() == [("accuracy", False)]


def test_series_are_chosen_by_globs(warehouse, store):
    ingest(warehouse, [store], IngestOptions(selection=Selection(metrics=("acc*",)), choose_series=named_loss))
    assert keys(warehouse) == ["accuracy"]


def test_a_run_of_which_more_series_are_asked_for_is_read_again(warehouse, store):
    ingest(warehouse, [store], IngestOptions(choose_series=named_loss))
    [source] = ingest(
        warehouse, [store], IngestOptions(selection=Selection(all_series=True), choose_series=named_loss)
    ).sources
    assert (source.runs_updated, source.runs_unchanged, source.points) == (1, 3, 4)
    assert keys(warehouse) == ["accuracy", "loss"]
    assert not warehouse.frame("from logged_series where not copied").height


def test_what_was_copied_stays_where_fewer_series_are_asked_for(warehouse, store):
    ingest(warehouse, [store])
    [source] = ingest(warehouse, [store], IngestOptions(choose_series=named_loss)).sources
    assert source.runs_unchanged == 4
    assert keys(warehouse) == ["accuracy", "loss"]


def test_what_was_copied_stays_where_other_series_are_asked_for(warehouse, store):
    ingest(warehouse, [store], IngestOptions(choose_series=named_loss))
    before = warehouse.frame("from metrics order by all")
    options = IngestOptions(selection=Selection(metrics=("accuracy",)))
    [plan] = plan_ingestion(warehouse, [store], options)
    [source] = ingest(warehouse, [store], options).sources
    assert (source.runs_updated, source.runs_unchanged, source.points) == (1, 3, 4)
    assert (plan.runs_updated, plan.points) == (1, 4)
    assert warehouse.frame("from metrics where key = 'loss' order by all").equals(before)
    assert keys(warehouse) == ["accuracy", "loss"]
    [source] = ingest(warehouse, [store], IngestOptions(choose_series=named_loss)).sources
    assert (source.runs_updated, source.runs_unchanged) == (0, 4)


def test_what_one_run_keeps_is_not_copied_of_the_others(warehouse, store, log_run):
    ingest(warehouse, [store], IngestOptions(selection=Selection(where="run_name = 'd0'")))
    log_run("mnist", metrics={"loss": [1.0, 0.5], "accuracy": [0.5]}, run_name="later")
    ingest(warehouse, [store], IngestOptions(choose_series=named_loss, full=True))
    copied = warehouse.frame("select distinct run_name, key from metrics join runs using (run_id) order by all").rows()
    assert [name for name, key in copied if key == "accuracy"] == ["d0"]
    assert ("later", "loss") in copied


def test_all_runs_in_the_choice_are_read_again_where_this_is_asked_for(warehouse, store):
    ingest(warehouse, [store])
    before = warehouse.frame("from metrics order by all")
    [source] = ingest(warehouse, [store], IngestOptions(full=True, selection=Selection(experiments=("mnist",)))).sources
    assert (source.runs_new, source.runs_updated, source.points) == (0, 3, 6)
    assert warehouse.frame("from metrics order by all").equals(before)


def test_a_condition_that_fails_on_the_runs_of_one_source_does_not_stop_the_others(warehouse, store, tmp_path, log_run):
    other = tmp_path / "other.db"
    with sqlite3.connect(store) as connection, sqlite3.connect(other) as copy:
        connection.backup(copy)
    copy.execute("delete from params")
    copy.execute("delete from tags")
    copy.commit()
    selection = Selection(where="params['optimizer']::integer = 1")
    first, second = ingest(warehouse, [store, str(other)], IngestOptions(selection=selection)).sources
    assert (first.status, second.status) == ("unreadable", "read")
    assert "Could not convert string 'sgd' to INT32" in first.reason
