"""How a proof gets its trainings: handed in as a function, and kept account of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from models.results import Results
from models.retraining.job import Configuration


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """Results of some trainings, the mean reporting loss before training, and what they cost."""

    results: Results
    naive_loss: float
    device_seconds: float


class Train(Protocol):
    """Trains every configuration with every seed."""

    def __call__(self, purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> Trainings:
        """Return one row for each configuration and seed; `purpose` is for the reader of a progress bar."""


class Account:
    """Hands trainings on and keeps what they cost and showed.

    Parameters
    ----------
    train
        Does the training.
    spare
        How many trainings may go into what was not planned.
    """

    def __init__(self, train: Train, spare: int) -> None:
        self._train = train
        self.spare = spare
        self.parts: dict[str, list[Results]] = {}
        self.device_seconds = 0.0

    def __call__(self, purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> Trainings:
        """Train, and enter it into the account."""
        made = self._train(purpose, configurations, seeds)
        self.parts.setdefault(purpose, []).append(made.results)
        self.device_seconds += made.device_seconds
        return made

    def spares(self, trainings: int) -> bool:
        """Set aside that many for what was not planned; False, and nothing set aside, where fewer are left."""
        if trainings > self.spare:
            return False
        self.spare -= trainings
        return True

    @property
    def trainings(self) -> int:
        """Number of trainings so far."""
        return sum(len(part) for parts in self.parts.values() for part in parts)
