"""Recorded runs of one schedule handed out as anybody's: a preset against itself, through the whole procedure.

Whatever schedule is asked for, the answer is a run of the recorded one at the nearest recorded rate. On test seeds both
sides draw runs of their own, so that no difference is true. On search and reference seeds all draw the same run, as a
schedule and itself would: they share initial weights and data, and so every loss, and are tuned to one rate.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from models.fresh_comparison import TEST
from models.results import Results
from models.retraining.job import Configuration
from models.training_account import Trainings


class RecordedTrainings:
    """A `models.training_account.Train` that draws from recorded runs.

    Parameters
    ----------
    recorded
        Runs of one schedule, at several rates with the same number of seeds.
    naive_loss
        Mean reporting loss before training.
    trial
        Fixes all draws: another trial, other runs.
    """

    def __init__(self, recorded: Results, naive_loss: float, trial: int) -> None:
        (name,) = recorded.schedules()
        rates = recorded.rates(name)
        self._recorded = recorded
        self._logarithms = np.log(rates)
        self._rows = [recorded.rows(name, rate) for rate in rates]
        self._naive_loss = naive_loss
        self._trial = trial

    def __call__(self, purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> Trainings:
        """Return one recorded run for each configuration and seed."""
        asked = [(each, seed) for each in configurations for seed in seeds]
        rows = np.array([self._draw(purpose, each, seed) for each, seed in asked])
        results = Results(
            schedule=np.array([each.name for each, _ in asked]),
            starting_rate=np.array([each.learning_rate for each, _ in asked]),
            seed=np.array([seed for _, seed in asked]),
            selection_loss=self._recorded.selection_loss[rows],
            reporting_loss=self._recorded.reporting_loss[rows],
            diverged=self._recorded.diverged[rows],
        )
        return Trainings(results=results, naive_loss=self._naive_loss, device_seconds=float(len(asked)))

    def _draw(self, purpose: str, configuration: Configuration, seed: int) -> int:
        place = int(np.abs(self._logarithms - np.log(configuration.learning_rate)).argmin())
        side = zlib.crc32(configuration.name.encode()) if purpose == TEST else 0
        drawn = np.random.default_rng([self._trial, place, side, seed]).integers(len(self._rows[place]))
        return int(self._rows[place][drawn])
