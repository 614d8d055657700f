"""What the command line answers to input that it cannot use: a status, one message, and nothing half-written."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUNS = [("cosine", 0.003)] * 4 + [("constant", 0.03)] * 4

Greedylr = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path, new_repository: Callable[..., Path]) -> Path:
    return new_repository(tmp_path / "repository")


def settings(root: Path, **changes: str) -> None:
    """Write a settings file with other values, or other lines at its end."""
    values = {
        "warehouse": '"data/greedylr.duckdb"',
        "sources": '["mlflow.db"]',
        "registry_uri": '"sqlite:///data/registry.db"',
    }
    rest = changes.pop("rest", "")
    lines = [f"{key} = {value}" for key, value in {**values, **changes}.items()]
    (root / "greedylr.toml").write_text("\n".join([*lines, rest]))


def message(ended: Any, status: int = 2) -> str:
    """The one message of a command that failed."""
    assert (ended.status, ended.out) == (status, "")
    lines = ended.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: "), ended.err
    return str(lines[0].removeprefix("Error: "))


def test_a_store_that_is_not_there_is_not_made(root: Path, greedylr: Greedylr) -> None:
    for address in ("missing.db", f"sqlite:///{root}/missing.db"):
        assert message(greedylr(root, "ingest", address)) == (
            f"at least one source must be readable, got sqlite:///{root}/missing.db: no such file; it was not created"
        )
    settings(root, sources='["missing.db"]')
    assert "no such file; it was not created" in message(greedylr(root, "run"))
    assert not (root / "missing.db").exists()


def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(root: Path, greedylr: Greedylr) -> None:
    (root / "notes.db").write_text("to do: log to MLflow")
    (root / "zero.db").touch()
    with sqlite3.connect(root / "other.db") as connection:
        connection.execute("create table people (name text)")
    before = {path: path.read_bytes() for path in root.glob("*.db")}
    assert message(greedylr(root, "ingest", "notes.db")).endswith(
        "notes.db: not a SQLite database (file is not a database)"
    )
    assert message(greedylr(root, "ingest", "zero.db")).endswith("zero.db: an empty file (0 bytes)")
    assert "other.db: " in message(greedylr(root, "ingest", "other.db"))
    assert {path: path.read_bytes() for path in root.glob("*.db")} == before


def test_one_store_that_cannot_be_read_does_not_stop_the_others(
    root: Path, log_history: Callable[..., None], greedylr: Greedylr
) -> None:
    log_history(root / "mlflow.db", "digits", RUNS)
    ended = greedylr(root, "ingest", "missing.db", "mlflow.db")
    assert (ended.status, ended.err) == (0, "reading repository/mlflow.db: 160 done\n")
    rows = [line for line in ended.out.splitlines() if line.startswith("sqlite:///")]
    assert rows[0].split(maxsplit=1) == [f"sqlite:///{root}/missing.db", "no such file; it was not created"]
    assert rows[1].split()[:4] == [f"sqlite:///{root}/mlflow.db", "8", "new", "160"]


def test_a_store_without_runs_gives_nothing_to_learn_from(root: Path, greedylr: Greedylr) -> None:
    expected = (
        "no run is usable: a group needs runs with a training or validation loss of at least 10 points; "
        "`greedylr runs` says of each what it lacks"
    )
    assert message(greedylr(root, "run")) == expected
    assert message(greedylr(root, "run", "--dry-run")) == expected
    assert "holds no runs" in greedylr(root, "runs").out


def test_runs_without_a_loss_give_nothing_to_learn_from(
    root: Path, log_run: Callable[..., str], greedylr: Greedylr
) -> None:
    log_run("digits", metrics={"accuracy": [0.1 * step for step in range(20)]}, store=root / "mlflow.db")
    ended = greedylr(root, "run")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines()[-1].startswith("Error: no run is usable: ")
    assert "0 of 1 runs are usable\nwhy not         runs\nno loss series  1   \n" in greedylr(root, "runs").out


def test_a_source_given_twice_is_refused(root: Path, greedylr: Greedylr) -> None:
    told = message(greedylr(root, "ingest", "mlflow.db", f"sqlite:///{root}/mlflow.db"))
    assert told == (
        f"each source must be given once, got 'mlflow.db' and 'sqlite:///{root}/mlflow.db', which are both "
        f"sqlite:///{root}/mlflow.db; drop one"
    )
    settings(root, sources='["mlflow.db", "sqlite:///mlflow.db"]')
    assert message(greedylr(root, "run")).startswith("each source must be given once")
    assert not (root / "data" / "greedylr.duckdb").exists()


def test_a_source_that_is_the_registry_is_refused(root: Path, greedylr: Greedylr) -> None:
    settings(root, registry_uri='"sqlite:///mlflow.db"')
    for arguments in (["ingest"], ["run"], ["ingest", "./mlflow.db"]):
        assert message(greedylr(root, *arguments)).startswith("a source must not be the registry, got ")
    assert not (root / "data" / "greedylr.duckdb").exists()


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("[budgets]\nmax_seeds = 5", "greedylr.toml: budgets is no known key; did you mean budget?"),
        ('[groups."a-sgd"]\nworklaod = "a:b"', "groups.a-sgd.worklaod is no known key; did you mean workload?"),
        (
            '[groups."a-sgd"]\nlearning_rate = 0.0',
            "groups.a-sgd.learning_rate must be a number > 0, got 0.0; with a rate of 0 nothing is ever learned",
        ),
        ('[promotion]\nmode = "always"', """promotion.mode must be "manual" or "auto", got 'always'"""),
        ("[budget]\nmax_seeds = 7", "budget.max_seeds must be 5, 10 or 20, got 7"),
    ],
)
@pytest.mark.parametrize("command", ["run", "ingest", "runs"])
def test_settings_with_a_mistake_are_refused_by_every_command(
    root: Path, greedylr: Greedylr, command: str, rest: str, expected: str
) -> None:
    settings(root, rest=rest)
    assert message(greedylr(root, command)).endswith(expected)
    assert not (root / "data" / "greedylr.duckdb").exists()


def test_a_settings_file_that_is_missing_is_told_how_to_make(root: Path, greedylr: Greedylr) -> None:
    (root / "greedylr.toml").unlink()
    assert message(greedylr(root, "run")) == "there is no greedylr.toml; `greedylr init` writes one"
    assert (
        message(greedylr(root, "runs", "--config", "mine.toml")) == "there is no mine.toml; `greedylr init` writes one"
    )
    assert message(greedylr(root, "ingest")) == (
        "no source given: name one, or list some under `sources` in greedylr.toml"
    )


def test_a_settings_file_is_never_overwritten(root: Path, greedylr: Greedylr) -> None:
    before = (root / "greedylr.toml").read_text()
    assert message(greedylr(root, "init")) == "greedylr.toml exists already; edit it, or remove it first"
    assert (root / "greedylr.toml").read_text() == before
    (root / "greedylr.toml").unlink()
    assert greedylr(root, "init").status == 0
    assert message(greedylr(root, "run")) == "greedylr.toml names no sources; list your MLflow stores under `sources`"


def test_a_warehouse_that_is_none_is_refused_and_left_as_it_is(root: Path, greedylr: Greedylr) -> None:
    (root / "folder").mkdir()
    (root / "notes").write_text("to do")
    for place in ("folder", "notes"):
        for command in ("runs", "ingest", "run"):
            told = message(greedylr(root, command, "--warehouse", place))
            assert told.startswith(f"a warehouse must be a DuckDB file that greedylr has written, got {root / place}: ")
    assert (list((root / "folder").iterdir()), (root / "notes").read_text()) == ([], "to do")


def test_a_warehouse_that_is_not_there_is_told_how_to_make(root: Path, greedylr: Greedylr) -> None:
    assert message(greedylr(root, "runs", "--warehouse", "none.duckdb")) == (
        f"there is no warehouse at {root / 'none.duckdb'}; `greedylr ingest ADDRESS` writes one, --warehouse names "
        "another"
    )
    assert not (root / "none.duckdb").exists()


def test_a_preset_that_is_not_there_is_told_where_to_look(root: Path, greedylr: Greedylr) -> None:
    assert message(greedylr(root, "presets", "show", "robus")).startswith(
        "no preset at 'robus': it is no file and none of"
    )
    told = message(greedylr(root, "presets", "show", "models:/greedylr-a@champion"))
    assert told.startswith("no preset at models:/greedylr-a@champion: the registry sqlite:///")
    assert told.endswith("shows what it holds")


def test_a_promotion_needs_a_group_and_a_reason(root: Path, greedylr: Greedylr) -> None:
    assert message(greedylr(root, "promote", "a-sgd", "1", "--reason", "why not")) == (
        "the registry must hold a preset of the group, got 'a-sgd'; it holds none"
    )
    assert message(greedylr(root, "promote", "a-sgd", "1", "--reason", " ")) == (
        "reason must be said in 1 to 2000 characters, got 0"
    )
    assert greedylr(root, "promote", "a-sgd", "1").status == 2
    assert message(greedylr(root, "rollback", "a-sgd")).startswith("the registry must hold a preset of the group")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"rest": "[budget]\nmax_replicas = 100\nmax_seeds = 5"},
            "budget.max_replicas must be at least the 901 trainings up to a first verdict, got 100; raise it, or leave "
            "the group to the bundled presets",
        ),
        (
            {"registry_uri": '"sqlite:///training.py"'},
            "a registry must be an MLflow database, got {root}/training.py: ",
        ),
        ({"registry_uri": '"http://127.0.0.1:9"'}, "the registry http://127.0.0.1:9 is not to be had: "),
    ],
)
def test_what_would_stop_a_proof_at_its_end_is_found_out_before_it_begins(
    root: Path,
    log_history: Callable[..., None],
    greedylr: Greedylr,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log_history(root / "mlflow.db", "digits", RUNS)
    settings(root, **changes)
    ended = greedylr(root, "run")
    assert ended.status == 1
    (told,) = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    assert told.startswith("Error: group digits-sgd failed: " + expected.format(root=root))
    assert "Traceback" not in ended.err
    assert not (root / "data" / "jobs").exists()
