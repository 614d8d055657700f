"""The refresh as a Prefect flow: schedules, states, retries and logs around the plain functions of the road.

Between tasks go keys and paths, never frames. Our own stage keys decide what is done again, not Prefect's cache, which
would return stale results after a change in a function that a task calls.
"""

from __future__ import annotations

from pathlib import Path

from prefect import Task, flow, get_run_logger, task
from prefect.client.schemas.objects import State, TaskRun

from flows.refresh import GroupOutcome, refresh_group, report_unreadable, require_groups
from flows.road import Road
from flows.road import ingest as ingest_sources
from pipeline.settings import load_settings


def worth_a_retry(_: Task[..., object], __: TaskRun, state: State[object]) -> bool:
    """Say whether the error that ended a task may be gone at the next try."""
    error = state.result(raise_on_failure=False)
    return bool(getattr(error, "retryable", False))


@task(retries=3, retry_delay_seconds=[5, 30, 120], retry_condition_fn=worth_a_retry)
def ingest(config: str) -> None:
    """Copy what is new in the sources of a settings file into the warehouse."""
    report_unreadable(ingest_sources(_road(config)))


@task(retries=3, retry_delay_seconds=[5, 30, 120], retry_condition_fn=worth_a_retry)
def describe(config: str) -> list[str]:
    """Describe and group the runs; return the names of the groups."""
    return require_groups(_road(config))


@task(task_run_name="refresh {group}")
def refresh_one(config: str, group: str, retrain_own_workloads: bool) -> GroupOutcome:
    """Take one group down the road."""
    return refresh_group(_road(config), group, retrain_own_workloads=retrain_own_workloads)


@flow(name="refresh-presets")
def refresh_presets(config: str = "greedylr.toml", device_hours: float | None = None) -> list[GroupOutcome]:
    """Refresh the presets of all groups.

    Parameters
    ----------
    config
        Path of a greedylr.toml.
    device_hours
        What may be spent on retraining workloads of users' own, >= 0; by default `[budget] nightly_device_hours`. Once
        it is spent, groups are only learned from, and their proof waits for `greedylr run`; a proof that has begun is
        finished.

    Raises
    ------
    RuntimeError
        When all is done, if a group failed.
    """
    logger = get_run_logger()
    hours = load_settings(Path(config)).budget.nightly_device_hours if device_hours is None else device_hours
    remaining_s = 3600 * hours
    ingest(config)
    outcomes = []
    for group in describe(config):
        outcome = refresh_one(config, group, remaining_s > 0)
        remaining_s -= outcome.own_workload_seconds
        logger.info("group %s: %s %s", outcome.group, outcome.status, outcome.message)
        outcomes.append(outcome)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise RuntimeError("; ".join(f"group {outcome.group} failed: {outcome.message}" for outcome in failed))
    return outcomes


def _road(config: str) -> Road:
    path = Path(config)
    return Road(settings=load_settings(path), root=path.absolute().parent)
