"""Successive halving of candidates on search seeds: all of them a little, the better half more, the best the most.

Jamieson & Talwalkar (AISTATS 2016) with seeds as the budget: a round trains new seeds only, and scores all it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

import numpy as np

from models.regret import RegretScale, regret
from models.results import Results, concatenate

# Multiples of a candidate's recommended rate: a preset is worth having where its starting rate is wrong, and people
# start too low more often than too high.
RACE_MULTIPLES = (1 / 9, 1 / 3, 1.0, 3.0)

Progress = Callable[[str, int, int], None]


class Starter(Protocol):
    """What can race: it has a name and a recommended starting rate."""

    @property
    def name(self) -> str:
        """Unique in its race."""

    @property
    def learning_rate(self) -> float:
        """> 0."""


S = TypeVar("S", bound=Starter)
StarterT_contra = TypeVar("StarterT_contra", bound=Starter, contravariant=True)


class Train(Protocol[StarterT_contra]):
    """Trains each candidate at its own rate x each multiple with each seed; `Results.schedule` holds their names."""

    def __call__(
        self, candidates: Sequence[StarterT_contra], starting_rate_multiples: Sequence[float], seeds: Sequence[int]
    ) -> Results:
        """Return one row for every candidate, multiple and seed."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a race: who enters is known when the round before is over, how many is known at once.

    Parameters
    ----------
    entrants, survivors
        Number of candidates that enter it and that stay.
    seeds
        New seeds, trained in this round.
    """

    entrants: int
    survivors: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a candidate fared.

    Parameters
    ----------
    name
        Of the candidate.
    score
        Mean regret over starting rates and seeds, all rounds it ran in; lower is better.
    rounds
        Rounds it ran in.
    trainings
        Spent on it.
    """

    name: str
    score: float
    rounds: int
    trainings: int


@dataclass(frozen=True, kw_only=True)
class Race(Generic[S]):
    """The outcome of a race and its account.

    Parameters
    ----------
    survivors
        Best first.
    standings
        Of all candidates: survivors first, then those thrown away last, each by score.
    rounds
        As planned.
    results
        All trainings of the race.
    """

    survivors: tuple[S, ...]
    standings: tuple[Standing, ...]
    rounds: tuple[Round, ...]
    results: Results

    @property
    def trainings(self) -> int:
        """Number of trainings spent."""
        return sum(standing.trainings for standing in self.standings)

    @property
    def trainings_thrown_away(self) -> int:
        """Number of them that went into candidates that did not survive."""
        return sum(standing.trainings for standing in self.standings[len(self.survivors) :])


def plan_rounds(candidates: int, seeds: Sequence[int], *, survivors: int = 1) -> list[Round]:
    """Return the rounds of a race: each halves the candidates and has about twice the new seeds of the one before.

    Parameters
    ----------
    candidates, survivors
        Number that enter the race, and that are left at its end.
    seeds
        Search seeds; the candidates that stay to the end are trained with all of them.

    Raises
    ------
    ValueError
        If there are fewer seeds than rounds.

    Examples
    --------
    >>> [(round.entrants, round.survivors, len(round.seeds)) for round in plan_rounds(8, range(7))]
    [(8, 4, 1), (4, 2, 2), (2, 1, 4)]
    """
    if not 1 <= survivors <= candidates:
        raise ValueError(f"survivors must lie between 1 and the {candidates} candidates, got {survivors}")
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"search seeds must differ, got {list(seeds)}")
    field_sizes = [candidates]
    while field_sizes[-1] > survivors:
        field_sizes.append(max(survivors, math.ceil(field_sizes[-1] / 2)))
    # A single candidate still runs once: its score is the evidence that it trains at all.
    halvings = list(pairwise(field_sizes)) or [(candidates, survivors)]
    if len(seeds) < len(halvings):
        raise ValueError(
            f"{candidates} candidates need at least {len(halvings)} search seeds, one a round, got {len(seeds)}; "
            "add seeds or start with fewer candidates"
        )
    ends = _cumulative_seeds(len(halvings), len(seeds))
    return [
        Round(entrants=entrants, survivors=staying, seeds=tuple(seeds[start:end]))
        for (entrants, staying), start, end in zip(halvings, [0, *ends], ends, strict=False)
    ]


def score(results: Results, scale: RegretScale) -> dict[str, float]:
    """Return each candidate's mean regret of the selection loss over its starting rates and seeds.

    The reporting loss stays untouched: what chooses must not be what is reported.
    """
    results = results.without_failed_seeds()
    regrets = regret(results.selection_loss, scale, results.diverged)
    return {name: float(regrets[results.schedule == name].mean()) for name in results.schedules()}


def surviving(scores: Mapping[str, float], count: int) -> list[str]:
    """Return the `count` names with the lowest scores, best first; the earlier one wins a tie."""
    return sorted(scores, key=lambda name: scores[name])[:count]


def race(
    candidates: Sequence[S],
    train: Train[S],
    seeds: Sequence[int],
    *,
    scale: RegretScale,
    multiples: Sequence[float] = RACE_MULTIPLES,
    survivors: int = 1,
    progress: Progress | None = None,
) -> Race[S]:
    """Race `candidates` on search seeds and return who is left.

    Parameters
    ----------
    candidates
        With names that differ.
    train
        The retraining.
    seeds
        Search seeds, at least one a round.
    scale
        Of the workload's regret.
    multiples
        Starting rates as multiples of each candidate's recommended one.
    survivors
        Number of candidates left at the end.

    Raises
    ------
    ValueError
        If the names repeat, there are too few seeds, or `train` returns other trainings than it was asked for.
    """
    by_name = {candidate.name: candidate for candidate in candidates}
    if len(by_name) != len(candidates):
        raise ValueError(f"candidates of a race must have names that differ, got {[each.name for each in candidates]}")
    rounds = plan_rounds(len(candidates), seeds, survivors=survivors)
    racing = list(candidates)
    parts: list[Results] = []
    standings: dict[str, Standing] = {}
    for number, planned in enumerate(rounds, start=1):
        if progress is not None:
            progress("race", number - 1, len(rounds))
        parts.append(train(racing, multiples, planned.seeds))
        _require_trainings(parts[-1], racing, multiples, planned.seeds)
        standings |= _standings(concatenate(parts), racing, scale, number)
        kept = surviving({each.name: standings[each.name].score for each in racing}, planned.survivors)
        racing = [each for each in racing if each.name in kept]
    if progress is not None:
        progress("race", len(rounds), len(rounds))
    names = {each.name for each in racing}
    placed = sorted(standings.values(), key=lambda each: (each.name not in names, -each.rounds, each.score))
    return Race(
        survivors=tuple(by_name[each.name] for each in placed[:survivors]),
        standings=tuple(placed),
        rounds=tuple(rounds),
        results=concatenate(parts),
    )


def _standings(results: Results, racing: Sequence[Starter], scale: RegretScale, rounds: int) -> dict[str, Standing]:
    scores = score(results, scale)
    return {
        each.name: Standing(
            name=each.name,
            score=scores[each.name],
            rounds=rounds,
            trainings=int(np.sum(results.schedule == each.name)),
        )
        for each in racing
    }


def _cumulative_seeds(rounds: int, seeds: int) -> list[int]:
    """Return how many seeds are used up after each round: new ones as 1, 2, 4 ..., at least one a round."""
    ends: list[int] = []
    for number in range(1, rounds + 1):
        wanted = round(seeds * (2**number - 1) / (2**rounds - 1))
        at_least = (ends[-1] if ends else 0) + 1
        ends.append(min(max(wanted, at_least), seeds - (rounds - number)))
    return ends


def _require_trainings(
    results: Results, candidates: Sequence[Starter], multiples: Sequence[float], seeds: Sequence[int]
) -> None:
    received = {
        (name, f"{rate:.9e}", seed)
        for name, rate, seed in zip(
            results.schedule.tolist(), results.starting_rate.tolist(), results.seed.tolist(), strict=True
        )
    }
    expected = {
        (each.name, f"{each.learning_rate * multiple:.9e}", seed)
        for each in candidates
        for multiple in multiples
        for seed in seeds
    }
    if received != expected:
        raise ValueError(
            "a round must return the trainings it asked for: "
            f"missing {_listed(expected - received)}; not asked for {_listed(received - expected)}"
        )


def _listed(trainings: set[tuple[str, str, int]]) -> str:
    ordered = sorted(trainings, key=lambda each: (each[0], float(each[1]), each[2]))
    shown = [f"{name!r} at {float(rate):.6g} with seed {seed}" for name, rate, seed in ordered[:4]]
    more = [f"and {len(trainings) - len(shown)} more"] if len(trainings) > len(shown) else []
    return ", ".join([*shown, *more]) or "none"
