"""Trains the configurations of a job with one seed, chunk after chunk: each as large as is fast and as memory takes."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from greedylr.schedules import ResolvedSchedule, Schedule
from greedylr.workload import Workload, WorkloadDescriptors
from models.retraining.device_clock import DeviceClock
from models.retraining.errors import WorkloadFailedError
from models.retraining.job import Job
from models.retraining.memory_plan import MemoryPlan, is_out_of_memory, replicas_that_fit, too_large, usable_bytes
from models.retraining.methods import METHODS, Method
from models.retraining.partial_results import FinishedChunk, PartialResults
from models.retraining.peak_memory import peak_bytes
from models.retraining.replica_count import ReplicaCount
from models.retraining.trainers import is_batched, trainer_of
from models.retraining.training_record import TrainingRecord, joined, reordered
from models.retraining.workload_check import checked_type, checked_workload
from models.retraining.workload_trial import try_workload

Factory = Callable[[int, str], object]

# Measured on both reference workloads: a replica costs least at 64 to 128 a program, more once they leave the cache.
MOST_REPLICAS = 96
MOST_WEIGHT_BYTES = 64 * 2**20
# An accelerator wants more at once.
ACCELERATOR_FACTOR = 16
PILOT_STEPS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobUnderWay:
    """What the seeds of a job share while it is trained.

    Parameters
    ----------
    job, factory
        What is trained, and what makes its workload.
    partial_results, plan, count, clock
        Where finished chunks go, how many replicas go into one, how many are finished, and what they cost.
    side_by_side
        How many seeds are trained at the same time, and share the memory.
    """

    job: Job
    factory: Factory
    partial_results: PartialResults
    plan: MemoryPlan
    count: ReplicaCount
    clock: DeviceClock
    side_by_side: int


@dataclass(frozen=True, kw_only=True)
class TrainedSeed:
    """What a seed's workload is and what became of all configurations, in order; no record where there were none."""

    descriptors: WorkloadDescriptors
    parameters: int
    total_steps: int
    initial_reporting_loss: float
    record: TrainingRecord | None


def train_seed(under_way: JobUnderWay, place: int, *, trial: bool) -> TrainedSeed:
    """Train all configurations of a job with its seed number `place`, but for what an earlier attempt finished.

    Parameters
    ----------
    under_way, place
        The job and the seed.
    trial
        Whether the workload is first tried by `try_workload`.

    Raises
    ------
    ValueError
        If a schedule does not fit the run's length.
    WorkloadFailedError
        If the workload does not keep its contract, or one replica alone is more than the memory takes.
    """
    job, seed = under_way.job, under_way.job.seeds[place]
    with under_way.clock.spending(), _seeded(seed, job.device):
        make = partial(under_way.factory, seed, job.device)
        workload = checked_workload(make(), job.workload.label)
        if trial:
            try_workload(workload, make, label=job.workload.label, device=job.device)
        initial = _initial_loss(_untouched(under_way, seed, workload))
    total_steps = job.total_steps or workload.descriptors.total_steps
    training = _SeedTraining(under_way, place, workload, job.resolved(total_steps))
    for method in METHODS:
        training.train(method)
    return TrainedSeed(
        descriptors=workload.descriptors,
        parameters=sum(weight.numel() for weight in workload.parameters().values()),
        total_steps=total_steps,
        initial_reporting_loss=initial,
        record=training.record(),
    )


def _untouched(under_way: JobUnderWay, seed: int, workload: Workload) -> Workload:
    """Return a seed's workload as on its first day.

    One that is not batched may keep something beside the weights, as batch norm does its running statistics: it is
    made anew for each replica, which would else be evaluated with what the one before it has left.
    """
    if workload.batched:
        return workload
    job = under_way.job
    with _seeded(seed, job.device):
        return checked_type(under_way.factory(seed, job.device), job.workload.label)


@torch.no_grad()
def _initial_loss(workload: Workload) -> float:
    return float(workload.evaluate(workload.parameters(), "reporting"))


class _SeedTraining:
    def __init__(
        self, under_way: JobUnderWay, place: int, workload: Workload, schedules: Sequence[ResolvedSchedule]
    ) -> None:
        self._under_way = under_way
        self._place = place
        self._seed = under_way.job.seeds[place]
        self._workload = workload
        self._schedules = schedules
        self._rates = [configuration.learning_rate for configuration in under_way.job.configurations]
        dtype = under_way.job.dtype
        self._dtype = None if dtype is None else getattr(torch, dtype)
        self._chunks = under_way.partial_results.finished(self._seed)
        under_way.count.finished(place, len(self._done()))

    def record(self) -> TrainingRecord | None:
        """Return the record of all configurations, in their order."""
        if not self._chunks:
            return None
        return reordered(joined([chunk.record for chunk in self._chunks]), self._done())

    def train(self, method: Method) -> None:
        """Train the configurations of a method that are not trained yet."""
        done, job = set(self._done()), self._under_way.job
        waiting = [
            place for place, each in enumerate(job.configurations) if each.method == method and place not in done
        ]
        while waiting:
            at_once = self._under_way.plan.replicas_at_once(method, partial(self._measured, method))
            places = waiting[: even_share(len(waiting), at_once)]
            chunk = self._trained(method, places)
            if chunk is None:
                self._go_on_smaller(method, len(places))
                continue
            self._under_way.partial_results.keep(chunk)
            self._chunks.append(chunk)
            self._under_way.count.finished(self._place, len(self._done()))
            waiting = waiting[len(places) :]

    def _done(self) -> list[int]:
        return [place for chunk in self._chunks for place in chunk.configurations]

    def _trained(self, method: Method, places: Sequence[int]) -> FinishedChunk | None:
        """Return the chunk of some configurations; None where memory ran out."""
        share = (len(places) if is_batched(method, self._workload) else 1) / self._schedules[0].total_steps
        with self._under_way.clock.spending() as spent:
            record = self._attempt(
                method,
                [self._schedules[place] for place in places],
                [self._rates[place] for place in places],
                partial(self._under_way.count.took_step, self._place, share),
            )
        if record is None:
            return None
        return FinishedChunk(seed=self._seed, configurations=tuple(places), record=record, seconds=spent.seconds)

    def _attempt(
        self,
        method: Method,
        schedules: Sequence[ResolvedSchedule],
        rates: Sequence[float],
        on_step: Callable[[], None] = lambda: None,
    ) -> TrainingRecord | None:
        try:
            workload = _untouched(self._under_way, self._seed, self._workload)
            with _seeded(self._seed, self._under_way.job.device):
                return trainer_of(method, workload)(workload, schedules, rates, dtype=self._dtype, on_step=on_step)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _go_on_smaller(self, method: Method, tried: int) -> None:
        device = self._under_way.job.device
        # Only here, where the error is gone and with it the frames that held what was allocated.
        gc.collect()
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()
        if tried == 1:
            raise WorkloadFailedError(too_large(self._under_way.job.workload.label, device))
        self._under_way.plan.halve(method, tried)
        self._under_way.count.finished(self._place, len(self._done()))

    def _measured(self, method: Method) -> int:
        """Return how many replicas of a method are trained at once: as is fastest, or fewer where they are large."""
        if not is_batched(method, self._workload):
            return 1
        job = self._under_way.job
        fastest = replicas_for_speed(self._workload, job.device)
        schedules = [
            schedule
            for schedule, each in zip(self._schedules, job.configurations, strict=True)
            if each.method == method
        ]
        wanted = min(fastest, len(schedules))
        if wanted == 1:
            return fastest
        usable = usable_bytes(job.device) // self._under_way.side_by_side
        with self._under_way.clock.spending():
            one, two = (peak_bytes(job.device, partial(self._pilot, method, replicas)) for replicas in (1, 2))
        # A pilot has nothing to go back to.
        snapshot = snapshot_bytes(self._workload, schedules)
        fitting = replicas_that_fit(usable, one=one + snapshot, two=two + 2 * snapshot)
        if fitting < wanted:
            logger.warning(
                "%s: %d replicas at once instead of %d: each takes %.0f MiB, and they may take %.0f MiB of %s",
                *(job.workload.label, fitting, wanted, (two - one + snapshot) / 2**20, usable / 2**20, job.device),
            )
        return min(fastest, fitting)

    def _pilot(self, method: Method, replicas: int) -> None:
        """Train for a moment: two steps hold all that a training holds, the evaluations at its end included."""
        self._attempt(method, [Schedule().resolve(PILOT_STEPS)] * replicas, self._rates[:1] * replicas)


def even_share(waiting: int, at_once: int) -> int:
    """Return how many of those that wait come next, where all are to go in the fewest parts of nearly one size.

    Examples
    --------
    >>> even_share(97, 96), even_share(96, 96), even_share(5, 2)
    (49, 96, 2)
    """
    return math.ceil(waiting / math.ceil(waiting / at_once))


def replicas_for_speed(workload: Workload, device: str) -> int:
    """Return how many replicas of a workload a program trains fastest on a device."""
    factor = 1 if torch.device(device).type == "cpu" else ACCELERATOR_FACTOR
    return max(1, min(MOST_REPLICAS, MOST_WEIGHT_BYTES // _weight_bytes(workload))) * factor


def snapshot_bytes(workload: Workload, schedules: Sequence[ResolvedSchedule]) -> int:
    """Return what a replica keeps to go back to, where one of the schedules does: its weights and optimizer state."""
    if not any(schedule.restores for schedule in schedules):
        return 0
    copies = 2 if workload.descriptors.optimizer == "sgd" else 3
    return copies * _weight_bytes(workload)


def _weight_bytes(workload: Workload) -> int:
    return sum(weight.numel() * weight.element_size() for weight in workload.parameters().values())


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Let what a workload draws from torch's own generators (dropout) depend on the seed alone."""
    accelerators = [device] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=accelerators):
        torch.manual_seed(seed)
        yield
