"""What is measured over a window: robust slope, noise about a line, correlation from point to point.

A window ends with the moment that it belongs to and never looks ahead.
"""

from itertools import combinations
from typing import Final

import polars as pl

WINDOW: Final = 5  # intervals: an eighth of a run of 40
NORMAL_DEVIATION: Final = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
# Residuals of a line that fits exactly are rounding, and rounding has no correlation.
ROUNDING: Final = 1e-9


def line_residual(value: pl.Expr, at: pl.Expr) -> pl.Expr:
    """Return what a least-squares line leaves of the values of a window.

        residual = y - mean(y) - b (x - mean(x)),    b = sum (x - mean(x)) (y - mean(y)) / sum (x - mean(x))^2

    where b is 0 if all x are equal.
    """
    x = at.cast(pl.Float64) - at.mean()
    y = value - value.mean()
    spread = (x * x).sum()
    return y - pl.when(spread > 0).then((x * y).sum() / spread).otherwise(0.0) * x


def scaled_deviation(value: pl.Expr) -> pl.Expr:
    """Return 1.4826 x median |value - median|: the standard deviation of normal values, not moved by outliers."""
    return NORMAL_DEVIATION * (value - value.median()).abs().median()


def lag_correlation(value: pl.Expr) -> pl.Expr:
    """Return the correlation of the values of a window with those before them, in [-1, 1]; null where there is none."""
    correlation = pl.corr(value, value.shift())
    return pl.when(value.abs().max() > ROUNDING, correlation.is_finite()).then(correlation.clip(-1, 1))


def trailing_slope(value: pl.Expr, spacing: pl.Expr) -> pl.Expr:
    """Return the Theil-Sen slope over the last `WINDOW` intervals: the median of the slopes between all their pairs.

    Intervals without a value are left out; null with fewer than two. One outlier among five values does not move it by
    more than to the next of the ten slopes.

    Parameters
    ----------
    value
        One an interval, in order.
    spacing
        Distance between two intervals, in the unit that the slope is per.
    """
    slopes = [
        (value.shift(late) - value.shift(early)) / ((early - late) * spacing)
        for late, early in combinations(range(WINDOW), 2)
    ]
    return pl.concat_list(slopes).list.drop_nulls().list.median()
