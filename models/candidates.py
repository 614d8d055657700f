"""Candidates for a preset: few and far apart, with what the logs say in place of guesses.

Coordinates and measured facts: docs/method.md, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from greedylr.preset import Candidate
from greedylr.rule import Stages
from greedylr.schedules import Envelope, RelativeRule, Schedule
from models.log_statistics import GroupStatistics
from models.upper_bound import bounded

COUNT = 8
# Slots that the portfolio may take; the rest are made from the group's own statistics.
PORTFOLIO_SLOTS = 3

DECISIONS = 40
LEAST_FACTOR = 0.5
# Where logs are silent: the middle of what is advised, and the window that was measured.
DEFAULT_AUTHORITY = 4.0
DEFAULT_WINDOW = 0.08
EARLY_SHARE = 0.4
# A bound at the start itself would leave ReduceLROnPlateau, whatever the name says.
LEAST_HEADROOM = 2.0

PLAIN = Envelope()
RAMP_WSD = Envelope(shape="wsd", ramp=0.05, decay_share=0.2)
ANNEAL = Envelope(shape="final_anneal", decay_share=0.2)
RAMP_ANNEAL = Envelope(shape="final_anneal", ramp=0.05, decay_share=0.2)

# The best configuration that prototypes measured (mean regret 0.123-0.126 over starts from 27 times too low to 9 times
# too high, cosine 0.180); a hypothesis on any other family.
BEST_KNOWN = Schedule(
    envelope=RAMP_WSD,
    rule=RelativeRule(
        factor=0.7,
        increase_factor=0.85,
        patience=1 / DECISIONS,
        threshold=1e-4,
        threshold_mode="rel",
        min_lr=1e-2,
        max_lr=10.0,
        interval=1 / DECISIONS,
        window=0.08,
        increase_until=EARLY_SHARE,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A candidate in the coordinates of the search.

    Parameters
    ----------
    name
        What it is.
    envelope
        The extra around the core; `PLAIN` for none.
    up, down
        Authority in multiples of what the logs advise.
    patience
        In intervals of T/40.
    stage
        Length of the stage after a move, in multiples of the patience.
    stages
        What happens in it.
    threshold_mode
        "abs" 1e-6 or "rel" 1e-4.
    min_lr, max_lr
        In multiples of the start, before the stability cap.
    early
        Whether raises end after 40 % of the run.
    """

    name: str
    envelope: Envelope
    up: float = 1.0
    down: float = 1.0
    patience: int = 1
    stage: int = 0
    stages: Stages = "hold"
    threshold_mode: Literal["abs", "rel"] = "rel"
    min_lr: float = 1e-2
    max_lr: float = 10.0
    early: bool = False


CORE = Outline(name="core", envelope=PLAIN)

# In the order in which they are dropped last: with a portfolio there is room for the first ones only.
OUTLINES = (
    CORE,
    Outline(name="ramp-wsd20-early-rise", envelope=RAMP_WSD, patience=0, max_lr=30.0, early=True),
    Outline(name="ramp-anneal20-strong-fall", envelope=RAMP_ANNEAL, up=0.5, down=1.5, min_lr=1e-3),
    Outline(name="anneal20-patient-cooldown", envelope=ANNEAL, patience=2, stage=1, max_lr=30.0),
    Outline(name="ramp-wsd20-weak", envelope=RAMP_WSD, up=0.5, down=0.5, patience=2, early=True),
    Outline(name="core-abs-continue", envelope=PLAIN, stage=1, stages="continue", threshold_mode="abs", max_lr=30.0),
    Outline(name="ramp-anneal20-early-rise", envelope=RAMP_ANNEAL, patience=0, up=1.5, min_lr=1e-3, early=True),
)


def candidates(
    statistics: GroupStatistics,
    portfolio: Sequence[Candidate],
    fallback_rate: float,
    *,
    largest_stable_rate: float | None = None,
    count: int = COUNT,
) -> list[Candidate]:
    """Return candidates for a group: the best known configuration, the plain core, the portfolio's, and others.

    All start from the recommended rate of the group; where there is none, from its usual rate, else `fallback_rate`.
    The group's statistics set window, authority and upper bound. The best known configuration and the portfolio's are
    taken as they were measured, so the statistics do not cut their bounds. Where the workload tells the largest rate at
    which it is stable, no candidate raises its rate above that.

    Parameters
    ----------
    statistics
        Of the group's logs.
    portfolio
        Bundled presets as candidates, best first; at most three are used, and more where the support is not enough.
    fallback_rate
        > 0, a rate near which the workload trains.
    largest_stable_rate
        > 0, as the workload tells it (`WorkloadDescriptors.largest_stable_learning_rate`); None where it does not.
    count
        At least 2; the most that are returned.

    Raises
    ------
    ValueError
        If `count` is too small, or `fallback_rate` no rate.
    """
    if count < 2:
        raise ValueError(f"candidates must be at least 2, the best known configuration and the plain core, got {count}")
    rate, source = starting_rate(statistics, fallback_rate)
    made = [
        Candidate(
            name=outline.name,
            schedule=schedule_of(outline, statistics, rate),
            learning_rate=rate,
            origin=f"statistics of the logs; raced from the rate {source}",
        )
        for outline in OUTLINES
    ]
    known = Candidate(
        name="ramp-wsd20-rise0.85-fall0.70",
        schedule=BEST_KNOWN,
        learning_rate=rate,
        origin=f"best known configuration; raced from the rate {source}",
    )
    bundled = [
        replace(each, learning_rate=rate, origin=f"portfolio; raced from the rate {source}") for each in portfolio
    ]
    slots = PORTFOLIO_SLOTS if statistics.enough else len(bundled)
    ordered = [known, made[0], *bundled[:slots], *made[1:], *bundled[slots:]]
    return _without_twins([_bounded(each, largest_stable_rate) for each in ordered])[:count]


def starting_rate(statistics: GroupStatistics, fallback_rate: float) -> tuple[float, str]:
    """Return the rate that candidates start from, and where it comes from."""
    if not (math.isfinite(fallback_rate) and fallback_rate > 0):
        raise ValueError(f"fallback_rate must be finite and > 0, got {fallback_rate!r}; give the workload's usual rate")
    if statistics.recommended_rate is not None:
        return statistics.recommended_rate, "recommended by the logs"
    if statistics.usual_rate is not None:
        return statistics.usual_rate, "usual in the logs"
    return fallback_rate, "usual for the workload"


def schedule_of(outline: Outline, statistics: GroupStatistics, rate: float) -> Schedule:
    """Return the schedule of an outline, with window, authority and upper bound from the statistics of a group."""
    stage_length = outline.stage * outline.patience
    moves_a_cycle = 1 + stage_length if outline.stages == "continue" else 1
    moves = DECISIONS * moves_a_cycle / (outline.patience + 1 + stage_length)
    active = 1 - outline.envelope.decay_share if outline.envelope.shape == "final_anneal" else 1.0
    share = EARLY_SHARE if outline.early else 1.0
    up = _authority(statistics.authority_up, outline.up)
    down = _authority(statistics.authority_down, outline.down)
    return Schedule(
        envelope=outline.envelope,
        rule=RelativeRule(
            factor=_factor(down, moves * active),
            increase_factor=_factor(up, moves * min(active, share)),
            patience=outline.patience / DECISIONS,
            cooldown=stage_length / DECISIONS,
            warmup=stage_length / DECISIONS,
            stages=outline.stages,
            threshold=1e-6 if outline.threshold_mode == "abs" else 1e-4,
            threshold_mode=outline.threshold_mode,
            min_lr=outline.min_lr,
            max_lr=_upper_bound(outline.max_lr, statistics.stability_cap, rate),
            interval=1 / DECISIONS,
            window=DEFAULT_WINDOW if statistics.window is None else round(statistics.window, 3),
            increase_until=share,
        ),
    )


def _authority(advised: float | None, multiple: float) -> float:
    return min(max((DEFAULT_AUTHORITY if advised is None else advised) * multiple, 2.0), 10.0)


def _factor(authority: float, moves: float) -> float:
    """Return the factor with which `moves` moves travel `authority` nats, but at least 0.5: below it runs diverged."""
    return max(round(math.exp(-authority / moves), 3), LEAST_FACTOR)


def _upper_bound(multiple: float, cap: float | None, rate: float) -> float:
    return multiple if cap is None else min(multiple, max(cap / rate, LEAST_HEADROOM))


def _bounded(candidate: Candidate, largest_stable_rate: float | None) -> Candidate:
    schedule = bounded(candidate.schedule, candidate.learning_rate, largest_stable_rate)
    if schedule == candidate.schedule:
        return candidate
    origin = f"{candidate.origin}; not raised above {largest_stable_rate:.3g}, where the workload is no longer stable"
    return replace(candidate, schedule=schedule, origin=origin)


def _without_twins(ordered: list[Candidate]) -> list[Candidate]:
    """Return the candidates whose schedule no earlier one has; one that shares only a name gets a number."""
    kept: list[Candidate] = []
    for candidate in ordered:
        if any(candidate.schedule == other.schedule for other in kept):
            continue
        names, number = {other.name for other in kept}, 2
        name = candidate.name
        while name in names:
            name, number = f"{candidate.name}-{number}", number + 1
        kept.append(replace(candidate, name=name))
    return kept
