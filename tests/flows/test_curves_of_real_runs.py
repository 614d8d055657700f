"""What MLflow holds of runs that did not end well, or hold more than one training, down to the groups."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from polars.testing import assert_frame_equal

from flows import road as road_module
from flows.road import Road, describe, group_history, ingest, learn
from pipeline.settings import load_settings

SGD = {"optimizer": "SGD", "lr": 0.1, "epochs": 30}
FIRST_TIMESTAMP = 1_700_000_000_000


def falling(length: int, first: float = 2.0) -> list[float]:
    return [float(value) for value in np.geomspace(first, 0.1, length)]


@pytest.fixture
def road(tmp_path: Path, mlflow_store: Path) -> Road:
    (tmp_path / "greedylr.toml").write_text(f'sources = ["{mlflow_store}"]\n', encoding="utf-8")
    return Road(settings=load_settings(tmp_path / "greedylr.toml"), root=tmp_path)


def described(road: Road, columns: str) -> dict[str, tuple[object, ...]]:
    """Some columns of the table of usable runs, by the name of the run and what its curve's id has after the run's."""
    ingest(road)
    describe(road)
    rows = road.warehouse.frame(
        f"select run_name || usable_runs.run_id[length(runs.run_id) + 1:], {columns} from usable_runs "
        "join runs on starts_with(usable_runs.run_id, runs.run_id)"
    ).rows()
    return {str(row[0]): row[1:] for row in rows}


def test_runs_that_did_not_end_well_are_kept_and_usable_if_their_curve_is(
    road: Road, mlflow_store: Path, log_run: Callable[..., str]
) -> None:
    for status in ("FINISHED", "FAILED", "KILLED", "RUNNING"):
        log_run(run_name=status, status=status, params=SGD, metrics={"loss": falling(20)})
    MlflowClient(f"sqlite:///{mlflow_store}").delete_run(
        log_run(run_name="deleted", params=SGD, metrics={"loss": falling(20)})
    )
    log_run(run_name="without metrics", status="FAILED", params=SGD)
    log_run(run_name="diverged", params=SGD, metrics={"loss": [*falling(18), float("inf"), float("nan")]})
    assert described(road, "usable, usable_runs.reason, diverged, status, lifecycle_stage, end_time is null") == {
        "FINISHED": (True, None, False, "FINISHED", "active", False),
        "FAILED": (True, None, False, "FAILED", "active", False),
        "KILLED": (True, None, False, "KILLED", "active", False),
        "RUNNING": (True, None, False, "RUNNING", "active", True),
        "deleted": (True, None, False, "FINISHED", "deleted", False),
        "without metrics": (False, "no metrics", False, "FAILED", "active", False),
        "diverged": (True, None, True, "FINISHED", "active", False),
    }
    assert learn(road, "mnist-sgd").runs == 6


def test_a_run_is_not_learned_from_where_its_loss_is_a_guess_until_the_settings_say_that_it_is_none(
    road: Road, log_run: Callable[..., str]
) -> None:
    game = {"g_loss": falling(20)[::-1], "d_loss": falling(20)}
    log_run(run_name="game", params=SGD, metrics=game)
    log_run(run_name="diverged game", params=SGD, metrics={**game, "g_loss": [*falling(18), float("nan")] * 2})
    log_run(run_name="plain", params=SGD, metrics={"loss": falling(20)})
    log_run(run_name="validated", params=SGD, metrics={"val_loss": falling(20), "val_score_mse": falling(20)})
    columns = "usable, usable_runs.reason, diverged"
    guess = "no loss that surely tells progress"
    assert described(road, columns) == {
        "game": (False, guess, False),
        "diverged game": (False, guess, True),
        "plain": (True, None, False),
        "validated": (True, None, False),
    }
    settings = Path(road.root / "greedylr.toml")
    settings.write_text(settings.read_text() + '[roles]\ng_loss = "training_loss"\n', encoding="utf-8")
    road = Road(settings=load_settings(settings), root=road.root)
    assert described(road, columns)["game"] == (True, None, True)


def test_a_resumed_run_shows_where_it_begins_and_its_sibling_with_one_point_is_told(
    road: Road, log_run: Callable[..., str]
) -> None:
    params = {**SGD, "epochs": 90}
    log_run(run_name="resumed", params=params, metrics={"loss": [(46 + n, v) for n, v in enumerate(falling(40))]})
    log_run(run_name="sibling", params=params, status="FAILED", metrics={"loss": [(0, 2.0)]})
    assert described(road, "usable, usable_runs.reason, first_step, planned_steps") == {
        "resumed": (True, None, 46, 90),
        "sibling": (False, "fewer than 10 points", 0, None),
    }


def test_each_trial_of_a_search_is_a_curve_with_the_experiment_of_its_run_and_none_of_its_params(
    road: Road, log_run: Callable[..., str]
) -> None:
    losses: list[tuple[int, int, float]] = []
    for trial in (falling(20), falling(30, 1.8), falling(6, 2.1), falling(25, 1.9)):
        start = FIRST_TIMESTAMP + 1000 * len(losses)
        losses += [(step, start + 1000 * step, value) for step, value in enumerate(trial)]
    log_run(run_name="search", params=SGD, metrics={"loss": losses})
    log_run(run_name="plain", params=SGD, metrics={"loss": falling(20)})
    several = "several trials, each counted as a run"
    columns = "usable, usable_runs.reason, optimizer, starting_rate, planned_steps, round(final_loss, 4)"
    assert described(road, columns) == {
        "search": (False, several, "sgd", 0.1, None, None),
        "search#1": (True, None, None, None, None, 0.1),
        "search#2": (True, None, None, None, None, pytest.approx(0.1, abs=0.01)),
        "search#3": (False, "fewer than 10 points", None, None, None, 0.1),
        "search#4": (True, None, None, None, None, pytest.approx(0.1, abs=0.01)),
        "plain": (True, None, "sgd", 0.1, 30, 0.1),
    }
    # Without an optimizer the trials are a group of their own within the experiment.
    learned = learn(road, "mnist")
    assert learned.runs == 3
    history = group_history(road.warehouse, "mnist")
    assert [run_id.rsplit("#")[1] for run_id in history.run_id] == ["1", "2", "4"]
    assert np.bincount(history.run_index).tolist() == [20, 30, 25]
    assert learn(road, "mnist-sgd").runs == 1


def test_what_is_learned_of_trials_is_learned_anew_when_their_run_changes(
    road: Road, mlflow_store: Path, log_run: Callable[..., str]
) -> None:
    losses = [(n % 20, FIRST_TIMESTAMP + 1000 * n, falling(20)[n % 20]) for n in range(60)]
    run = log_run(run_name="search", metrics={"loss": losses})
    ingest(road)
    describe(road)
    before = learn(road, "mnist")
    assert (before.runs, learn(road, "mnist").key) == (3, before.key)
    client = MlflowClient(f"sqlite:///{mlflow_store}")
    for n in range(20):
        client.log_metric(run, "loss", falling(20)[n], FIRST_TIMESTAMP + 60_000 + 1000 * n, n)
    ingest(road)
    describe(road)
    after = learn(road, "mnist")
    assert after.runs == 4
    assert after.key != before.key


def test_curves_are_the_same_however_few_runs_are_taken_at_a_time(
    road: Road, log_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for length in (12, 20, 5, 30, 0):
        log_run(params=SGD, metrics={"loss": falling(length), "val_loss": falling(length, 3.0)})
    ingest(road)
    describe(road)
    tables = ("trajectories", "usable_runs", "run_groups")
    whole = [road.warehouse.frame(f"from {table} order by all") for table in tables]
    assert [table.height for table in whole] == [67, 5, 3]
    monkeypatch.setattr(road_module, "POINTS_AT_ONCE", 30)
    monkeypatch.setattr(road_module, "DESCRIBE_VERSION", -1)
    describe(road)
    for table, expected in zip(tables, whole, strict=True):
        # A quotient may differ in its last digit with its place in a column.
        assert_frame_equal(road.warehouse.frame(f"from {table} order by all"), expected, rel_tol=1e-12)
