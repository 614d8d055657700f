"""Settings of a single group, changed for one purpose: a shorter training, a workload that a command line names."""

from __future__ import annotations

from dataclasses import replace

from flows.road import Road
from pipeline.settings import GroupSettings


def with_group(road: Road, group: str, settings: GroupSettings) -> Road:
    """Return a road on which a group has these settings."""
    groups = road.settings.groups
    named = groups.model_copy(update={"named": {**groups.named, group: settings}})
    return replace(road, settings=road.settings.model_copy(update={"groups": named}))


def with_steps(road: Road, group: str, steps: int) -> Road:
    """Return a road on which a group's trainings have so many steps."""
    return with_group(road, group, road.settings.group(group).model_copy(update={"steps": steps}))
