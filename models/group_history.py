"""The history of a group as arrays: one row a run, and the points of all runs one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.regret import RegretScale, has_diverged, regret

_TYPES: dict[str, type] = {
    "run_id": np.str_,
    "schedule": np.str_,
    "rate_source": np.str_,
    "diverged": np.bool_,
    "run_index": np.int64,
}
_RUN_COLUMNS = ("run_id", "starting_rate", "schedule", "rate_source", "final_loss", "diverged", "planned_steps")
_POINT_COLUMNS = ("run_index", "position", "training_loss", "learning_rate")

# The first twentieth of a run stands for how it started.
INITIAL_SHARE = 0.05

RATE_SOURCES = ("logged", "rebuilt", "assumed constant", "unknown")
"""Where a run's learning rate may come from. An assumed one is evidence for its start alone, never for a schedule."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupHistory:
    """Past runs of a group; what is unknown is NaN, an unknown schedule is "".

    Parameters
    ----------
    run_id, starting_rate, schedule, rate_source, final_loss, diverged, planned_steps
        Of each run, (n_runs,). `rate_source` is one of `RATE_SOURCES`; `final_loss` is of the validation loss where
        there is one.
    run_index
        Which run a point belongs to, in 0 .. n_runs - 1, (n_points,).
    position
        Share of the run at the point, in [0, 1], (n_points,): of the planned run where the plan is known, else of what
        was seen of it.
    training_loss, learning_rate
        At the point, (n_points,); a loss that is not finite is a divergence, a rate that is not is unknown.

    Raises
    ------
    ValueError
        For columns of different lengths, a rate source that is none, or points of no run or outside [0, 1].
    """

    run_id: NDArray[np.str_]
    starting_rate: NDArray[np.float64]
    schedule: NDArray[np.str_]
    rate_source: NDArray[np.str_]
    final_loss: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    planned_steps: NDArray[np.float64]
    run_index: NDArray[np.int64]
    position: NDArray[np.float64]
    training_loss: NDArray[np.float64]
    learning_rate: NDArray[np.float64]

    def __post_init__(self) -> None:
        for column in fields(self):
            values: NDArray[Any] = np.array(getattr(self, column.name), dtype=_TYPES.get(column.name, np.float64))
            object.__setattr__(self, column.name, values)
        self._require_one_length(_RUN_COLUMNS)
        self._require_one_length(_POINT_COLUMNS)
        self._require_rate_sources()
        self._require_points_of_runs()
        self._sort_points()
        for column in fields(self):
            getattr(self, column.name).flags.writeable = False

    def __len__(self) -> int:
        return len(self.run_id)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Whether each run diverged, by its flag or its final loss, (n_runs,)."""
        return has_diverged(self.final_loss, self.diverged)

    @property
    def has_rate(self) -> NDArray[np.bool_]:
        """Whether each run's starting rate is known, (n_runs,)."""
        return np.asarray(np.isfinite(self.starting_rate) & (self.starting_rate > 0))

    @property
    def has_rate_path(self) -> NDArray[np.bool_]:
        """Whether each run's rate is known on its way, not only where it started, (n_runs,)."""
        return np.isin(self.rate_source, ("logged", "rebuilt"))

    def runs_by_rate_source(self) -> dict[str, int]:
        """Return how many runs each of `RATE_SOURCES` has."""
        return {source: int(np.sum(self.rate_source == source)) for source in RATE_SOURCES}

    def points(self) -> Iterator[tuple[int, slice]]:
        """Yield each run that has points, with the slice of them, ordered by position."""
        runs, starts = np.unique(self.run_index, return_index=True)
        for run, start, end in zip(runs.tolist(), starts.tolist(), [*starts[1:].tolist(), None], strict=False):
            yield run, slice(start, end)

    def scale(self) -> RegretScale | None:
        """Return the group's own scale: from the median loss at the start of its runs down to its best final loss.

        Where the training loss at the start is no measure of the final loss (none logged, or not above it), the worst
        finite final loss stands in. None where all final losses are equal, or there are none.
        """
        finals = self.final_loss[~self.lost]
        if not len(finals):
            return None
        initial = [self._initial_loss(points) for _, points in self.points()]
        known = [loss for loss in initial if np.isfinite(loss)]
        naive = float(np.median(known)) if known else float(finals.max())
        if naive <= np.median(finals):
            naive = float(finals.max())
        reference = float(finals.min())
        return RegretScale(reference=reference, naive=naive) if naive > reference else None

    def final_regret(self) -> NDArray[np.float64] | None:
        """Return the regret of each run's final loss on the group's own scale, (n_runs,); None without a scale."""
        scale = self.scale()
        return None if scale is None else regret(self.final_loss, scale, self.lost)

    def _initial_loss(self, points: slice) -> float:
        positions, losses = self.position[points], self.training_loss[points]
        finite = np.isfinite(losses)
        if not finite.any():
            return float("nan")
        start = finite & (positions <= positions[finite][0] + INITIAL_SHARE)
        return float(np.median(losses[start]))

    def _require_one_length(self, names: tuple[str, ...]) -> None:
        expected = getattr(self, names[0]).shape
        wrong = [f"{name} {getattr(self, name).shape}" for name in names if getattr(self, name).shape != expected]
        if wrong or len(expected) != 1:
            raise ValueError(
                f"columns of a history must have one length: expected {expected} ({names[0]}), received "
                f"{', '.join(wrong) or expected}; give NaN where a value is unknown"
            )

    def _require_rate_sources(self) -> None:
        unheard = sorted(set(self.rate_source.tolist()) - set(RATE_SOURCES))
        if unheard:
            raise ValueError(
                f"rate_source must be one of {', '.join(RATE_SOURCES)}, got {unheard[0]!r}; describe the runs again"
            )

    def _require_points_of_runs(self) -> None:
        outside = (self.run_index < 0) | (self.run_index >= len(self))
        if outside.any():
            raise ValueError(
                f"run_index must point at one of the {len(self)} runs, got {int(self.run_index[outside][0])}; "
                "it counts from 0 in the order of run_id"
            )
        beyond = ~((self.position >= 0) & (self.position <= 1))
        if beyond.any():
            raise ValueError(
                f"position must be a share of the run in [0, 1], got {self.position[beyond][0]!r} in run "
                f"{self.run_id[self.run_index[beyond][0]]!r}; where the plan is unknown give the share of what was seen"
            )

    def _sort_points(self) -> None:
        order = np.lexsort((self.position, self.run_index))
        for name in _POINT_COLUMNS:
            object.__setattr__(self, name, getattr(self, name)[order])
