"""The smallest share of the full budget at which a preset is as good as tuned cosine at the full budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from greedylr.preset import content_hash
from models.cells import PASSING, Cell, is_decided
from models.comparison import judged_pair
from models.looks import LOOKS
from models.regret import RegretScale
from models.results import Results, concatenate
from models.retraining.job import Configuration
from models.seeds import derive_seeds
from models.training_account import Train

SHARES = (1.0, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
PURPOSE = "budget share"

TrainAtShare = Callable[[float], Train]
"""From a share of the usual steps to what trains that long."""


@dataclass(frozen=True, kw_only=True)
class BudgetShare:
    """What shorter runs of a preset are worth.

    Parameters
    ----------
    smallest
        The smallest share that passes with all above it; None where not even the full budget does.
    cells
        By share, largest first, down to the first that does not pass.
    trainings, device_seconds
        What it cost.
    """

    smallest: float | None
    cells: dict[float, Cell]
    trainings: int
    device_seconds: float


def budget_share(
    train_at: TrainAtShare,
    preset: Configuration,
    control: Configuration,
    scale: RegretScale,
    *,
    attempt: int,
    max_seeds: int = LOOKS[-1],
    shares: Sequence[float] = SHARES,
) -> BudgetShare:
    """Train a preset for shares of the usual steps, each a fresh run with its schedule resolved to that length.

    Shares are tested in a fixed sequence, from the largest down, and testing ends at the first that is not better or
    non-inferior: so each may be tested at the full level, and none is said to pass below one that failed (fixed
    sequence test; Westfall & Krishen, Journal of Statistical Planning and Inference 2001).

    Parameters
    ----------
    train_at
        From a share to what trains so long.
    preset, control
        Each at its tuned rate; the control always has the full budget.
    scale
        Of the workload's regret.
    attempt, max_seeds
        As in `models.proving.Plan`; the seeds are fresh ones, not those of the comparison.
    shares
        In (0, 1].

    Raises
    ------
    ValueError
        For a share that is none, or one so small that the preset's rule could never move the rate.
    """
    if not shares or not all(0 < share <= 1 for share in shares) or len(set(shares)) != len(shares):
        raise ValueError(f"shares of a budget lie in (0, 1], each once, got {tuple(shares)}")
    hashed = content_hash(preset.schedule, preset.learning_rate)
    seeds = derive_seeds("test", hashed, str(attempt), PURPOSE, count=max_seeds)
    trained = _Trained(train_at, control, seeds)
    cells: dict[float, Cell] = {}
    smallest = None
    for share in sorted(shares, reverse=True):
        cells[share] = _cell(trained, preset, share, scale, max_seeds)
        if cells[share].verdict not in PASSING:
            break
        smallest = share
    return BudgetShare(
        smallest=smallest, cells=cells, trainings=trained.trainings, device_seconds=trained.device_seconds
    )


def expected_share(max_seeds: int) -> tuple[int, int]:
    """Return how many trainings a budget share takes at least, and if each share passes at the last look."""
    return 2 * LOOKS[0], (1 + len(SHARES)) * max_seeds


class _Trained:
    """Trainings of all lengths, told apart by their names."""

    def __init__(self, train_at: TrainAtShare, control: Configuration, seeds: Sequence[int]) -> None:
        self._train_at = train_at
        self._seeds = seeds
        self._counts: dict[str, int] = {}
        self._parts: list[Results] = []
        self.control = control
        self.device_seconds = 0.0

    def grow(self, configuration: Configuration, share: float, seeds: int) -> None:
        """Train a configuration up to a number of seeds."""
        there = self._counts.get(configuration.name, 0)
        if there < seeds:
            made = self._train_at(share)(PURPOSE, [configuration], self._seeds[there:seeds])
            self._parts.append(made.results)
            self._counts[configuration.name] = seeds
            self.device_seconds += made.device_seconds

    @property
    def results(self) -> Results:
        return concatenate(self._parts)

    @property
    def trainings(self) -> int:
        return sum(self._counts.values())


def _cell(trained: _Trained, preset: Configuration, share: float, scale: RegretScale, max_seeds: int) -> Cell:
    shorter = replace(preset, name=f"{preset.name} at {100 * share:g} %")
    for look in [look for look in LOOKS if look <= max_seeds]:
        trained.grow(trained.control, 1.0, look)
        trained.grow(shorter, share, look)
        cell = judged_pair(
            trained.results,
            (shorter.name, shorter.learning_rate),
            (trained.control.name, trained.control.learning_rate),
            region="own rate",
            scale=scale,
        )
        if is_decided(cell):
            break
    return cell
