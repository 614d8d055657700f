"""One refresh: every group learned from and, where it changed, its preset proved and registered."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flows.group_workload import GroupWorkload, group_workload
from flows.proof import proof_key, prove_group
from flows.road import Learned, Road, describe, ingest, learn
from greedylr.lookup import bundled_presets
from models.proving import expected_trainings
from models.retraining.errors import WorkloadFailedError
from pipeline.errors import GreedyLRPipelineError
from pipeline.ingestion import IngestReport

logger = logging.getLogger(__name__)

Status = Literal["proved", "unchanged", "too few runs", "waiting", "failed"]


@dataclass(frozen=True, kw_only=True)
class GroupOutcome:
    """What became of a group in a refresh.

    Parameters
    ----------
    status, message
        The message says why where it is not "proved".
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
        "proved" stands for "would be proved".
    runs
        Usable ones.
    workload, own_workload
        What would be retrained.
    first_look, most
        Trainings up to the first look, and at most.
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
    """Log each source that could not be read; ValueError where none could."""
    unreadable = [source for source in report.sources if source.status == "unreadable"]
    for source in unreadable:
        logger.warning("source %s could not be read: %s", source.uri, source.reason)
    if unreadable and len(unreadable) == len(report.sources):
        reasons = "; ".join(f"{source.uri}: {source.reason}" for source in unreadable)
        raise ValueError(f"none of the sources could be read: {reasons}")


def require_groups(road: Road) -> list[str]:
    """Return the groups of usable runs; ValueError where no run is usable."""
    found = describe(road)
    if not found:
        raise ValueError(
            "no run is usable: a group needs runs with a training or validation loss of at least 10 points; "
            "`greedylr runs` says of each what it lacks"
        )
    return found


def refresh_group(road: Road, group: str, *, retrain_own_workloads: bool = True) -> GroupOutcome:
    """Take one group down the road, as far as its runs, its settings and the budget allow."""
    learned = learn(road, group)
    seconds = 0.0
    try:
        workload = group_workload(road, group, learned)
        status, message = _due(road, learned, workload, retrain_own_workloads=retrain_own_workloads)
        if status == "proved":
            logger.info("group %s: proving a preset on %s", group, workload.name)
            started = time.monotonic()
            prove_group(road, learned, workload)
            seconds = time.monotonic() - started if workload.users else 0.0
    except (WorkloadFailedError, GreedyLRPipelineError, ValueError) as error:
        logger.warning("group %s failed: %s", group, error)
        return GroupOutcome(group=group, status="failed", message=str(error))
    return GroupOutcome(group=group, status=status, message=message, own_workload_seconds=seconds)


def planned(road: Road) -> list[PlannedGroup]:
    """Return what `refresh` would do, having ingested and described but retrained nothing."""
    report_unreadable(ingest(road))
    return [_planned(road, group) for group in require_groups(road)]


def _planned(road: Road, group: str) -> PlannedGroup:
    learned = learn(road, group)
    workload = group_workload(road, group, learned)
    status, message = _due(road, learned, workload, retrain_own_workloads=True)
    budget = road.settings.budget
    first_look, most = expected_trainings(rivals=2 if workload.own else 0, max_seeds=budget.max_seeds)
    return PlannedGroup(
        group=group,
        status=status,
        message=message,
        runs=learned.runs,
        workload=workload.name,
        own_workload=workload.own,
        first_look=first_look,
        most=max(first_look, min(most, budget.max_replicas)),
    )


def _due(road: Road, learned: Learned, workload: GroupWorkload, *, retrain_own_workloads: bool) -> tuple[Status, str]:
    least = road.settings.groups.min_runs
    if learned.runs < least:
        names: Sequence[str] = bundled_presets()
        return (
            "too few runs",
            f"{learned.runs} usable runs, fewer than {least}: use a bundled preset ({', '.join(names)})",
        )
    if road.warehouse.stage_key(learned.group, "prove") == proof_key(road, learned, workload):
        return "unchanged", "nothing new since its preset was proved"
    if workload.users and not retrain_own_workloads:
        return "waiting", "learned; its proof waits for `greedylr run` or a nightly budget"
    return "proved", ""
