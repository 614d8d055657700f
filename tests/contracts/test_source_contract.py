"""What every source of past runs must keep.

A new one joins by a fixture that gives a `LoggedHistory`, with its name in `SOURCES`. All sources hold one history,
logged through MLflow's own client; what they give is compared with literals.
"""

import hashlib
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from pipeline.sources.file_store import FileStore
from pipeline.sources.postgresql_store import PostgreSQLStore
from pipeline.sources.source import (
    PAIR_SCHEMA,
    POINT_SCHEMA,
    RUN_COLUMNS,
    RUN_SCHEMA,
    SERIES_SCHEMA,
    UNCOUNTED,
    Scope,
    Source,
    source_id_of,
)
from pipeline.sources.sqlite_store import SQLiteStore
from pipeline.sources.tracking_server import TrackingServer

SOURCES = [
    "history_in_sqlite",
    "history_in_files",
    pytest.param("history_in_postgresql", marks=pytest.mark.integration),
    pytest.param("history_on_a_server", marks=pytest.mark.integration),
]

START = 1_700_000_000_000


@dataclass(frozen=True)
class LoggedRun:
    """One run as a training job logs it; points are (series, step, seconds after the start, value)."""

    experiment: str = "digits"
    params: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    points: tuple[tuple[str, int, int, float], ...] = ()
    status: str = "FINISHED"
    deleted: bool = False


HISTORY = {
    "plain": LoggedRun(
        params=(("lr", "0.1"), ("optimizer", "SGD")),
        tags=(("team", "a"),),
        points=(("loss", 0, 0, 2.5), ("loss", 1, 1, 1.5), ("val/loss", 1, 1, 1.75), ("system/cpu", 0, 0, 90.0)),
    ),
    "odd values": LoggedRun(
        points=(("loss", 0, 0, math.inf), ("loss", 1, 1, -math.inf), ("loss", 2, 2, math.nan), ("loss", -3, 3, 0.1)),
        status="FAILED",
    ),
    "größe 大": LoggedRun(
        experiment="Ünïcode / 数字",
        params=(("schicht größe", "drei\nZeilen\n\n"), ("its/own: all", '100 %, {a}, "b" \\ c')),
        tags=(("notiz", "ü\n✓"),),
        points=(("train loss_ε", 0, 0, 1e-300), ("train loss_ε", 2**40, 1, 1e300), ("loss", 0, 0, 1.0)),
    ),
    # The third point comes after the others and belongs before them.
    "late": LoggedRun(
        points=(("loss", 5, 5, 1.0), ("loss", 9, 9, 0.5), ("loss", 2, 20, 2.0), ("accuracy", 2, 20, 0.5))
    ),
    "without points": LoggedRun(params=(("lr", "0.2"),), status="RUNNING"),
    "deleted": LoggedRun(points=(("loss", 0, 0, 3.0),), deleted=True),
    "ours": LoggedRun(tags=(("greedylr.role", "trial"),), points=(("loss", 0, 0, 4.0),)),
    "with a preset": LoggedRun(tags=(("greedylr.preset", "core"),), points=(("loss", 0, 0, 5.0),)),
}


@dataclass(frozen=True)
class LoggedHistory:
    """A store that holds `HISTORY`.

    `open` gives the source, not yet entered; `client` writes to the store as a training job does; `contents` gives
    something that differs as soon as anything in the store does.
    """

    open: Callable[[], Source]
    client: MlflowClient
    contents: Callable[[], object]


@pytest.fixture(scope="module")
def history_in_sqlite(mlflow_store_template: Path, tmp_path_factory: pytest.TempPathFactory) -> LoggedHistory:
    path = tmp_path_factory.mktemp("history") / "mlflow.db"
    path.write_bytes(mlflow_store_template.read_bytes())
    client = MlflowClient(tracking_uri=f"sqlite:///{path}")
    log_history(client)

    def contents() -> object:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.parent.iterdir()}

    return LoggedHistory(lambda: SQLiteStore(f"sqlite:///{path}"), client, contents)


@pytest.fixture(scope="module")
def history_in_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedHistory]:
    root = tmp_path_factory.mktemp("history") / "mlruns"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = MlflowClient(tracking_uri=root.as_uri())
        log_history(client)

        def contents() -> object:
            return {
                str(path): (path.stat().st_mtime_ns, path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest())
                for path in root.rglob("*")
            }

        yield LoggedHistory(lambda: FileStore(root.as_uri()), client, contents)


@pytest.fixture(scope="module")
def history_in_postgresql(postgresql_server: Any, mlflow_on_postgresql: Any) -> LoggedHistory:
    client = MlflowClient(tracking_uri=mlflow_on_postgresql.address)
    log_history(client)

    def contents() -> object:
        tables = ("experiments", "runs", "params", "tags", "metrics", "latest_metrics")
        return [
            postgresql_server.execute(f"select {table}::text from {table} order by 1", database="mlflow")
            for table in tables
        ]

    return LoggedHistory(lambda: PostgreSQLStore(mlflow_on_postgresql.backend), client, contents)


@pytest.fixture(scope="module")
def history_on_a_server(mlflow_on_sqlite: Any) -> LoggedHistory:
    client = MlflowClient(tracking_uri=mlflow_on_sqlite.address)
    log_history(client)

    def contents() -> object:
        with closing(sqlite3.connect(f"file:{mlflow_on_sqlite.backend}?mode=ro", uri=True)) as store:
            tables = ("experiments", "runs", "params", "tags", "metrics", "latest_metrics")
            return [store.execute(f"select * from {table}").fetchall() for table in tables]

    return LoggedHistory(lambda: TrackingServer(mlflow_on_sqlite.address), client, contents)


def log_history(client: MlflowClient) -> None:
    experiments = {
        name: client.create_experiment(name, artifact_location="unused:/")
        for name in sorted({run.experiment for run in HISTORY.values()})
    }
    for name, run in HISTORY.items():
        run_uuid = client.create_run(experiments[run.experiment], run_name=name, start_time=START).info.run_id
        for key, step, seconds, value in run.points:
            client.log_metric(run_uuid, key, value, timestamp=START + 1000 * seconds, step=step)
        client.log_batch(
            run_uuid, params=[Param(*pair) for pair in run.params], tags=[RunTag(*pair) for pair in run.tags]
        )
        if run.status != "RUNNING":
            client.set_terminated(run_uuid, status=run.status, end_time=START + 60_000)
        if run.deleted:
            client.delete_run(run_uuid)


@pytest.fixture(params=SOURCES)
def history(request: pytest.FixtureRequest) -> LoggedHistory:
    return request.getfixturevalue(request.param)


@pytest.fixture
def source(history: LoggedHistory) -> Iterator[Source]:
    with history.open() as source:
        yield source


@pytest.fixture
def names(source: Source) -> dict[str, str]:
    """The name of each run of the history by its run_uuid."""
    return {row["run_uuid"]: row["run_name"] for row in rows(source.runs()) if row["run_name"] in HISTORY}


def rows(opened: Any) -> list[dict[str, Any]]:
    with opened as batches:
        return batches.read_all().to_pylist()


def number(value: float, is_nan: int) -> float | str:
    """A value as it was logged: MLflow holds NaN as a flag and the infinities as the largest floats."""
    if is_nan or math.isnan(value):
        return "nan"
    return math.copysign(math.inf, value) if abs(value) >= 1.7976931348623157e308 else value


def points_by_name(source: Source, names: dict[str, str], keys: list[str] | None = None) -> list[tuple[Any, ...]]:
    return sorted(
        (names[row["run_uuid"]], row["key"], row["step"], row["timestamp"], number(row["value"], row["is_nan"]))
        for row in rows(source.points(list(names), keys))
    )


def logged_points(wanted: Callable[[str], bool] = lambda key: True) -> list[tuple[Any, ...]]:
    return sorted(
        (name, key, step, START + 1000 * seconds, number(value, 0))
        for name, run in HISTORY.items()
        for key, step, seconds, value in run.points
        if wanted(key) and not key.startswith("system/")
    )


def test_the_source_is_named_after_its_address(source: Source) -> None:
    assert source.source_id == source_id_of(source.uri)


@pytest.mark.parametrize("run_uuids", ["all", "none", "unknown"])
def test_columns_and_types_are_the_declared_ones_whatever_is_asked_for(
    source: Source, names: dict[str, str], run_uuids: str
) -> None:
    chosen = {"all": list(names), "none": [], "unknown": ["0" * 32]}[run_uuids]
    opened = {
        "runs": (source.runs(), RUN_SCHEMA),
        "params": (source.params(chosen), PAIR_SCHEMA),
        "tags": (source.tags(chosen), PAIR_SCHEMA),
        "series": (source.series(chosen), SERIES_SCHEMA),
        "points": (source.points(chosen), POINT_SCHEMA),
    }
    for what, (batches, schema) in opened.items():
        with batches as reader:
            table = reader.read_all()
        assert table.schema.equals(schema), what
        assert all(column.null_count == 0 for column in table.columns), what
        assert (table.num_rows > 0) is (what == "runs" or run_uuids == "all"), what


def test_every_run_is_there_once_with_its_state(source: Source) -> None:
    runs = {row["run_name"]: row for row in rows(source.runs()) if row["run_name"] in HISTORY}
    assert list(runs[next(iter(runs))]) == list(RUN_COLUMNS)
    assert {
        name: (row["experiment_name"], row["status"], row["lifecycle_stage"], row["start_time"], row["end_time"])
        for name, row in runs.items()
    } == {
        "plain": ("digits", "FINISHED", "active", START, START + 60_000),
        "odd values": ("digits", "FAILED", "active", START, START + 60_000),
        "größe 大": ("Ünïcode / 数字", "FINISHED", "active", START, START + 60_000),
        "late": ("digits", "FINISHED", "active", START, START + 60_000),
        "without points": ("digits", "RUNNING", "active", START, -1),
        "deleted": ("digits", "FINISHED", "deleted", START, START + 60_000),
        "ours": ("digits", "FINISHED", "active", START, START + 60_000),
        "with a preset": ("digits", "FINISHED", "active", START, START + 60_000),
    }
    assert {name: (row["role"], row["preset"]) for name, row in runs.items() if row["role"] or row["preset"]} == {
        "ours": ("trial", ""),
        "with a preset": ("", "core"),
    }
    assert len({row["experiment_id"] for row in runs.values()}) == 2


def test_counts_are_those_of_what_can_be_read_or_said_to_be_unknown(source: Source, names: dict[str, str]) -> None:
    runs = {row["run_name"]: row for row in rows(source.runs()) if row["run_name"] in HISTORY}
    points = {"plain": 3, "odd values": 4, "größe 大": 3, "late": 4, "without points": 0} | dict.fromkeys(
        ("deleted", "ours", "with a preset"), 1
    )
    assert {
        name: row["point_count"] for name, row in runs.items() if row["point_count"] not in (points[name], UNCOUNTED)
    } == {}
    for count, read in (("param_count", source.params), ("tag_count", source.tags)):
        found = [names[row["run_uuid"]] for row in rows(read(list(names)))]
        assert {name: row[count] for name, row in runs.items()} == {name: found.count(name) for name in runs}


def test_params_and_tags_are_kept_to_the_letter(source: Source, names: dict[str, str]) -> None:
    params = sorted((names[row["run_uuid"]], row["key"], row["value"]) for row in rows(source.params(list(names))))
    assert params == [
        ("größe 大", "its/own: all", '100 %, {a}, "b" \\ c'),
        ("größe 大", "schicht größe", "drei\nZeilen\n\n"),
        ("plain", "lr", "0.1"),
        ("plain", "optimizer", "SGD"),
        ("without points", "lr", "0.2"),
    ]
    tags = {(names[row["run_uuid"]], row["key"], row["value"]) for row in rows(source.tags(list(names)))}
    assert {tag for tag in tags if not tag[1].startswith("mlflow.")} == {
        ("größe 大", "notiz", "ü\n✓"),
        ("ours", "greedylr.role", "trial"),
        ("plain", "team", "a"),
        ("with a preset", "greedylr.preset", "core"),
    }


def test_series_are_named_without_those_of_the_machine(source: Source, names: dict[str, str]) -> None:
    series = sorted((names[row["run_uuid"]], row["key"]) for row in rows(source.series(list(names))))
    assert series == [
        ("deleted", "loss"),
        ("größe 大", "loss"),
        ("größe 大", "train loss_ε"),
        ("late", "accuracy"),
        ("late", "loss"),
        ("odd values", "loss"),
        ("ours", "loss"),
        ("plain", "loss"),
        ("plain", "val/loss"),
        ("with a preset", "loss"),
    ]


def test_points_are_those_that_were_logged(source: Source, names: dict[str, str]) -> None:
    points = points_by_name(source, names)
    assert points == logged_points()
    assert [point[2:] for point in points if point[0] == "odd values"] == [
        (-3, START + 3000, 0.1),
        (0, START, math.inf),
        (1, START + 1000, -math.inf),
        (2, START + 2000, "nan"),
    ]
    assert [point[2] for point in points if point[:2] == ("late", "loss")] == [2, 5, 9]


@pytest.mark.parametrize("keys", [["loss"], ["train loss_ε", "val/loss"], ["lo_s", "LOSS"], ["system/cpu"], []])
def test_only_the_series_asked_for_are_read(source: Source, names: dict[str, str], keys: list[str]) -> None:
    assert points_by_name(source, names, keys) == logged_points(lambda key: key in keys)


def test_reading_run_by_run_gives_what_reading_all_gives(source: Source, names: dict[str, str]) -> None:
    for read in (source.params, source.tags, source.series, source.points):
        singly = [tuple(row.values()) for run_uuid in names for row in rows(read([run_uuid]))]
        assert sorted(map(repr, singly)) == sorted(repr(tuple(row.values())) for row in rows(read(list(names))))


def test_unknown_runs_among_the_known_change_nothing(source: Source, names: dict[str, str]) -> None:
    asked = ["0" * 32, *names, 'it\'s "no" run']
    assert len(rows(source.points(asked))) == len(logged_points())


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(experiments=("dig*",)), set(HISTORY) - {"größe 大"}),
        (Scope(experiments=("Ünïcode / *", "nothing")), {"größe 大"}),
        (Scope(since=START), set(HISTORY)),
    ],
)
def test_runs_in_scope_are_all_there(source: Source, scope: Scope, expected: set[str]) -> None:
    assert expected <= {row["run_name"] for row in rows(source.runs(scope))}


def test_reading_changes_nothing_in_the_store(history: LoggedHistory) -> None:
    before = history.contents()
    with history.open() as source:
        run_uuids = [row["run_uuid"] for row in rows(source.runs())]
        for read in (source.params, source.tags, source.series, source.points):
            rows(read(run_uuids))
    assert history.contents() == before


def test_a_watermark_stays_until_its_run_has_another_point(history: LoggedHistory) -> None:
    def watermarks() -> dict[str, str]:
        with history.open() as source:
            return {row["run_uuid"]: row["watermark"] for row in rows(source.runs())}

    experiment = history.client.get_experiment_by_name("digits")
    run_uuid = history.client.create_run(experiment.experiment_id, run_name="growing").info.run_id
    history.client.log_batch(run_uuid, metrics=[Metric("loss", 1.0, START, 0)])
    before, again = watermarks(), watermarks()
    assert before == again
    history.client.log_batch(run_uuid, metrics=[Metric("loss", 0.5, START + 1000, 1)])
    after = watermarks()
    assert {name for name in after if after[name] != before[name]} == {run_uuid}
