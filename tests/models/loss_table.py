"""An arithmetic table in place of a training: what tests of proofs look losses up in."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from greedylr.preset import Candidate
from greedylr.schedules import CONTROLS, RelativeRule, Schedule
from models.proving import Plan
from models.results import Results
from models.retraining.job import Configuration
from models.training_account import Trainings

HALF = math.sqrt(10.0)
NAIVE = 2.0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How a schedule fares: its loss at its best rate, that rate, and from which rate on it diverges."""

    floor: float = 0.5
    best_rate: float = 0.1
    limit: float = 100.0


@dataclass
class Table:
    """Looks losses up instead of training, and keeps what it was asked for.

    What a seed brings is shared by all (pairs); `spread` is what is left in a pair, `test_spread` on test seeds.
    """

    curves: Mapping[str, Curve] = field(default_factory=dict)
    of_schedule: Callable[[Schedule], Curve] = lambda _: Curve(best_rate=0.1 * HALF)
    spread: float = 0.001
    test_spread: float | None = None
    asked: list[tuple[str, tuple[Configuration, ...], tuple[int, ...]]] = field(default_factory=list)

    def __call__(self, purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> Trainings:
        self.asked.append((purpose, tuple(configurations), tuple(seeds)))
        rows = [(each, seed, *self.losses(purpose, each, seed)) for each in configurations for seed in seeds]
        results = Results(
            schedule=np.array([each.name for each, *_ in rows]),
            starting_rate=np.array([each.learning_rate for each, *_ in rows]),
            seed=np.array([seed for _, seed, *_ in rows]),
            selection_loss=np.array([row[2] for row in rows]),
            reporting_loss=np.array([row[3] for row in rows]),
            diverged=np.array([math.isnan(row[2]) for row in rows]),
        )
        return Trainings(results=results, naive_loss=NAIVE, device_seconds=0.01 * len(rows))

    def losses(self, purpose: str, configuration: Configuration, seed: int) -> tuple[float, float]:
        if configuration.name in CONTROLS:
            curve = self.curves.get(configuration.name, default_curve(configuration.name))
        else:
            curve = self.curves.get(configuration.name) or self.of_schedule(configuration.schedule)
        if configuration.learning_rate > curve.limit:
            return math.nan, math.nan
        distance = math.log10(configuration.learning_rate / curve.best_rate)
        shared = np.random.default_rng(seed).normal(0.0, 0.02)
        key = [seed, *configuration.name.encode(), round(1e6 * math.log(configuration.learning_rate)) % 2**31]
        spread = self.test_spread if purpose == "test" and self.test_spread is not None else self.spread
        own = np.random.default_rng(key).normal(0.0, spread, 2)
        loss = curve.floor + 0.3 * distance**2 + shared
        return float(loss + own[0]), float(loss + own[1])

    def configurations(self, purpose: str) -> list[Configuration]:
        return [each for asked, configurations, _ in self.asked if asked == purpose for each in configurations]

    def seeds(self, *purposes: str) -> set[int]:
        return {seed for purpose, _, seeds in self.asked if purpose in purposes for seed in seeds}

    def looks(self) -> list[int]:
        return [len(seeds) for purpose, _, seeds in self.asked if purpose == "test"]


def default_curve(name: str) -> Curve:
    # No other control is best at cosine's rate, so that each one's own is a rate by itself.
    return Curve(best_rate=0.1 if name == "cosine" else 0.1 * HALF)


def made(count: int = 8, rate: float = 0.1) -> list[Candidate]:
    return [
        Candidate(
            name=f"candidate-{number}",
            schedule=Schedule(rule=RelativeRule(factor=0.5 + 0.05 * number)),
            learning_rate=rate,
            origin="a test",
        )
        for number in range(count)
    ]


def plan(**changes: object) -> Plan:
    settings: dict[str, object] = {
        "group": "digits-sgd",
        "workload": "training.py:workload",
        "own_workload": True,
        "attempt": 1,
        "usual_rate": 0.1,
        "rivals": {},
        "max_seeds": 20,
        "max_trainings": 10_000,
    }
    return Plan(**{**settings, **changes})  # type: ignore[arg-type]
