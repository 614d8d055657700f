"""One grid of rates for all contenders: everyone has the same trials, and where one needs more all get them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from greedylr.schedules import PRIMARY_CONTROL
from models.contenders import Contender
from models.results import Results, concatenate
from models.retraining.job import Configuration
from models.training_account import Account
from models.tuning import needs_extension, tune

MOST_EXTENSIONS = 3


def tuned_on_grid(
    train: Account, purpose: str, contenders: Mapping[str, Contender], grid: list[float], seeds: Sequence[int]
) -> tuple[dict[str, float], list[float]]:
    """Return the tuned rates and the grid, extended for all contenders alike while an optimum lies on its edge.

    Raises
    ------
    ValueError
        If the primary control survives nowhere.
    """
    results = train(purpose, at_rates(contenders, grid), seeds).results
    for _ in range(MOST_EXTENSIONS):
        beyond = sorted({rate for rates in needs_extension(results).values() for rate in rates})
        # One more than the contenders: the winner will be tuned on the same grid.
        if not beyond or not train.spares(len(beyond) * (len(contenders) + 1) * len(seeds)):
            break
        results = concatenate([results, train(purpose, at_rates(contenders, beyond), seeds).results])
        grid = sorted([*grid, *beyond])
    return tuned_rates(results), grid


def tuned_rates(results: Results) -> dict[str, float]:
    """Return the tuned rates; a schedule that survives nowhere keeps the lowest rate, and loses there as diverged.

    GreedyLR with the defaults of transformers has absolute bounds: where the tuned rates lie far below them it may
    diverge from every start, which is a result and no reason to give up.

    Raises
    ------
    ValueError
        If the primary control survives nowhere.
    """
    results = results.without_failed_seeds()
    diverged = results.has_diverged(results.selection_loss)
    lost = [name for name in results.schedules() if diverged[results.schedule == name].all()]
    rates = results.starting_rate
    if PRIMARY_CONTROL in lost:
        raise ValueError(
            f"training must survive at some rate, but {PRIMARY_CONTROL} diverged at every one tried, "
            f"{rates.min():.3g} to {rates.max():.3g}; lower the usual_learning_rate of the workload, or the "
            "learning_rate in the group's settings"
        )
    if len(lost) == len(results.schedules()):
        return dict.fromkeys(lost, float(rates.min()))
    rest = ~np.isin(results.schedule, lost)
    tuned = tune(Results(**{column.name: getattr(results, column.name)[rest] for column in fields(results)}))
    return {name: tuned.get(name, float(rates.min())) for name in results.schedules()}


def at_rates(contenders: Mapping[str, Contender], rates: Sequence[float]) -> list[Configuration]:
    """Return every contender at every rate."""
    return [contender.configuration(name, rate) for name, contender in contenders.items() for rate in rates]
