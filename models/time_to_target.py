"""Seconds to a target loss, with runs that never reach it censored and never dropped.

A method whose steps cost more but lead further is compared by the time that a training takes to reach what is wanted. A
run that diverged, or ended above the target, counts as not having reached it up to the horizon. Of a method's runs

    S(t) = share that has not reached the target by t (Kaplan & Meier 1958),  mean = integral of S from 0 to the horizon

the restricted mean (Royston & Parmar 2013), in which a run that never arrives counts as the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """When the runs of a method reached the target, one a seed.

    Parameters
    ----------
    seconds
        (n_seeds,), > 0 and at most the horizon; where a run did not reach the target, the time up to which that is
        known: the horizon.
    reached
        (n_seeds,).
    """

    seconds: Floats
    reached: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.seconds.ndim != 1 or self.seconds.shape != self.reached.shape or not len(self.seconds):
            raise ValueError(
                f"arrivals must be one of each a seed, got shapes {self.seconds.shape} and {self.reached.shape}"
            )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The restricted means of two methods on the same seeds.

    Parameters
    ----------
    first, second
        Seconds.
    ratio
        second / first: above 1 the first is ahead.
    lower, upper
        95 % interval of the ratio: percentile bootstrap over the seeds, in pairs.
    """

    first: float
    second: float
    ratio: float
    lower: float
    upper: float


def arrival(seconds: Floats, losses: Floats, *, target: float, horizon: float) -> tuple[float, bool]:
    """Return when a run's loss was first at or below the target, and whether it was by the horizon; else the horizon.

    Parameters
    ----------
    seconds, losses
        (n_points,): the time of each look at the loss, rising, and what was seen; a loss that is not finite is no
        arrival.
    target, horizon
        The loss that is wanted, and the time, > 0, after which nobody waits.
    """
    there = np.flatnonzero(np.isfinite(losses) & (losses <= target) & (seconds <= horizon))
    return (float(seconds[there[0]]), True) if len(there) else (horizon, False)


def restricted_mean(arrivals: Arrivals, horizon: float) -> float:
    """Return the mean time to the target, up to the horizon.

    Examples
    --------
    >>> restricted_mean(Arrivals(seconds=np.array([1.0, 3.0, 4.0]), reached=np.array([True, True, False])), 4.0)
    2.6666666666666665
    """
    if not arrivals.reached.any():
        # Without an arrival Kaplan and Meier's estimate stays at 1, for which SciPy has no step.
        return horizon
    survival = stats.ecdf(
        stats.CensoredData(uncensored=arrivals.seconds[arrivals.reached], right=arrivals.seconds[~arrivals.reached])
    ).sf
    steps = survival.quantiles[survival.quantiles < horizon]
    edges = np.concatenate([[0.0], steps, [horizon]])
    heights = np.concatenate([[1.0], survival.evaluate(steps)])
    return float(np.sum(heights * np.diff(edges)))


def compare(first: Arrivals, second: Arrivals, *, horizon: float, seed: int) -> Comparison:
    """Return how two methods compare, whose runs are pairs by their place.

    Parameters
    ----------
    first, second
        Of one length, at least 2.
    horizon
        > 0, the same for both.
    seed
        Of the resampling.

    Raises
    ------
    ValueError
        If the runs are no pairs.
    """
    if len(first.seconds) != len(second.seconds) or len(first.seconds) < 2:
        raise ValueError(
            f"arrivals to compare must be at least two pairs, got {len(first.seconds)} and {len(second.seconds)}; "
            "train both with the same seeds"
        )

    def ratio(places: NDArray[np.int64]) -> float:
        means = [
            restricted_mean(Arrivals(seconds=each.seconds[places], reached=each.reached[places]), horizon)
            for each in (first, second)
        ]
        return means[1] / means[0]

    everyone = np.arange(len(first.seconds))
    low, high = stats.bootstrap(
        (everyone,),
        ratio,
        vectorized=False,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Comparison(
        first=restricted_mean(first, horizon),
        second=restricted_mean(second, horizon),
        ratio=ratio(everyone),
        lower=float(low),
        upper=float(high),
    )
