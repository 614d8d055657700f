import math
from typing import Any

import pytest

from greedylr import Interval, Verdict
from greedylr.verdict import MARGIN, CellVerdict


def interval(lower: float, upper: float) -> Interval:
    return Interval(lower=lower, upper=upper, level=0.95)


def verdict(**changes: Any) -> Verdict:
    values: dict[str, Any] = {
        "verdict": "non-inferior",
        "difference": 0.001,
        "interval": interval(-0.01, 0.012),
        "primary_control": "cosine",
        "workload": "mnist-mlp",
        "own_workload": False,
        "seeds": 10,
        "attempt": 1,
        "cells": {"better": 3, "undecided": 1},
    }
    return Verdict(**{**values, **changes})


def test_margin_is_two_hundredths() -> None:
    assert MARGIN == 0.02


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (-0.3, -0.1, "better"),
        (-0.01, -1e-9, "better"),
        (-0.01, 0.0, "non-inferior"),
        (0.0, 0.0, "non-inferior"),
        (-0.5, 0.0199, "non-inferior"),
        (-0.5, 0.02, "undecided"),
        (0.0, 0.03, "undecided"),
        (-0.5, 0.5, "undecided"),
        (1e-9, 0.01, "worse"),
        (0.1, 0.3, "worse"),
        (-math.inf, math.inf, "undecided"),
    ],
)
def test_verdict_of_an_interval(lower: float, upper: float, expected: CellVerdict) -> None:
    assert interval(lower, upper).verdict() == expected


def test_margin_decides_between_non_inferior_and_undecided() -> None:
    assert interval(-0.01, 0.04).verdict(0.05) == "non-inferior"
    assert interval(-0.01, 0.04).verdict(0.0) == "undecided"


def test_worse_within_the_margin_is_told_apart() -> None:
    slight = verdict(verdict="worse", difference=0.01, interval=interval(0.005, 0.015))
    clear = verdict(verdict="worse", difference=0.03, interval=interval(0.005, 0.055))
    assert (slight.within_margin, clear.within_margin) == (True, False)


@pytest.mark.parametrize(
    ("lower", "upper", "level", "message"),
    [
        (0.1, -0.1, 0.95, "an interval must have lower <= upper, got 0.1 and -0.1"),
        (math.nan, 0.1, 0.95, "an interval must have lower <= upper, got nan and 0.1"),
        (0.0, math.nan, 0.95, "an interval must have lower <= upper, got 0.0 and nan"),
        (0.0, 0.1, 95, r"level must lie in \(0, 1\), got 95; 95 % is 0.95"),
        (0.0, 0.1, 0.0, r"level must lie in \(0, 1\), got 0.0"),
        (0.0, 0.1, math.nan, r"level must lie in \(0, 1\), got nan"),
    ],
)
def test_interval_that_is_none_is_refused(lower: float, upper: float, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interval(lower=lower, upper=upper, level=level)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "best"}, "verdict must be one of 'better', 'non-inferior', 'worse', 'undecided', got 'best'"),
        (
            {"verdict": "better"},
            r"the verdict of \[-0.01, 0.012\] with margin 0.02 is 'non-inferior', got 'better'; take it from ",
        ),
        ({"margin": 0.001}, "with margin 0.001 is 'undecided', got 'non-inferior'"),
        ({"margin": -0.1}, "margin must be a finite number >= 0, got -0.1"),
        ({"difference": math.nan}, "difference must be a finite number, got nan"),
        ({"interval": interval(-math.inf, 0.01)}, "interval.lower must be a finite number, got -inf"),
        ({"seeds": 1}, "seeds must be an integer >= 2, got 1"),
        ({"attempt": 0}, "attempt must be an integer >= 1, got 0"),
        ({"device_seconds": -1.0}, "device_seconds must be a finite number >= 0, got -1.0"),
        ({"cells": {"good": 1}}, "each key of cells must be one of 'better', .*, got 'good'"),
        ({"cells": {"better": -1}}, r"cells\['better'\] must be an integer >= 0, got -1"),
    ],
)
def test_verdict_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verdict(**changes)


def test_verdict_says_by_what_rates_were_chosen() -> None:
    assert verdict().selection == "apart"
    assert verdict(selection="report").selection == "report"
    with pytest.raises(ValueError, match="selection must be one of 'apart', 'report', got 'test'"):
        verdict(selection="test")
