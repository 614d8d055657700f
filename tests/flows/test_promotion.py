from typing import Literal

import pytest

from flows.promotion import alias_of
from greedylr import Interval, Verdict
from greedylr.verdict import CellVerdict

Mode = Literal["manual", "auto"]


def verdict(name: CellVerdict, *, own_workload: bool = True) -> Verdict:
    # Intervals that give these verdicts at the margin of 0.02.
    bounds = {"better": (-0.1, -0.01), "non-inferior": (-0.01, 0.01), "undecided": (-0.1, 0.1), "worse": (0.03, 0.1)}
    lower, upper = bounds[name]
    return Verdict(
        verdict=name,
        difference=(lower + upper) / 2,
        interval=Interval(lower=lower, upper=upper, level=0.98),
        primary_control="incumbent",
        workload="training.py:workload",
        own_workload=own_workload,
        seeds=20,
        attempt=1,
    )


@pytest.mark.parametrize(
    ("name", "against_champion", "mode", "expected"),
    [
        ("better", [], "auto", ("champion", "better against incumbent")),
        ("non-inferior", [], "auto", ("champion", "non-inferior against incumbent")),
        ("undecided", [], "auto", ("candidate", "undecided against incumbent")),
        ("worse", [], "auto", ("candidate", "worse against incumbent")),
        ("better", [], "manual", ("candidate", "better against incumbent; promotion is manual")),
        ("undecided", [], "manual", ("candidate", "undecided against incumbent")),
        ("better", ["better"], "auto", ("champion", "better against incumbent")),
        ("better", ["non-inferior"], "auto", ("champion", "better against incumbent")),
        ("better", ["undecided"], "auto", ("candidate", "better against incumbent, undecided against the champion")),
        (
            "non-inferior",
            ["worse"],
            "auto",
            ("candidate", "non-inferior against incumbent, worse against the champion"),
        ),
        ("worse", ["better"], "auto", ("candidate", "worse against incumbent")),
    ],
)
def test_champion_is_what_holds_on_the_own_workload_and_against_the_champion(
    name: CellVerdict, against_champion: list[CellVerdict], mode: Mode, expected: tuple[str, str]
) -> None:
    assert alias_of(verdict(name), against_champion, mode) == expected


@pytest.mark.parametrize("mode", ["manual", "auto"])
@pytest.mark.parametrize("name", ["better", "non-inferior"])
def test_what_was_proved_on_a_stand_in_is_never_champion(name: CellVerdict, mode: Mode) -> None:
    assert alias_of(verdict(name, own_workload=False), [], mode) == (
        "candidate",
        "proved on the reference workload training.py:workload, not on the group's own",
    )
