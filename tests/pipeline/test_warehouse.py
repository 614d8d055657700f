import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline import warehouse as warehouse_module
from pipeline.errors import (
    GreedyLRPipelineError,
    WarehouseInaccessibleError,
    WarehouseLockedError,
    WarehouseMissingError,
    WarehouseTooNewError,
    WarehouseUnreadableError,
)
from pipeline.warehouse import EVERY_GROUP, Warehouse

TABLES = {
    "migrations": "number name applied_at",
    "sources": "source_id uri status reason last_ingested_at run_count point_count",
    "runs": "run_id source_id run_uuid experiment_id experiment_name run_name status lifecycle_stage start_time "
    "end_time point_count is_ours trained_with_preset ingested_at logged_points watermark content vanished_at",
    "logged_series": "run_id key copied",
    "params": "run_id key value",
    "tags": "run_id key value",
    "metrics": "run_id key step timestamp value",
    "series_roles": "run_id key role confidence reason",
    "trajectories": "run_id position step progress training_loss validation_loss learning_rate",
    "usable_runs": "run_id usable reason optimizer starting_rate schedule diverged final_loss planned_steps first_step "
    "rate_source rate_reason",
    "run_groups": "group_name run_id",
    "group_statistics": "group_name statistics",
    "candidates": "group_name position name candidate",
    "retrainings": "group_name attempt purpose schedule_name starting_rate seed selection_loss reporting_loss diverged "
    "failed",
    "cells": "group_name attempt control region starting_rate control_rate difference lower upper level seeds verdict "
    "failed",
    "mean_regrets": "group_name attempt schedule_name mean_regret",
    "race_standings": "group_name attempt place name score rounds trainings survived",
    "preset_versions": "group_name attempt registered_name version alias preset_hash preset verdict created_at",
    "stages": "group_name stage key finished_at",
}

# Opens the warehouse, says so, and holds it until its standard input closes.
HOLDER = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read(); c.close()"


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "warehouse.duckdb", lock_timeout_s=5)


@pytest.fixture
def holder(warehouse):
    with warehouse.writing():
        pass
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(warehouse.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


def groups_frame(*rows):
    return pl.DataFrame(rows, schema={"group_name": pl.String, "run_id": pl.String}, orient="row")


def test_a_warehouse_that_nobody_wrote_is_missing_and_reading_creates_nothing(warehouse):
    with pytest.raises(WarehouseMissingError, match=r"no warehouse at .*greedylr ingest"):
        warehouse.frame("select 1")
    assert list(warehouse.path.parent.iterdir()) == []


def test_writing_creates_folder_file_and_all_tables(tmp_path):
    warehouse = Warehouse(tmp_path / "a" / "b" / "warehouse.duckdb")
    with warehouse.writing():
        pass
    columns = warehouse.frame(
        "select table_name, string_agg(column_name, ' ' order by column_index) as columns from duckdb_columns() "
        "where not internal and table_name in (select table_name from duckdb_tables()) group by table_name"
    )
    assert dict(columns.rows()) == TABLES
    assert warehouse.frame("select number, name from migrations order by 1").rows()[:2] == [
        (1, "initial"),
        (2, "choice_and_watermarks"),
    ]


def test_what_a_failed_block_wrote_is_undone(warehouse):
    with warehouse.writing() as connection:
        connection.execute("insert into run_groups values ('mnist', 'a/1')")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), warehouse.writing() as connection:
            connection.execute("delete from run_groups")
            raise error
    assert warehouse.frame("from run_groups").rows() == [("mnist", "a/1")]


def test_an_sql_error_in_a_block_is_raised_and_undone(warehouse):
    with pytest.raises(duckdb.ConversionException), warehouse.writing() as connection:
        connection.execute("insert into run_groups values ('mnist', 'a/1')")
        connection.execute("select 'x'::integer").fetchall()
    assert warehouse.frame("from run_groups").is_empty()


def test_a_writer_names_the_process_that_holds_the_warehouse(warehouse, holder):
    impatient = Warehouse(warehouse.path, lock_timeout_s=0.2)
    with pytest.raises(WarehouseLockedError, match=f"held by process {holder.pid}") as caught, impatient.writing():
        pass
    assert caught.value.retryable
    with pytest.raises(WarehouseLockedError, match=f"held by process {holder.pid}"):
        impatient.frame("select 1")


def test_a_writer_waits_until_the_warehouse_is_free(warehouse, holder):
    timer = threading.Timer(0.5, holder.stdin.close)
    timer.start()
    started = time.monotonic()
    with warehouse.writing() as connection:
        connection.execute("insert into run_groups values ('mnist', 'a/1')")
    assert time.monotonic() - started >= 0.4
    timer.join()


def test_threads_of_one_process_write_one_after_the_other(warehouse):
    def write(number):
        with warehouse.writing() as connection:
            [(before,)] = connection.execute("select count(*) from run_groups").fetchall()
            connection.execute("insert into run_groups values (?, ?)", [f"group-{before}", f"a/{number}"])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = warehouse.frame("select group_name from run_groups order by all")["group_name"].to_list()
    assert names == [f"group-{number}" for number in range(6)]


def test_a_reader_inside_a_write_is_told_who_holds_the_warehouse(warehouse):
    impatient = Warehouse(warehouse.path, lock_timeout_s=0.1)
    with warehouse.writing(), pytest.raises(WarehouseLockedError, match="another connection of this process"):
        impatient.frame("select 1")


def test_a_killed_writer_leaves_what_it_had_committed(warehouse):
    with warehouse.writing() as connection:
        connection.execute("insert into run_groups values ('mnist', 'a/1')")
    killed = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1])\n"
        "c.execute(\"insert into run_groups values ('mnist', 'a/2')\")\n"
        "c.begin(); c.execute('delete from run_groups'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(warehouse.path)], check=False).returncode == 9
    assert warehouse.frame("select run_id from run_groups order by all")["run_id"].to_list() == ["a/1", "a/2"]


def test_a_warehouse_of_a_later_release_is_refused(warehouse):
    with warehouse.writing() as connection:
        connection.execute("insert into migrations values (9000, 'later', now()::timestamp)")
    for attempt in (warehouse.reading, warehouse.writing):
        with (
            pytest.raises(
                WarehouseTooNewError, match=f"schema {warehouse_module.latest_schema()} or earlier, got 9000"
            ),
            attempt(),
        ):
            pass


def test_a_warehouse_of_an_earlier_release_is_migrated_by_reader_and_writer_alike(tmp_path, monkeypatch):
    paths = [tmp_path / "read.duckdb", tmp_path / "write.duckdb"]
    for path in paths:
        with Warehouse(path).writing() as connection:
            connection.execute("insert into run_groups values ('mnist', 'a/1')")
    released = [warehouse_module.migration_number(file) for file in warehouse_module.migrations()]
    schema = tmp_path / "schema"
    schema.mkdir()
    for file in warehouse_module.migrations():
        (schema / file.name).write_text(file.read_text())
    (schema / "9000_remarks.sql").write_text("alter table run_groups add column remark varchar default 'old';")
    monkeypatch.setattr(warehouse_module, "_SCHEMA", schema)
    with Warehouse(paths[1]).writing():
        pass
    for path in paths:
        assert Warehouse(path).frame("from run_groups").rows() == [("mnist", "a/1", "old")]
        assert Warehouse(path).frame("select number from migrations order by 1")["number"].to_list() == [
            *released,
            9000,
        ]


def test_a_migration_that_fails_leaves_the_earlier_schema(tmp_path, monkeypatch):
    path = tmp_path / "warehouse.duckdb"
    with Warehouse(path).writing():
        pass
    released = [warehouse_module.migration_number(file) for file in warehouse_module.migrations()]
    schema = tmp_path / "schema"
    schema.mkdir()
    for file in warehouse_module.migrations():
        (schema / file.name).write_text(file.read_text())
    (schema / "9000_broken.sql").write_text("create table half (a integer); create table runs (a integer);")
    monkeypatch.setattr(warehouse_module, "_SCHEMA", schema)
    with pytest.raises(duckdb.CatalogException), Warehouse(path).writing():
        pass
    monkeypatch.undo()
    assert Warehouse(path).frame("select number from migrations order by 1")["number"].to_list() == released
    assert "half" not in Warehouse(path).frame("select table_name from duckdb_tables()")["table_name"].to_list()


@pytest.mark.parametrize("content", [b"not a database" * 1000, b""])
def test_a_file_that_is_no_duckdb_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for attempt in (Warehouse(path).reading, Warehouse(path).writing):
        with pytest.raises(WarehouseUnreadableError, match=r"that greedylr has written.*notes\.txt"), attempt():
            pass
    assert path.read_bytes() == content


def test_a_sqlite_file_is_refused_without_a_look_at_the_network_and_left_alone(tmp_path):
    path = tmp_path / "mlflow.db"
    sqlite3.connect(path).execute("create table runs (a integer)").connection.close()
    before = path.read_bytes()
    warehouse = Warehouse(path)
    for attempt in (warehouse.reading, warehouse.writing):
        with pytest.raises(ValueError, match=r"mlflow\.db: a SQLite file; name another with --warehouse"), attempt():
            pass
    with pytest.raises(WarehouseUnreadableError, match="a SQLite file"):
        warehouse.check_writable()
    assert path.read_bytes() == before


def test_duckdb_fetches_no_extensions(warehouse):
    with warehouse.writing() as connection:
        settings = connection.execute(
            "select name, value from duckdb_settings() where name like 'auto%known_extensions' order by name"
        ).fetchall()
    assert settings == [("autoinstall_known_extensions", "false"), ("autoload_known_extensions", "false")]


def test_what_is_no_regular_file_is_refused(tmp_path):
    for path, kind in ((tmp_path, "a folder"), (Path("/dev/null"), "not a regular file")):
        for attempt in (Warehouse(path).reading, Warehouse(path).writing):
            with pytest.raises(WarehouseUnreadableError, match=f"got {path}: {kind}"), attempt():
                pass


def test_a_folder_that_cannot_be_made_is_told_with_a_remedy(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "w.duckdb", Path("/proc/x/w.duckdb"), Path("/proc/w.duckdb")):
        warehouse = Warehouse(path)
        with (
            pytest.raises(WarehouseInaccessibleError, match=f"got {path}: .*; see to"),
            warehouse.writing(),
        ):
            pass
        with pytest.raises(WarehouseInaccessibleError, match=f"got {path}: .*; see to"):
            warehouse.check_writable()
    assert not WarehouseInaccessibleError.retryable


def test_the_check_creates_nothing(tmp_path):
    Warehouse(tmp_path / "a" / "b" / "w.duckdb").check_writable()
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_names_no_warehouse_is_a_wrong_argument():
    assert issubclass(WarehouseMissingError, ValueError)
    assert issubclass(WarehouseUnreadableError, ValueError)
    assert not issubclass(WarehouseInaccessibleError, ValueError)


def test_a_duckdb_file_of_someone_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "theirs.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table sales (a integer)")
    for attempt in (Warehouse(path).reading, Warehouse(path).writing):
        with pytest.raises(WarehouseUnreadableError, match="it has the tables sales"), attempt():
            pass
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("select table_name from duckdb_tables()").fetchall() == [("sales",)]


def test_a_finished_stage_is_found_by_its_key(warehouse):
    warehouse.finish_stage("mnist", "groups", "key-1", {"run_groups": groups_frame(("mnist", "a/1"))})
    assert warehouse.stage_key("mnist", "groups") == "key-1"
    assert warehouse.stage_key("mnist", "candidates") is None
    assert warehouse.stage_key("nmf", "groups") is None


def test_finishing_a_stage_again_replaces_the_rows_of_its_group_only(warehouse):
    warehouse.finish_stage("mnist", "groups", "1", {"run_groups": groups_frame(("mnist", "a/1"), ("mnist", "a/2"))})
    warehouse.finish_stage("nmf", "groups", "1", {"run_groups": groups_frame(("nmf", "a/3"))})
    warehouse.finish_stage("mnist", "groups", "2", {"run_groups": groups_frame(("mnist", "a/4"))})
    assert warehouse.frame("from run_groups order by all").rows() == [("mnist", "a/4"), ("nmf", "a/3")]
    assert warehouse.stage_key("mnist", "groups") == "2"


def test_a_stage_of_every_group_replaces_whole_tables(warehouse):
    everything = groups_frame(("mnist", "a/1"), ("nmf", "a/3"))
    warehouse.finish_stage(EVERY_GROUP, "groups", "1", {"run_groups": everything})
    warehouse.finish_stage(EVERY_GROUP, "groups", "2", {"run_groups": groups_frame(("nmf", "a/5"))})
    assert warehouse.frame("from run_groups").rows() == [("nmf", "a/5")]


def test_a_stage_replaces_the_rows_of_its_groups_runs_in_tables_by_run(warehouse):
    def roles(*runs):
        row = {"key": "loss", "role": "training_loss", "confidence": 0.9, "reason": "r"}
        return pl.DataFrame([{"run_id": run, **row} for run in runs])

    warehouse.finish_stage(EVERY_GROUP, "groups", "1", {"run_groups": groups_frame(("mnist", "a/1"), ("mnist", "a/2"))})
    warehouse.finish_stage(EVERY_GROUP, "roles", "1", {"series_roles": roles("a/1", "a/2", "a/3", "a/4")})
    warehouse.finish_stage("mnist", "roles", "2", {"series_roles": roles("a/1", "a/3")})
    assert warehouse.frame("select run_id from series_roles order by 1")["run_id"].to_list() == ["a/1", "a/3", "a/4"]


def test_columns_are_matched_by_name_and_the_group_is_filled_in(warehouse):
    frame = pl.DataFrame({"candidate": ['{"a": 1}'], "name": ["smooth"], "position": [0]})
    warehouse.finish_stage("mnist", "candidates", "1", {"candidates": frame})
    assert warehouse.frame("select group_name, position, name, candidate->>'a' from candidates").rows() == [
        ("mnist", 0, "smooth", "1")
    ]


def test_wrong_columns_are_refused_with_the_difference_and_nothing_is_written(warehouse):
    warehouse.finish_stage("mnist", "groups", "1", {"run_groups": groups_frame(("mnist", "a/1"))})
    wrong = pl.DataFrame({"group_name": ["mnist"], "run": ["a/1"]})
    with pytest.raises(ValueError, match=r"run_groups must be group_name, run_id; missing: run_id; unknown: run$"):
        warehouse.finish_stage("mnist", "groups", "2", {"run_groups": wrong})
    assert warehouse.stage_key("mnist", "groups") == "1"
    assert warehouse.frame("from run_groups").rows() == [("mnist", "a/1")]


def test_a_stage_is_written_whole_or_not_at_all(warehouse):
    tables = {
        "run_groups": groups_frame(("mnist", "a/1")),
        "series_roles": pl.DataFrame(
            {"run_id": ["a/1"], "key": ["x"], "role": ["momentum"], "confidence": [0.9], "reason": ["r"]}
        ),
    }
    with pytest.raises(duckdb.ConstraintException):
        warehouse.finish_stage("mnist", "groups", "1", tables)
    assert warehouse.frame("from run_groups").is_empty()
    assert warehouse.stage_key("mnist", "groups") is None


def test_rows_of_another_group_are_refused(warehouse):
    with pytest.raises(ValueError, match=r"must be of group 'mnist', got \['nmf'\]"):
        warehouse.finish_stage("mnist", "groups", "1", {"run_groups": groups_frame(("nmf", "a/1"))})


def test_an_unknown_table_is_refused(warehouse):
    with pytest.raises(ValueError, match="must go to a table of the warehouse, got 'bobby'"):
        warehouse.finish_stage("mnist", "groups", "1", {"bobby": groups_frame()})


def test_not_a_number_and_null_are_told_apart(warehouse):
    frame = pl.DataFrame(
        {
            "run_id": ["a/1"] * 3,
            "position": [0, 1, 2],
            "step": [0, 1, 2],
            "progress": [None, 0.5, 1.0],
            "training_loss": [float("nan"), float("inf"), None],
            "validation_loss": pl.Series([None] * 3, dtype=pl.Float64),
            "learning_rate": [0.1, 0.1, 0.1],
        }
    )
    warehouse.finish_stage(EVERY_GROUP, "trajectories", "1", {"trajectories": frame})
    assert warehouse.frame("from trajectories order by position").equals(frame)


def test_a_query_takes_parameters(warehouse):
    warehouse.finish_stage(EVERY_GROUP, "groups", "1", {"run_groups": groups_frame(("a", "x/1"), ("b", "x/2"))})
    assert warehouse.frame("select run_id from run_groups where group_name = ?", ["b"]).rows() == [("x/2",)]


def test_each_error_says_whether_a_retry_can_help():
    retryable = {error.__name__: error.retryable for error in GreedyLRPipelineError.__subclasses__()}
    assert retryable["WarehouseLockedError"]
    assert retryable["RegistryUnreachableError"]
    assert not any(retryable[name] for name in ("SourceUnreadableError", "WarehouseTooNewError", "RegistryError"))


def test_a_lock_timeout_must_be_finite(tmp_path):
    with pytest.raises(ValueError, match="lock_timeout_s must be a finite number of seconds >= 0, got -1"):
        Warehouse(Path(tmp_path), lock_timeout_s=-1)


def test_what_an_earlier_release_has_read_is_kept(tmp_path, monkeypatch):
    schema = tmp_path / "schema"
    schema.mkdir()
    (schema / "0001_initial.sql").write_text(warehouse_module.migrations()[0].read_text())
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with monkeypatch.context() as earlier:
        earlier.setattr(warehouse_module, "_SCHEMA", schema)
        with warehouse.writing() as connection:
            connection.execute(
                "insert into sources values ('a', 'sqlite:////x.db', 'read', 'odd', now()::timestamp, 1, 2)"
            )
            connection.execute(
                "insert into runs values ('a/1', 'a', '1', '0', 'mnist', null, 'FINISHED', 'active', 5, 6, 2, false, "
                "null, '2026-01-01')"
            )
    assert warehouse.frame("select uri, status, reason, run_count, point_count from sources").rows() == [
        ("sqlite:////x.db", "read", "odd", 1, 2)
    ]
    run = warehouse.frame("select run_uuid, point_count, logged_points, watermark, content, vanished_at from runs").row(
        0
    )
    assert run == ("1", 2, None, None, None, None)
