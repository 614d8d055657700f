"""What the learning rate of a run has done up to now: features of `features.decision_grid`.

All are within one run and look backwards. A rate of 0 has no logarithm and is as good as unknown here.
"""

from typing import Final

import polars as pl

# A mean rate that moved by less stayed where it was: rates are logged with few digits.
LEAST_MOVE: Final = 0.01


def log_rate(rate: pl.Expr) -> pl.Expr:
    """Logarithm of the mean rate of an interval; null where it is unknown or not above 0."""
    return pl.when(rate > 0).then(rate.log())


def relative_rate(rate: pl.Expr, starting_rate: pl.Expr) -> pl.Expr:
    """Logarithm of the mean rate of the interval over the starting rate."""
    return (log_rate(rate) - log_rate(starting_rate)).forward_fill()


def rate_below_peak(rate: pl.Expr) -> pl.Expr:
    """Logarithm of the highest mean rate of an interval so far over this one; 0 at the peak."""
    return (log_rate(rate).cum_max() - log_rate(rate)).forward_fill()


def rate_travelled(rate: pl.Expr) -> pl.Expr:
    """Sum of the absolute ln ratios of the mean rates of successive intervals so far: the authority that was used."""
    return pl.when(log_rate(rate).forward_fill().is_not_null()).then(_moves(rate).abs().fill_null(0).cum_sum())


def since_rate_moved(rate: pl.Expr, interval: pl.Expr, intervals: pl.Expr) -> pl.Expr:
    """Share of the planned run since the mean rate last moved by more than 1 %, or was first seen."""
    known = log_rate(rate)
    first = known.is_not_null() & known.shift().forward_fill().is_null()
    moved = (_moves(rate).abs() > LEAST_MOVE) | first
    return (interval - pl.when(moved).then(interval).forward_fill()) / intervals


def _moves(rate: pl.Expr) -> pl.Expr:
    """Give the log ratio of each known rate to the known one before it."""
    known = log_rate(rate)
    return known - known.forward_fill().shift()
