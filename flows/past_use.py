"""What a group's past runs used, as a proof may know it: the first rate, the incumbent, the order of controls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from flows.road import Road, describe, learn
from models.incumbent import Incumbent, control_for


@dataclass(frozen=True, kw_only=True)
class PastUse:
    """What past runs inform: candidates and priors, never a verdict.

    Parameters
    ----------
    is_group
        Whether the workload is a group's own training.
    usual_rate
        The rate that the runs recommend, else their usual one; None where they know none.
    incumbent
        The schedule that most of them use; None where there is none.
    controls
        Controls of the shapes that they use, the most frequent first.
    """

    is_group: bool = False
    usual_rate: float | None = None
    incumbent: Incumbent | None = None
    controls: tuple[str, ...] = ()


def past_use(road: Road, group: str) -> PastUse:
    """Return what the runs of a group used; nothing where the warehouse has none of it."""
    if not road.settings.warehouse.is_file() or group not in describe(road):
        return PastUse(is_group=True)
    statistics = learn(road, group).statistics
    return PastUse(
        is_group=True,
        usual_rate=statistics.recommended_rate or statistics.usual_rate,
        incumbent=statistics.incumbent,
        controls=used_controls(road, group),
    )


def used_controls(road: Road, group: str) -> tuple[str, ...]:
    """Return the controls that a group's runs used, the most frequent first."""
    schedules = road.warehouse.frame(
        "select schedule from usable_runs join run_groups using (run_id) "
        "where group_name = ? and schedule is not null order by run_id",
        [group],
    )["schedule"].to_list()
    used = Counter(control for name in schedules if (control := control_for(name)) is not None)
    return tuple(control for control, _ in used.most_common())
