"""One refresh: every group learned from and, where it changed, its preset proved and registered."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flows.budget_settings import budget_of_users
from flows.group_workload import GroupWorkload, group_workload
from flows.proof import proof_key, prove_group, rivals_of
from flows.registration import register_again, register_key
from flows.road import Learned, Road, describe, ingest, learn
from greedylr.lookup import bundled_presets
from greedylr.registry import PresetNotFoundError, RegistryUnavailableError, without_password
from models.budget_plan import LEAST_TRAININGS
from models.proving import expected_trainings
from models.retraining.errors import WorkloadFailedError
from pipeline.errors import GreedyLRPipelineError
from pipeline.ingest_report import IngestReport

logger = logging.getLogger(__name__)

# What ends one group's way and leaves the others theirs: its workload, its settings, the registry.
GROUP_ERRORS = (
    WorkloadFailedError,
    GreedyLRPipelineError,
    PresetNotFoundError,
    RegistryUnavailableError,
    ValueError,
)

Status = Literal["proved", "registered", "unchanged", "too few runs", "waiting", "failed"]


@dataclass(frozen=True, kw_only=True)
class GroupOutcome:
    """What became of a group in a refresh.

    Parameters
    ----------
    status, message
        "registered": a preset proved before has gone to another registry. The message says why where it is not
        "proved".
    own_workload_seconds
        Time that went into a workload of the user's own.
    """

    group: str
    status: Status
    message: str = ""
    own_workload_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PlannedGroup:
    """What a refresh would do with a group.

    Parameters
    ----------
    status
        "proved" stands for "would be proved", "registered" likewise.
    runs
        Usable ones.
    workload, own_workload
        What would be retrained.
    first_look, most
        Trainings up to the first look, and at most; 0 at most where only a budget's time limits them.
    """

    group: str
    status: Status
    message: str
    runs: int
    workload: str
    own_workload: bool
    first_look: int
    most: int


def refresh(road: Road, *, retrain_own_workloads: bool = True) -> list[GroupOutcome]:
    """Ingest, describe, and take every group down the road; one group's failure does not stop the others.

    Parameters
    ----------
    road
        Its settings name the sources.
    retrain_own_workloads
        Whether workloads of the user's own may be retrained; the nightly deployment asks its budget.
    """
    report_unreadable(ingest(road))
    return [refresh_group(road, group, retrain_own_workloads=retrain_own_workloads) for group in require_groups(road)]


def report_unreadable(report: IngestReport) -> None:
    """Log each source that could not be read, or not to its end; ValueError where none could."""
    require_readable(report)
    for source in report.sources:
        if source.status != "read":
            how = "could not be read" if source.status == "unreadable" else "broke off"
            logger.warning("source %s %s: %s", source.uri, how, source.reason)


def require_readable(report: IngestReport) -> None:
    """Raise ValueError where none of the sources could be read, with the reasons."""
    if all(source.status == "unreadable" for source in report.sources):
        reasons = "; ".join(f"{source.uri}: {source.reason}" for source in report.sources)
        raise ValueError(f"at least one source must be readable, got {reasons}")


def require_groups(road: Road) -> list[str]:
    """Return the groups of usable runs; ValueError where no run is usable."""
    found = describe(road)
    if not found:
        raise ValueError(
            "no run is usable: a group needs runs with a training or validation loss of at least 10 points; "
            "`greedylr runs` says of each what it lacks"
        )
    for name in sorted(set(road.settings.groups.named) - set(found)):
        logger.warning("the settings name a group %s, which has no usable run; there are %s", name, ", ".join(found))
    return found


def refresh_group(road: Road, group: str, *, retrain_own_workloads: bool = True) -> GroupOutcome:
    """Take one group down the road, as far as its runs, its settings and the budget allow."""
    started = time.monotonic()
    workload: GroupWorkload | None = None
    status: Status
    try:
        learned = learn(road, group)
        workload = group_workload(road, group, learned)
        status, message = _due(road, learned, workload, retrain_own_workloads=retrain_own_workloads)
        if status == "proved":
            logger.info("group %s: proving a preset on %s", group, workload.name)
            prove_group(road, learned, workload)
        elif status == "registered":
            register_again(road, group, register_key(road, proof_key(road, learned, workload)))
    except GROUP_ERRORS as error:
        logger.error("group %s failed: %s", group, error)
        status, message = "failed", str(error)
    users = workload is not None and workload.users
    return GroupOutcome(
        group=group,
        status=status,
        message=message,
        own_workload_seconds=time.monotonic() - started if users else 0.0,
    )


def planned(road: Road) -> list[PlannedGroup]:
    """Return what `refresh` would do, having ingested and described but retrained nothing."""
    report_unreadable(ingest(road))
    return [_planned(road, group) for group in require_groups(road)]


def _planned(road: Road, group: str) -> PlannedGroup:
    learned = learn(road, group)
    workload: GroupWorkload | None = None
    first_look, most = 0, 0
    status: Status
    try:
        workload = group_workload(road, group, learned)
        status, message = _due(road, learned, workload, retrain_own_workloads=True)
        if status == "proved":
            first_look, most = _trainings(road, learned, workload)
    except GROUP_ERRORS as error:
        status, message = "failed", str(error)
    return PlannedGroup(
        group=group,
        status=status,
        message=message,
        runs=learned.runs,
        workload="" if workload is None else workload.name,
        own_workload=workload is not None and workload.own,
        first_look=first_look,
        most=min(most, road.settings.budget.max_replicas),
    )


def _trainings(road: Road, learned: Learned, workload: GroupWorkload) -> tuple[int, int]:
    """Return trainings up to the first look, and at most; of a budget of time alone only the first are known."""
    budget = budget_of_users(road.settings) if workload.users else None
    if budget is not None:
        return LEAST_TRAININGS, budget.trainings or 0
    rivals = rivals_of(road, learned) if workload.own else {}
    return expected_trainings(rivals=len(rivals), max_seeds=road.settings.budget.max_seeds)


def _due(road: Road, learned: Learned, workload: GroupWorkload, *, retrain_own_workloads: bool) -> tuple[Status, str]:
    least = road.settings.groups.min_runs
    if learned.runs < least:
        names: Sequence[str] = bundled_presets()
        return (
            "too few runs",
            f"{learned.runs} usable runs, fewer than {least}: use a bundled preset ({', '.join(names)})",
        )
    key = proof_key(road, learned, workload)
    if road.warehouse.stage_key(learned.group, "prove") == key:
        if road.warehouse.stage_key(learned.group, "register") == register_key(road, key):
            return "unchanged", "nothing new since its preset was proved"
        registry = without_password(road.settings.registry_uri)
        return "registered", f"nothing new since its preset was proved, which goes to the registry {registry}"
    if workload.users and not retrain_own_workloads:
        return "waiting", "learned; its proof waits for `greedylr run` or a nightly budget"
    _require_budget(road, learned, workload)
    return "proved", ""


def _require_budget(road: Road, learned: Learned, workload: GroupWorkload) -> None:
    if workload.users and budget_of_users(road.settings) is not None:
        return
    first_look, _ = _trainings(road, learned, workload)
    allowed = road.settings.budget.max_replicas
    if allowed < first_look:
        raise ValueError(
            f"budget.max_replicas must be at least the {first_look} trainings up to a first verdict, got {allowed}; "
            "raise it, or leave the group to the bundled presets"
        )
