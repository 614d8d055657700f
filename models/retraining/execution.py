"""Runs a retraining job: for each seed one workload, all its configurations in chunks."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from greedylr.workload import Workload
from models.retraining.job import (
    Arrays,
    Curves,
    Job,
    JobResult,
    ReplicaResult,
    WorkloadReference,
    read_job,
    write_result,
)
from models.retraining.methods import METHODS, Method
from models.retraining.replica_count import Progress, ReplicaCount
from models.retraining.trainers import is_batched, trainer_of
from models.retraining.training_record import NEVER, TrainingRecord, curve_bounds, joined, reordered, shortened
from models.retraining.workload_check import checked_workload
from models.workloads.reference import REFERENCES

Factory = Callable[[int, str], object]


# Measured on both reference workloads: a replica costs least at 64 to 128 a program, more once they leave the cache.
MOST_REPLICAS = 96
MOST_WEIGHT_BYTES = 64 * 2**20
# An accelerator wants more at once.
ACCELERATOR_FACTOR = 16


def run_job(job: Job, data: Arrays, *, factory: Factory | None = None, progress: Progress | None = None) -> JobResult:
    """Train every configuration of a job with every seed.

    Parameters
    ----------
    job
        What to train.
    data
        Arrays of a reference workload; empty for a user's own.
    factory
        The user's factory, imported in the process that is made for it (`models.retraining.child`).
    progress
        Told of replicas that are finished, in equivalents while they are under way.

    Raises
    ------
    ValueError
        If the device does not exist, or a schedule does not fit the run's length.
    WorkloadFailedError
        If the workload does not keep its contract.
    """
    require_device(job.device)
    started = time.perf_counter()
    trained = _train_seeds(job, factory or _reference_factory(job.workload, data), progress)
    workload, total_steps = trained[0].workload, trained[0].total_steps
    return JobResult(
        descriptors=workload.descriptors,
        parameters=sum(weight.numel() for weight in workload.parameters().values()),
        total_steps=total_steps,
        rows=_rows(job, trained),
        device_seconds=time.perf_counter() - started,
        curves=_curves(job, trained, total_steps),
    )


def run_folder(folder: Path, *, factory: Factory | None = None, progress: Progress | None = None) -> JobResult:
    """Run the job of a folder and write the result beside it."""
    job, data = read_job(folder)
    result = run_job(job, data, factory=factory, progress=progress)
    write_result(folder, result)
    return result


def require_device(device: str) -> None:
    """Raise ValueError unless torch can make a tensor on the device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device must be one that torch has here, got {device!r} ({reason}); use 'cpu'") from error


def _train_seeds(job: Job, factory: Factory, progress: Progress | None) -> list[_TrainedSeed]:
    count = ReplicaCount(len(job.configurations), len(job.seeds), progress)
    if job.workload.reference is None or torch.device(job.device).type != "cpu":
        return [_train_seed(job, factory, place, count) for place in range(len(job.seeds))]
    # Seeds side by side, each on one thread: small programs gain nothing from torch's own threads, which besides wait
    # in busy loops for a core that another process has. Only for our own workloads: a user's may draw from torch's
    # global generator, which threads would share.
    with _one_torch_thread(), ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            return list(threads.map(lambda place: _train_seed(job, factory, place, count), range(len(job.seeds))))
        except BaseException:
            count.stop()
            threads.shutdown(cancel_futures=True)
            raise


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _TrainedSeed:
    def __init__(self, workload: Workload, total_steps: int, naive: float, record: TrainingRecord | None) -> None:
        self.workload = workload
        self.total_steps = total_steps
        self.naive = naive
        self.record = record


def _train_seed(job: Job, factory: Factory, place: int, count: ReplicaCount) -> _TrainedSeed:
    seed = job.seeds[place]
    with _seeded(seed):
        workload = checked_workload(factory(seed, job.device), job.workload.label)
        with torch.no_grad():
            naive = float(workload.evaluate(workload.parameters(), "reporting"))
    total_steps = job.total_steps or workload.descriptors.total_steps
    schedules = job.resolved(total_steps)
    rates = [configuration.learning_rate for configuration in job.configurations]
    dtype = None if job.dtype is None else getattr(torch, job.dtype)
    records, order = [], []
    for method, chunk in _chunks(job, workload):
        at_once = len(chunk) if is_batched(method, workload) else 1
        order += chunk
        with _seeded(seed):
            records.append(
                trainer_of(method, workload)(
                    workload,
                    [schedules[index] for index in chunk],
                    [rates[index] for index in chunk],
                    dtype=dtype,
                    on_step=partial(count.took_step, place, at_once, 1 / total_steps),
                )
            )
    count.finished(place)
    return _TrainedSeed(workload, total_steps, naive, reordered(joined(records), order) if records else None)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let what a workload draws from torch's own generator (dropout) depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _reference_factory(workload: WorkloadReference, data: Arrays) -> Factory:
    if workload.reference is None:
        raise ValueError(
            f"{workload.label!r} is a user's workload, and those run in a process of their own: "
            "use models.retraining.child.run_in_child"
        )
    make = REFERENCES[workload.reference].make
    return lambda seed, device: make(seed, device, data)


def _chunks(job: Job, workload: Workload) -> Iterator[tuple[Method, list[int]]]:
    """Yield the places of configurations that are trained together, and by what method."""
    weight_bytes = sum(weight.numel() * weight.element_size() for weight in workload.parameters().values())
    factor = 1 if torch.device(job.device).type == "cpu" else ACCELERATOR_FACTOR
    most = max(1, min(MOST_REPLICAS, MOST_WEIGHT_BYTES // weight_bytes)) * factor
    for method in METHODS:
        places = [place for place, each in enumerate(job.configurations) if each.method == method]
        if places:
            yield from ((method, part.tolist()) for part in np.array_split(places, math.ceil(len(places) / most)))


def _rows(job: Job, trained: list[_TrainedSeed]) -> tuple[ReplicaResult, ...]:
    def row(index: int, place: int, record: TrainingRecord) -> ReplicaResult:
        diverged = record.diverged_step[index] != NEVER
        return ReplicaResult(
            configuration=index,
            name=job.configurations[index].name,
            learning_rate=job.configurations[index].learning_rate,
            seed=job.seeds[place],
            selection_loss=None if diverged else float(record.selection_loss[index]),
            reporting_loss=None if diverged else float(record.reporting_loss[index]),
            initial_reporting_loss=trained[place].naive,
            diverged_step=int(record.diverged_step[index]) if diverged else None,
        )

    return tuple(
        row(index, place, seed.record)
        for index in range(len(job.configurations))
        for place, seed in enumerate(trained)
        if seed.record is not None
    )


def _curves(job: Job, trained: list[_TrainedSeed], total_steps: int) -> Curves:
    bounds = curve_bounds(total_steps, job.curve_points)
    records = [seed.record for seed in trained if seed.record is not None]
    shape = (len(job.configurations), len(records), len(bounds) - 1)
    losses, rates = np.empty(shape), np.empty(shape)
    for place, record in enumerate(records):
        losses[:, place] = shortened(record.losses, bounds).T
        rates[:, place] = shortened(record.rates, bounds).T
    return Curves(steps=(bounds[:-1] + bounds[1:] - 1) / 2, losses=losses, rates=rates)
