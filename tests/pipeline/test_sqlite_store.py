import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from pipeline.errors import SourceUnreadableError
from pipeline.sources.source import RUN_COLUMNS, Scope
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


# Logs a hundred points, each in a transaction of its own, as MLflow does; waits for a lock as long as MLflow does.
JOB = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=5)
connection.execute(f"pragma journal_mode = {sys.argv[2]}")
for step in range(100, 200):
    connection.execute("insert into metrics values ('loss', 0.5, 30, 'abc', ?, 0)", (step,))
    connection.commit()
    print(step, flush=True)
"""


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_training_job_goes_on_logging_while_we_read_again_and_again(tmp_path, journal):
    path = old_store(tmp_path / "mlflow.db")
    with subprocess.Popen([sys.executable, "-c", JOB, str(path), journal], stdout=subprocess.PIPE) as job:
        job.stdout.readline()
        seen = []
        while job.poll() is None:
            with SQLiteStore(str(path)) as store:
                [run] = rows(store.runs())
                points = rows(store.points(["abc"]))
            assert len(points) >= run[RUN_COLUMNS.index("point_count")]
            seen.append(len(points))
    assert job.returncode == 0
    assert seen == sorted(seen)
    with SQLiteStore(str(path)) as store:
        assert sorted(point[2] for point in rows(store.points(["abc"]))) == [0, *range(100, 200)]


def test_a_job_with_a_write_ahead_log_commits_while_a_reader_is_half_way(tmp_path):
    path = old_store(tmp_path / "mlflow.db")
    writer = sqlite3.connect(path, timeout=0)
    writer.execute("pragma journal_mode = wal")
    writer.executemany("insert into metrics values ('loss', 1.0, 1, 'abc', ?, 0)", ((n,) for n in range(1, 200_000)))
    writer.commit()
    with SQLiteStore(str(path)) as store, store.points(["abc"]) as batches:
        first = batches.read_next_batch()
        writer.execute("insert into metrics values ('loss', 1.0, 1, 'abc', 300000, 0)")
        writer.commit()
        rest = sum(batch.num_rows for batch in batches)
    writer.close()
    assert first.num_rows + rest == 200_000


@contextmanager
def read_only_folder():
    """A folder that this process may not write, even where it is root's; not pytest's, which is closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        Path(folder).chmod(0o755)


@contextmanager
def closed(folder):
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_store_in_a_read_only_folder_is_read():
    with read_only_folder() as folder:
        path = old_store(folder / "mlflow.db")
        with closed(folder), SQLiteStore(str(path)) as store:
            assert len(rows(store.points(["abc"]))) == 1
        assert [file.name for file in folder.iterdir()] == ["mlflow.db"]


def test_a_left_over_log_in_a_read_only_folder_says_what_to_do(tmp_path):
    with read_only_folder() as folder:
        path = crash_left_copy(old_store(tmp_path / "source.db"), folder / "mlflow.db")
        with (
            closed(folder),
            pytest.raises(SourceUnreadableError, match="copy the database with its -wal file into a folder"),
            SQLiteStore(str(path)),
        ):
            pass
        assert sorted(file.name for file in folder.iterdir()) == ["mlflow.db", "mlflow.db-wal"]


def test_a_damaged_file_gives_its_reason_though_arrow_meets_it(tmp_path):
    path = old_store(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "insert into metrics values ('loss', 1.0, 1, 'abc', ?, 0)", ((n,) for n in range(1, 200_000))
        )
    connection.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 40 * 4096] = bytes(40 * 4096)
    path.write_bytes(content)
    store = SQLiteStore(str(path))
    with pytest.raises(SourceUnreadableError, match="the file is damaged"), store:
        rows(store.points(["abc"]))


def test_the_database_that_reads_the_batches_does_not_hide_the_reason(tmp_path):
    path = old_store(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.execute("insert into metrics values ('loss', 1.0, 'yesterday', 'abc', 7, 0)")
    connection.close()
    with (
        pytest.raises(SourceUnreadableError, match="'yesterday' as a scalar of type int64"),
        SQLiteStore(str(path)) as store,
        store.points(["abc"]) as batches,
        duckdb.connect() as connection,
    ):
        connection.register("batches", batches)
        connection.execute("create table points as from batches")


def test_a_schema_that_lacks_a_column_says_which(tmp_path):
    path = old_store(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "create table m (key, value, timestamp, run_uuid); drop table metrics; alter table m rename to metrics"
        )
    connection.close()
    with (
        pytest.raises(SourceUnreadableError, match=r"it has no column metrics\.step, metrics\.is_nan"),
        SQLiteStore(str(path)),
    ):
        pass


def test_series_come_from_the_latest_metrics_where_there_are_some(tmp_path):
    path = old_store(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "create table latest_metrics (key, value, timestamp, step, is_nan, run_uuid);"
            "insert into latest_metrics values ('accuracy', 1, 1, 1, 0, 'abc'), ('system/cpu', 1, 1, 1, 0, 'abc')"
        )
    connection.close()
    with SQLiteStore(str(path)) as store:
        assert rows(store.series(["abc"])) == [("abc", "accuracy")]


def test_series_of_runs_without_latest_metrics_come_from_their_points(mlflow_store, log_run):
    told = log_run(metrics={"loss": [1.0], "lr": [0.1]})
    untold = log_run(metrics={"loss": [2.0, 1.0], "accuracy": [0.5], "system/cpu": [1.0]})
    nothing = log_run()
    with sqlite3.connect(mlflow_store) as connection:
        connection.execute(f"delete from latest_metrics where run_uuid = '{untold}'")
    connection.close()
    with SQLiteStore(str(mlflow_store)) as store:
        found = sorted(rows(store.series([told, untold, nothing])))
    assert found == sorted([(told, "loss"), (told, "lr"), (untold, "accuracy"), (untold, "loss")])


def test_experiments_of_one_name_in_two_workspaces_stay_apart(mlflow_store):
    insert_experiments = (
        "insert into experiments (experiment_id, name, lifecycle_stage, workspace) values"
        " (11, 'digits', 'active', 'default'), (12, 'digits', 'active', 'team-a')"
    )
    insert_runs = (
        "insert into runs (run_uuid, name, status, lifecycle_stage, experiment_id) values"
        " ('ours', '', 'FINISHED', 'active', 11), ('theirs', '', 'FINISHED', 'active', 12)"
    )
    with sqlite3.connect(mlflow_store) as connection:
        connection.execute(insert_experiments)
        connection.execute(insert_runs)
    connection.close()
    with SQLiteStore(str(mlflow_store)) as store:
        assert {run[:3] for run in rows(store.runs())} == {("ours", "11", "digits"), ("theirs", "12", "team-a/digits")}
        assert [run[0] for run in rows(store.runs(Scope(experiments=("team-a/*",))))] == ["theirs"]
        assert [run[0] for run in rows(store.runs(Scope(experiments=("digits",))))] == ["ours"]


def test_only_runs_in_scope_are_given_with_their_own_counts(tmp_path):
    path = old_store(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "insert into experiments values (1, 'digits', 'x', 'active', 1, 1);"
            "insert into runs (run_uuid, name, experiment_id, start_time) values"
            " ('early', '', 1, 10), ('late', '', 1, 20), ('never', '', 1, null);"
            "insert into metrics values ('loss', 1.0, 1, 'late', 0, 0), ('loss', 1.0, 1, 'late', 1, 0)"
        )
    connection.close()

    def chosen(**scope):
        with SQLiteStore(str(path)) as store:
            return {run[0]: run[RUN_COLUMNS.index("point_count")] for run in rows(store.runs(Scope(**scope)))}

    assert chosen() == {"abc": 1, "early": 0, "late": 2, "never": 0}
    assert chosen(experiments=("dig*",)) == {"early": 0, "late": 2, "never": 0}
    assert chosen(experiments=("Default", "nothing")) == {"abc": 1}
    assert chosen(experiments=("nothing",)) == {}
    assert chosen(since=20) == {"late": 2, "never": 0}
    assert chosen(experiments=("dig*",), since=21) == {"never": 0}


@pytest.mark.public_histories
def test_public_stores_are_read_as_a_plain_reader_reads_them(public_stores):
    read = 0
    for path in public_stores.values():
        if path.stat().st_size == 0:
            continue
        before = sha256(path)
        with SQLiteStore(str(path)) as store:
            runs = [run[0] for run in rows(store.runs())]
            points, series = rows(store.points(runs)), rows(store.series(runs))
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        plain = connection.execute("select run_uuid, key, step, timestamp, value, is_nan from metrics").fetchall()
        all_runs = [run_uuid for (run_uuid,) in connection.execute("select run_uuid from runs")]
        connection.close()
        plain = [point for point in plain if not point[1].startswith("system/")]
        assert sorted(runs) == sorted(all_runs)
        assert sorted(points) == sorted(plain)
        assert sorted(series) == sorted({point[:2] for point in plain})
        assert sha256(path) == before
        read += 1
    assert read == 8


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
