"""The incumbent of a group: the schedule its people use now and the rate they use it with, as a control."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from greedylr.schedules import CONTROLS, Schedule

# Arbitrary: below these a "most frequent" schedule is an accident of which runs were kept, or one arm of an experiment.
LEAST_RUNS = 3
LEAST_SHARE = 0.4

# Words that say nothing of the decay. A warmup changes the shape, but the control of the same decay is the nearest one.
_FILLERS = re.compile(r"(get|scheduler|schedule|decay|annealing|anneal|linearwarmup|withwarmup|warmup|learningrate|lr)")

# Left out on purpose: torch's LinearLR (a warmup), restarts, exponential and polynomial decay (their other parameters
# are not in the name), one-off lambdas. A wrong incumbent would be a wrong verdict.
_CONTROL_BY_NAME: dict[str, str] = {
    "none": "constant",
    "no": "constant",
    "off": "constant",
    "fixed": "constant",
    "constant": "constant",
    "linear": "linear",
    "cosine": "cosine",
    "step": "step",
    "multistep": "step",
    "wsd": "wsd",
    "stable": "wsd",
    "onecycle": "one_cycle",
    "1cycle": "one_cycle",
    "inversesqrt": "inverse_sqrt",
    "inversesquareroot": "inverse_sqrt",
    "noam": "inverse_sqrt",
    "plateau": "plateau",
    "reduceonplateau": "plateau",
    "greedy": "greedy_transformers",
}


@dataclass(frozen=True, kw_only=True)
class Incumbent:
    """What the runs of a group mostly use.

    Parameters
    ----------
    schedule_name
        As the runs name it.
    control
        The control of that shape (a key of `greedylr.schedules.CONTROLS`).
    learning_rate
        Their usual starting rate.
    runs
        How many runs use the schedule.
    """

    schedule_name: str
    control: str
    learning_rate: float
    runs: int

    @property
    def schedule(self) -> Schedule:
        """The control's schedule."""
        return CONTROLS[self.control]


def control_for(schedule_name: str) -> str | None:
    """Return the control (a key of `CONTROLS`) that a scheduler's name stands for; None where it cannot be told.

    Examples
    --------
    >>> control_for("CosineAnnealingLR"), control_for("get_linear_schedule_with_warmup"), control_for("CyclicLR")
    ('cosine', 'linear', None)
    """
    letters = re.sub(r"[^a-z0-9]", "", schedule_name.lower().rsplit(".", 1)[-1])
    if letters == "linearlr":
        return None
    return _CONTROL_BY_NAME.get(_FILLERS.sub("", letters))


def find_incumbent(
    schedules: Sequence[str | None], rates: Sequence[float | None], survived: Sequence[bool]
) -> tuple[Incumbent | None, str]:
    """Return the incumbent of a group, and why there is none where there is none.

    Parameters
    ----------
    schedules, rates
        Of each run, None where unknown.
    survived
        Whether the run did not diverge.
    """
    known = Counter(name for name in schedules if name)
    if not known:
        return None, "no run names its schedule: no incumbent"
    (name, runs), *others = known.most_common()
    if runs < LEAST_RUNS or runs < LEAST_SHARE * len(schedules) or (others and others[0][1] == runs):
        return None, (
            f"no schedule prevails (at least {LEAST_RUNS} runs, {LEAST_SHARE:.0%} of all and more than any other), "
            f"the most frequent is {name!r} with {runs} of {len(schedules)}: no incumbent"
        )
    control = control_for(name)
    if control is None:
        return None, f"the prevailing schedule {name!r} is none that can be retrained by its name: no incumbent"
    rate = usual_rate(
        [
            rate if kept and schedule == name else None
            for schedule, rate, kept in zip(schedules, rates, survived, strict=True)
        ]
    )
    if rate is None:
        return None, f"no run with the prevailing schedule {name!r} survived with a known starting rate: no incumbent"
    return Incumbent(schedule_name=name, control=control, learning_rate=rate, runs=runs), ""


def usual_rate(rates: Sequence[float | None]) -> float | None:
    """Return the most frequent rate; of equally frequent ones that in the middle (the lower of two)."""
    counts = Counter(rate for rate in rates if rate is not None)
    if not counts:
        return None
    most = max(counts.values())
    tied = sorted(rate for rate, count in counts.items() if count == most)
    return tied[(len(tied) - 1) // 2]
