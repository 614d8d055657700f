"""The smallest share of the budget, on an arithmetic table in place of a training."""

from collections.abc import Sequence

import pytest

from greedylr.schedules import CONTROLS
from models.budget_share import SHARES, BudgetShare, budget_share, expected_share
from models.regret import RegretScale
from models.retraining.job import Configuration
from models.training_account import Train, Trainings
from tests.models.loss_table import NAIVE, Curve, Table, made

SCALE = RegretScale(reference=0.5, naive=NAIVE)
CONTROL = Configuration(name="cosine", schedule=CONTROLS["cosine"], learning_rate=0.1)


Asked = list[tuple[float, str, int]]


def measured(floors: dict[float, float], *, spread: float = 0.001, max_seeds: int = 20) -> tuple[BudgetShare, Asked]:
    """Measure a preset whose loss at each share is given; also what was trained: share, name, seeds."""
    asked: Asked = []

    def train_at(share: float) -> Train:
        table = Table(of_schedule=lambda _: Curve(floor=floors[share], best_rate=0.1), spread=spread)

        def train(purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> Trainings:
            asked.extend((share, each.name, len(seeds)) for each in configurations)
            return table(purpose, configurations, seeds)

        return train

    preset = Configuration(name="preset", schedule=made()[0].schedule, learning_rate=0.1)
    outcome = budget_share(train_at, preset, CONTROL, SCALE, attempt=1, shares=tuple(sorted(floors)))
    return outcome, asked


def test_the_smallest_share_is_the_last_before_the_first_that_fails() -> None:
    outcome, _ = measured({1.0: 0.4, 0.9: 0.45, 0.8: 0.5, 0.7: 0.6, 0.6: 0.4})
    assert outcome.smallest == 0.8
    # A share below one that failed is not tried, whatever it would have shown.
    assert {share: cell.verdict for share, cell in outcome.cells.items()} == {
        1.0: "better",
        0.9: "better",
        0.8: "non-inferior",
        0.7: "worse",
    }


def test_each_share_is_a_training_of_its_own_length_against_cosine_at_full_length() -> None:
    outcome, asked = measured({1.0: 0.4, 0.9: 0.4})
    assert asked == [(1.0, "cosine", 5), (1.0, "preset at 100 %", 5), (0.9, "preset at 90 %", 5)]
    assert outcome.trainings == 15
    assert outcome.device_seconds == pytest.approx(0.15)


def test_what_a_share_takes_is_known_before() -> None:
    soonest, _ = measured(dict.fromkeys(SHARES, 0.6))
    passing, _ = measured(dict.fromkeys(SHARES, 0.4))
    assert (soonest.smallest, passing.smallest) == (None, 0.5)
    # Seven shares and cosine, which they have in common.
    assert expected_share(5) == (soonest.trainings, passing.trainings) == (10, 40)
    assert expected_share(20) == (10, 160)


def test_an_open_share_gets_more_seeds_and_cosine_with_it() -> None:
    outcome, asked = measured({1.0: 0.5, 0.5: 0.5}, spread=0.5)
    assert asked[:4] == [
        (1.0, "cosine", 5),
        (1.0, "preset at 100 %", 5),
        (1.0, "cosine", 5),
        (1.0, "preset at 100 %", 5),
    ]
    assert outcome.cells[1.0].seeds == 20
    assert outcome.smallest is None
    assert list(outcome.cells) == [1.0]


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shares of a budget lie in \(0, 1\], each once, got \(0.0,\)"):
        budget_share(lambda _: Table(), CONTROL, CONTROL, SCALE, attempt=1, shares=(0.0,))
