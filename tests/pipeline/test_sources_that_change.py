"""A store that loses runs, moves, is replaced, is copied, or breaks."""

import shutil
import sqlite3

import pytest

from pipeline import copying, ingestion
from pipeline.ingest_options import IngestOptions
from pipeline.ingestion import ingest
from pipeline.selection import Selection
from pipeline.sources.sqlite_store import SQLiteStore
from pipeline.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "warehouse.duckdb")


@pytest.fixture
def store(mlflow_store, log_run):
    """Three runs of 1, 2 and 3 points."""
    for length in (1, 2, 3):
        log_run("mnist", metrics={"loss": [1.0] * length}, run_name=f"r{length}")
    return mlflow_store


def edit(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def delete_run(path, name):
    chosen = f"(select run_uuid from runs where name = '{name}')"
    tables = ("latest_metrics", "metrics", "tags", "params", "runs")
    edit(path, *(f"delete from {table} where run_uuid in {chosen}" for table in tables))


def read(warehouse, *paths, **options):
    reports = ingest(warehouse, [str(path) for path in paths], IngestOptions(**options)).sources
    return reports[0] if len(reports) == 1 else reports


def vanished(warehouse):
    return warehouse.frame("select run_name from runs where vanished_at is not null order by 1")["run_name"].to_list()


def sources(warehouse):
    return warehouse.frame("select source_id, uri from sources order by uri").rows()


def test_a_run_that_vanished_is_marked_once_and_stays_history(warehouse, store):
    read(warehouse, store)
    delete_run(store, "r2")
    source = read(warehouse, store)
    assert (source.runs_unchanged, source.runs_vanished, source.reason) == (2, 1, None)
    marked = warehouse.frame("select vanished_at from runs where run_name = 'r2'").item()
    assert vanished(warehouse) == ["r2"]
    assert warehouse.frame("select count(*) from metrics").item() == 6
    assert read(warehouse, store).runs_vanished == 0
    assert warehouse.frame("select vanished_at from runs where run_name = 'r2'").item() == marked


def test_a_run_that_came_back_has_not_vanished(warehouse, store, tmp_path):
    read(warehouse, store)
    shutil.copyfile(store, tmp_path / "backup.db")
    delete_run(store, "r2")
    read(warehouse, store)
    shutil.copyfile(tmp_path / "backup.db", store)
    source = read(warehouse, store)
    assert (source.runs_updated, source.runs_unchanged, source.points) == (1, 2, 2)
    assert vanished(warehouse) == []


def test_a_store_that_moved_goes_on_as_the_same_history(warehouse, store, tmp_path, log_run):
    read(warehouse, store)
    [(source_id, _)] = sources(warehouse)
    before = warehouse.frame("from runs order by all")
    moved = tmp_path / "elsewhere" / "mlflow.db"
    moved.parent.mkdir()
    store.rename(moved)
    source = read(warehouse, moved)
    assert (source.runs_new, source.runs_unchanged, source.points) == (0, 3, 0)
    assert source.reason == f"moved here from sqlite:///{store}"
    assert sources(warehouse) == [(source_id, f"sqlite:///{moved}")]
    assert warehouse.frame("from runs order by all").equals(before)
    log_run("mnist", metrics={"loss": [1.0]}, store=moved)
    source = read(warehouse, moved)
    assert (source.runs_new, source.runs_unchanged, source.reason) == (1, 3, None)
    assert warehouse.frame("select distinct source_id from runs").rows() == [(source_id,)]


def test_another_store_where_one_has_moved_away_is_a_source_of_its_own(
    warehouse, store, tmp_path, mlflow_store_template, log_run
):
    read(warehouse, store)
    moved = store.rename(tmp_path / "moved.db")
    read(warehouse, moved)
    another = shutil.copyfile(mlflow_store_template, tmp_path / "another.db")
    log_run("other", metrics={"loss": [1.0]}, store=another)
    another.rename(store)
    assert read(warehouse, store).runs_new == 1
    (first, _), (second, _) = sources(warehouse)
    assert first != second
    assert [read(warehouse, path).runs_unchanged for path in (store, moved)] == [1, 3]


def test_a_copy_whose_original_is_still_there_is_another_source(warehouse, store, tmp_path):
    read(warehouse, store)
    shutil.copyfile(store, tmp_path / "copy.db")
    source = read(warehouse, tmp_path / "copy.db")
    assert (source.runs_new, source.reason) == (3, None)
    assert len(sources(warehouse)) == 2


def test_a_store_of_which_only_a_part_is_in_the_choice_is_seen_to_have_moved(warehouse, store, tmp_path):
    read(warehouse, store)
    moved = store.rename(tmp_path / "moved.db")
    source = read(warehouse, moved, selection=Selection(where="run_name = 'r1'"))
    assert (source.runs_new, source.runs_unchanged) == (0, 1)
    assert vanished(warehouse) == []


def test_a_store_that_was_replaced_is_noticed(warehouse, store, tmp_path, mlflow_store_template, log_run):
    read(warehouse, store)
    another = shutil.copyfile(mlflow_store_template, tmp_path / "another.db")
    log_run("other", metrics={"loss": [1.0]}, run_name="new", store=another)
    another.replace(store)
    source = read(warehouse, store)
    assert (source.runs_new, source.runs_vanished) == (1, 3)
    assert source.reason == "another store than before: it has none of the 3 runs known from here, which are kept"
    assert vanished(warehouse) == ["r1", "r2", "r3"]
    source = read(warehouse, store)
    assert (source.runs_unchanged, source.runs_vanished, source.reason) == (1, 0, None)


def test_a_source_that_breaks_in_the_middle_keeps_what_is_finished(warehouse, store, tmp_path, monkeypatch):
    other = tmp_path / "other.db"
    shutil.copyfile(store, other)
    delete_run(other, "r1")
    monkeypatch.setattr(copying, "POINTS_PER_BATCH", 1)
    read_points = SQLiteStore.points

    def break_at_the_third(self, run_uuids, keys=None):
        if self.uri.endswith("mlflow.db") and warehouse.path.exists():
            with sqlite3.connect(store) as connection:
                connection.execute("alter table metrics rename to gone")
            connection.close()
        return read_points(self, run_uuids, keys)

    with monkeypatch.context() as breaking:
        breaking.setattr(SQLiteStore, "points", break_at_the_third)
        broken, whole = read(warehouse, store, other)
    assert broken.status == "broken off"
    assert "no such table: metrics" in broken.reason
    assert broken.reason.endswith(f"; {3 - broken.runs_new} runs are still to be read")
    assert 1 <= broken.runs_new < 3
    assert (whole.status, whole.runs_new) == ("read", 2)
    stored = warehouse.frame("select status, run_count from sources order by run_count").rows()
    assert sorted(stored) == sorted([("broken off", broken.runs_new), ("read", 2)])
    edit(store, "alter table gone rename to metrics")
    mended = read(warehouse, store)
    assert (mended.status, mended.runs_new, mended.runs_unchanged) == ("read", 3 - broken.runs_new, broken.runs_new)
    assert warehouse.frame("select count(*) from metrics").item() == 6 + 5


def test_an_interruption_says_what_is_kept(warehouse, store, monkeypatch, caplog):
    monkeypatch.setattr(copying, "POINTS_PER_BATCH", 1)

    def interrupt(address, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(warehouse, [str(store)], progress=interrupt)
    assert [record.getMessage() for record in caplog.records if record.name == ingestion.__name__] == [
        f"sqlite:///{store}: 1 of 3 new and changed runs are kept"
    ]
    assert read(warehouse, store).runs_new == 2


def test_the_lock_of_the_warehouse_is_free_while_a_source_is_read(warehouse, store, monkeypatch):
    opened = []
    read_points = SQLiteStore.points

    def look(self, run_uuids, keys=None):
        with Warehouse(warehouse.path).writing():
            opened.append(run_uuids)
        return read_points(self, run_uuids, keys)

    monkeypatch.setattr(SQLiteStore, "points", look)
    assert read(warehouse, store).runs_new == 3
    assert len(opened) == 1


def test_a_store_that_moves_to_where_nothing_was_found_before_stays_one_source(warehouse, store, tmp_path):
    read(warehouse, store)
    moved = tmp_path / "moved.db"
    assert read(warehouse, moved).reason == "no such file; it was not created"
    store.rename(moved)
    assert read(warehouse, moved).reason == f"moved here from sqlite:///{store}"
    source = read(warehouse, moved)
    assert (source.runs_new, source.runs_unchanged) == (0, 3)
    assert [uri for _, uri in sources(warehouse)] == [f"sqlite:///{moved}"]
