"""File stores written by hand, each oddity by itself."""

import hashlib
import logging
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceUnreadableError
from pipeline.sources.file_store import FileStore
from pipeline.sources.metric_files import parse_metric_files
from pipeline.sources.source import RUN_COLUMNS, UNCOUNTED, Scope

A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "mlruns"
    write_experiment(folder / "0", "Default")
    return folder


def write_experiment(folder, name, stage="active"):
    folder.mkdir(parents=True)
    (folder / "meta.yaml").write_text(
        f"artifact_location: file:{folder}\nexperiment_id: '{folder.name}'\nlifecycle_stage: {stage}\nname: {name}\n"
    )


def write_run(experiment, run_uuid, /, *, metrics=None, params=None, tags=None, **meta):
    """Write one run as MLflow does; `meta` replaces lines of its meta file, None drops one."""
    folder = experiment / run_uuid
    for part, files in (("metrics", metrics), ("params", params), ("tags", tags)):
        (folder / part).mkdir(parents=True)
        for name, content in (files or {}).items():
            path = folder / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    lines = {
        "artifact_uri": f"file:{folder}/artifacts",
        "end_time": "1700000100000",
        "entry_point_name": "''",
        "experiment_id": f"'{experiment.name}'",
        "lifecycle_stage": "active",
        "run_id": run_uuid,
        "run_name": "brave-crab-1",
        "run_uuid": run_uuid,
        "start_time": "1700000000000",
        "status": "3",
        "tags": "[]",
    } | meta
    (folder / "meta.yaml").write_text("".join(f"{k}: {v}\n" for k, v in lines.items() if v is not None))
    return folder


def read(path, scope=None, keys=None):
    """Runs by run_uuid, the other tables as sorted tuples, and the problems."""
    with FileStore(str(path)) as store:
        with store.runs(*([scope] if scope else [])) as reader:
            runs = {run["run_uuid"]: run for run in reader.read_all().to_pylist()}
        tables = {}
        for name in ("params", "tags", "series"):
            with getattr(store, name)(list(runs)) as reader:
                tables[name] = sorted(tuple(row.values()) for row in reader.read_all().to_pylist())
        with store.points(list(runs), keys) as reader:
            tables["points"] = [tuple(row.values()) for row in reader.read_all().to_pylist()]
        return runs, tables, dict(store.problems)


def points_of(root, content):
    """Points (step, timestamp, value, is_nan) and problems of a run with one metric file."""
    write_run(root / "0", A, metrics={"loss": content})
    _, tables, problems = read(root)
    return [point[2:] for point in tables["points"]], problems.get(A)


def test_a_run_with_all_that_it_holds(root):
    write_run(
        root / "0",
        A,
        metrics={"loss": "1700000000000 2.5 0\n1700000001000 1.25 1\n", "val/loss": "1700000001000 1.5 1\n"},
        params={"lr": "0.1", "optimizer/name": "sgd"},
        tags={"mlflow.user": "ada", "greedylr.preset": "robust"},
    )
    runs, tables, problems = read(root)
    assert runs[A] == {
        "run_uuid": A,
        "experiment_id": "0",
        "experiment_name": "Default",
        "run_name": "brave-crab-1",
        "status": "FINISHED",
        "lifecycle_stage": "active",
        "start_time": 1_700_000_000_000,
        "end_time": 1_700_000_100_000,
        "role": "",
        "preset": "robust",
        "point_count": UNCOUNTED,
        "param_count": 2,
        "tag_count": 2,
        "watermark": runs[A]["watermark"],
    }
    assert tuple(runs[A]) == RUN_COLUMNS
    assert tables["params"] == [(A, "lr", "0.1"), (A, "optimizer/name", "sgd")]
    assert tables["tags"] == [(A, "greedylr.preset", "robust"), (A, "mlflow.user", "ada")]
    assert tables["series"] == [(A, "loss"), (A, "val/loss")]
    assert sorted(tables["points"]) == [
        (A, "loss", 0, 1_700_000_000_000, 2.5, 0),
        (A, "loss", 1, 1_700_000_001_000, 1.25, 0),
        (A, "val/loss", 1, 1_700_000_001_000, 1.5, 0),
    ]
    assert problems == {}


def test_it_reads_what_mlflow_itself_has_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment_id = client.create_experiment("digits: a # name")
    run = client.create_run(experiment_id, run_name="ключ", start_time=1_700_000_000_000)
    values = [2.0, math.nan, math.inf, -math.inf, 1e-300]
    metrics = [Metric("train/loss", value, 1_700_000_000_000 + step, step) for step, value in enumerate(values)]
    params = [Param("note", "two\nlines\n"), Param("empty", "")]
    client.log_batch(run.info.run_id, metrics=metrics, params=params, tags=[RunTag("greedylr.role", "candidate")])
    client.log_metric(run.info.run_id, "system/cpu", 50.0)
    client.set_terminated(run.info.run_id, "KILLED", end_time=1_700_000_009_000)
    client.delete_run(run.info.run_id)
    runs, tables, problems = read(tmp_path / "mlruns")
    found = runs[run.info.run_id]
    assert (found["experiment_name"], found["run_name"]) == ("digits: a # name", "ключ")
    assert (found["status"], found["lifecycle_stage"], found["role"]) == ("KILLED", "deleted", "candidate")
    assert (found["start_time"], found["end_time"]) == (1_700_000_000_000, 1_700_000_009_000)
    assert [(key, value) for _, key, value in tables["params"]] == [("empty", ""), ("note", "two\nlines\n")]
    assert [point[1:] for point in tables["points"]] == [
        ("train/loss", 0, 1_700_000_000_000, 2.0, 0),
        ("train/loss", 1, 1_700_000_000_001, 0.0, 1),
        ("train/loss", 2, 1_700_000_000_002, math.inf, 0),
        ("train/loss", 3, 1_700_000_000_003, -math.inf, 0),
        ("train/loss", 4, 1_700_000_000_004, 1e-300, 0),
    ]
    assert problems == {}


@pytest.mark.parametrize(
    ("content", "points", "problem"),
    [
        pytest.param("", [], None, id="empty file"),
        pytest.param("7 0.5\n8 0.25\n", [(0, 7, 0.5, 0), (0, 8, 0.25, 0)], None, id="old: no step"),
        pytest.param("7 0.5\n8 0.25 1\n", [(0, 7, 0.5, 0), (1, 8, 0.25, 0)], None, id="old, then resumed by a new one"),
        pytest.param("7 nan 0\n8 inf 1\n9 -inf 2\n", [(0, 7, 0, 1), (1, 8, math.inf, 0), (2, 9, -math.inf, 0)], None),
        pytest.param("7 NaN 0\n8 Infinity -1\n", [(0, 7, 0, 1), (-1, 8, math.inf, 0)], None, id="other spellings"),
        pytest.param("7 0.5 1 train 1a2b3c4d\n", [(1, 7, 0.5, 0)], None, id="with a data set"),
        pytest.param("7 0.5 1 my own data 1a2b3c4d\n", [(1, 7, 0.5, 0)], None, id="with spaces in its name"),
        pytest.param("7 0.5 1\r\n8 0.25 2\r\n", [(1, 7, 0.5, 0), (2, 8, 0.25, 0)], None, id="CRLF"),
        pytest.param("\n7 0.5 1\n\n \n8 0.25 2\n", [(1, 7, 0.5, 0), (2, 8, 0.25, 0)], None, id="blank lines"),
        pytest.param("7 0.5 1\n8 0.25 2", [(1, 7, 0.5, 0), (2, 8, 0.25, 0)], None, id="no last newline"),
        pytest.param("7 0.5 1\n8 0.2", [(1, 7, 0.5, 0)], "1 of 2 lines are no points", id="cut off in the value"),
        pytest.param("7 0.5 1\n8 0.25 ", [(1, 7, 0.5, 0)], "1 of 2 lines are no points", id="cut off before the step"),
        pytest.param("7 0.5 1\n8", [(1, 7, 0.5, 0)], "1 of 2 lines are no points", id="cut off in the time"),
        pytest.param("7 0.58 0.25 2\n9 1 3\n", [(3, 9, 1.0, 0)], "1 of 2 lines are no points", id="torn in the value"),
        pytest.param("7 0.5 8 0.25 2\n9 1 3\n", [(3, 9, 1.0, 0)], "1 of 2 lines are no points", id="torn in the step"),
        pytest.param("7 tensor(0.5) 1\n8 1.5 2\n", [(2, 8, 1.5, 0)], "1 of 2 lines are no points", id="not a number"),
        pytest.param("7 0.5 1.0\n8 1.5 2\n", [(2, 8, 1.5, 0)], "1 of 2 lines are no points", id="a fractional step"),
        pytest.param(f"7 1 {2**63}\n8 1.5 2\n", [(2, 8, 1.5, 0)], "1 of 2 lines are no points", id="too large a step"),
        pytest.param("7 0.5 1\r8 0.25 2\r", [], "1 of 1 lines are no points", id="lone carriage returns"),
        pytest.param(b"\x00\xff\x80 junk\n\x01\n", [], "2 of 2 lines are no points", id="binary"),
        pytest.param(
            "5 1 0\n5 1 0\n4 2 -1\n", [(0, 5, 1.0, 0), (0, 5, 1.0, 0), (-1, 4, 2.0, 0)], None, id="as it lies"
        ),
    ],
)
def test_lines_of_a_metric_file(root, content, points, problem):
    assert points_of(root, content) == (points, problem and f"metrics/loss: {problem}")


def test_a_bad_line_in_one_file_costs_nothing_in_the_others(root):
    write_run(root / "0", A, metrics={"loss": "1 0.5 0\njunk\n", "rate": "1 0.1 0\n"})
    write_run(root / "0", B, metrics={"loss": "1 0.5 0\n2 0.25 1\n"})
    _, tables, problems = read(root)
    assert sorted(tables["points"]) == [
        (A, "loss", 0, 1, 0.5, 0),
        (A, "rate", 0, 1, 0.1, 0),
        (B, "loss", 0, 1, 0.5, 0),
        (B, "loss", 1, 2, 0.25, 0),
    ]
    assert problems == {A: "metrics/loss: 1 of 2 lines are no points"}


LINES = st.one_of(
    st.tuples(st.integers(0, 2**41), st.floats(), st.integers(-5, 10**6)).map(lambda p: f"{p[0]} {p[1]} {p[2]}"),
    st.tuples(st.integers(0, 2**41), st.floats()).map(lambda p: f"{p[0]} {p[1]}"),
    st.text(alphabet=" 0123456789.en-\r\tx", max_size=20),
)


@settings(max_examples=200)
@given(st.lists(st.lists(LINES, max_size=6).map(lambda lines: "".join(f"{line}\n" for line in lines)), max_size=5))
def test_files_parsed_together_are_those_parsed_line_by_line(files):
    parsed = parse_metric_files([content.encode() for content in files])
    expected, rows, bad = [], [], []
    for content in files:
        points = [slowly_parsed(line) for line in content.split("\n") if line.split()]
        expected += [point for point in points if point is not None]
        rows.append(len([point for point in points if point is not None]))
        bad.append(points.count(None))
    assert [tuple(map(repr, row.values())) for row in parsed.points.to_pylist()] == expected
    assert (parsed.rows.tolist(), parsed.bad_lines.tolist()) == (rows, bad)


def slowly_parsed(line):
    fields = line.split()
    try:
        timestamp, value, step = int(fields[0]), float(fields[1]), int(fields[2]) if len(fields) > 2 else 0
    except (ValueError, IndexError):
        return None
    if len(fields) == 4 or max(abs(timestamp), abs(step)) >= 2**63:
        return None
    if len(fields) > 4 and slowly_parsed(f"0 {fields[3]}") is not None:
        return None
    return repr(timestamp), repr(value), repr(step)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"just a line\n", "a mapping is wanted, got 'just a line'"),
        (b"- 1\n- 2\n", "a mapping is wanted, got a list"),
        (b"status: 3\nstart_time: [\n", "not YAML: while parsing a flow node"),
        (b"\x00\x01\x02\xff", "not YAML: unacceptable character"),
        (b"artifact_uri: file:/x\nend_time: 1\nexperiment_id: '0'\n", "lacks start_time and status; was it cut off?"),
        (b"start_time: 1\nstatus: 9\n", "status must be 1 to 5 or one of RUNNING,"),
        (b"start_time: 1\nstatus: true\n", "status must be 1 to 5"),
        (b"start_time: 1\nstatus: [3]\n", "status must be 1 to 5"),
        (b"start_time: yesterday\nstatus: 3\n", "start_time must be milliseconds since 1970 or null, got 'yesterday'"),
        (b"start_time: 2024-99-99\nstatus: 3\n", "not YAML that can be read: month must be in 1..12"),
        (b"start_time: 1\nstatus: 3\nend_time: -5\n", "end_time must be milliseconds since 1970 or null, got '-5'"),
        (b"start_time: 1\nstatus: 3\nlifecycle_stage: asleep\n", "lifecycle_stage must be active or deleted"),
        (b"start_time: 1\nstatus: 3\nrun_id: " + B.encode(), "describes another run, '" + B),
        (b"!!python/object/apply:os.system ['touch here']\n", "not YAML: could not determine a constructor"),
        (b"a: " + b"[" * 30_000, "30000 signs that begin a collection, more than the 1000"),
        (b"a: " + b"- " * 30_000, "30000 signs that begin a collection, more than the 1000"),
        (b"a: " + b"[" * 1000, "not YAML"),
        (b"a: " + b"x" * 70_000, "70003 bytes, more than the 65536"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n", "a pointer of git LFS"),
    ],
)
def test_a_bad_meta_file_costs_one_run(root, content, reason, caplog):
    broken = write_run(root / "0", A, metrics={"loss": "1 0.5 0\n"})
    (broken / "meta.yaml").write_bytes(content)
    write_run(root / "0", C, metrics={"loss": "1 0.5 0\n"})
    with caplog.at_level(logging.WARNING):
        runs, tables, problems = read(root)
    assert list(runs) == [C]
    assert len(tables["points"]) == 1
    assert problems[A].startswith(f"meta.yaml: {reason}")
    assert [A in record.message and reason in record.message for record in caplog.records] == [True]
    assert not (Path.cwd() / "here").exists()


def test_meta_files_of_old_versions(root):
    write_run(root / "0", A, run_id=None, run_uuid=A, run_name=None, lifecycle_stage=None, end_time="null", status="1")
    write_run(root / "0", B, run_name="''", name="''", status="FAILED", tags={"mlflow.runName": "from the tag"})
    latin = write_run(root / "0", C, run_name="Jurgen", start_time="null") / "meta.yaml"
    latin.write_bytes(latin.read_bytes().replace(b"Jurgen", b"J\xfcrgen"))
    runs, _, problems = read(root)
    columns = ("run_name", "status", "lifecycle_stage", "start_time", "end_time")
    assert [tuple(runs[run][column] for column in columns) for run in (A, B)] == [
        ("", "RUNNING", "active", 1_700_000_000_000, -1),
        ("from the tag", "FAILED", "active", 1_700_000_000_000, 1_700_000_100_000),
    ]
    assert (runs[C]["run_name"], runs[C]["start_time"]) == ("J\ufffdrgen", -1)
    assert problems == {}


def test_a_run_whose_name_is_a_number_to_yaml_is_read(root):
    write_run(root / "0", "00000012")
    assert list(read(root)[0]) == ["00000012"]


def test_a_meta_file_that_is_a_pipe_or_missing_costs_one_run(root):
    pipe = write_run(root / "0", A) / "meta.yaml"
    pipe.unlink()
    os.mkfifo(pipe)
    (write_run(root / "0", B) / "meta.yaml").unlink()
    write_run(root / "0", C)
    runs, _, problems = read(root)
    assert list(runs) == [C]
    assert problems == {
        A: "meta.yaml: not a regular file",
        B: "meta.yaml: cannot be opened: No such file or directory",
    }


def test_a_bad_meta_file_of_an_experiment_loses_none_of_its_runs(root):
    (root / "0" / "meta.yaml").write_bytes(b"\x00")
    write_run(root / "0", A)
    (root / "7" / B).mkdir(parents=True)
    write_run(root / "7", C)
    runs, _, problems = read(root)
    assert {uuid: run["experiment_name"] for uuid, run in runs.items()} == {A: "0", C: "7"}
    assert problems["experiment 0"].startswith("meta.yaml: not YAML")
    assert problems["experiment 7"] == "meta.yaml: cannot be opened: No such file or directory; named by its folder"


def test_deleted_experiments_may_have_the_id_of_a_living_one(root):
    write_run(root / "0", A)
    write_experiment(root / ".trash" / "0", "old default", stage="deleted")
    write_run(root / ".trash" / "0", B)
    runs, _, problems = read(root)
    columns = ("experiment_id", "experiment_name", "lifecycle_stage")
    assert {uuid: tuple(run[column] for column in columns) for uuid, run in runs.items()} == {
        A: ("0", "Default", "active"),
        B: ("0", "old default", "deleted"),
    }
    assert problems == {}


def test_of_two_runs_with_one_name_the_living_one_is_read(root):
    write_run(root / "0", A, metrics={"loss": "1 0.5 0\n"})
    write_experiment(root / ".trash" / "0", "old")
    write_run(root / ".trash" / "0", A, metrics={"loss": "1 0.75 0\n"})
    runs, tables, problems = read(root)
    assert runs[A]["lifecycle_stage"] == "active"
    assert tables["points"] == [(A, "loss", 0, 1, 0.5, 0)]
    assert problems[A] == f"{root}/.trash/0/{A}: not read: {root}/0/{A} holds a run of this name too"


def test_folders_of_models_traces_and_artifacts_are_no_runs(root):
    write_run(root / "0", A)
    write_run(root / "0" / "models", "m-1", metrics={"loss": "1 0.5 0 " + A + "\n"})
    write_run(root / "0" / "traces", "tr-1")
    (root / "0" / "tags").mkdir()
    (root / "0" / "tags" / "note").write_text("of the experiment")
    (root / "0" / B / "artifacts").mkdir(parents=True)
    write_experiment(root / "models" / "registered", "registered")
    write_experiment(root / "models" / "registered" / "version-1", "version")
    (root / ".git" / "objects").mkdir(parents=True)
    runs, _, problems = read(root)
    assert list(runs) == [A]
    assert problems == {}


def test_values_are_kept_as_they_are(root):
    texts = {"note": "two\r\nlines\n ", "empty": "", "none": "None", "sub dir/ключ": "знач", "bytes": b"caf\xe9"}
    write_run(root / "0", A, params=texts, tags=texts)
    _, tables, _ = read(root)
    expected = [
        ("bytes", "caf\ufffd"),
        ("empty", ""),
        ("none", "None"),
        ("note", "two\r\nlines\n "),
        ("sub dir/ключ", "знач"),
    ]
    assert [row[1:] for row in tables["params"]] == expected
    assert [row[1:] for row in tables["tags"]] == expected


def test_a_name_that_is_not_utf8_is_kept_with_a_replacement(root):
    folder = write_run(root / "0", A)
    Path(os.fsdecode(os.fsencode(folder / "metrics") + b"/l\xf6ss")).write_text("1 0.5 0\n")
    _, tables, _ = read(root)
    assert tables["points"] == [(A, "l\ufffdss", 0, 1, 0.5, 0)]


def test_system_metrics_do_not_exist(root):
    write_run(root / "0", A, metrics={"system/cpu": "1 50 0\n", "system_loss": "1 0.5 0\n", "gpu/system/x": "1 1 0\n"})
    _, tables, _ = read(root)
    assert [key for _, key in tables["series"]] == ["gpu/system/x", "system_loss"]
    assert sorted(point[1] for point in tables["points"]) == ["gpu/system/x", "system_loss"]


def test_only_the_series_asked_for_are_opened(root):
    folder = write_run(root / "0", A, metrics={"loss": "1 0.5 0\n", "accuracy": "junk\n"})
    _, tables, problems = read(root, keys=["loss", "absent"])
    assert [point[1] for point in tables["points"]] == ["loss"]
    assert problems == {}
    assert read(root, keys=[])[1]["points"] == []
    assert folder.exists()


def test_readers_answer_for_the_runs_asked_for_alone(root):
    for run_uuid in (A, B):
        write_run(root / "0", run_uuid, metrics={"loss": "1 0.5 0\n"}, params={"lr": "1"}, tags={"t": "1"})
    with FileStore(str(root)) as store:
        for name in ("params", "tags", "series", "points"):
            with getattr(store, name)([B, "unknown"]) as reader:
                assert reader.read_all()["run_uuid"].to_pylist() == [B]
            with getattr(store, name)([]) as reader:
                assert reader.read_all().num_rows == 0


def test_the_scope_chooses_experiments_by_glob_and_runs_by_their_start(root):
    write_experiment(root / "1", "digits-small")
    write_run(root / "0", A)
    write_run(root / "1", B, start_time="5000")
    write_run(root / "1", C, start_time="null")
    assert list(read(root, Scope(experiments=("Def*", "nothing")))[0]) == [A]
    assert list(read(root, Scope(experiments=("digits-*",)))[0]) == [B, C]
    assert list(read(root, Scope(since=5000))[0]) == [A, B, C]
    assert list(read(root, Scope(since=5001))[0]) == [A, C]


def test_a_broken_run_does_not_make_a_store_unreadable_whose_other_runs_are_too_old(root):
    write_run(root / "0", A)
    (write_run(root / "0", B) / "meta.yaml").write_text("")
    runs, _, problems = read(root, Scope(since=2_000_000_000_000))
    assert runs == {}
    assert problems == {B: "meta.yaml: empty"}


def test_a_store_whose_runs_are_all_broken_is_unreadable(root):
    (write_run(root / "0", A) / "meta.yaml").write_text("")
    expected = f"none of its runs can be read, for instance {A}: meta.yaml: empty"
    with FileStore(str(root)) as store, pytest.raises(SourceUnreadableError, match=expected), store.runs():
        pass


def test_what_people_and_systems_leave_among_the_files_was_not_logged(root):
    left = {".DS_Store": b"\x00\x01", ".gitkeep": "", "sub/.DS_Store": b"\x00"}
    write_run(root / "0", A, metrics={**left, "loss": "1 1 0\n"}, params={**left, "lr": "1"}, tags=left)
    runs, tables, problems = read(root)
    assert (tables["series"], tables["params"], tables["tags"]) == ([(A, "loss")], [(A, "lr", "1")], [])
    assert (runs[A]["param_count"], runs[A]["tag_count"], problems) == (1, 0, {})


def test_the_watermark_differs_as_soon_as_points_were_added(root):
    folder = write_run(root / "0", A, metrics={"loss": "1 0.5 0\n"}, params={"lr": "1"})
    marks = [read(root)[0][A]["watermark"]]
    for name, text in (("loss", "2 0.25 1\n"), ("rate", "1 0.1 0\n"), ("val/loss", "1 0.1 0\n")):
        path = folder / "metrics" / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(text)
        marks.append(read(root)[0][A]["watermark"])
    assert len(set(marks)) == 4
    assert marks[0].startswith("1/8/")
    os.utime(folder / "metrics" / "loss", (0, 0))
    (folder / "params" / "lr").write_text("2")
    (folder / "metrics" / "never").touch()
    assert read(root)[0][A]["watermark"] == marks[-1]


def test_more_files_and_bytes_than_one_group_holds(root, monkeypatch):
    monkeypatch.setattr("pipeline.sources.logged_files._FILES_PER_GROUP", 3)
    monkeypatch.setattr("pipeline.sources.logged_files._BYTES_PER_GROUP", 40)
    monkeypatch.setattr("pipeline.sources.file_store._ROWS_PER_BATCH", 2)
    lines = [f"{step} {step / 8} {step}\n" for step in range(20)]
    metrics = {f"m{n}": "".join(lines[: 2 * n]) for n in range(10)}
    write_run(root / "0", A, metrics=metrics, params={f"p{n}": str(n) for n in range(10)})
    _, tables, _ = read(root)
    assert sorted(tables["points"]) == [
        (A, f"m{n}", step, step, step / 8, 0) for n in range(10) for step in range(2 * n)
    ]
    assert tables["params"] == [(A, f"p{n}", str(n)) for n in range(10)]


def test_links_are_followed_to_another_disk_but_never_round_in_circles(root, tmp_path):
    write_experiment(tmp_path / "elsewhere" / "5", "far away")
    write_run(tmp_path / "elsewhere" / "5", A, metrics={"loss": "1 0.5 0\n"})
    (root / "5").symlink_to(tmp_path / "elsewhere" / "5")
    run = write_run(root / "0", B, metrics={"loss": "1 0.5 0\n"})
    (root / "0" / "up").symlink_to(root)
    (root / "0" / "self").symlink_to(root / "0")
    (root / "round").symlink_to(root.parent)
    (run / "metrics" / "loop").symlink_to(run / "metrics")
    (run / "params" / "gone").symlink_to(tmp_path / "nothing")
    runs, tables, problems = read(root)
    assert list(runs) == [B, A]
    assert tables["series"] == [(A, "loss"), (B, "loss")]
    assert problems == {B: "metrics/loop: not a regular file; params/gone: not a regular file"}


def test_pointers_and_files_that_vanish_cost_what_they_held(root):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n"
    folder = write_run(root / "0", A, metrics={"loss": pointer, "rate": "1 1 0\n"}, params={"lr": pointer, "seed": "1"})
    with FileStore(str(root)) as store:
        with store.runs() as reader:
            assert reader.read_all().num_rows == 1
        (folder / "metrics" / "rate").unlink()
        with store.points([A]) as reader:
            assert reader.read_all().num_rows == 0
        with store.params([A]) as reader:
            assert reader.read_all()["key"].to_pylist() == ["seed"]
        assert store.problems == {
            A: "metrics/loss: a pointer of git LFS, not the file; fetch it with `git lfs pull`; "
            "metrics/rate: cannot be opened: No such file or directory; "
            "params/lr: a pointer of git LFS, not the file; fetch it with `git lfs pull`"
        }


def test_many_problems_of_a_run_are_told_in_one_line(root):
    write_run(root / "0", A, metrics={f"m{n}": "junk\n" for n in range(9)})
    problem = read(root)[2][A]
    assert problem.count("1 of 1 lines are no points") == 3
    assert problem.endswith("; and 6 more")


def test_nothing_in_the_store_changes(root):
    write_run(root / "0", A, metrics={"loss": "1 0.5 0\njunk"}, params={"lr": "1"}, tags={"t": "1"})

    def tree():
        return {
            str(path): (path.stat().st_mtime_ns, path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest())
            for path in [root, *sorted(root.rglob("*"))]
        }

    before = tree()
    read(root)
    assert tree() == before


def test_spellings_of_an_address_have_one_name(root, monkeypatch):
    write_run(root / "0", A)
    monkeypatch.chdir(root.parent)
    link = root.parent / "link"
    link.symlink_to(root)
    spellings = [str(root), f"{root}/", root.as_uri(), f"file:{root}", "mlruns", "./mlruns", ".", str(link)]
    assert {FileStore(spelling).uri for spelling in spellings} == {root.as_uri()}
    assert {FileStore(spelling).source_id for spelling in spellings} == {
        hashlib.sha256(root.as_uri().encode()).hexdigest()[:12]
    }


def test_a_folder_with_a_space_is_found_by_its_uri_and_its_path(tmp_path):
    write_experiment(tmp_path / "my runs" / "0", "Default")
    write_run(tmp_path / "my runs" / "0", A)
    assert list(read((tmp_path / "my runs").as_uri())[0]) == list(read(tmp_path / "my runs")[0]) == [A]


def test_a_project_is_read_by_its_mlruns_even_beside_a_package_recipe(root):
    write_run(root / "0", A)
    recipe = root.parent / "conda"
    recipe.mkdir()
    (recipe / "meta.yaml").write_text("package:\n  name: {{ name }}\n")
    assert list(read(root.parent)[0]) == [A]


def test_a_store_with_experiments_but_no_runs_is_read_as_empty(root):
    assert read(root)[0] == {}


@pytest.mark.parametrize(
    ("make", "address", "reason"),
    [
        (lambda folder: None, "absent", "^no such folder$"),
        (lambda folder: (folder / "file").write_text("x"), "file", "^a file, not the folder of a file store$"),
        (lambda folder: (folder / "bare").mkdir(), "bare", "^no file store: no folder in it holds an experiment"),
        (lambda folder: (folder / "mlflow.db").touch(), "", "the store may be mlflow.db, in it or beside it$"),
        (lambda folder: write_experiment(folder / "s" / "0", "x"), "s/0", "a part of a file store; name .*: .*/s$"),
        (lambda folder: write_run(folder / "s" / "0", A), f"s/0/{A}", "a part of a file store; name .*: .*/s$"),
    ],
)
def test_what_is_no_file_store_is_refused_with_the_reason(tmp_path, make, address, reason):
    make(tmp_path)
    with pytest.raises(SourceUnreadableError, match=reason), FileStore(str(tmp_path / address)):
        pass


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://bucket/mlruns", "a file store is a folder or file:///folder, got the scheme 's3'"),
        ("file://server/mlruns", "a file store must be on this machine, got the host 'server'"),
        ("file://", "an address must name a folder"),
        (" ", "an address must name a folder"),
    ],
)
def test_addresses_that_name_no_folder(address, reason):
    with pytest.raises(SourceUnreadableError, match=reason):
        FileStore(address)


def test_a_store_must_be_entered_before_it_is_read(root):
    write_run(root / "0", A)
    with pytest.raises(ValueError, match="must be entered"), FileStore(str(root)).runs():
        pass
