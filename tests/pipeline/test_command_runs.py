"""Commands that log into the run they are given, and those that do what a command must not do."""

import json
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from greedylr.schedule_files import NamedControl
from pipeline.command_runs import LOG_FILE, CommandRun, CommandRunner, Wanted
from pipeline.command_store import CommandStore
from pipeline.errors import CommandFailedError, CommandStoreError
from pipeline.sources.opening import open_source
from pipeline.training_command import TrainingCommand

# What MLflow's client writes, without the seconds that its import takes. A last test goes through the client.
TRAIN = """
import os, sqlite3, sys, time
def log(name, values, is_nan=0):
    rows = [(name, value, time.time_ns() // 10**6, os.environ["MLFLOW_RUN_ID"], 10 * step, is_nan)
            for step, value in enumerate(values)]
    with sqlite3.connect(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"), timeout=60) as store:
        names = "key, value, timestamp, run_uuid, step, is_nan"
        store.executemany(f"insert into metrics ({names}) values (?, ?, ?, ?, ?, ?)", rows)
seed, rate, schedule = int(sys.argv[1]), float(sys.argv[2]), open(sys.argv[3]).read()
"""
CALM = 'log("val_loss", [2.0, 1.0, 0.5 + seed]); log("test_loss", [3.0, 0.25]); log("lr", [rate, rate / 2])'

Run = Callable[..., CommandRun]


def named_lr(names: Collection[str]) -> str | None:
    return "lr" if "lr" in names else None


@pytest.fixture
def runner(tmp_path: Path, mlflow_store: Path) -> Callable[..., CommandRunner]:
    """A function that makes the runner of a script, which is written beside the store."""

    def make(body: str, **changes: Any) -> CommandRunner:
        (tmp_path / "train.py").write_text(TRAIN + body)
        given: dict[str, Any] = {
            "template": f"{sys.executable} -S train.py {{seed}} {{learning_rate}} {{schedule}}",
            "metric": "val_loss",
            "report_metric": "test_loss",
            **{name: value for name, value in changes.items() if name not in ("timeout_s", "code", "address")},
        }
        address = changes.get("address", f"sqlite:///{mlflow_store}")
        return CommandRunner(
            command=TrainingCommand(**given),
            code=changes.get("code", ""),
            root=tmp_path,
            folder=tmp_path / "jobs",
            store=CommandStore(address, "greedylr-mine", tmp_path / "artifacts"),
            timeout_s=changes.get("timeout_s", 60.0),
            rate_series=named_lr,
        )

    return make


def wanted(rate: float = 0.1, seed: int = 1, **changes: Any) -> Wanted:
    schedule = NamedControl(control="cosine", learning_rate=rate)
    return Wanted(**{"schedule": schedule, "learning_rate": rate, "seed": seed, **changes})


def folder_of(root: Path, file: str) -> Path:
    """The folder of the only run so far."""
    (path,) = root.glob(f"jobs/*/*/{file}")
    return path.parent


def test_losses_are_read_back_from_the_run_that_the_command_was_given(runner: Callable[..., CommandRunner]) -> None:
    run = runner(CALM).run(wanted())
    assert run.failure == ""
    assert run.selection is not None and run.reporting is not None and run.rates is not None
    assert (run.selection.first, run.selection.last, run.selection.steps) == (2.0, 1.5, (0, 10, 20))
    assert (run.reporting.first, run.reporting.last) == (3.0, 0.25)
    assert run.rates.losses == (0.1, 0.05)
    assert run.diverged_step is None
    assert run.seconds > 0


def test_the_higher_the_better_is_a_negative_loss(runner: Callable[..., CommandRunner]) -> None:
    run = runner(CALM, mode="max", report_metric=None).run(wanted())
    assert run.selection == run.reporting
    assert run.selection is not None and run.rates is not None
    assert (run.selection.first, run.selection.last) == (-2.0, -1.5)
    assert run.rates.losses == (0.1, 0.05)


def test_the_run_is_never_history(runner: Callable[..., CommandRunner], mlflow_store: Path) -> None:
    run = runner(CALM).run(wanted(seed=5))
    with open_source(str(mlflow_store)) as source, source.runs() as runs:
        (row,) = runs.read_all().to_pylist()
    assert (row["run_uuid"], row["role"], row["status"]) == (run.run_id, "retraining", "FINISHED")
    assert (row["experiment_name"], row["run_name"]) == ("greedylr-mine", "cosine at 0.1, seed 5")


def test_what_was_done_is_not_done_again(runner: Callable[..., CommandRunner], tmp_path: Path) -> None:
    first = runner(CALM).run(wanted())
    assert runner('raise SystemExit("run again")').run(wanted()) == first
    assert json.loads(folder_of(tmp_path, "run.json").joinpath("run.json").read_text())["run_id"] == first.run_id


def test_a_run_is_another_with_another_seed_rate_schedule_or_repetition(runner: Callable[..., CommandRunner]) -> None:
    made = runner(CALM)
    linear = NamedControl(control="linear", learning_rate=0.1)
    others = [wanted(seed=2), wanted(0.2), wanted(schedule=linear), wanted(repetition=1)]
    assert len({made.key(each) for each in [wanted(), *others]}) == 5


def test_another_code_or_command_has_runs_of_its_own(runner: Callable[..., CommandRunner], tmp_path: Path) -> None:
    for changes in ({}, {"code": "changed"}, {"mode": "max"}, {"report_metric": None}):
        runner(CALM, **changes).run(wanted())
    assert len(list(tmp_path.glob("jobs/*/*/run.json"))) == 4


def test_what_a_run_takes_is_the_mean_of_those_with_a_result(runner: Callable[..., CommandRunner]) -> None:
    assert runner(CALM).mean_seconds() is None
    first = runner(CALM).run(wanted())
    second = runner(f"time.sleep(0.3); {CALM}").run(wanted(seed=2))
    runner("raise SystemExit(1)").run(wanted(seed=3))
    assert second.seconds > 0.3
    assert runner(CALM).mean_seconds() == pytest.approx((first.seconds + second.seconds) / 2)


def test_a_trial_is_remembered_with_what_it_said(runner: Callable[..., CommandRunner]) -> None:
    made = runner(CALM)
    assert made.tried_remark() is None
    made.run(wanted())
    made.keep_trial("its pairs are not exact")
    assert runner(CALM).tried_remark() == "its pairs are not exact"
    assert runner(CALM, code="changed").tried_remark() is None


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (
            "print('one'); raise SystemExit('no data')",
            "ended with exit status 1; its last output:\n  one\n  no data",
        ),
        ("os.kill(os.getpid(), 15)", "was killed by signal 15"),
        ("", "logged nothing into the run that it was given, and was to log 'val_loss' and 'test_loss'; let mlflow"),
        (
            'log("accuracy", [1.0]); log("loss", [1.0])',
            "logged no series 'val_loss' or 'test_loss'; there are accuracy, loss",
        ),
        ('log("val_loss", [1.0])', "logged no series 'test_loss'; there are val_loss"),
    ],
)
def test_a_command_that_gives_no_result_fails_with_the_reason(
    runner: Callable[..., CommandRunner], body: str, failure: str
) -> None:
    run = runner(body).run(wanted())
    assert run.failure.startswith(failure)
    assert (run.selection, run.reporting) == (None, None)


def test_a_command_that_hangs_fails_at_its_limit(runner: Callable[..., CommandRunner]) -> None:
    run = runner(f"{CALM}; time.sleep(600)", timeout_s=1.0).run(wanted())
    assert run.failure.startswith("was to be done within 1 s and was killed after that; allow it more with timeout_min")


def test_a_program_that_is_not_there_fails_by_its_name(runner: Callable[..., CommandRunner]) -> None:
    run = runner(CALM, template="no-such-program {seed} {schedule}").run(wanted())
    assert run.failure == "'no-such-program' is not found; name a program on PATH, or its whole path"


def test_a_file_that_may_not_be_run_fails_by_its_name(runner: Callable[..., CommandRunner]) -> None:
    run = runner(CALM, template="./train.py {seed} {schedule}").run(wanted())
    assert run.failure == "'./train.py' could not be run to its end: Permission denied (./train.py)"


def test_a_command_that_is_killed_while_it_logs_leaves_a_store_that_can_be_read(
    runner: Callable[..., CommandRunner],
) -> None:
    body = (
        f"{CALM}\n"
        "store = sqlite3.connect(os.environ['MLFLOW_TRACKING_URI'].removeprefix('sqlite:///'))\n"
        "store.execute('pragma cache_spill = 1')\n"
        "store.execute('pragma cache_size = 1')\n"
        "run = os.environ['MLFLOW_RUN_ID']\n"
        "rows = [('val_loss', step / 10**6, 0, run, step, 0) for step in range(10**4)]\n"
        "names = 'key, value, timestamp, run_uuid, step, is_nan'\n"
        "store.executemany(f'insert into metrics ({names}) values (?, ?, ?, ?, ?, ?)', rows)\n"
        "os.kill(os.getpid(), 9)"
    )
    made = runner(body)
    assert made.run(wanted()).failure == "was killed by signal 9"
    assert runner(CALM).run(wanted()).failure == ""


@pytest.mark.parametrize("end", ["", "; raise SystemExit(3)", "; time.sleep(600)"])
def test_a_run_whose_loss_is_no_number_has_diverged_however_it_ended(
    runner: Callable[..., CommandRunner], end: str
) -> None:
    body = f'log("val_loss", [1.0]); log("test_loss", [1.0, 0, 0], 1){end}'
    run = runner(body, timeout_s=1.0 if "sleep" in end else 60.0).run(wanted())
    assert (run.failure, run.diverged_step) == ("", 0)
    assert run.reporting is not None and run.reporting.last is None


def test_what_failed_is_tried_again(runner: Callable[..., CommandRunner]) -> None:
    assert runner("raise SystemExit(1)").run(wanted()).failure
    assert runner(CALM).run(wanted()).failure == ""


def test_output_is_kept_beside_the_result(runner: Callable[..., CommandRunner], tmp_path: Path) -> None:
    runner(f"print('step 1 of 1'); {CALM}").run(wanted())
    assert (folder_of(tmp_path, "run.json") / LOG_FILE).read_text() == "step 1 of 1\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_output_that_finds_no_room_fails_with_the_file(runner: Callable[..., CommandRunner], tmp_path: Path) -> None:
    made = runner("print('x' * 10**5, flush=True); raise SystemExit(1)")
    made.run(wanted())
    folder = folder_of(tmp_path, LOG_FILE)
    (folder / LOG_FILE).unlink()
    (folder / LOG_FILE).symlink_to("/dev/full")
    failure = made.run(wanted()).failure
    assert failure == f"{sys.executable!r} could not be run to its end: No space left on device ({folder / LOG_FILE})"


def test_a_folder_that_cannot_be_written_is_named(runner: Callable[..., CommandRunner], tmp_path: Path) -> None:
    made = runner(CALM)
    (tmp_path / "jobs").write_text("in the way")
    with pytest.raises(CommandFailedError, match=r"jobs/.* must be writable, got Not a directory; see to that"):
        made.run(wanted())


def test_a_store_that_does_not_answer_may_be_asked_again(
    runner: Callable[..., CommandRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(CommandStoreError, match=r"store of commands http://127\.0\.0\.1:9 is not to be had") as raised:
        runner(CALM, address="http://127.0.0.1:9")
    assert raised.value.retryable


CLIENT = """
import mlflow
with mlflow.start_run():
    mlflow.log_params({"seed": seed, "learning_rate": rate})
    for step in range(3):
        mlflow.log_metrics({"val_loss": 1.0 / (1 + step), "test_loss": 2.0 / (1 + step)}, step=step)
"""


def test_mlflow_itself_logs_into_the_run(runner: Callable[..., CommandRunner], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    run = runner(CLIENT, template=f"{sys.executable} train.py {{seed}} {{learning_rate}} {{schedule}}").run(wanted())
    assert run.failure == ""
    assert run.selection is not None and run.reporting is not None
    assert (run.selection.last, run.reporting.last) == (1 / 3, 2 / 3)


@pytest.mark.integration
def test_a_tracking_server_takes_the_runs_of_commands(
    runner: Callable[..., CommandRunner], mlflow_on_sqlite: Any
) -> None:
    template = f"{sys.executable} train.py {{seed}} {{learning_rate}} {{schedule}}"
    run = runner(CLIENT, template=template, address=mlflow_on_sqlite.address).run(wanted())
    assert run.failure == ""
    assert run.reporting is not None
    assert (run.reporting.first, run.reporting.last) == (2.0, 2 / 3)
