"""Which alias a freshly proved preset gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from greedylr.verdict import CellVerdict, Verdict

GOOD: tuple[CellVerdict, ...] = ("better", "non-inferior")


def alias_of(
    verdict: Verdict, against_champion: Sequence[CellVerdict], mode: Literal["manual", "auto"]
) -> tuple[Literal["champion", "candidate"], str]:
    """Return the alias and the reason, for the record.

    Parameters
    ----------
    verdict
        Of the preset, against its primary control.
    against_champion
        Of its cell against the reigning champion; empty where there is none.
    mode
        Whether promotion needs a person.
    """
    if not verdict.own_workload:
        return "candidate", f"proved on the reference workload {verdict.workload}, not on the group's own"
    if verdict.verdict not in GOOD:
        return "candidate", f"{verdict.verdict} against {verdict.primary_control}"
    if not verdict.control_tuned:
        return "candidate", f"{verdict.verdict} against {verdict.primary_control}, whose rate was not tuned"
    if lost := [each for each in against_champion if each not in GOOD]:
        return "candidate", f"{verdict.verdict} against {verdict.primary_control}, {lost[0]} against the champion"
    if mode == "manual":
        return "candidate", f"{verdict.verdict} against {verdict.primary_control}; promotion is manual"
    return "champion", f"{verdict.verdict} against {verdict.primary_control}"
