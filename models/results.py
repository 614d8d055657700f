"""Results of retraining as columns: one row for each schedule, starting rate and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.regret import has_diverged

# Rates pass through JSON and products such as 0.1 / 9; nobody tries two rates closer than this.
SAME_RATE = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Outcomes of trainings, in the order in which they were trained.

    The order of the seeds is theirs of first appearance: a comparison looks at the first 5, then at the first 10 ...

    Parameters
    ----------
    schedule
        Name of the schedule of each row, (n_rows,).
    starting_rate
        > 0, (n_rows,).
    seed
        (n_rows,); rows of one seed share initial weights and the order of the data, which makes them pairs.
    selection_loss
        The loss that chooses rates and candidates, (n_rows,).
    reporting_loss
        The loss that is reported, on other data, (n_rows,).
    diverged
        (n_rows,); a loss that is not finite has diverged whatever stands here.
    failed
        (n_rows,); could not be trained, which says nothing of the schedule. Its losses mean nothing.

    Raises
    ------
    ValueError
        For columns of different lengths, a rate that is no rate, or a training that stands twice.
    """

    schedule: NDArray[np.str_]
    starting_rate: NDArray[np.float64]
    seed: NDArray[np.int64]
    selection_loss: NDArray[np.float64]
    reporting_loss: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    failed: NDArray[np.bool_] = field(default_factory=lambda: np.array(False))

    def __post_init__(self) -> None:
        kinds: dict[str, type] = {"schedule": np.str_, "seed": np.int64, "diverged": np.bool_, "failed": np.bool_}
        for column in fields(self):
            values: NDArray[Any] = np.array(getattr(self, column.name), dtype=kinds.get(column.name, np.float64))
            if column.name == "failed" and values.ndim == 0:
                values = np.full(len(self.schedule), values)
            values.flags.writeable = False
            object.__setattr__(self, column.name, values)
        _require_one_length({column.name: getattr(self, column.name) for column in fields(self)})
        _require_rates(self.starting_rate)
        _require_unique(self)

    def __len__(self) -> int:
        return len(self.seed)

    def schedules(self) -> list[str]:
        """Return the names of the schedules, in order of first appearance."""
        return list(dict.fromkeys(self.schedule.tolist()))

    def rates(self, schedule: str) -> list[float]:
        """Return the starting rates of a schedule, lowest first."""
        ascending = sorted(set(self.starting_rate[self.schedule == schedule].tolist()))
        return [
            rate for place, rate in enumerate(ascending) if place == 0 or not _same_rate(rate, ascending[place - 1])
        ]

    def rows(self, schedule: str, rate: float) -> NDArray[np.intp]:
        """Return the rows of one schedule at one starting rate, in the order of the seeds.

        Raises
        ------
        ValueError
            If there are none, with what there is.
        """
        found = np.flatnonzero(
            (self.schedule == schedule) & np.isclose(self.starting_rate, rate, rtol=SAME_RATE, atol=0)
        )
        if not len(found):
            known = ", ".join(f"{other:.6g}" for other in self.rates(schedule)) or "no rate at all"
            raise ValueError(
                f"{schedule!r} must have been trained at the starting rate {rate:.6g}, got results at {known}; "
                "train it there or leave that rate out of the comparison"
            )
        order = {seed: place for place, seed in enumerate(dict.fromkeys(self.seed.tolist()))}
        return np.asarray(sorted(found, key=lambda row: order[int(self.seed[row])]), dtype=np.intp)

    def without_failed_seeds(self) -> Results:
        """Return the rows of those seeds with which anything was trained.

        A seed with which nothing was trained is missing to all alike. A training that failed beside others of its seed
        stays, and has diverged: left out, it would be judged by the seeds that suited it.
        """
        kept = np.isin(self.seed, self.seed[~self.failed])
        rows = {column.name: getattr(self, column.name)[kept] for column in fields(self)}
        return Results(**{**rows, "diverged": rows["diverged"] | rows["failed"], "failed": np.zeros(kept.sum(), bool)})

    def has_diverged(self, losses: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows have diverged by their flag or by `losses`."""
        return has_diverged(losses, self.diverged)


def concatenate(parts: Sequence[Results]) -> Results:
    """Return all rows of `parts`, in their order.

    Raises
    ------
    ValueError
        If there is no part, or two hold the same training.
    """
    if not parts:
        raise ValueError("results to concatenate must be at least one table, got none")
    columns: dict[str, Any] = {
        column.name: np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(Results)
    }
    return Results(**columns)


def _same_rate(first: float, second: float) -> bool:
    return abs(first - second) <= SAME_RATE * abs(second)


def _require_one_length(columns: dict[str, NDArray[Any]]) -> None:
    expected = columns["schedule"].shape
    wrong = {name: values.shape for name, values in columns.items() if values.shape != expected or values.ndim != 1}
    if wrong:
        received = ", ".join(f"{name} {shape}" for name, shape in wrong.items())
        raise ValueError(
            f"results must be columns of one length: expected {expected} (schedule), received {received}; "
            "every training is one row in all of them"
        )


def _require_rates(rates: NDArray[np.float64]) -> None:
    wrong = rates[~(np.isfinite(rates) & (rates > 0))]
    if len(wrong):
        raise ValueError(
            f"starting_rate must be finite and > 0, got {wrong[0]!r} among {len(rates)} rows; "
            "a run without a known rate cannot be compared"
        )


def _require_unique(results: Results) -> None:
    seen: set[tuple[str, str, int]] = set()
    for schedule, rate, seed in zip(
        results.schedule.tolist(), results.starting_rate.tolist(), results.seed.tolist(), strict=True
    ):
        key = (schedule, f"{rate:.9e}", seed)
        if key in seen:
            raise ValueError(
                f"a training must stand once in the results, got {schedule!r} at rate {rate:.6g} with seed {seed} "
                "twice; drop one, or keep attempts apart"
            )
        seen.add(key)
