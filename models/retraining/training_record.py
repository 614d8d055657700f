"""What is kept of the training of some replicas, and its curves made short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEVER = -1

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """The training of n replicas that share a seed.

    Parameters
    ----------
    losses, rates
        (total_steps, n): training loss and rate of each step, NaN after the step at which a replica diverged.
    diverged_step
        (n,): the first step whose loss, or whose new weights, were not finite and could not be restored; `total_steps`
        where only the final evaluation was not finite; `NEVER` where none.
    selection_loss, reporting_loss
        (n,): at the end; NaN where diverged.
    """

    losses: Floats
    rates: Floats
    diverged_step: NDArray[np.int64]
    selection_loss: Floats
    reporting_loss: Floats

    @classmethod
    def of(
        cls, *, losses: Floats, rates: Floats, diverged_step: NDArray[np.int64], selection: Floats, reporting: Floats
    ) -> TrainingRecord:
        """Return a record with what came after a divergence taken out, and a final evaluation that failed entered."""
        total_steps = len(losses)
        failed_at_end = (diverged_step == NEVER) & ~(np.isfinite(selection) & np.isfinite(reporting))
        diverged_step = np.where(failed_at_end, total_steps, diverged_step)
        diverged = diverged_step != NEVER
        over = diverged & (np.arange(total_steps)[:, None] > diverged_step)
        return cls(
            losses=np.where(over, np.nan, losses),
            rates=np.where(over, np.nan, rates),
            diverged_step=diverged_step,
            selection_loss=np.where(diverged, np.nan, selection),
            reporting_loss=np.where(diverged, np.nan, reporting),
        )


def first_failures(failed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the first step at which each replica failed, (total_steps, n) -> (n,); `NEVER` where none."""
    return np.where(failed.any(axis=0), failed.argmax(axis=0), NEVER)


def joined(records: Sequence[TrainingRecord]) -> TrainingRecord:
    """Return one record of all the replicas, in order."""
    return TrainingRecord(
        losses=np.concatenate([record.losses for record in records], axis=1),
        rates=np.concatenate([record.rates for record in records], axis=1),
        diverged_step=np.concatenate([record.diverged_step for record in records]),
        selection_loss=np.concatenate([record.selection_loss for record in records]),
        reporting_loss=np.concatenate([record.reporting_loss for record in records]),
    )


def reordered(record: TrainingRecord, places: Sequence[int]) -> TrainingRecord:
    """Return the record with replica number i at `places[i]`, a permutation of 0 .. n - 1."""
    order = np.argsort(np.asarray(places))
    return TrainingRecord(
        losses=record.losses[:, order],
        rates=record.rates[:, order],
        diverged_step=record.diverged_step[order],
        selection_loss=record.selection_loss[order],
        reporting_loss=record.reporting_loss[order],
    )


def curve_bounds(total_steps: int, points: int) -> NDArray[np.int64]:
    """Return the first steps of the intervals of a short curve, with `total_steps` at the end."""
    return np.unique(np.linspace(0, total_steps, min(points, total_steps) + 1).round().astype(np.int64))


def shortened(series: Floats, bounds: NDArray[np.int64]) -> Floats:
    """Return the means of the finite values of each interval, (total_steps, n) -> (points, n); NaN where none is."""
    finite = np.isfinite(series)
    sums = np.add.reduceat(np.where(finite, series, 0.0), bounds[:-1], axis=0)
    counts = np.add.reduceat(finite.astype(np.int64), bounds[:-1], axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
