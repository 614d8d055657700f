"""The history of the demo: short runs of two workloads under several schedules and rates, in a real MLflow store."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.group_workload import reference_workload
from flows.retraining import Retrainer
from flows.road import Road
from greedylr.registry import database_file
from greedylr.schedules import CONTROLS
from greedylr.workload import WorkloadDescriptors
from models.retraining.job import Configuration, JobResult
from models.seeds import derive_seeds
from models.workloads.reference import REFERENCES
from pipeline.mlflow_database import create_database
from pipeline.run_logging import LoggedRun, Point, log_runs

WORKLOADS = ("mnist-mlp", "digits-nmf")
SCHEDULES = ("constant", "linear", "cosine", "step")
# Multiples of the workload's usual rate: from far too low to diverging.
MULTIPLES = (1 / 81, 1 / 27, 1 / 9, 1 / 3, 1.0, 3.0, 9.0, 81.0)
QUICK_MULTIPLES = (1 / 27, 1 / 9, 1 / 3, 1.0, 3.0, 81.0)
# What the demo's team uses from day to day: cosine, somewhat too low.
HABIT, HABIT_MULTIPLE = "cosine", 1 / 3
LOGS_RATE_EVERY = 2
START_TIME = 1_767_225_600_000  # 2026-01-01 in milliseconds; a run a minute


@dataclass(frozen=True, kw_only=True)
class HistorySize:
    """How many runs of each workload: schedules x multiples x seeds, and the team's habit with more seeds."""

    multiples: tuple[float, ...]
    seeds: int
    habit_seeds: int


FULL = HistorySize(multiples=MULTIPLES, seeds=2, habit_seeds=22)
QUICK = HistorySize(multiples=QUICK_MULTIPLES, seeds=1, habit_seeds=8)


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A trained run; curves (n_points,), the loss NaN from where it diverged on."""

    name: str
    configuration: Configuration
    seed: int
    steps: NDArray[np.float64]
    losses: NDArray[np.float64]
    rates: NDArray[np.float64]
    final_validation_loss: float | None


def make_history(road: Road, store: Path, size: HistorySize) -> None:
    """Train the runs that the store lacks and log them through MLflow's client.

    A file beside the store lists what it holds, so that a second call costs nothing.
    """
    listed = store.with_suffix(".runs.json")
    held = set(json.loads(listed.read_text(encoding="utf-8"))) if listed.is_file() else set()
    described = {name: REFERENCES[name].descriptors for name in WORKLOADS}
    wanted = {f"{name}/{run}" for name, descriptors in described.items() for run in _names(descriptors, size)}
    if wanted <= held:
        return
    uri = f"sqlite:///{store.absolute()}"
    _create_stores(uri, road.settings.registry_uri)
    for name, descriptors in described.items():
        runs = [_logged(run, descriptors, number) for number, run in enumerate(_trained(road, descriptors, size))]
        log_runs(uri, name, runs, artifact_folder=store.parent / "artifacts", progress=road.report)
    listed.write_text(json.dumps(sorted(held | wanted)), encoding="utf-8")


def _create_stores(uri: str, registry_uri: str) -> None:
    """Make store and registry; MLflow takes seconds to make a database, so the second is a copy of the empty first."""
    registry, store = database_file(registry_uri), database_file(uri)
    assert store is not None
    fresh = not store.exists()
    create_database(uri)
    if fresh and registry is not None and not registry.exists():
        partial = registry.with_suffix(".partial")
        shutil.copyfile(store, partial)
        partial.replace(registry)


def _names(descriptors: WorkloadDescriptors, size: HistorySize) -> Iterator[str]:
    for configurations, seeds in _jobs(descriptors, size):
        yield from (_run_name(each, seed) for each in configurations for seed in seeds)


def _jobs(descriptors: WorkloadDescriptors, size: HistorySize) -> Iterator[tuple[list[Configuration], list[int]]]:
    seeds = derive_seeds("history", descriptors.name, count=max(size.seeds, size.habit_seeds))
    rate = descriptors.usual_learning_rate
    yield (
        [
            Configuration(name=schedule, schedule=CONTROLS[schedule], learning_rate=_tidy(rate * multiple))
            for schedule in SCHEDULES
            for multiple in size.multiples
        ],
        seeds[: size.seeds],
    )
    habit = Configuration(name=HABIT, schedule=CONTROLS[HABIT], learning_rate=_tidy(rate * HABIT_MULTIPLE))
    yield [habit], seeds[size.seeds : size.habit_seeds]


def _tidy(rate: float) -> float:
    """Round to two digits, as people choose rates."""
    return float(f"{rate:.2g}")


def _run_name(configuration: Configuration, seed: int) -> str:
    return f"{configuration.name}-lr{configuration.learning_rate:g}-seed{seed}"


def _trained(road: Road, descriptors: WorkloadDescriptors, size: HistorySize) -> Iterator[TrainedRun]:
    train = Retrainer(road, descriptors.name, reference_workload(descriptors.name, own=True))
    for configurations, seeds in _jobs(descriptors, size):
        result = train.train("training the history", configurations, seeds)
        yield from _runs(configurations, seeds, result)


def _runs(configurations: list[Configuration], seeds: list[int], result: JobResult) -> Iterator[TrainedRun]:
    rows = {(row.configuration, row.seed): row for row in result.rows}
    for place, configuration in enumerate(configurations):
        for seed_place, seed in enumerate(seeds):
            yield TrainedRun(
                name=_run_name(configuration, seed),
                configuration=configuration,
                seed=seed,
                steps=result.curves.steps,
                losses=result.curves.losses[place, seed_place],
                rates=result.curves.rates[place, seed_place],
                final_validation_loss=rows[place, seed].selection_loss,
            )


def _logged(run: TrainedRun, descriptors: WorkloadDescriptors, number: int) -> LoggedRun:
    started = START_TIME + number * 60_000
    return LoggedRun(
        name=run.name,
        start_time=started,
        params={
            "optimizer": "SGD",
            "learning_rate": run.configuration.learning_rate,
            "momentum": descriptors.momentum,
            "batch_size": descriptors.batch_size,
            "scheduler": run.configuration.name,
            "total_steps": descriptors.total_steps,
            "seed": run.seed,
        },
        points=tuple(_points(run, started, logs_rate=number % LOGS_RATE_EVERY == 0)),
    )


def _points(run: TrainedRun, started: int, *, logs_rate: bool) -> Iterator[Point]:
    """Yield what a team would log, up to the first loss that is not finite."""
    for step, loss, rate in zip(run.steps.tolist(), run.losses.tolist(), run.rates.tolist(), strict=True):
        when, whole = started + int(step) * 100, int(step)
        yield Point("train_loss", loss, when, whole)
        if not math.isfinite(loss):
            return
        if logs_rate:
            yield Point("lr", rate, when, whole)
    if run.final_validation_loss is not None:
        last = int(run.steps[-1])
        yield Point("val_loss", run.final_validation_loss, started + last * 100, last)
