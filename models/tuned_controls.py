"""The controls of a workload, frozen before anything is compared: each one's tuned rate, and the scale of regret."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from greedylr.schedules import PRIMARY_CONTROL, Schedule
from models.common_grid import tuned_on_grid, tuned_rates
from models.contenders import Contender
from models.regret import RegretScale
from models.retraining.job import Configuration
from models.seeds import derive_seeds
from models.training_account import Account
from models.tuning import rate_grid

SEARCH_SEEDS = 7
TUNING_SEEDS = 3
REFERENCE_SEEDS = 3
BROAD_POINTS = 9
BROAD_SEEDS = 2
TUNING_POINTS = 5


@dataclass(frozen=True, kw_only=True)
class TunedControls:
    """What a comparison needs to know of the controls.

    Parameters
    ----------
    contenders, rates
        Of each control: what it is, and its tuned rate.
    grid
        The rates that each of them tried, and that the preset will.
    scale
        Of regret, from reference seeds.
    """

    contenders: Mapping[str, Contender]
    rates: Mapping[str, float]
    grid: tuple[float, ...]
    scale: RegretScale

    @property
    def base_rate(self) -> float:
        """Tuned rate of the primary control, around which starting rates are laid."""
        return self.rates[PRIMARY_CONTROL]


def tuned_controls(train: Account, controls: Mapping[str, Contender], usual_rate: float, group: str) -> TunedControls:
    """Tune the controls on search seeds and take the scale of regret on reference seeds.

    The primary control is tuned on a broad grid around `usual_rate` first; around its rate lies the grid of all.

    Parameters
    ----------
    train
        Does the training.
    controls
        With the primary control among them.
    usual_rate
        > 0, a rate near which the workload trains.
    group
        Seeds are derived from it.

    Raises
    ------
    ValueError
        If the primary control survives at no rate, or training does not beat the untrained workload.
    """
    search = search_seeds(group)
    primary = {PRIMARY_CONTROL: controls[PRIMARY_CONTROL]}
    broad, _ = tuned_on_grid(train, "broad tuning", primary, rate_grid(usual_rate, BROAD_POINTS), search[:BROAD_SEEDS])
    grid = rate_grid(broad[PRIMARY_CONTROL], TUNING_POINTS)
    rates, grid = tuned_on_grid(train, "tuning", controls, grid, search[:TUNING_SEEDS])
    scale = _scale(train, controls, rates, derive_seeds("reference", group, count=REFERENCE_SEEDS))
    return TunedControls(contenders=dict(controls), rates=rates, grid=tuple(grid), scale=scale)


def tuned_like_controls(
    train: Account, name: str, schedule_at: Callable[[float], Schedule], grid: Sequence[float], group: str
) -> float:
    """Return the rate of a schedule that has as many trials for it as each control had, at the same rates.

    The grid is not extended for its sake: where its best rate lies on the edge, that is to its disadvantage.

    Parameters
    ----------
    train, name, grid, group
        What trains, what it is called, the controls' rates, and whose search seeds are taken.
    schedule_at
        The schedule that would start from a rate.
    """
    configurations = [Configuration(name=name, schedule=schedule_at(rate), learning_rate=rate) for rate in grid]
    made = train("tuning", configurations, search_seeds(group)[:TUNING_SEEDS])
    return tuned_rates(made.results)[name]


def search_seeds(group: str) -> list[int]:
    """Return the seeds of a group on which rates are tuned and candidates raced."""
    return derive_seeds("search", group, count=SEARCH_SEEDS)


def expected_tuning(controls: int, *, presets: int = 1) -> int:
    """Return how many trainings the tuning of so many controls and presets takes, and the scale's references.

    Grids that have to be extended come on top: three trainings for each schedule and rate.
    """
    tuning = BROAD_POINTS * BROAD_SEEDS + (controls + presets) * TUNING_POINTS * TUNING_SEEDS
    return tuning + controls * REFERENCE_SEEDS


def _scale(
    train: Account, controls: Mapping[str, Contender], rates: Mapping[str, float], seeds: Sequence[int]
) -> RegretScale:
    configurations = [controls[name].configuration(name, rate) for name, rate in rates.items()]
    made = train("reference", configurations, seeds)
    results = made.results.without_failed_seeds()
    losses = [
        float(np.mean(loss))
        for name, rate in rates.items()
        if np.isfinite(loss := results.reporting_loss[results.rows(name, rate)]).all()
    ]
    if not losses:
        raise ValueError(
            "a reference needs a control that survives at its tuned rate with every reference seed, got none of "
            f"{len(rates)}; the workload is unstable near its best rates"
        )
    return RegretScale(reference=min(losses), naive=made.naive_loss)
