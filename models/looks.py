"""How often, and how strictly, a comparison may be looked at before all of its seeds are trained.

The error of all looks together is `ALPHA`. It is spent by the function alpha(t) = ALPHA ln(1 + (e - 1) t) of the share
t of the seeds (Lan & DeMets, Biometrika 1983: the spending form of Pocock's equal boundaries), and each look is an
interval of its own at the increment it may spend. By the union bound all intervals hold at once with 1 - ALPHA,
whatever stops the comparison and however the looks are correlated: slightly strict, and no integrals. That is as far
as each t interval holds its level; with five pairs it does not where differences are strongly skewed (a few runs that
nearly diverge, and none of them among the five). A test keeps that limit in view.
"""

from __future__ import annotations

import math
from itertools import pairwise

LOOKS = (5, 10, 20)
ALPHA = 0.05


def level_at(n_seeds: int, looks: tuple[int, ...] = LOOKS) -> float:
    """Return the confidence level of the interval at the look of `n_seeds`.

    Examples
    --------
    >>> [round(level_at(n), 4) for n in LOOKS]
    [0.9821, 0.9869, 0.981]
    """
    require_looks(looks)
    if n_seeds not in looks:
        raise ValueError(
            f"a comparison is looked at after {', '.join(map(str, looks))} paired seeds, got {n_seeds}; "
            f"train up to the next look ({next_look(n_seeds, looks)}) or leave the surplus out"
        )
    place = looks.index(n_seeds)
    before = _spent(looks[place - 1] / looks[-1]) if place else 0.0
    return 1.0 - (_spent(n_seeds / looks[-1]) - before)


def next_look(n_seeds: int, looks: tuple[int, ...] = LOOKS) -> int | None:
    """Return how many paired seeds the look after `n_seeds` needs; None after the last."""
    return next((look for look in looks if look > n_seeds), None)


def require_looks(looks: tuple[int, ...]) -> None:
    """Raise ValueError unless `looks` increase and the first leaves a variance to estimate."""
    if not looks or looks[0] < 2 or any(a >= b for a, b in pairwise(looks)):
        raise ValueError(f"looks must be increasing numbers of seeds from 2 on, got {looks!r}; the default is {LOOKS}")


def _spent(share: float) -> float:
    return ALPHA * math.log1p((math.e - 1.0) * share)
