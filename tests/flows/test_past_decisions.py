"""Decisions of past runs, read from a warehouse."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import flows.past_decisions
from flows.past_decisions import group_decisions, run_features
from flows.road import Road, describe, ingest
from pipeline.settings import load_settings


@pytest.fixture
def road(tmp_path: Path, new_repository: Callable[..., Path], log_run: Callable[..., str]) -> Road:
    """Three runs of 12 epochs: one whose rate is halved in the middle, one that diverged, one without a rate."""
    root = new_repository(tmp_path / "repository")
    store = root / "mlflow.db"
    falling = [2.0 - 0.1 * epoch for epoch in range(12)]
    halved = [0.1] * 6 + [0.05] * 6
    log_run("digits", run_name="halved", metrics={"loss": falling, "lr": halved}, store=store)
    log_run("digits", run_name="diverged", metrics={"loss": [*falling[:-1], float("nan")]}, store=store)
    log_run("digits", run_name="plain", metrics={"loss": [loss + 0.45 for loss in falling]}, store=store)
    road = Road(settings=load_settings(root / "greedylr.toml"))
    ingest(road)
    describe(road)
    return road


def by_name(road: Road, found: pl.DataFrame) -> dict[str, pl.DataFrame]:
    names = dict(road.warehouse.frame("select run_id, run_name from runs").iter_rows())
    return {names[run_id]: part for (run_id,), part in found.partition_by("run_id", as_dict=True).items()}


def test_decisions_of_a_group_have_state_action_and_return(road: Road) -> None:
    runs = by_name(road, group_decisions(road.warehouse, ["digits"]))
    assert set(runs) == {"halved", "diverged", "plain"}
    halved = runs["halved"]
    assert halved["decision"].to_list() == list(range(12))
    assert halved["action"].to_list() == pytest.approx([-2.302585, *[0.0] * 5, -0.693147, *[0.0] * 5], abs=1e-6)
    assert halved["rate_source"].unique().to_list() == ["logged"]
    assert halved["final_regret"][0] == 0.0
    assert runs["diverged"]["final_regret"][0] == 1.0
    # Best 0.9, first losses 2, 2 and 2.45 with the median 2; this one ends at 1.35.
    assert runs["plain"]["final_regret"][0] == pytest.approx(0.45 / 1.1)


def test_decisions_are_the_same_however_few_points_are_taken_at_a_time(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = group_decisions(road.warehouse, ["digits"])
    monkeypatch.setattr(flows.past_decisions, "POINTS_AT_ONCE", 1)
    assert_frame_equal(group_decisions(road.warehouse, ["digits"]), whole)


def test_a_group_that_is_not_there_has_no_decisions(road: Road) -> None:
    assert group_decisions(road.warehouse, ["none"]).is_empty()


def test_features_of_a_run_are_those_at_the_end_of_each_interval(road: Road) -> None:
    [run_id] = road.warehouse.frame("select run_id from runs where run_name = 'halved'")["run_id"]
    found = run_features(road.warehouse, run_id)
    assert found["progress"].to_list() == pytest.approx([(interval + 1) / 12 for interval in range(12)])
    assert found["relative_rate"].to_list() == pytest.approx([*[0.0] * 6, *[-0.693147] * 6], abs=1e-6)
