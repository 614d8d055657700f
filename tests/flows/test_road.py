"""What is known before anything is retrained: stages, groups, and whom a preset has to beat."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.proof import rivals_of
from flows.refresh import refresh_group
from flows.road import Road, describe, ingest, learn
from greedylr.schedules import CONTROLS
from pipeline.settings import load_settings

SETTINGS = """
[groups."digits-sgd"]
workload = "training.py:workload"
"""
HABIT = [("CosineAnnealingLR", 0.003)] * 4
TRIALS = [("constant", 0.01), ("linear", 0.03), ("step", 0.1)]


@pytest.fixture
def root(tmp_path: Path, new_repository: Callable[..., Path]) -> Path:
    return new_repository(tmp_path / "repository", SETTINGS)


def road_of(root: Path) -> Road:
    return Road(settings=load_settings(root / "greedylr.toml"), root=root)


def test_the_schedule_that_prevails_in_the_runs_is_the_incumbent(root: Path, log_history: Callable[..., None]) -> None:
    log_history(root / "mlflow.db", "digits", [*HABIT, *TRIALS])
    road = road_of(root)
    ingest(road)
    assert describe(road) == ["digits-sgd"]
    rivals = rivals_of(road, learn(road, "digits-sgd"))
    assert {name: (rival.schedule, rival.learning_rate) for name, rival in rivals.items()} == {
        "incumbent": (CONTROLS["cosine"], 0.003)
    }


def test_without_a_schedule_that_prevails_there_is_no_incumbent(root: Path, log_history: Callable[..., None]) -> None:
    log_history(root / "mlflow.db", "digits", [*TRIALS, *TRIALS])
    road = road_of(root)
    ingest(road)
    describe(road)
    assert rivals_of(road, learn(road, "digits-sgd")) == {}


def test_the_source_of_a_rate_goes_down_the_road_and_an_assumed_one_makes_no_incumbent(
    root: Path, log_history: Callable[..., None]
) -> None:
    log_history(root / "mlflow.db", "digits", [("None", 0.01)] * 4 + [("constant", 0.02)] * 2 + [("cosine", 0.03)])
    road = road_of(root)
    ingest(road)
    describe(road)
    marked = road.warehouse.frame(
        "select rate_source, rate_reason, count(distinct run_id) as runs, min(learning_rate) as low, "
        "max(learning_rate) as high from usable_runs join trajectories using (run_id) group by all order by runs desc"
    )
    assert marked.rows() == [
        ("assumed constant", "a rate is declared, and no sign of a schedule", 4, 0.01, 0.01),
        ("rebuilt", "declared constant", 2, 0.02, 0.02),
        ("unknown", "t_max is not declared", 1, None, None),
    ]
    learned = learn(road, "digits-sgd")
    assert learned.statistics.rate_sources == {"logged": 0, "rebuilt": 2, "assumed constant": 4, "unknown": 1}
    assert rivals_of(road, learned) == {}


def test_stages_are_done_again_only_when_runs_have_changed(root: Path, log_history: Callable[..., None]) -> None:
    def finished() -> dict[tuple[str, str], object]:
        return {
            (row[0], row[1]): row[2]
            for row in road.warehouse.frame("select group_name, stage, finished_at from stages").rows()
        }

    road = road_of(root)
    log_history(root / "mlflow.db", "digits", HABIT)
    log_history(root / "mlflow.db", "pilot", TRIALS)
    ingest(road)
    for group in describe(road):
        learn(road, group)
    before = finished()
    assert set(before) == {("*", "roles"), ("*", "describe"), ("digits-sgd", "learn"), ("pilot-sgd", "learn")}

    ingest(road)
    for group in describe(road):
        learn(road, group)
    assert finished() == before

    log_history(root / "mlflow.db", "pilot", TRIALS, first=100)
    ingest(road)
    for group in describe(road):
        learn(road, group)
    after = finished()
    assert {stage for stage in after if after[stage] != before[stage]} == {
        ("*", "roles"),
        ("*", "describe"),
        ("pilot-sgd", "learn"),
    }


def test_a_nightly_refresh_without_a_budget_lets_a_users_workload_wait(
    root: Path, log_history: Callable[..., None]
) -> None:
    road = road_of(root)
    log_history(root / "mlflow.db", "digits", [*HABIT, *TRIALS])
    ingest(road)
    describe(road)
    outcome = refresh_group(road, "digits-sgd", retrain_own_workloads=False)
    assert (outcome.status, outcome.message) == (
        "waiting",
        "learned; its proof waits for `greedylr run` or a nightly budget",
    )
    assert not (road.data / "jobs").exists()
