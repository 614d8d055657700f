"""What a run logged, as losses: lower is better, and a training that came to nothing has none at its end."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.training_command import Mode

# Far more than a picture shows; a run of a million steps would not be kept whole for its sake.
MOST_POINTS = 400


class LoggedPoint(NamedTuple):
    """One value of a series; the time in milliseconds since 1970."""

    step: int
    timestamp: int
    value: float


@dataclass(frozen=True, kw_only=True)
class LoggedLoss:
    """A series as losses.

    Parameters
    ----------
    first, last
        The values logged first and last, by step and then by time; None where they are not finite.
    diverged_step
        The step from which on nothing finite was logged; None where the last value is finite. A run that met a NaN and
        recovered has not diverged.
    count
        How many values were logged.
    steps, losses
        At most `MOST_POINTS` of the points, with the first and the last; None where a loss is not finite.
    """

    first: float | None
    last: float | None
    diverged_step: int | None
    count: int
    steps: tuple[int, ...]
    losses: tuple[float | None, ...]


def logged_loss(points: Sequence[LoggedPoint], mode: Mode = "min") -> LoggedLoss:
    """Return a series as losses, negated where the higher value is the better one.

    Raises
    ------
    ValueError
        If there is no point.
    """
    if not points:
        raise ValueError("a logged loss must have a point, got none; ask which series a run has first")
    ordered = sorted(points, key=lambda point: (point.step, point.timestamp))
    sign = 1.0 if mode == "min" else -1.0
    losses = [sign * point.value if _is_finite(point.value) else None for point in ordered]
    kept = _spread(len(losses))
    return LoggedLoss(
        first=losses[0],
        last=losses[-1],
        diverged_step=_diverged_step([point.step for point in ordered], losses),
        count=len(losses),
        steps=tuple(ordered[place].step for place in kept),
        losses=tuple(losses[place] for place in kept),
    )


def _is_finite(value: float) -> bool:
    # A SQL store of MLflow holds the infinities as the largest floats.
    return math.isfinite(value) and abs(value) < sys.float_info.max / 2


def _diverged_step(steps: Sequence[int], losses: Sequence[float | None]) -> int | None:
    if losses[-1] is not None:
        return None
    finite = [place for place, loss in enumerate(losses) if loss is not None]
    return steps[finite[-1] + 1 if finite else 0]


def _spread(count: int) -> list[int]:
    if count <= MOST_POINTS:
        return list(range(count))
    return [round(place * (count - 1) / (MOST_POINTS - 1)) for place in range(MOST_POINTS)]
