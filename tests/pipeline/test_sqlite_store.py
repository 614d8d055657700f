import hashlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import SourceUnreadableError
from pipeline.sources.source import RUN_COLUMNS
from pipeline.sources.sqlite_store import SQLiteStore

# The tables of an MLflow store of 2022 (revision 97727af70f4d before `deleted_time`), as far as a reader needs them.
SCHEMA_OF_2022 = """
create table experiments (experiment_id integer primary key, name varchar(256) unique not null,
    artifact_location varchar(256), lifecycle_stage varchar(32), creation_time bigint, last_update_time bigint);
create table runs (run_uuid varchar(32) primary key, name varchar(250), source_type varchar(20),
    source_name varchar(500), entry_point_name varchar(50), user_id varchar(256), status varchar(9), start_time bigint,
    end_time bigint, source_version varchar(50), lifecycle_stage varchar(20), artifact_uri varchar(200),
    experiment_id integer);
create table params (key varchar(250), value varchar(500) not null, run_uuid varchar(32), primary key (key, run_uuid));
create table tags (key varchar(250), value varchar(5000), run_uuid varchar(32), primary key (key, run_uuid));
create table metrics (key varchar(250), value float not null, timestamp bigint, run_uuid varchar(32),
    step bigint default 0 not null, is_nan boolean default 0 not null,
    primary key (key, timestamp, step, run_uuid, value, is_nan));
insert into experiments values (0, 'Default', 'x', 'active', 1, 1);
insert into runs values ('abc', '', 'LOCAL', '', '', 'me', 'FINISHED', 5, null, '', 'active', 'x', 0);
insert into tags values ('mlflow.runName', 'boom', 'abc');
insert into params values ('learning-rate', '0.03', 'abc');
insert into metrics values ('loss', 2.5, 10, 'abc', 0, 0), ('system/cpu', 9.0, 10, 'abc', 0, 0);
"""


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def old_store(path):
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA_OF_2022)
    connection.close()
    return path


def crash_left_copy(source, target):
    """Copy a store as its writer's crash would leave it: its last rows are in the write-ahead log alone."""
    writer = sqlite3.connect(source)
    writer.execute("pragma journal_mode = wal")
    writer.execute("insert into metrics values ('loss', 1.5, 20, 'abc', 1, 0)")
    writer.commit()
    shutil.copyfile(source, target)
    shutil.copyfile(f"{source}-wal", f"{target}-wal")
    writer.close()
    return target


def rows(opened):
    with opened as batches:
        return [tuple(row.values()) for row in batches.read_all().to_pylist()]


def test_a_missing_file_is_said_to_be_missing_and_not_created(tmp_path):
    store = SQLiteStore(str(tmp_path / "mlflow.db"))
    with pytest.raises(SourceUnreadableError, match="no such file; it was not created"), store:
        pass
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_mlflow_store_give_their_reason(tmp_path):
    (tmp_path / "empty.db").touch()
    (tmp_path / "notes.db").write_text("learning rates I liked\n" * 500)
    (tmp_path / "folder.db").mkdir()
    sqlite3.connect(tmp_path / "other.db").execute("create table runs (a integer)").connection.close()
    reasons = {}
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(SourceUnreadableError) as caught, SQLiteStore(str(path)):
            pass
        reasons[path.name] = str(caught.value)
    assert reasons == {
        "empty.db": "an empty file (0 bytes)",
        "folder.db": "a folder, not a SQLite file",
        "notes.db": "not a SQLite database (file is not a database)",
        "other.db": "a SQLite database but no MLflow store: it has no table experiments, metrics, params, tags",
    }


def test_a_store_with_the_journal_of_a_crashed_writer_says_what_to_do(tmp_path):
    source = old_store(tmp_path / "source.db")
    writer = sqlite3.connect(source)
    writer.execute("pragma cache_size = 2")
    writer.executemany("insert into params values (?, ?, 'abc')", [(str(n), "x" * 400) for n in range(5000)])
    shutil.copyfile(source, tmp_path / "mlflow.db")
    shutil.copyfile(f"{source}-journal", tmp_path / "mlflow.db-journal")
    writer.close()
    store = SQLiteStore(str(tmp_path / "mlflow.db"))
    with pytest.raises(SourceUnreadableError, match="rollback journal beside it; open it once with MLflow"), store:
        pass


def test_a_store_of_2022_is_read(tmp_path):
    with SQLiteStore(str(old_store(tmp_path / "mlflow.db"))) as store:
        [run] = rows(store.runs())
        assert dict(zip(RUN_COLUMNS, run, strict=True)) == {
            "run_uuid": "abc",
            "experiment_id": "0",
            "experiment_name": "Default",
            "run_name": "boom",
            "status": "FINISHED",
            "lifecycle_stage": "active",
            "start_time": 5,
            "end_time": -1,
            "role": "",
            "preset": "",
            "point_count": 1,
            "param_count": 1,
            "tag_count": 1,
            "watermark": "1",
        }
        assert rows(store.params(["abc"])) == [("abc", "learning-rate", "0.03")]
        assert rows(store.tags(["abc"])) == [("abc", "mlflow.runName", "boom")]
        assert rows(store.series(["abc"])) == [("abc", "loss")]
        assert rows(store.points(["abc"])) == [("abc", "loss", 0, 10, 2.5, 0)]
        assert rows(store.points(["another"])) == []


def test_a_left_over_log_is_read_and_neither_file_changes(tmp_path):
    path = crash_left_copy(old_store(tmp_path / "source.db"), tmp_path / "mlflow.db")
    before = {name: sha256(tmp_path / name) for name in ("mlflow.db", "mlflow.db-wal")}
    with SQLiteStore(str(path)) as store:
        assert rows(store.points(["abc"])) == [("abc", "loss", 0, 10, 2.5, 0), ("abc", "loss", 1, 20, 1.5, 0)]
    assert {name: sha256(tmp_path / name) for name in ("mlflow.db", "mlflow.db-wal")} == before


def test_a_store_without_a_log_gets_no_new_files(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    path = old_store(folder / "mlflow.db")
    before = sha256(path)
    with SQLiteStore(str(path)) as store:
        rows(store.runs())
    assert [file.name for file in folder.iterdir()] == ["mlflow.db"]
    assert sha256(path) == before


def test_odd_characters_in_a_path_are_quoted(tmp_path):
    path = old_store(tmp_path / "50% of my?runs #1.db")
    with SQLiteStore(str(path)) as store:
        assert len(rows(store.runs())) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["50% of my?runs #1.db"]


def test_a_training_job_can_log_while_the_store_is_open(tmp_path):
    path = old_store(tmp_path / "mlflow.db")
    job = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0)\n"
        "c.execute(\"insert into metrics values ('loss', 0.5, 30, 'abc', 2, 0)\"); c.commit()"
    )
    with SQLiteStore(str(path)) as store:
        rows(store.points(["abc"]))
        subprocess.run([sys.executable, "-c", job, str(path)], check=True)
        assert len(rows(store.points(["abc"]))) == 2


def test_a_null_in_the_first_rows_of_a_text_column_does_not_spoil_it(tmp_path):
    path = old_store(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.execute("delete from tags")
        connection.execute("delete from params")
        connection.executemany("insert into tags values (?, ?, 'abc')", [(f"t{n:06}", None) for n in range(70_000)])
        connection.execute("insert into tags values ('u', 'text', 'abc')")
    connection.close()
    with SQLiteStore(str(path)) as store:
        tags = rows(store.tags(["abc"]))
    assert (len(tags), tags[0], tags[-1]) == (70_001, ("abc", "t000000", ""), ("abc", "u", "text"))


def test_a_store_must_be_entered_before_it_is_read(tmp_path):
    store = SQLiteStore(str(old_store(tmp_path / "mlflow.db")))
    with pytest.raises(ValueError, match="must be entered before it is read"), store.runs():
        pass
