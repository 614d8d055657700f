"""The result of a job from what became of its seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.retraining.job import Curves, Job, JobResult, ReplicaResult
from models.retraining.seed_training import TrainedSeed
from models.retraining.training_record import NEVER, TrainingRecord, curve_bounds, shortened

Outcome = TrainedSeed | str
"""A seed that was trained, or why it could not be."""


def result_of(job: Job, outcomes: Sequence[Outcome], *, device_seconds: float, replicas_at_once: int) -> JobResult:
    """Return the result of a job; at least one of its seeds was trained.

    Parameters
    ----------
    job, outcomes
        The job and what became of each of its seeds, in their order.
    device_seconds, replicas_at_once
        As in `JobResult`.
    """
    trained = next(outcome for outcome in outcomes if isinstance(outcome, TrainedSeed))
    return JobResult(
        descriptors=trained.descriptors,
        parameters=trained.parameters,
        total_steps=trained.total_steps,
        rows=tuple(
            _row(job, index, seed, outcome)
            for index in range(len(job.configurations))
            for seed, outcome in zip(job.seeds, outcomes, strict=True)
        ),
        device_seconds=device_seconds,
        replicas_at_once=replicas_at_once,
        curves=_curves(job, outcomes, trained.total_steps),
    )


def _row(job: Job, index: int, seed: int, outcome: Outcome) -> ReplicaResult:
    def row(
        selection: float | None = None,
        reporting: float | None = None,
        initial: float | None = None,
        diverged_step: int | None = None,
        failed: str | None = None,
    ) -> ReplicaResult:
        configuration = job.configurations[index]
        return ReplicaResult(
            configuration=index,
            name=configuration.name,
            learning_rate=configuration.learning_rate,
            seed=seed,
            selection_loss=selection,
            reporting_loss=reporting,
            initial_reporting_loss=initial,
            diverged_step=diverged_step,
            failed=failed,
        )

    if isinstance(outcome, str):
        return row(failed=outcome)
    record, initial = _record(outcome), outcome.initial_reporting_loss
    if record.diverged_step[index] != NEVER:
        return row(initial=initial, diverged_step=int(record.diverged_step[index]))
    return row(float(record.selection_loss[index]), float(record.reporting_loss[index]), initial)


def _curves(job: Job, outcomes: Sequence[Outcome], total_steps: int) -> Curves:
    bounds = curve_bounds(total_steps, job.curve_points)
    shape = (len(job.configurations), len(outcomes), len(bounds) - 1)
    losses, rates = np.full(shape, np.nan), np.full(shape, np.nan)
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, TrainedSeed) and outcome.record is not None:
            losses[:, place] = shortened(outcome.record.losses, bounds).T
            rates[:, place] = shortened(outcome.record.rates, bounds).T
    return Curves(steps=(bounds[:-1] + bounds[1:] - 1) / 2, losses=losses, rates=rates)


def _record(seed: TrainedSeed) -> TrainingRecord:
    if seed.record is None:
        raise ValueError("a seed with configurations must have a record of them, got none")
    return seed.record
