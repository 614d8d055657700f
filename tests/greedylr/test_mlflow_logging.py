from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from features.series_roles import series_roles
from greedylr import CONTROLS, Decision, GreedyLR, Preset, Probe, Provenance, RelativeRule, Schedule
from greedylr.mlflow_logging import DECISION_NUMBERS, PRESET_TAG, log_to_mlflow
from pipeline.sources import source

mlflow = pytest.importorskip("mlflow")

PRESET = Preset(
    name="steady",
    schedule=Schedule(rule=RelativeRule(factor=0.5, interval=0.1, window=0.0)),
    provenance=Provenance(origin="test", greedylr_version="0.1.0"),
)


def sgd(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    uri, earlier = f"sqlite:///{tmp_path / 'mlflow.db'}", mlflow.get_tracking_uri()
    # MLflow writes it into the environment too, where it would outlive this test.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(earlier)


def test_tag_is_the_one_that_the_pipeline_reads() -> None:
    assert PRESET_TAG == source.PRESET_TAG


def test_decisions_rates_and_preset_stand_in_the_active_run(store: str) -> None:
    told: list[Decision] = []
    with mlflow.start_run() as run:
        scheduler = PRESET.scheduler(sgd(0.25, 0.5), 40)
        scheduler.on_decision = told.append
        log_to_mlflow(scheduler, version="7")
        for step in range(20):
            scheduler.step(8.0 - step)
    client = mlflow.MlflowClient(store)
    assert client.get_run(run.info.run_id).data.tags[PRESET_TAG] == f"steady/7/{PRESET.content_hash}"

    def points(key: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]

    assert points("learning_rate") == [(0, 0.25), (4, 0.25), (8, 0.5), (12, 1.0), (16, 2.0), (20, 2.5)]
    assert points("learning_rate_1")[-1] == (20, 5.0)
    assert points("smoothed_train_loss") == [(4, 5.0), (8, 1.0), (12, -3.0), (16, -7.0), (20, -11.0)]
    numbers = [DECISION_NUMBERS[kind] for kind in ("hold", "raise", "raise", "raise", "raise")]  # type: ignore[index]
    assert [value for _, value in points("greedylr.decision")] == numbers
    assert len(told) == 5


def test_rates_of_a_sweep_are_no_part_of_the_run(store: str) -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    probe = Probe(share=0.1, lowest=0.25, highest=128.0, turn=0.5, back_off=0.5)
    preset = replace(PRESET, schedule=replace(PRESET.schedule, probe=probe))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    with mlflow.start_run() as run:
        scheduler = preset.scheduler(optimizer, 100, model=torch.nn.ParameterList([weight]))
        log_to_mlflow(scheduler)
        for loss in (4.0, 3.0, 2.0, 1.0, 9.0):
            scheduler.step(loss)
    [start] = mlflow.MlflowClient(store).get_metric_history(run.info.run_id, "learning_rate")
    assert (start.step, start.value) == (5, pytest.approx(0.25))


def test_explored_factor_is_logged_with_its_probability(store: str) -> None:
    with mlflow.start_run() as run:
        scheduler = GreedyLR(sgd(0.25), CONTROLS["constant"].resolve(30), explore=1)
        log_to_mlflow(scheduler)
        for _ in range(30):
            scheduler.step(1.0)
    client = mlflow.MlflowClient(store)
    assert PRESET_TAG not in client.get_run(run.info.run_id).data.tags
    factors = client.get_metric_history(run.info.run_id, "greedylr.explored_factor")
    assert scheduler.controller.exploration is not None
    assert [(point.step, point.value) for point in factors] == [
        (moment.step, moment.factor) for moment in scheduler.controller.exploration.moments
    ]
    probabilities = client.get_metric_history(run.info.run_id, "greedylr.explored_probability")
    assert {point.value for point in probabilities} == {1 / 3}


def test_next_refresh_finds_rate_and_loss_by_their_names() -> None:
    keys = ["learning_rate", "learning_rate_1", "smoothed_train_loss", "greedylr.decision", "greedylr.explored_factor"]
    series = pl.DataFrame(
        {
            "run_id": "r",
            "key": keys,
            "points": 40,
            "non_finite_points": 0,
            "minimum": 0.1,
            "maximum": 1.0,
            "whole_numbers": False,
        }
    )
    roles = series_roles(series.cast({"points": pl.Int64, "non_finite_points": pl.Int64}))
    assert dict(roles.select("role", "key").iter_rows()) == {
        "learning_rate": "learning_rate",
        "training_loss": "smoothed_train_loss",
    }


def test_without_an_active_run_the_remedy_is_named(store: str) -> None:
    with pytest.raises(ValueError, match=r"needs an active run, got none; call it within mlflow.start_run\(\)"):
        log_to_mlflow(PRESET.scheduler(sgd(0.25), 40))
