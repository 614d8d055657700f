"""Runs a retraining job: for each seed one workload, and all configurations on it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from models.methods.installed_package import require_packages
from models.retraining.device_clock import DeviceClock
from models.retraining.errors import WorkloadFailedError
from models.retraining.failure import explained
from models.retraining.job import Arrays, Job, JobResult, WorkloadReference, read_job, write_result
from models.retraining.job_result import Outcome, result_of
from models.retraining.memory_plan import MemoryPlan, is_out_of_memory, too_large
from models.retraining.partial_results import PartialResults, training_key
from models.retraining.replica_count import Progress, ReplicaCount, StoppedError
from models.retraining.reproducible import same_numbers_twice
from models.retraining.seed_training import Factory, JobUnderWay, TrainedSeed, train_seed
from models.workloads.reference import REFERENCES

logger = logging.getLogger(__name__)


def run_job(
    job: Job,
    data: Arrays,
    *,
    factory: Factory | None = None,
    progress: Progress | None = None,
    partial_results: PartialResults | None = None,
) -> JobResult:
    """Train every configuration of a job with every seed.

    A seed with which a user's workload fails is recorded with the reason, and the others go on.

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
    partial_results
        What earlier attempts finished, and where this one keeps what it finishes; None keeps nothing.

    Raises
    ------
    ValueError
        If the device does not exist, a method's package is absent, or a schedule does not fit the run's length.
    WorkloadFailedError
        If no seed could be trained.
    """
    require_device(job.device)
    require_packages(configuration.method for configuration in job.configurations)
    # Torch loads its compiler, over a second of it, at the first weights drawn: that belongs to no training.
    import_module("torch._dynamo")
    partial_results = partial_results or PartialResults()
    under_way = JobUnderWay(
        job=job,
        factory=factory or _reference_factory(job.workload, data),
        partial_results=partial_results,
        plan=MemoryPlan(partial_results.planned(), partial_results.keep_plan),
        count=ReplicaCount(len(job.configurations), len(job.seeds), progress),
        clock=DeviceClock(),
        side_by_side=min(len(job.seeds), _cores()) if _is_side_by_side(job) else 1,
    )
    outcomes = _train_side_by_side(under_way) if _is_side_by_side(job) else _train_in_turn(under_way)
    if not any(isinstance(outcome, TrainedSeed) for outcome in outcomes):
        raise WorkloadFailedError(outcomes[0])
    return result_of(
        job,
        outcomes,
        device_seconds=under_way.clock.seconds + partial_results.seconds,
        replicas_at_once=min(under_way.plan.least or 1, max(1, len(job.configurations))),
    )


def run_folder(
    folder: Path, *, factory: Factory | None = None, code: str = "", progress: Progress | None = None
) -> JobResult:
    """Run the job of a folder and write the result beside it.

    What an earlier attempt finished before it was interrupted is taken from the folder and not trained again. The
    result is the one of an undisturbed run, to the bit on the same device.

    Parameters
    ----------
    folder, factory, progress
        As in `run_job`.
    code
        A hash of the user's code: with other code nothing of an earlier attempt is taken.
    """
    job, data = read_job(folder)
    require_device(job.device)
    partial_results = PartialResults(folder, training_key(job, folder, code))
    result = run_job(job, data, factory=factory, progress=progress, partial_results=partial_results)
    write_result(folder, result)
    partial_results.remove()
    return result


def require_device(device: str) -> None:
    """Raise ValueError unless torch can make a tensor on the device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device must be one that torch has here, got {device!r} ({reason}); use 'cpu'") from error


def _is_side_by_side(job: Job) -> bool:
    # Only our own workloads: a user's may draw from torch's global generator, which threads would share.
    return job.workload.reference is not None and torch.device(job.device).type == "cpu"


def _train_side_by_side(under_way: JobUnderWay) -> list[Outcome]:
    """Train each seed on one thread, which gives the same bits each time without more ado.

    Small programs gain nothing from torch's own threads, which besides wait in busy loops for a core that another
    process has. On a busy machine two threads took 2 to 5 times as long as one, a net of 400,000 weights included.
    """
    with _one_torch_thread(), ThreadPoolExecutor(under_way.side_by_side) as threads:
        try:
            return list(threads.map(partial(_outcome, under_way), range(len(under_way.job.seeds))))
        except BaseException:
            under_way.count.stop()
            threads.shutdown(cancel_futures=True)
            raise


def _train_in_turn(under_way: JobUnderWay) -> list[Outcome]:
    """Train one seed after the other; a user's workload is tried until a seed has passed."""
    outcomes: list[Outcome] = []
    with same_numbers_twice(under_way.job.device):
        for place in range(len(under_way.job.seeds)):
            passed = any(isinstance(outcome, TrainedSeed) for outcome in outcomes)
            trial = under_way.job.workload.reference is None and not passed
            outcomes.append(_outcome(under_way, place, trial=trial))
    return outcomes


def _outcome(under_way: JobUnderWay, place: int, *, trial: bool = False) -> Outcome:
    try:
        return train_seed(under_way, place, trial=trial)
    except StoppedError:
        raise
    except Exception as error:  # the isolation border of one workload
        reason = _reason(error, under_way.job)
        if reason is None:
            raise
    under_way.count.finished(place, len(under_way.job.configurations))
    logger.warning("seed %d could not be trained: %s", under_way.job.seeds[place], reason)
    return reason


def _reason(error: Exception, job: Job) -> str | None:
    """Return why a seed could not be trained; None where the fault is the job's or ours, and no seed's."""
    if is_out_of_memory(error):
        return too_large(job.workload.label, job.device)
    failure = explained(error, job.workload)
    of_ours = job.workload.reference is not None and not isinstance(error, WorkloadFailedError)
    return None if failure.kind == "job" or of_ours else failure.message


def _cores() -> int:
    # A container may have fewer than the machine; not every system tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _reference_factory(workload: WorkloadReference, data: Arrays) -> Factory:
    if workload.reference is None:
        raise ValueError(
            f"{workload.label!r} is a user's workload, and those run in a process of their own: "
            "use models.retraining.child.run_in_child"
        )
    make = REFERENCES[workload.reference].make
    return lambda seed, device: make(seed, device, data)
