"""Regret: a loss on a scale where 0 is the best known result and 1 is having learned nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class RegretScale:
    """The two losses of a workload that fix its scale of regret.

    Parameters
    ----------
    reference
        L_ref, the best known result; from seeds that serve nothing else.
    naive
        L_naive, the loss of the constant predictor or before training; above `reference`.

    Raises
    ------
    ValueError
        If the two leave no scale.
    """

    reference: float
    naive: float

    def __post_init__(self) -> None:
        for name in ("reference", "naive"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(
                    f"the {name} loss of a regret must be finite, got {getattr(self, name)!r}; "
                    "take it from runs that did not diverge"
                )
        if self.naive <= self.reference:
            raise ValueError(
                f"the naive loss must lie above the reference loss, got naive {self.naive!r} and reference "
                f"{self.reference!r}; if training does not beat the constant predictor, the workload needs another "
                "starting rate or more steps before anything can be compared on it"
            )


def regret(loss: ArrayLike, scale: RegretScale, diverged: ArrayLike = False) -> NDArray[np.float64]:
    """Return (L - L_ref) / (L_naive - L_ref), at most 1; 1 where the run diverged or its loss is not finite.

    Clipped from above only: a result better than the best known one has a negative regret.

    Parameters
    ----------
    loss, diverged
        Of any one shape, or `diverged` a single flag.

    Examples
    --------
    >>> regret([1.0, 2.0, 9.0, float("nan")], RegretScale(reference=1.0, naive=3.0)).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    values = np.asarray(loss, dtype=np.float64)
    lost = has_diverged(values, diverged)
    finite = np.where(lost, scale.naive, values)
    return np.asarray(np.minimum((finite - scale.reference) / (scale.naive - scale.reference), 1.0))


def has_diverged(loss: ArrayLike, flagged: ArrayLike = False) -> NDArray[np.bool_]:
    """Return where a run is flagged as diverged, or has a loss that is not finite."""
    return np.asarray(np.asarray(flagged, dtype=np.bool_) | ~np.isfinite(np.asarray(loss, dtype=np.float64)))
