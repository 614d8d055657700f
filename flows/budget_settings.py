"""The budget of a proof, from options and from settings."""

from __future__ import annotations

from models.budget_plan import Budget
from pipeline.duration import seconds_of
from pipeline.settings import Settings


def budget_of(device_time: str | None, max_runs: int | None) -> Budget | None:
    """Return the budget of two limits, None where there is neither; ValueError for one that leaves no verdict."""
    if device_time is None and max_runs is None:
        return None
    return Budget(trainings=max_runs, device_seconds=None if device_time is None else seconds_of(device_time))


def budget_of_users(settings: Settings) -> Budget | None:
    """Return the budget that the settings give to a proof on a user's own workload."""
    return budget_of(settings.budget.device_time, settings.budget.max_runs)
