"""The starting rate of each schedule, chosen on search seeds from a grid in half decades."""

from __future__ import annotations

import math

import numpy as np

from models.results import Results

HALF_DECADE = math.sqrt(10.0)


def rate_grid(centre: float, points: int) -> list[float]:
    """Return `points` rates half a decade apart around `centre`, lowest first.

    Examples
    --------
    >>> [round(rate, 4) for rate in rate_grid(0.1, 5)]
    [0.01, 0.0316, 0.1, 0.3162, 1.0]
    """
    if not (math.isfinite(centre) and centre > 0):
        raise ValueError(f"the centre of a grid of rates must be finite and > 0, got {centre!r}")
    if points < 1 or points % 2 == 0:
        raise ValueError(f"a grid around a centre has an odd number of points, got {points!r}; take {points + 1}")
    half = points // 2
    return [centre * HALF_DECADE**place for place in range(-half, half + 1)]


def tune(results: Results) -> dict[str, float]:
    """Return the starting rate of each schedule with the least mean selection loss.

    A diverged run counts as worse than any loss, so that the rates are ordered by how many of their runs diverged, then
    by the mean over the others: a rate that a seed does not survive is no tuned rate. The lower rate wins a tie. A seed
    with which no training could be made is left out.

    Raises
    ------
    ValueError
        If the rates of a schedule were not trained with the same seeds, or none of its runs survived.
    """
    results = results.without_failed_seeds()
    return {schedule: _best_rate(results, schedule) for schedule in results.schedules()}


def needs_extension(results: Results) -> dict[str, list[float]]:
    """Return the rates to train next for each schedule whose optimum lies on the edge of its grid.

    One more half decade beyond the edge, and below the lowest rate where no run survived; empty when none is needed.
    """
    results = results.without_failed_seeds()
    extensions = {schedule: _beyond_the_edge(results, schedule) for schedule in results.schedules()}
    return {schedule: rates for schedule, rates in extensions.items() if rates}


def _best_rate(results: Results, schedule: str) -> float:
    ranking = _ranking(results, schedule)
    (share_diverged, _), best = ranking[0]
    if share_diverged == 1.0:
        rates = ", ".join(f"{rate:.6g}" for rate in results.rates(schedule))
        raise ValueError(
            f"a rate can be chosen only where a run survives, got none of {schedule!r} at the rates {rates}; "
            "lay the grid lower"
        )
    return best


def _beyond_the_edge(results: Results, schedule: str) -> list[float]:
    rates = results.rates(schedule)
    (share_diverged, _), best = _ranking(results, schedule)[0]
    if share_diverged == 1.0:
        return [rates[0] / HALF_DECADE]
    beyond = [rates[0] / HALF_DECADE] if best == rates[0] else []
    return [*beyond, rates[-1] * HALF_DECADE] if best == rates[-1] else beyond


def _ranking(results: Results, schedule: str) -> list[tuple[tuple[float, float], float]]:
    rates = results.rates(schedule)
    rows = {rate: results.rows(schedule, rate) for rate in rates}
    seeds = {rate: set(results.seed[rows[rate]].tolist()) for rate in rates}
    everyone = set().union(*seeds.values())
    lacking = [f"{rate:.6g} lacks {sorted(everyone - seeds[rate])}" for rate in rates if everyone - seeds[rate]]
    if lacking:
        raise ValueError(
            f"the rates of {schedule!r} must be trained with the same seeds: {'; '.join(lacking)}; train those as well"
        )
    diverged = results.has_diverged(results.selection_loss)
    scores = []
    for rate in rates:
        lost = diverged[rows[rate]]
        survivors = results.selection_loss[rows[rate]][~lost]
        scores.append(((float(np.mean(lost)), float(survivors.mean()) if len(survivors) else math.inf), rate))
    return sorted(scores)
