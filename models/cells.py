"""One cell of a comparison: paired regret differences in, an interval and a verdict out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from greedylr.verdict import MARGIN, CellVerdict, Interval
from models.looks import LOOKS, level_at, next_look

Region = Literal["too low", "near", "too high", "own rate"]
REGIONS: tuple[Region, ...] = ("too low", "near", "too high", "own rate")

PASSING: tuple[CellVerdict, ...] = ("better", "non-inferior")

# "1 %" of the prototypes' lenient rule: one hundredth of regret, which zero and negative losses have too.
LENIENT_MARGIN = 0.01


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the paired differences of a cell say; negative means less regret than the control.

    Parameters
    ----------
    difference
        Mean of the paired regret differences.
    interval
        Its confidence interval, at the level of the look that was reached.
    seeds
        Pairs behind it.
    verdict
        The verdict of the interval.
    lenient
        Whether the prototypes' rule passes it: mean difference at most max(1 %, 2 standard errors).
    """

    difference: float
    interval: Interval
    seeds: int
    verdict: CellVerdict
    lenient: bool


@dataclass(frozen=True, kw_only=True)
class Cell(Judgement):
    """A judged pair of schedules on one workload.

    Parameters
    ----------
    control
        What the schedule is compared with.
    region
        Where the starting rate lies: a multiple of cosine's tuned rate, or each schedule's own rate.
    starting_rate, control_rate
        Of the schedule, and of the control; equal but for "own rate".
    only_preset_diverged, only_control_diverged, both_diverged
        Pairs of which one or both diverged. Two diverged tie: their difference is 0.
    failed
        Pairs of which one or both could not be trained. They are missing, but where only the preset's could not, and
        it would profit: then they count as diverged (`models.comparison.judged_pair`).
    """

    control: str
    region: Region
    starting_rate: float
    control_rate: float
    only_preset_diverged: int
    only_control_diverged: int
    both_diverged: int
    failed: int


def region_of(multiple: float) -> Region:
    """Return the region of a starting rate that is `multiple` times cosine's tuned rate."""
    if multiple == 1:
        return "near"
    return "too low" if multiple < 1 else "too high"


def t_interval(differences: ArrayLike, level: float) -> Interval:
    """Return the two-sided t interval of a mean.

    Differences that are all equal leave no variance: the interval is their point, and all ties are exactly [0, 0],
    which is non-inferior. Such pairs come from schedules that do the same (all diverged, or the same rates), where
    more seeds would not say more.

    Parameters
    ----------
    differences
        (n_seeds,), finite, at least two.
    level
        In (0, 1).
    """
    values = _require_differences(differences)
    mean = float(values.mean())
    if np.all(values == values[0]):
        return Interval(lower=float(values[0]), upper=float(values[0]), level=level)
    half_width = _quantile(len(values), level) * _standard_error(values)
    return Interval(lower=mean - half_width, upper=mean + half_width, level=level)


def judge(differences: ArrayLike, *, margin: float = MARGIN, looks: tuple[int, ...] = LOOKS) -> Judgement:
    """Return the judgement at the first look that decides, or else at the last look there are pairs for.

    Later pairs do not revise a look that decided, so that a verdict does not depend on how many seeds were trained for
    the sake of other cells.

    Parameters
    ----------
    differences
        Paired regret differences in the order of the seeds, (n_seeds,); as many as one of the looks has.
    margin
        > 0, of non-inferiority.
    looks
        Numbers of pairs, increasing.

    Raises
    ------
    ValueError
        If the number of pairs is none of the looks.
    """
    values = _require_differences(differences)
    level_at(len(values), looks)
    reached = [look for look in looks if look <= len(values)]
    for look in reached:
        judgement = _judge_once(values[:look], level_at(look, looks), margin)
        if is_decided(judgement, margin):
            return judgement
    return judgement


def judge_what_is_left(differences: ArrayLike, *, margin: float = MARGIN, looks: tuple[int, ...] = LOOKS) -> Judgement:
    """Return the judgement where some pairs could not be trained: at the last look for which enough are left.

    With fewer than the first look needs it is undecided, whatever they say. Its interval is then [-1, 1], from a
    control that diverged where the preset is as good as the reference, to the opposite.

    Parameters
    ----------
    differences
        Of the pairs that were trained, in the order of the seeds, (n_pairs,); there may be none.
    """
    values = np.asarray(differences, dtype=np.float64)
    if reached := [look for look in looks if look <= len(values)]:
        return judge(values[: reached[-1]], margin=margin, looks=looks)
    return Judgement(
        difference=float(values.mean()) if len(values) else 0.0,
        interval=Interval(lower=-1.0, upper=1.0, level=level_at(looks[0], looks)),
        seeds=len(values),
        verdict="undecided",
        lenient=False,
    )


def is_decided(judgement: Judgement, margin: float = MARGIN) -> bool:
    """Return whether more seeds are not worth training.

    "better" and "worse" decide. "non-inferior" does where its interval excludes a gain beyond the margin as well;
    stopping at any non-inferior look would have missed a gain of twice the spread of pairs in 15 of 100 comparisons.
    """
    if judgement.verdict == "non-inferior":
        return judgement.interval.lower > -margin
    return judgement.verdict != "undecided"


def false_verdicts(differences: NDArray[np.float64], *, margin: float = MARGIN, looks: tuple[int, ...] = LOOKS) -> int:
    """Return how many trials of the whole procedure end "better" or "worse".

    With differences whose mean is zero (a preset against itself, or recorded differences with random signs) every one
    of them is false, and about 5 in 100 are allowed.

    Parameters
    ----------
    differences
        (n_trials, n_seeds), n_seeds one of the looks.
    """
    verdicts = [judge(trial, margin=margin, looks=looks).verdict for trial in differences]
    return sum(verdict in ("better", "worse") for verdict in verdicts)


def sign_flipped(differences: ArrayLike, trials: int, seed: int, n_seeds: int = LOOKS[-1]) -> NDArray[np.float64]:
    """Return trials of a preset against itself made from recorded paired differences: drawn anew, with random signs.

    Parameters
    ----------
    differences
        Recorded paired regret differences, any number of them.
    trials, n_seeds
        Shape of the result, (trials, n_seeds).
    seed
        Of the draw.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.choice(_require_differences(differences), size=(trials, n_seeds))
    return np.asarray(drawn * generator.choice([-1.0, 1.0], size=drawn.shape))


def needs_more_seeds(judgement: Judgement, *, margin: float = MARGIN, looks: tuple[int, ...] = LOOKS) -> int | None:
    """Return how many pairs the next look at this cell needs; None where it is decided, or this was the last look."""
    return None if is_decided(judgement, margin) else next_look(judgement.seeds, looks)


def _judge_once(values: NDArray[np.float64], level: float, margin: float) -> Judgement:
    interval = t_interval(values, level)
    mean = float(values.mean())
    return Judgement(
        difference=mean,
        interval=interval,
        seeds=len(values),
        verdict=interval.verdict(margin),
        lenient=mean <= max(LENIENT_MARGIN, 2.0 * _standard_error(values)),
    )


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


@lru_cache(maxsize=64)
def _quantile(count: int, level: float) -> float:
    return float(stats.t.ppf((1.0 + level) / 2.0, df=count - 1))


def _require_differences(differences: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"paired differences must be at least two finite numbers in one dimension, got shape {values.shape} with "
            f"{int(np.sum(~np.isfinite(values)))} not finite; a diverged run has the regret 1, not NaN"
        )
    return values
