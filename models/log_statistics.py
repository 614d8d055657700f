"""Statistics of a group's past runs: what logs can say reliably, and why they cannot where they cannot.

Noise sets the window of the rule, the starting rates that did well its start, those that diverged its upper bound, the
distance that rates had to travel its authority. All of it is adjusted association (docs/method.md, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.group_history import GroupHistory
from models.incumbent import Incumbent, find_incumbent, usual_rate
from models.loss_noise import loss_noise
from models.rate_association import (
    LEAST_RATES,
    LEAST_SURVIVORS,
    RateAssociation,
    ScheduleAssociation,
    Stability,
    associations,
    peak_rates,
    stability,
    usable_rates,
)

# Nats that a rule may be given the authority for (docs/method.md, section 5).
LEAST_AUTHORITY, MOST_AUTHORITY = 2.0, 10.0
# Fewer runs than these are used all the same, and said to be few. Arbitrary: two seeds at three rates.
LEAST_RUNS = 6


@dataclass(frozen=True, kw_only=True)
class GroupStatistics:
    """What the logs of a group say. None is "unknown"; `reasons` say why, and what else is weak.

    Parameters
    ----------
    runs, diverged_runs, runs_with_rate
        Counts of runs.
    rate_sources
        Counts of runs by where their learning rate comes from (`models.group_history.RATE_SOURCES`).
    usual_steps
        Median planned length, in steps.
    noise, autocorrelation
        Of the training loss about its trend: standard deviation of the log loss, lag 1 between logged points.
    window
        Share of the run, in [0.06, 0.12], over which the loss has to be averaged.
    recommended_rate, lowest_usable_rate, highest_usable_rate
        Starting rates by adjusted association with the final regret.
    usual_rate
        The most frequent starting rate of runs that survived.
    highest_surviving_rate, lowest_diverging_rate, stability_cap
        Highest rate seen to survive, lowest near which most diverged, and the highest that survived below that; no
        diverged run, no cap.
    authority_up, authority_down
        Nats in [2, 10] that the rate should be able to travel.
    incumbent
        The schedule that prevails in the group, at its usual rate.
    rates, schedules
        The adjusted associations.
    enough
        Whether the support is enough to prefer this to the bundled portfolio.
    reasons
        One sentence each.
    """

    runs: int
    diverged_runs: int
    runs_with_rate: int
    rate_sources: dict[str, int]
    usual_steps: int | None
    noise: float | None
    autocorrelation: float | None
    window: float | None
    recommended_rate: float | None
    lowest_usable_rate: float | None
    highest_usable_rate: float | None
    usual_rate: float | None
    highest_surviving_rate: float | None
    lowest_diverging_rate: float | None
    stability_cap: float | None
    authority_up: float | None
    authority_down: float | None
    incumbent: Incumbent | None
    rates: tuple[RateAssociation, ...]
    schedules: tuple[ScheduleAssociation, ...]
    enough: bool
    reasons: tuple[str, ...]


def group_statistics(history: GroupHistory) -> GroupStatistics:
    """Return the statistics of a group's history; nothing is invented where runs are few or say nothing.

    Raises
    ------
    ValueError
        If the history has no run.
    """
    if not len(history):
        raise ValueError("statistics need at least one run, got none; a group without runs uses the bundled portfolio")
    noise, why_no_noise = loss_noise(history)
    by_rate, by_schedule = associations(history)
    usable, why_no_rate = usable_rates(by_rate)
    limits = stability(history)
    recommended = None if usable is None else usable.recommended
    up, down, why_no_authority = _authority(history, recommended)
    rates = [
        float(rate) if known else None for rate, known in zip(history.starting_rate, history.has_rate, strict=True)
    ]
    incumbent, why_no_incumbent = find_incumbent(
        [str(name) or None for name in history.schedule], rates, (~history.lost).tolist()
    )
    why_weak = _weaknesses(history, by_rate)
    reasons = [why_no_noise, why_no_rate, why_no_authority, why_no_incumbent, _why_no_cap(limits)]
    reasons += [_why_no_path(history), *why_weak]
    return GroupStatistics(
        runs=len(history),
        diverged_runs=int(history.lost.sum()),
        runs_with_rate=int(history.has_rate.sum()),
        rate_sources=history.runs_by_rate_source(),
        usual_steps=_usual_steps(history),
        noise=None if noise is None else noise.relative,
        autocorrelation=None if noise is None else noise.autocorrelation,
        window=None if noise is None else noise.window,
        recommended_rate=recommended,
        lowest_usable_rate=None if usable is None else usable.lowest,
        highest_usable_rate=None if usable is None else usable.highest,
        usual_rate=usual_rate([rate for rate, lost in zip(rates, history.lost, strict=True) if not lost]),
        highest_surviving_rate=limits.highest_surviving,
        lowest_diverging_rate=limits.lowest_diverging,
        stability_cap=limits.cap,
        authority_up=up,
        authority_down=down,
        incumbent=incumbent,
        rates=by_rate,
        schedules=by_schedule,
        enough=usable is not None and not why_weak,
        reasons=tuple(reason for reason in reasons if reason),
    )


def _authority(history: GroupHistory, recommended: float | None) -> tuple[float | None, float | None, str]:
    """Return how far rates had to travel, in nats up and down, and why that is unknown where it is.

    From where the runs started to the recommended rate; and down also, in the better half of the runs, from the highest
    rate to that of the last tenth. A rate that is only assumed constant says nothing of how far it had to travel.
    """
    if recommended is None:
        return None, None, "without a recommended rate it is unknown how far rates had to travel"
    low, high = np.quantile(np.log(history.starting_rate[history.has_rate]), [0.1, 0.9]).tolist()
    down = max(high - math.log(recommended), _travel_of_better_runs(history))
    return _clipped(math.log(recommended) - low), _clipped(down), ""


def _travel_of_better_runs(history: GroupHistory) -> float:
    regrets = history.final_regret()
    if regrets is None:
        return 0.0
    peaks = peak_rates(history)
    better = (regrets <= np.median(regrets)) & ~history.lost & history.has_rate_path
    travelled = []
    for run, points in history.points():
        rates, positions = history.learning_rate[points], history.position[points]
        known = np.isfinite(rates) & (rates > 0)
        if better[run] and known.any():
            final = rates[known & (positions >= 0.9 * positions[known].max())]
            travelled.append(math.log(peaks[run] / final.mean()))
    return float(np.median(travelled)) if travelled else 0.0


def _clipped(nats: float) -> float:
    return min(max(nats, LEAST_AUTHORITY), MOST_AUTHORITY)


def _usual_steps(history: GroupHistory) -> int | None:
    planned: NDArray[np.float64] = history.planned_steps[np.isfinite(history.planned_steps)]
    return round(float(np.median(planned))) if len(planned) else None


def _why_no_cap(limits: Stability) -> str:
    if limits.cap is not None:
        return ""
    if limits.highest_surviving is None:
        return "no run with a known learning rate survived: no stability cap"
    if limits.lowest_diverging is None:
        return (
            f"near no rate did most runs diverge, up to {limits.highest_surviving:.3g}: the limit was not seen, "
            "no stability cap"
        )
    return f"no run survived below {limits.lowest_diverging:.3g}, near which most diverged: no stability cap"


def _why_no_path(history: GroupHistory) -> str:
    assumed = history.runs_by_rate_source()["assumed constant"]
    if not assumed:
        return ""
    return (
        f"{assumed} of {len(history)} runs declare a rate and no schedule: they count for the starting rate, and "
        "neither for a constant schedule nor for how far rates travelled"
    )


def _weaknesses(history: GroupHistory, rates: tuple[RateAssociation, ...]) -> list[str]:
    reasons = []
    with_rate = int(history.has_rate.sum())
    survived = int((history.has_rate & ~history.lost).sum())
    if with_rate < LEAST_RUNS:
        reasons.append(
            f"{with_rate} of {len(history)} runs have a known starting rate, fewer than {LEAST_RUNS}: weak support"
        )
    if survived < LEAST_SURVIVORS:
        reasons.append(f"{survived} of them survived, fewer than {LEAST_SURVIVORS}: weak support")
    if len(rates) < LEAST_RATES:
        reasons.append(f"{len(rates)} starting rates can be compared, fewer than {LEAST_RATES}: weak support")
    if len(history) > int(history.lost.sum()) and history.scale() is None:
        reasons.append("all final losses are equal: no rate and no schedule can be told from another")
    return reasons
