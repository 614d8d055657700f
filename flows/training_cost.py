"""What a training of a workload is expected to cost: from its earlier jobs, else from a short look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.group_settings import with_steps
from flows.group_workload import REFERENCE, GroupWorkload
from flows.retraining import Retrainer
from flows.road import Road
from greedylr.schedules import PRIMARY_CONTROL
from greedylr.strict_json import parse
from models.budget_plan import LEAST_TRAININGS
from models.common_grid import at_rates
from models.contenders import CONTENDERS
from models.retraining.job import JOB_FILE, RESULT_FILE
from models.seeds import derive_seeds

# A look is a twentieth of a training, but no shorter than settings allow a training to be.
LOOK_SHARE = 1 / 20
LEAST_STEPS = 40


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What one training is expected to cost.

    Parameters
    ----------
    device_seconds
        Of one training among several, at full length.
    source
        How it is known.
    """

    device_seconds: float
    source: Literal["earlier jobs", "earlier runs", "a short look"]


def training_cost(road: Road, group: str, workload: GroupWorkload, usual_rate: float) -> TrainingCost:
    """Return what a training of a workload costs on this device; a look trains, if there is no earlier job.

    Reference workloads are looked at with trainings like those of a comparison's first look, since a program's replicas
    cost less than single ones; a user's, which may be dear, with two.
    """
    train = Retrainer(road, group, workload)
    if train.commands is not None:
        return TrainingCost(device_seconds=train.commands.seconds_each(usual_rate), source="earlier runs")
    known = _of_earlier_jobs(road, group, workload)
    if known is not None:
        return TrainingCost(device_seconds=known, source="earlier jobs")
    full = road.settings.group(group).steps or train.look().descriptors.total_steps
    steps = min(full, max(LEAST_STEPS, round(full * LOOK_SHARE)))
    rates = [usual_rate, usual_rate / 3]
    controls = at_rates({PRIMARY_CONTROL: CONTENDERS[PRIMARY_CONTROL]}, rates)
    seeds = derive_seeds("search", group, "look", count=1 if workload.users else LEAST_TRAININGS // len(rates))
    looked = Retrainer(with_steps(road, group, steps), group, workload)("a look at the cost", controls, seeds)
    trainings = len(controls) * len(seeds)
    return TrainingCost(device_seconds=looked.device_seconds / trainings * full / steps, source="a short look")


def _of_earlier_jobs(road: Road, group: str, workload: GroupWorkload) -> float | None:
    """Return the mean device-seconds of a training over all finished jobs of a workload and length on a device."""
    wanted = (workload.address.removeprefix(REFERENCE), road.settings.group(group).steps, road.device)
    seconds, trainings = 0.0, 0
    for path in sorted((road.data / "jobs").glob(f"*/*/{JOB_FILE}")):
        result = path.with_name(RESULT_FILE)
        if result.is_file() and _kind_of(path) == wanted:
            told = parse(result.read_text(encoding="utf-8"))
            seconds += told["device_seconds"]
            trainings += len(told["rows"])
    return seconds / trainings if trainings else None


def _kind_of(path: Path) -> tuple[str, int | None, str]:
    job = parse(path.read_text(encoding="utf-8"))
    return job["workload"]["reference"] or job["workload"]["factory"], job["total_steps"], job["device"]
