import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.racing import RACE_MULTIPLES, plan_rounds, race, surviving
from models.regret import RegretScale
from models.results import Results

SCALE = RegretScale(reference=0.0, naive=1.0)


@dataclass(frozen=True)
class Runner:
    name: str
    learning_rate: float
    loss: float


RUNNERS = [Runner(name=f"runner{place}", learning_rate=0.1 * place, loss=0.1 * place) for place in range(1, 9)]


class ArithmeticTraining:
    """A table in place of training: the loss of a runner is its own, plus what seed and multiple add."""

    def __init__(self, extra: Callable[[Runner, int], float] = lambda runner, seed: 0.0) -> None:
        self.extra = extra
        self.calls: list[tuple[list[str], list[int]]] = []

    def __call__(
        self, candidates: Sequence[Runner], starting_rate_multiples: Sequence[float], seeds: Sequence[int]
    ) -> Results:
        self.calls.append(([each.name for each in candidates], list(seeds)))
        rows = [
            (each.name, each.learning_rate * multiple, seed, each.loss + 0.01 * multiple + self.extra(each, seed))
            for seed in seeds
            for multiple in starting_rate_multiples
            for each in reversed(candidates)
        ]
        name, rate, seed, loss = zip(*rows, strict=True)
        return Results(
            schedule=np.array(name),
            starting_rate=np.array(rate),
            seed=np.array(seed),
            selection_loss=np.array(loss),
            reporting_loss=np.full(len(rows), math.nan),
            diverged=np.zeros(len(rows), dtype=bool),
        )


def test_eight_candidates_are_halved_three_times_with_ever_more_seeds() -> None:
    rounds = plan_rounds(8, [10, 11, 12, 13, 14, 15, 16])
    assert [(each.entrants, each.survivors, each.seeds) for each in rounds] == [
        (8, 4, (10,)),
        (4, 2, (11, 12)),
        (2, 1, (13, 14, 15, 16)),
    ]


def test_a_race_may_end_with_several() -> None:
    assert [(each.entrants, each.survivors) for each in plan_rounds(8, range(6), survivors=3)] == [(8, 4), (4, 3)]


def test_a_single_candidate_runs_once() -> None:
    assert [(each.entrants, each.survivors, each.seeds) for each in plan_rounds(1, [5, 6])] == [(1, 1, (5, 6))]


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="8 candidates need at least 3 search seeds, one a round, got 2"):
        plan_rounds(8, [1, 2])


def test_repeated_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"search seeds must differ, got \[1, 1, 2\]"):
        plan_rounds(2, [1, 1, 2])


@given(candidates=st.integers(1, 40), extra=st.integers(0, 30), survivors=st.integers(1, 5))
@settings(max_examples=100, deadline=None, database=None)
def test_every_plan_uses_each_seed_once_and_ends_with_the_survivors(
    candidates: int, extra: int, survivors: int
) -> None:
    survivors = min(survivors, candidates)
    seeds = list(range(6 + extra))
    rounds = plan_rounds(candidates, seeds, survivors=survivors)
    assert [seed for each in rounds for seed in each.seeds] == seeds
    assert all(each.seeds for each in rounds)
    assert rounds[0].entrants == candidates
    assert rounds[-1].survivors == survivors
    assert all(before.survivors == after.entrants for before, after in pairwise(rounds))


def test_the_best_runner_wins_and_nobody_trains_after_being_dropped() -> None:
    train = ArithmeticTraining()
    outcome = race(RUNNERS, train, range(7), scale=SCALE)
    assert [each.name for each in outcome.survivors] == ["runner1"]
    assert train.calls == [
        ([f"runner{place}" for place in range(1, 9)], [0]),
        (["runner1", "runner2", "runner3", "runner4"], [1, 2]),
        (["runner1", "runner2"], [3, 4, 5, 6]),
    ]


def test_the_score_is_the_mean_regret_over_starting_rates_and_seeds() -> None:
    outcome = race(RUNNERS[:1], ArithmeticTraining(lambda runner, seed: 0.1 * seed), [0, 1], scale=SCALE)
    mean_multiple = (1 / 9 + 1 / 3 + 1 + 3) / 4
    assert RACE_MULTIPLES == (1 / 9, 1 / 3, 1.0, 3.0)
    assert outcome.standings[0].score == pytest.approx(0.1 + 0.01 * mean_multiple + 0.05)


def test_the_account_holds_what_was_spent_and_thrown_away() -> None:
    outcome = race(RUNNERS, ArithmeticTraining(), range(7), scale=SCALE)
    assert [each.name for each in outcome.standings] == [f"runner{place}" for place in range(1, 9)]
    assert [each.rounds for each in outcome.standings] == [3, 3, 2, 2, 1, 1, 1, 1]
    assert [each.trainings for each in outcome.standings] == [28, 28, 12, 12, 4, 4, 4, 4]
    assert (outcome.trainings, outcome.trainings_thrown_away, len(outcome.results)) == (96, 68, 96)


def test_a_bad_first_seed_does_not_outlive_the_seeds_that_follow() -> None:
    def unlucky(runner: Runner, seed: int) -> float:
        return 0.15 if runner.name == "runner1" and seed == 0 else 0.0

    outcome = race(RUNNERS, ArithmeticTraining(unlucky), range(7), scale=SCALE)
    assert outcome.survivors[0].name == "runner1"


def test_a_candidate_that_diverges_is_dropped_first() -> None:
    def diverging(runner: Runner, seed: int) -> float:
        return math.nan if runner.name == "runner1" else 0.0

    outcome = race(RUNNERS, ArithmeticTraining(diverging), range(7), scale=SCALE)
    assert outcome.survivors[0].name == "runner2"
    assert next(each.score for each in outcome.standings if each.name == "runner1") == 1.0


def test_the_earlier_candidate_wins_a_tie() -> None:
    assert surviving({"b": 0.5, "a": 0.5, "c": 0.1}, 2) == ["c", "b"]
    twins = [Runner("first", 0.1, 0.5), Runner("second", 0.1, 0.5)]
    assert race(twins, ArithmeticTraining(), [1], scale=SCALE).survivors[0].name == "first"


def test_progress_counts_rounds() -> None:
    seen: list[tuple[str, int, int]] = []
    race(RUNNERS, ArithmeticTraining(), range(7), scale=SCALE, progress=lambda *args: seen.append(args))
    assert seen == [("race", 0, 3), ("race", 1, 3), ("race", 2, 3), ("race", 3, 3)]


def test_trainings_that_did_not_come_back_are_named() -> None:
    class Forgetful(ArithmeticTraining):
        def __call__(
            self, candidates: Sequence[Runner], starting_rate_multiples: Sequence[float], seeds: Sequence[int]
        ) -> Results:
            return super().__call__(candidates[1:], starting_rate_multiples, seeds)

    with pytest.raises(ValueError, match=r"missing 'runner1' at 0\.0111111 with seed 5, .*; not asked for none"):
        race(RUNNERS[:2], Forgetful(), [5], scale=SCALE)


def test_candidates_that_share_a_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"names that differ, got \['runner1', 'runner1'\]"):
        race([RUNNERS[0], RUNNERS[0]], ArithmeticTraining(), [1], scale=SCALE)
