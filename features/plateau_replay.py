"""ReduceLROnPlateau replayed on a logged validation loss, as torch and as Keras run it.

The rule is a recursion, so it goes loss by loss in Python: about 0.1 us a loss; a run has one loss an epoch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Program = Literal["torch", "keras"]


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """The settings of a ReduceLROnPlateau that lowers the rate when a loss (mode "min") stops falling.

    Parameters
    ----------
    rate
        At the start, > 0.
    factor
        In (0, 1).
    patience, cooldown
        Epochs.
    threshold
        torch: share of the best loss (absolute if `absolute`). Keras calls it `min_delta`; it is absolute there.
    low
        No lower rate.
    """

    rate: float
    factor: float
    patience: float
    threshold: float
    cooldown: float
    low: float
    absolute: bool
    program: Program


# torch leaves the rate alone where the change would be smaller.
_LEAST_CHANGE = 1e-8


def replay(plateau: Plateau, losses: Sequence[float]) -> list[float]:
    """Return the rate that each epoch was trained with, which has seen the losses before it: one for each loss.

    torch lowers the rate when more than `patience` epochs in a row were bad, Keras already when `patience` were. The
    first is tested against torch itself, the second by hand.
    """
    return _torch_rates(plateau, losses) if plateau.program == "torch" else _keras_rates(plateau, losses)


def _torch_rates(plateau: Plateau, losses: Sequence[float]) -> list[float]:
    rates, rate, best, bad, cooling = [], plateau.rate, math.inf, 0, 0.0
    for loss in losses:
        rates.append(rate)
        bound = best - plateau.threshold if plateau.absolute else best * (1 - plateau.threshold)
        if loss < bound:
            best, bad = loss, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > plateau.patience:
            lower = max(rate * plateau.factor, plateau.low)
            rate = lower if rate - lower > _LEAST_CHANGE else rate
            cooling, bad = plateau.cooldown, 0
    return rates


def _keras_rates(plateau: Plateau, losses: Sequence[float]) -> list[float]:
    rates, rate, best, waited, cooling = [], plateau.rate, math.inf, 0, 0.0
    for loss in losses:
        rates.append(rate)
        if cooling > 0:
            cooling, waited = cooling - 1, 0
        if loss < best - plateau.threshold:
            best, waited = loss, 0
        elif cooling <= 0:
            waited += 1
            if waited >= plateau.patience and rate > plateau.low:
                rate, cooling, waited = max(rate * plateau.factor, plateau.low), plateau.cooldown, 0
    return rates
