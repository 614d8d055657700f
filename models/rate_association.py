"""Which starting rates went with a low final loss, and up to where rates survived.

An adjusted association, no effect: nobody drew the rates of past runs at random, and whoever chose a rate may have
chosen much else with it. The schedules are adjusted for, as one action a run; nothing else is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.group_history import GroupHistory

# Rates within a quarter of a decade are one rate: closer ones are not told apart by the noise of seeds.
BINS_PER_DECADE = 4
# A rate is usable if its regret is at most this much above that of the best rate. Arbitrary; the margin of
# non-inferiority (0.02) is less than a handful of unpaired runs can resolve.
USABLE_REGRET = 0.05
# Runs' worth of pull of a schedule's adjustment towards none, so that a schedule tried at one rate only is not credited
# with what may be the rate's doing.
POOLING = 1.0
LEAST_RATES = 2
LEAST_SURVIVORS = 3


@dataclass(frozen=True, kw_only=True)
class RateAssociation:
    """The runs that started near one rate.

    Parameters
    ----------
    rate
        Geometric mean of their starting rates.
    runs, diverged
        How many there are, and how many diverged.
    regret
        Mean final regret (diverged is 1), adjusted for the schedule.
    """

    rate: float
    runs: int
    diverged: int
    regret: float


@dataclass(frozen=True, kw_only=True)
class ScheduleAssociation:
    """The runs that used one schedule; `regret` is adjusted for the starting rate, "" is an unknown schedule."""

    schedule: str
    runs: int
    diverged: int
    regret: float


@dataclass(frozen=True, kw_only=True)
class UsableRates:
    """Starting rates read off the associations."""

    recommended: float
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Up to where rates survived, by the highest rate of each run.

    Parameters
    ----------
    highest_surviving
        Highest rate of any run that survived.
    lowest_diverging
        Lowest rate near which most runs diverged; None where there is none.
    cap
        Highest rate that survived below `lowest_diverging`; None where nothing diverged, as no limit was seen then.
    """

    highest_surviving: float | None
    lowest_diverging: float | None
    cap: float | None


def associations(history: GroupHistory) -> tuple[tuple[RateAssociation, ...], tuple[ScheduleAssociation, ...]]:
    """Return the adjusted association of final regret with starting rate and with schedule; both empty without a scale.

    Ridge regression of the final regret on one indicator a rate (free) and one a schedule (pulled to zero).
    """
    regrets = history.final_regret()
    used = np.flatnonzero(history.has_rate)
    if regrets is None or not len(used):
        return (), ()
    bins, bin_of = np.unique(_bin(history.starting_rate[used]), return_inverse=True)
    names, name_of = np.unique(history.schedule[used], return_inverse=True)
    rate_effects, schedule_effects = _additive_fit(regrets[used], bin_of, len(bins), name_of, len(names))
    logs, lost = np.log(history.starting_rate[used]), history.lost[used]
    rates = tuple(
        RateAssociation(
            rate=math.exp(float(logs[bin_of == place].mean())),
            runs=int(np.sum(bin_of == place)),
            diverged=int(np.sum(lost[bin_of == place])),
            regret=float(rate_effects[place] + schedule_effects[name_of].mean()),
        )
        for place in range(len(bins))
    )
    schedules = tuple(
        ScheduleAssociation(
            schedule=str(names[place]),
            runs=int(np.sum(name_of == place)),
            diverged=int(np.sum(lost[name_of == place])),
            regret=float(schedule_effects[place] + rate_effects[bin_of].mean()),
        )
        for place in range(len(names))
    )
    return rates, schedules


def usable_rates(rates: tuple[RateAssociation, ...]) -> tuple[UsableRates | None, str]:
    """Return the recommended starting rate with the usable range around it, and why they are unknown where they are.

    Recommended is the vertex of the parabola in log rate through the best rate and its neighbours, at most half way to
    them and a quarter of a decade off: no rate is recommended outside of what was tried.
    """
    survivors = sum(rate.runs - rate.diverged for rate in rates)
    alive = [place for place, rate in enumerate(rates) if 2 * rate.diverged <= rate.runs]
    if not rates:
        return None, "no run has both a known starting rate and a final regret: no rate is recommended"
    if len(rates) < LEAST_RATES:
        return (
            None,
            f"all runs started near one rate ({rates[0].rate:.3g}): rates cannot be compared, none is recommended",
        )
    if survivors < LEAST_SURVIVORS or not alive:
        return None, (
            f"{survivors} runs with a known starting rate survived: fewer than {LEAST_SURVIVORS}, or at every rate "
            "most diverged; none is recommended"
        )
    best = min(alive, key=lambda place: rates[place].regret)
    bound = rates[best].regret + USABLE_REGRET
    usable = [place in alive and rate.regret <= bound for place, rate in enumerate(rates)]
    low = high = best
    while low > 0 and usable[low - 1]:
        low -= 1
    while high + 1 < len(rates) and usable[high + 1]:
        high += 1
    return UsableRates(recommended=_vertex(rates, best), lowest=rates[low].rate, highest=rates[high].rate), ""


def stability(history: GroupHistory) -> Stability:
    """Return up to where rates survived; by logged rates where there are any, else by starting rates."""
    peaks = peak_rates(history)
    known = np.flatnonzero(np.isfinite(peaks))
    lost = history.lost[known]
    peaks = peaks[known]
    diverging = [
        float(peaks[near].min())
        for near in (_bin(peaks) == place for place in np.unique(_bin(peaks)))
        if lost[near].mean() > 0.5
    ]
    survived = peaks[~lost]
    lowest = min(diverging, default=None)
    below = survived[survived < lowest] if lowest is not None else survived[:0]
    return Stability(
        highest_surviving=float(survived.max()) if len(survived) else None,
        lowest_diverging=lowest,
        cap=float(below.max()) if len(below) else None,
    )


def peak_rates(history: GroupHistory) -> NDArray[np.float64]:
    """Return the highest known rate of each run, (n_runs,); NaN where none is known."""
    peaks = np.where(history.has_rate, history.starting_rate, np.nan)
    for run, points in history.points():
        logged = history.learning_rate[points]
        logged = logged[np.isfinite(logged) & (logged > 0)]
        if len(logged):
            peaks[run] = logged.max()
    return np.asarray(peaks)


def _bin(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.round(np.log10(rates) * BINS_PER_DECADE))


def _additive_fit(
    regrets: NDArray[np.float64], bin_of: NDArray[np.intp], bins: int, name_of: NDArray[np.intp], names: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    design = np.hstack([np.eye(bins)[bin_of], np.eye(names)[name_of]])
    penalty = np.diag(np.concatenate([np.zeros(bins), np.full(names, POOLING)]))
    effects = np.asarray(np.linalg.solve(design.T @ design + penalty, design.T @ regrets), dtype=np.float64)
    return effects[:bins], effects[bins:]


def _vertex(rates: tuple[RateAssociation, ...], best: int) -> float:
    if best in (0, len(rates) - 1):
        return rates[best].rate
    below, here, above = (math.log(rates[place].rate) for place in (best - 1, best, best + 1))
    rise_below = (rates[best - 1].regret - rates[best].regret) / (here - below)
    rise_above = (rates[best + 1].regret - rates[best].regret) / (above - here)
    # A neighbour that mostly diverged may have the lesser regret; then there is no minimum between them.
    if rise_below < 0 or rise_above < 0 or rise_below + rise_above == 0:
        return rates[best].rate
    shift = (rise_below * (above - here) - rise_above * (here - below)) / (2 * (rise_below + rise_above))
    reach = math.log(10.0) / BINS_PER_DECADE
    return math.exp(here + min(max(shift, (below - here) / 2, -reach), (above - here) / 2, reach))
