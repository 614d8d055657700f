"""By what method the rate of a training is set: a schedule, or a method that finds its rates itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from greedylr.schedules import Schedule

# "schedule" is an envelope and a rule on the workload's own optimizer; each other one has a file in `models/methods`.
Method = Literal[
    "schedule",
    "hypergradient",
    "hypergradient_tensor",
    "hypergradient_parameter",
    "line_search",
    "polyak",
    "schedule_free",
    "prodigy",
]
METHODS: tuple[Method, ...] = get_args(Method)

# Optimizers of `torch.optim`'s kind, by the packages that they come from: they train one replica after the other.
PACKAGES: Mapping[Method, str] = {"schedule_free": "schedulefree", "prodigy": "prodigyopt"}
ONE_BY_ONE: frozenset[Method] = frozenset(PACKAGES)
# Prodigy's authors advise an envelope; the rest would only seem to follow one.
_TAKES_AN_ENVELOPE: frozenset[Method] = frozenset({"schedule", "prodigy"})


def require_schedule_for(method: Method, schedule: Schedule) -> None:
    """Raise ValueError where a method is given a schedule that it does not follow."""
    if method not in _TAKES_AN_ENVELOPE and schedule != Schedule():
        raise ValueError(f"{method!r} sets its rates itself and takes the constant schedule, got {schedule}; leave it")
    if method != "schedule" and (schedule.rule is not None or schedule.probe is not None):
        raise ValueError(f"{method!r} takes an envelope at most, got a rule or a probe; leave them out")
