"""Retraining jobs of a group, each trained once: a job whose result lies in its folder is read, not run again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.command_retraining import CommandRetraining
from flows.group_workload import REFERENCE, GroupWorkload
from flows.road import Road
from greedylr.strict_json import encode
from greedylr.workload import WorkloadDescriptors
from models.results import SAME_RATE, Results
from models.retraining.child import run_in_child
from models.retraining.errors import WorkloadFailedError
from models.retraining.execution import run_folder
from models.retraining.job import (
    RESULT_FILE,
    Configuration,
    Job,
    JobResult,
    WorkloadReference,
    read_result,
    write_job,
)
from models.training_account import Trainings
from models.workloads.reference import REFERENCES
from pipeline.datasets import prepare

logger = logging.getLogger(__name__)

# Part of the name of every job and of every proof's key: to be raised when the same job would give other losses, by a
# change in the scheduler's rule, the training, an optimizer or a reference workload, or its result another form.
TRAINING_VERSION = 3

Floats = NDArray[np.float64]


class Retrainer:
    """Trains configurations of one group's workload.

    Reference workloads are trained here, a user's own in a child process, a command's runs each in one of its own.

    Parameters
    ----------
    road
        Whose data folder holds data sets and jobs.
    group
        Named in the progress and in the settings.
    workload
        What is trained.

    Attributes
    ----------
    commands
        What trains instead of jobs where the workload is a command.
    """

    def __init__(self, road: Road, group: str, workload: GroupWorkload) -> None:
        self._road = road
        self._group = group
        self._workload = workload
        self._data: Path | None = None
        self._finished: list[tuple[str, Job, JobResult]] = []
        self.commands: CommandRetraining | None = None
        self._reference: WorkloadReference | None = None
        if workload.command is not None:
            # The scheduler that the command attaches is ours, and part of what was trained.
            code = f"{workload.code}-{TRAINING_VERSION}"
            self.commands = CommandRetraining(road, group, workload.command, code)
        elif workload.users:
            self._reference = WorkloadReference(factory=workload.address, root=str(road.root.resolve()))
        else:
            name = workload.address.removeprefix(REFERENCE)
            self._reference = WorkloadReference(reference=name)
            self._data = prepare(REFERENCES[name].dataset, road.data / "datasets")

    def __call__(self, purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> Trainings:
        """Train every configuration with every seed."""
        if self.commands is not None:
            return self.commands(purpose, configurations, seeds)
        result = self.train(purpose, configurations, seeds)
        naive = {row.seed: loss for row in result.rows if (loss := row.initial_reporting_loss) is not None}
        return Trainings(
            results=results_of(result),
            naive_loss=float(np.mean(list(naive.values()))),
            device_seconds=result.device_seconds,
        )

    def train(self, purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> JobResult:
        """Return the result of a job, from its folder where it was trained before.

        Raises
        ------
        ValueError
            Of a command, which trains no jobs.
        """
        if self._reference is None:
            raise ValueError(f"a job needs a workload, got the command {self._workload.name!r}; call this instead")
        job = Job(
            workload=self._reference,
            total_steps=self._road.settings.group(self._group).steps,
            configurations=tuple(configurations),
            seeds=tuple(seeds),
            device=self._road.device,
        )
        folder = self._road.data / "jobs" / self._group / self._name(job)
        if not (folder / RESULT_FILE).is_file():
            write_job(folder, job, self._data)
            self._run(folder, f"{self._group}: {purpose}")
        result = read_result(folder)
        _warn_of_failures(f"{self._group}: {purpose}", result)
        self._finished.append((purpose, job, result))
        return result

    def look(self) -> JobResult:
        """Return what the workload says of itself: the newest job's result, or that of one that trains nothing."""
        if self._finished:
            return self._finished[-1][2]
        return self.train("first look at the workload", (), (0,))

    def descriptors(self) -> WorkloadDescriptors:
        """Return what the workload says of itself; ValueError of a command, which says nothing."""
        return self._workload.descriptors or self.look().descriptors

    @property
    def family(self) -> str:
        """The data that the workload is made from; of a command, which does not say so, the group's."""
        return self._group if self.commands is not None else self.descriptors().family

    @property
    def largest_stable_rate(self) -> float | None:
        """The largest rate at which the workload is stable, as it says of itself; None where it does not know."""
        return None if self.commands is not None else self.descriptors().largest_stable_learning_rate

    def usual_rate(self) -> float:
        """Return a rate near which the workload trains, as it says of itself.

        Raises
        ------
        ValueError
            Of a command, which says nothing.
        """
        if self.commands is not None:
            raise ValueError(
                f"groups.{self._group}.learning_rate must be given where the logs know no rate: a command does not say "
                "near which it trains"
            )
        return self.descriptors().usual_learning_rate

    def curves(self, purpose: str, name: str, learning_rate: float) -> tuple[Floats, Floats, Floats]:
        """Return steps (n_points,), losses and rates (n_seeds, n_points) of what was trained for a purpose.

        Raises
        ------
        ValueError
            If it was not trained.
        """
        if self.commands is not None:
            return self.commands.curves(purpose, name, learning_rate)
        found = [
            (result.curves.steps, result.curves.losses[place], result.curves.rates[place])
            for trained_for, job, result in self._finished
            for place, configuration in enumerate(job.configurations)
            if trained_for == purpose
            and configuration.name == name
            and np.isclose(configuration.learning_rate, learning_rate, rtol=SAME_RATE, atol=0)
        ]
        if not found:
            raise ValueError(f"{name!r} must have been trained for the {purpose} at {learning_rate:g} to be drawn")
        steps, losses, rates = zip(*found, strict=True)
        return steps[0], np.concatenate(losses), np.concatenate(rates)

    def _name(self, job: Job) -> str:
        # A user's code is part of what was trained; the data set's name holds the hash of its content.
        data = self._data.name if self._data else ""
        content = [encode(job), self._workload.code, data, TRAINING_VERSION, metadata.version("torch")]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    def _run(self, folder: Path, what: str) -> None:
        def progress(_: str, done: int, total: int) -> None:
            self._road.report(what, done, total)

        if not self._workload.users:
            run_folder(folder, progress=progress)
            return
        minutes = self._road.settings.group(self._group).timeout_minutes
        try:
            run_in_child(folder, timeout_s=60 * minutes, progress=progress)
        except WorkloadFailedError:
            # With its result written the job has only diverged in every replica. So it does where a grid of rates is
            # extended to its limit: whether anything survives is for the proof to say, which sees all rates.
            if not (folder / RESULT_FILE).is_file():
                raise


def _warn_of_failures(what: str, result: JobResult) -> None:
    reasons = {row.seed: row.failed for row in result.rows if row.failed is not None}
    for seed, reason in reasons.items():
        logger.warning("%s: the seed %d is missing: %s", what, seed, reason)


def results_of(result: JobResult) -> Results:
    """Return a job's rows as columns."""
    nan = float("nan")
    rows = result.rows
    return Results(
        schedule=np.array([row.name for row in rows]),
        starting_rate=np.array([row.learning_rate for row in rows]),
        seed=np.array([row.seed for row in rows]),
        selection_loss=np.array([nan if row.selection_loss is None else row.selection_loss for row in rows]),
        reporting_loss=np.array([nan if row.reporting_loss is None else row.reporting_loss for row in rows]),
        diverged=np.array([row.diverged_step is not None for row in rows]),
        failed=np.array([row.failed is not None for row in rows]),
    )
