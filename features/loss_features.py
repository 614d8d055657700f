"""What the loss of a run has done up to now: features of `features.decision_grid`, each a function of its columns.

All are within one run and look backwards; an interval that nothing was logged in repeats what was last seen.
"""

from typing import Final

import polars as pl

from features.windows import trailing_slope

# An improvement by less does not end a plateau.
LEAST_IMPROVEMENT: Final = 1e-3


def relative_loss(log_loss: pl.Expr) -> pl.Expr:
    """Logarithm of the median loss of the interval, in units of that of the run's first interval."""
    return log_loss.forward_fill()


def loss_slope(log_loss: pl.Expr, intervals: pl.Expr) -> pl.Expr:
    """Theil-Sen slope of ln(loss) over the last 5 intervals, per run of the planned length; below 0 it falls."""
    return trailing_slope(log_loss, 1 / intervals).forward_fill()


def loss_noise(noise: pl.Expr) -> pl.Expr:
    """Spread of ln(loss) about a line through the points of the last 5 intervals: 1.4826 MAD, a standard deviation."""
    return noise.forward_fill()


def loss_autocorrelation(autocorrelation: pl.Expr) -> pl.Expr:
    """Correlation of these distances from the line with the ones a point before: 0 for white noise."""
    return autocorrelation.forward_fill()


def distance_to_best(log_loss: pl.Expr) -> pl.Expr:
    """ln(loss) above the lowest of all intervals so far; 0 at the best."""
    return (log_loss - log_loss.cum_min()).forward_fill()


def plateau_length(log_loss: pl.Expr, interval: pl.Expr, intervals: pl.Expr) -> pl.Expr:
    """Share of the planned run since the loss last fell below its best by more than 0.001 (relatively)."""
    best_before = log_loss.cum_min().forward_fill().shift()
    improved = (log_loss < best_before - LEAST_IMPROVEMENT) | best_before.is_null() & log_loss.is_not_null()
    return (interval - pl.when(improved).then(interval).forward_fill()) / intervals


def non_finite_share(non_finite_points: pl.Expr, points: pl.Expr) -> pl.Expr:
    """Share of all points so far that were not a number or infinite."""
    logged = points.cum_sum()
    return pl.when(logged > 0).then(non_finite_points.cum_sum() / logged)


def validation_gap(log_validation_loss: pl.Expr, log_loss: pl.Expr) -> pl.Expr:
    """Logarithm of the validation loss, in units of its own beginning, minus that of the training loss."""
    return log_validation_loss.forward_fill() - log_loss.forward_fill()
