import hashlib
import math
import shutil
import sqlite3
import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from pipeline import copying
from pipeline.catalogue import OURS
from pipeline.errors import WarehouseInaccessibleError, WarehouseUnreadableError
from pipeline.ingest_options import IngestOptions
from pipeline.ingestion import ingest
from pipeline.sources.opening import KINDS
from pipeline.warehouse import Warehouse

START = 1_700_000_000_000
INSERT_METRIC = "insert into metrics (key, value, timestamp, run_uuid, step, is_nan) values"


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "warehouse.duckdb")


def sqlite_edit(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def the_source(report):
    [source] = report.sources
    return source


def test_a_run_is_copied_whole(warehouse, mlflow_store, log_run):
    run_uuid = log_run(
        "mnist",
        params={"optimizer": "SGD", "lr": 0.1},
        metrics={"loss": [2.0, math.nan, math.inf, -math.inf], "system/cpu": [1.0]},
        tags={"team": "a"},
        run_name="first",
    )
    source = the_source(ingest(warehouse, [f"sqlite:///{mlflow_store}"]))
    assert (source.status, source.reason, source.runs_new, source.points) == ("read", None, 1, 4)
    run = warehouse.frame("from runs").row(0, named=True)
    run_id = f"{run['source_id']}/{run_uuid}"
    assert run["run_id"] == run_id
    assert {
        name: run[name] for name in ("experiment_name", "run_name", "status", "lifecycle_stage", "point_count")
    } == {
        "experiment_name": "mnist",
        "run_name": "first",
        "status": "FINISHED",
        "lifecycle_stage": "active",
        "point_count": 4,
    }
    assert (run["start_time"], run["end_time"]) == (START, START + 3_600_000)
    assert (run["is_ours"], run["trained_with_preset"]) == (False, None)
    assert warehouse.frame("from params order by key").rows() == [(run_id, "lr", "0.1"), (run_id, "optimizer", "SGD")]
    assert (run_id, "team", "a") in warehouse.frame("from tags").rows()
    points = warehouse.frame("select run_id, key, step, timestamp, value from metrics order by step").rows()
    assert points[0] == (run_id, "loss", 0, START, 2.0)
    assert math.isnan(points[1][4])
    assert [point[4] for point in points[2:]] == [math.inf, -math.inf]


def test_the_users_store_stays_as_it_is(warehouse, mlflow_store, log_run):
    log_run(metrics={"loss": [2.0, 1.0]})
    before = hashlib.sha256(mlflow_store.read_bytes()).hexdigest()
    ingest(warehouse, [str(mlflow_store)])
    ingest(warehouse, [str(mlflow_store)])
    assert hashlib.sha256(mlflow_store.read_bytes()).hexdigest() == before
    assert [file.name for file in mlflow_store.parent.iterdir()] == ["mlflow.db"]


def test_a_store_with_a_left_over_log_is_copied_whole_and_stays_as_it_is(warehouse, tmp_path, mlflow_store, log_run):
    run_uuid = log_run(metrics={"loss": [2.0]})
    writer = sqlite3.connect(mlflow_store)
    writer.execute("pragma journal_mode = wal")
    writer.execute(f"{INSERT_METRIC} ('loss', 1.0, 5, '{run_uuid}', 1, 0)")
    writer.commit()
    folder = tmp_path / "crashed"
    folder.mkdir()
    for name in ("mlflow.db", "mlflow.db-wal"):
        shutil.copyfile(mlflow_store.parent / name, folder / name)
    writer.close()
    before = {name: (folder / name).read_bytes() for name in ("mlflow.db", "mlflow.db-wal")}
    assert the_source(ingest(warehouse, [str(folder / "mlflow.db")])).points == 2
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_store_that_has_not_changed_is_not_copied_again(warehouse, mlflow_store, log_run):
    log_run(params={"lr": 0.1}, metrics={"loss": [2.0, 1.0]})
    log_run()
    ingest(warehouse, [str(mlflow_store)])
    before = warehouse.frame("from runs order by all")
    source = the_source(ingest(warehouse, [str(mlflow_store)]))
    assert (source.runs_new, source.runs_updated, source.runs_unchanged, source.points) == (0, 0, 2, 0)
    assert warehouse.frame("from runs order by all").equals(before)


@pytest.mark.parametrize(
    ("change", "query", "expected"),
    [
        (f"{INSERT_METRIC} ('loss', 0.5, 99, ?, 9, 0)", "select max(step) from metrics", 9),
        # Late and at a lower step: MLflow's latest_metrics would not show it.
        (f"{INSERT_METRIC} ('loss', 0.5, 1, ?, -1, 0)", "select min(step) from metrics", -1),
        ("update runs set status = 'FAILED' where run_uuid = ?", "select status from runs", "FAILED"),
        (
            "update runs set lifecycle_stage = 'deleted' where run_uuid = ?",
            "select lifecycle_stage from runs",
            "deleted",
        ),
        ("update runs set name = 'renamed' where run_uuid = ?", "select run_name from runs", "renamed"),
        (
            "insert into params (key, value, run_uuid) values ('warmup', '5', ?)",
            "select value from params where key = 'warmup'",
            "5",
        ),
        ("update params set value = '0.2' where run_uuid = ?", "select value from params", "0.2"),
        (
            "insert into tags (key, value, run_uuid) values ('greedylr.preset', 'mnist@3', ?)",
            "select trained_with_preset from runs",
            "mnist@3",
        ),
    ],
)
def test_a_changed_run_is_copied_again(warehouse, mlflow_store, log_run, change, query, expected):
    run_uuid = log_run(params={"lr": 0.1}, metrics={"loss": [2.0, 1.0]}, run_name="plain")
    ingest(warehouse, [str(mlflow_store)])
    sqlite_edit(mlflow_store, change.replace("?", f"'{run_uuid}'"))
    source = the_source(ingest(warehouse, [str(mlflow_store)]))
    assert (source.runs_new, source.runs_updated, source.runs_unchanged) == (0, 1, 0)
    assert warehouse.frame(query).item() == expected
    assert warehouse.frame("select count(*) from runs").item() == 1
    assert warehouse.frame("select count(*) from metrics").item() == (3 if "metrics" in change else 2)
    assert the_source(ingest(warehouse, [str(mlflow_store)])).runs_unchanged == 1


def test_an_edited_tag_is_noticed(warehouse, mlflow_store, log_run):
    edited, other = (log_run(params={"lr": 0.1}, metrics={"loss": [2.0, 1.0]}, tags={"team": "a"}) for _ in range(2))
    ingest(warehouse, [str(mlflow_store)])
    MlflowClient(tracking_uri=f"sqlite:///{mlflow_store}").set_tag(edited, "team", "b")
    source = the_source(ingest(warehouse, [str(mlflow_store)]))
    assert (source.runs_new, source.runs_updated, source.runs_unchanged, source.points) == (0, 1, 1, 2)
    tags = warehouse.frame("select split_part(run_id, '/', 2), value from tags where key = 'team'")
    assert sorted(tags.rows()) == sorted([(edited, "b"), (other, "a")])
    assert the_source(ingest(warehouse, [str(mlflow_store)])).runs_unchanged == 2


def test_two_tags_that_swapped_their_values_are_noticed(warehouse, mlflow_store, log_run):
    run_uuid = log_run(metrics={"loss": [2.0]}, params={"x": 1, "y": 2}, tags={"x": "1", "y": "2"})
    ingest(warehouse, [str(mlflow_store)])
    client = MlflowClient(tracking_uri=f"sqlite:///{mlflow_store}")
    client.set_tag(run_uuid, "x", "2")
    client.set_tag(run_uuid, "y", "1")
    assert the_source(ingest(warehouse, [str(mlflow_store)])).runs_updated == 1
    tags = warehouse.frame("select key, value from tags where key in ('x', 'y') order by key").rows()
    assert tags == [("x", "2"), ("y", "1")]


def test_a_running_run_grows(warehouse, mlflow_store, log_run):
    log_run(metrics={"loss": [2.0]}, status="RUNNING")
    ingest(warehouse, [str(mlflow_store)])
    assert warehouse.frame("select status, end_time, point_count from runs").rows() == [("RUNNING", None, 1)]
    sqlite_edit(
        mlflow_store,
        "insert into metrics (key, value, timestamp, run_uuid, step, is_nan) "
        "select 'loss', 1.0, 5, run_uuid, 1, 0 from runs",
        f"update runs set status = 'FINISHED', end_time = {START}",
    )
    assert the_source(ingest(warehouse, [str(mlflow_store)])).runs_updated == 1
    assert warehouse.frame("select status, end_time, point_count from runs").rows() == [("FINISHED", START, 2)]


def test_runs_that_we_made_are_never_history(warehouse, mlflow_store, log_run):
    log_run(metrics={"loss": [2.0]})
    log_run(metrics={"loss": [1.0]}, tags={"greedylr.role": "champion"})
    source = the_source(ingest(warehouse, [str(mlflow_store)]))
    assert (source.runs_new, dict(source.skipped), source.points) == (1, {OURS: 1}, 1)
    for table in ("runs", "params", "tags", "metrics"):
        assert (
            warehouse.frame(f"select count(*) from {table} where run_id not in (select run_id from runs)").item() == 0
        )
    again = the_source(ingest(warehouse, [str(mlflow_store)]))
    assert (again.runs_unchanged, dict(again.skipped)) == (1, {OURS: 1})


def test_a_run_that_turns_out_to_be_ours_is_taken_out(warehouse, mlflow_store, log_run):
    run_uuid = log_run(metrics={"loss": [2.0]}, params={"lr": 1})
    ingest(warehouse, [str(mlflow_store)])
    sqlite_edit(mlflow_store, f"insert into tags (key, value, run_uuid) values ('greedylr.role', 'x', '{run_uuid}')")
    source = the_source(ingest(warehouse, [str(mlflow_store)]))
    assert (source.reason, dict(source.skipped)) == ("holds no runs but those trained by greedylr", {OURS: 1})
    for table in ("runs", "params", "tags", "metrics"):
        assert warehouse.frame(f"select count(*) from {table}").item() == 0


def test_a_run_that_vanished_from_its_store_stays(warehouse, mlflow_store, log_run):
    run_uuid = log_run(metrics={"loss": [2.0]})
    ingest(warehouse, [str(mlflow_store)])
    sqlite_edit(
        mlflow_store,
        *(
            f"delete from {table} where run_uuid = '{run_uuid}'"
            for table in ("latest_metrics", "metrics", "tags", "runs")
        ),
    )
    assert the_source(ingest(warehouse, [str(mlflow_store)])).reason == "holds no runs"
    assert warehouse.frame("select run_count, point_count from sources").rows() == [(1, 1)]
    assert warehouse.frame("select value from metrics").rows() == [(2.0,)]


def test_one_unreadable_store_does_not_stop_the_others(
    warehouse, tmp_path, mlflow_store, log_run, mlflow_store_template
):
    log_run(metrics={"loss": [2.0]})
    (tmp_path / "empty.db").touch()
    (tmp_path / "notes.txt").write_text("no database\n" * 200)
    files = [str(tmp_path / name) for name in ("missing.db", "empty.db", "notes.txt")]
    report = ingest(warehouse, [*files, str(mlflow_store), str(mlflow_store_template), "mysql://me:secret@x/mlflow"])
    assert [(source.status, source.reason) for source in report.sources] == [
        ("unreadable", "no such file; it was not created"),
        ("unreadable", "an empty file (0 bytes)"),
        ("unreadable", "not a SQLite database (file is not a database)"),
        ("read", None),
        ("read", "holds no runs"),
        ("unreadable", f"{KINDS}; got the scheme 'mysql'"),
    ]
    assert not (tmp_path / "missing.db").exists()
    stored = warehouse.frame("select uri, status, reason, run_count, point_count from sources order by uri")
    assert stored.height == 6
    assert "mysql://me:***@x/mlflow" in stored["uri"].to_list()
    assert stored.filter(stored["uri"] == f"sqlite:///{mlflow_store}").rows() == [
        (f"sqlite:///{mlflow_store}", "read", None, 1, 1)
    ]


def test_a_store_that_breaks_halfway_keeps_what_was_there(warehouse, mlflow_store, log_run):
    run_uuid = log_run(metrics={"loss": [1.0]})
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 19999)"
    rows = f"select 'loss', 1.0, i, '{run_uuid}', i, 0 from n"
    sqlite_edit(mlflow_store, f"{numbers} {INSERT_METRIC.removesuffix('values')} {rows}")
    ingest(warehouse, [str(mlflow_store)])
    sqlite_edit(mlflow_store, "update runs set status = 'FAILED'")
    content = bytearray(mlflow_store.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 40 * 4096] = b"\xff" * (40 * 4096)
    mlflow_store.write_bytes(content)
    source = the_source(ingest(warehouse, [str(mlflow_store)]))
    assert source.status == "unreadable"
    assert "malformed" in source.reason
    assert "\n" not in source.reason
    assert warehouse.frame("select status, point_count from runs").rows() == [("FINISHED", 20_000)]
    assert warehouse.frame("select count(*) from metrics").item() == 20_000
    assert warehouse.frame("select status, run_count from sources").rows() == [("unreadable", 1)]


def test_the_same_run_in_two_stores_is_two_runs(warehouse, tmp_path, mlflow_store, log_run):
    run_uuid = log_run(metrics={"loss": [2.0]})
    copy = tmp_path / "copy.db"
    shutil.copyfile(mlflow_store, copy)
    ingest(warehouse, [str(mlflow_store), str(copy)])
    run_ids = warehouse.frame("select run_id from runs")["run_id"].to_list()
    assert len(set(run_ids)) == 2
    assert {run_id.split("/")[1] for run_id in run_ids} == {run_uuid}


def test_the_copy_does_not_depend_on_how_many_runs_are_read_at_once(
    warehouse, tmp_path, mlflow_store, log_run, monkeypatch
):
    for length in (3, 0, 1, 5, 2):
        log_run(params={"length": length}, metrics={"loss": [float(length)] * length})
    ingest(warehouse, [str(mlflow_store)])
    monkeypatch.setattr(copying, "POINTS_PER_BATCH", 4)
    other = Warehouse(tmp_path / "other.duckdb")
    seen = []
    ingest(other, [str(mlflow_store)], progress=lambda what, done, total: seen.append((what, done, total)))
    for table in ("metrics", "params", "tags"):
        assert other.frame(f"from {table} order by all").equals(warehouse.frame(f"from {table} order by all"))
    assert len(seen) >= 3
    assert seen[-1] == (f"sqlite:///{mlflow_store}", 11, 11)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_store_given_twice_is_refused(warehouse, tmp_path, mlflow_store, monkeypatch):
    monkeypatch.chdir(mlflow_store.parent)
    with pytest.raises(ValueError, match=r"given once, got 'mlflow.db' and 'sqlite:////.*', which are both"):
        ingest(warehouse, ["mlflow.db", f"sqlite:///{mlflow_store}"])
    assert not warehouse.path.exists()


def test_the_registry_is_refused_as_a_source_unless_allowed(warehouse, mlflow_store, log_run):
    log_run(metrics={"loss": [2.0]})
    registry = f"sqlite:///{mlflow_store}"
    with pytest.raises(
        ValueError, match=r"a source must not be the registry, got .*name the registry a store of its own"
    ):
        ingest(warehouse, [str(mlflow_store)], IngestOptions(registry_uri=registry))
    report = ingest(warehouse, [str(mlflow_store)], IngestOptions(registry_uri=registry, allow_registry_as_source=True))
    assert the_source(report).runs_new == 1
    ingest(warehouse, [str(mlflow_store)], IngestOptions(registry_uri="http://localhost:5000"))


def test_no_source_at_all_is_refused(warehouse):
    with pytest.raises(ValueError, match="at least one source must be given"):
        ingest(warehouse, [])


def test_a_source_that_is_the_warehouse_is_refused(mlflow_store, log_run):
    log_run(metrics={"loss": [2.0]})
    before = mlflow_store.read_bytes()
    with pytest.raises(
        ValueError, match=r"the warehouse must be a file of its own, got the source 'sqlite:////.*--ware"
    ):
        ingest(Warehouse(mlflow_store), [f"sqlite:///{mlflow_store}"])
    assert mlflow_store.read_bytes() == before


def test_a_warehouse_that_cannot_be_written_is_not_blamed_on_the_source(mlflow_store, log_run, tmp_path):
    log_run(metrics={"loss": [2.0]})
    for path in ("/proc/x/y.duckdb", "/proc/y.duckdb"):
        with pytest.raises(WarehouseInaccessibleError, match=f"got {path}: .*; see to permissions"):
            ingest(Warehouse(path), [str(mlflow_store)])
    with pytest.raises(WarehouseInaccessibleError, match=r"got .*/mlflow\.db/y\.duckdb: Not a directory; see to"):
        ingest(Warehouse(mlflow_store / "y.duckdb"), [str(tmp_path / "missing.db")])
    with pytest.raises(WarehouseUnreadableError, match=r"got .*: a folder; name another with --warehouse"):
        ingest(Warehouse(tmp_path), [str(mlflow_store)])


def test_a_full_disk_is_not_blamed_on_the_source(warehouse, mlflow_store, log_run):
    run_uuid = log_run(metrics={"loss": [1.0]})
    with warehouse.writing():
        pass
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 199999)"
    rows = f"select 'loss', random() * 1.0, i, '{run_uuid}', i, 0 from n"
    sqlite_edit(mlflow_store, f"{numbers} {INSERT_METRIC.removesuffix('values')} {rows}")
    # A process that may write no file beyond its present size stands for a full disk.
    program = (
        "import os, resource, sys; from pipeline.ingestion import ingest; from pipeline.warehouse import Warehouse\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1]),) * 2)\n"
        "try: ingest(Warehouse(sys.argv[1]), [sys.argv[2]])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(warehouse.path), str(mlflow_store)], capture_output=True, text=True
    )
    assert ended.stdout.startswith("WarehouseInaccessibleError the warehouse must lie where"), ended
    assert ended.stdout.count("\n") == 1
    assert warehouse.frame("select count(*) from runs").item() == 0


def test_no_warehouse_is_made_where_no_source_can_be_read(tmp_path):
    (tmp_path / "notes.txt").write_text("no database\n" * 200)
    warehouse = Warehouse(tmp_path / "new" / "warehouse.duckdb")
    report = ingest(warehouse, [str(tmp_path / "notes.txt"), str(tmp_path / "missing.db")])
    assert [source.status for source in report.sources] == ["unreadable", "unreadable"]
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_what_became_of_an_unreadable_source_is_recorded_in_a_warehouse_that_exists(warehouse, mlflow_store, log_run):
    log_run(metrics={"loss": [2.0]})
    ingest(warehouse, [str(mlflow_store)])
    mlflow_store.unlink()
    assert the_source(ingest(warehouse, [str(mlflow_store)])).status == "unreadable"
    assert warehouse.frame("select status, reason, run_count from sources").rows() == [
        ("unreadable", "no such file; it was not created", 1)
    ]
