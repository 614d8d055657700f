"""A retraining job: which workload, which configurations, which seeds; and its results.

A job crosses from the pipeline to where it is trained as a folder: `job.json` and `data.npz` in, `result.json` and
`curves.npz` out. `python -m models.retraining.job FOLDER` runs one, `models.retraining.child` does so for a caller.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from greedylr.preset import require_learning_rate
from greedylr.rule import require_choice, require_count
from greedylr.schedules import ResolvedSchedule, Schedule
from greedylr.strict_json import decode, encode, parse
from greedylr.workload import WorkloadDescriptors
from models.retraining.methods import METHODS, Method, require_schedule_for
from models.workloads.reference import REFERENCES

JOB_FILE, DATA_FILE, RESULT_FILE, CURVES_FILE = "job.json", "data.npz", "result.json", "curves.npz"

Precision = Literal["float32", "float64"]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class WorkloadReference:
    """A reference workload by its name, or a user's own by its factory.

    Parameters
    ----------
    reference
        Name of a reference workload.
    factory
        "module:factory" or "path/file.py:factory", to be imported with `root` first on the path.
    root
        The folder of the user's repository; with `factory` only.
    """

    reference: str | None = None
    factory: str | None = None
    root: str | None = None

    def __post_init__(self) -> None:
        if (self.reference is None) == (self.factory is None):
            raise ValueError(
                f"a workload has either a reference or a factory, got {self.reference!r} and {self.factory!r}"
            )
        if self.reference is not None:
            require_choice("the reference workload", self.reference, tuple(REFERENCES))
        if self.factory is not None:
            place, _, name = self.factory.rpartition(":")
            if not place or not name.isidentifier():
                raise ValueError(f"a factory is 'module:factory' or 'path/file.py:factory', got {self.factory!r}")
            if self.root is None or not Path(self.root).is_dir():
                raise ValueError(f"root must be the folder that {self.factory!r} is imported from, got {self.root!r}")

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return self.reference or str(self.factory)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A schedule and the rate it starts from, or a method that sets its rates itself."""

    name: str
    schedule: Schedule
    learning_rate: float
    method: Method = "schedule"

    def __post_init__(self) -> None:
        require_choice("method", self.method, METHODS)
        require_schedule_for(self.method, self.schedule)
        require_learning_rate(self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train: every configuration with every seed.

    Parameters
    ----------
    workload
        What is trained. Without configurations it is only looked at: the result then holds its descriptors.
    total_steps
        Length of each run; None is the workload's own.
    configurations, seeds
        Their product is trained; seeds differ from one another.
    device
        A torch device.
    dtype
        Type of weights and batches; None takes them as the workload makes them.
    curve_points
        At most so many points a curve.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    workload: WorkloadReference
    total_steps: int | None = None
    configurations: tuple[Configuration, ...] = ()
    seeds: tuple[int, ...] = (0,)
    device: str = "cpu"
    dtype: Precision | None = None
    curve_points: int = 40

    def __post_init__(self) -> None:
        if self.total_steps is not None:
            require_count("total_steps", self.total_steps, minimum=1)
        require_count("curve_points", self.curve_points, minimum=1)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be at least one and differ from one another, got {self.seeds}")

    def resolved(self, total_steps: int) -> list[ResolvedSchedule]:
        """Return the configurations' schedules for runs of so many steps."""
        return [_resolved(configuration, total_steps) for configuration in self.configurations]


def _resolved(configuration: Configuration, total_steps: int) -> ResolvedSchedule:
    try:
        return configuration.schedule.resolve(total_steps)
    except ValueError as error:
        raise ValueError(f"configuration {configuration.name!r}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class ReplicaResult:
    """How one replica ended.

    Parameters
    ----------
    configuration
        Its place in the job's configurations; `name` and `learning_rate` are that one's.
    selection_loss, reporting_loss
        Final losses; None where it diverged.
    initial_reporting_loss
        Of the untrained weights; None where it failed.
    diverged_step
        The first step whose loss, or whose new weights, were not finite; the job's `total_steps` where only the final
        evaluation was not; None where it did not diverge.
    failed
        Why it could not be trained, which says nothing of its configuration; None where it was.
    """

    configuration: int
    name: str
    learning_rate: float
    seed: int
    selection_loss: float | None
    reporting_loss: float | None
    initial_reporting_loss: float | None
    diverged_step: int | None
    failed: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Short curves of all replicas.

    Parameters
    ----------
    steps
        (n_points,): the middle of each interval of steps.
    losses, rates
        (n_configurations, n_seeds, n_points): means over the interval of training loss and rate, NaN after a replica
        diverged, and where it failed.
    """

    steps: NDArray[np.float64]
    losses: NDArray[np.float64]
    rates: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job gave.

    Parameters
    ----------
    descriptors, parameters, total_steps
        Of the workload: what it says of itself, the number of its weights (numbers, not tensors), the length of a run.
    rows
        One for each configuration and seed, by configuration first.
    device_seconds
        What it cost: all that the last attempt spent, and what earlier ones spent on what was kept of them.
    replicas_at_once
        At most so many replicas were in one program, once it was known what the memory takes; of several methods the
        least.
    curves
        Of all replicas.
    """

    descriptors: WorkloadDescriptors
    parameters: int
    total_steps: int
    rows: tuple[ReplicaResult, ...]
    device_seconds: float
    replicas_at_once: int
    curves: Curves


@dataclass(frozen=True, kw_only=True)
class _StoredResult:
    descriptors: WorkloadDescriptors
    parameters: int
    total_steps: int
    rows: tuple[ReplicaResult, ...]
    device_seconds: float
    replicas_at_once: int


def write_job(folder: Path, job: Job, data: Path | None = None) -> None:
    """Write a job and the `.npz` of its data into a folder, which is made; results of an earlier job there go.

    Raises
    ------
    ValueError
        If a reference workload has no data, or a user's own has some.
    """
    if (data is None) != (job.workload.reference is None):
        raise ValueError(
            f"a reference workload takes data and a user's own takes none, got {data} for {job.workload.label!r}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # What was finished of the same job stays: an attempt at it goes on from there, and one at another job drops it.
    for name in (DATA_FILE, RESULT_FILE, CURVES_FILE):
        (folder / name).unlink(missing_ok=True)
    if data is not None:
        shutil.copyfile(data, folder / DATA_FILE)
    _write_text(folder / JOB_FILE, json.dumps(encode(job), allow_nan=False))


def read_job(folder: Path) -> tuple[Job, Arrays]:
    """Return the job of a folder and its data, empty where there are none.

    Raises
    ------
    ValueError
        If the job is not one, with the path of the field at fault.
    """
    job = decode(Job, parse((folder / JOB_FILE).read_text(encoding="utf-8")), JOB_FILE)
    return job, _arrays(folder / DATA_FILE) if job.workload.reference else {}


def write_result(folder: Path, result: JobResult) -> None:
    """Write a result into its job's folder; `result.json` comes last, so where it stands all is there."""
    curves = result.curves
    with (folder / CURVES_FILE).open("wb") as file:
        np.savez(file, allow_pickle=False, steps=curves.steps, losses=curves.losses, rates=curves.rates)
    stored = _StoredResult(**{name: getattr(result, name) for name in _StoredResult.__dataclass_fields__})
    _write_text(folder / RESULT_FILE, json.dumps(encode(stored), allow_nan=False))


def read_result(folder: Path) -> JobResult:
    """Return the result of a folder's job.

    Raises
    ------
    ValueError
        If it is not one, with the path of the field at fault.
    """
    stored = decode(_StoredResult, parse((folder / RESULT_FILE).read_text(encoding="utf-8")), RESULT_FILE)
    fields = {name: getattr(stored, name) for name in _StoredResult.__dataclass_fields__}
    return JobResult(**fields, curves=Curves(**_arrays(folder / CURVES_FILE)))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    import sys

    from models.retraining.job_program import main

    sys.exit(main(sys.argv[1:]))
