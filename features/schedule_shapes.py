"""Which schedule a logged rate followed, and from which rate, where no param says so."""

import math
from typing import Final

import polars as pl

from features.series_order import begins_late

_MINIMUM_POINTS: Final = 5
CONSTANT: Final = 1.01  # largest / smallest rate
_STEP_LEVELS: Final = 8  # at most so many different rates
_STEP_POINTS: Final = 3  # and at least so many points at each, on average
_FIT: Final = 0.999  # squared correlation


def schedule_shapes(rates: pl.DataFrame) -> pl.DataFrame:
    """Recognise each run's schedule from its logged rate.

    A warm-up is what comes before the highest rate, if that is at least twice the first and reached in the first half
    of the points; the shape is of what comes after. Cosine and linear are told apart by which correlates better with

        linear: 1 - x        cosine: (1 + cos(pi x)) / 2        x = (step - step of the peak) / (end - step of the peak)

    where the end is the planned one; without a plan, the last step. Without a warm-up the peak is at step 0.

    What was resumed shows neither its warm-up nor its peak, and its first rate is its starting one only if the rate is
    constant.

    Parameters
    ----------
    rates
        run_id, step, learning_rate, planned_steps (null where unknown); sorted by run and step.

    Returns
    -------
    pl.DataFrame
        run_id, logged_start (the peak after a warm-up, else the first rate above 0) and logged_peak, both null if the
        rate was resumed and moves; resumed_at (the first step of a rate whose beginning is missing, else null); shape
        ("constant", "linear", "cosine", "step", "other"; null with fewer than 5 points).
    """
    rate = pl.col("learning_rate")
    logged = rates.filter(rate.is_finite(), rate >= 0).select("run_id", "step", "learning_rate", "planned_steps")
    starts = logged.group_by("run_id").agg(
        first=rate.filter(rate > 0).first(),
        lowest=rate.min(),
        peak=rate.max(),
        peak_step=pl.col("step").get(rate.arg_max()),
        peak_share=rate.arg_max() / pl.len(),
        resumed_at=pl.when(begins_late(pl.col("step"))).then(pl.col("step").first()),
        end=pl.max_horizontal(pl.col("step").max(), pl.col("planned_steps").first()),
    )
    warmed_up = (pl.col("peak") >= 2 * pl.col("first")) & (pl.col("peak_share") <= 0.5)
    starts = starts.with_columns(resumed_at=pl.when(~warmed_up.fill_null(False)).then("resumed_at"))
    shown = pl.col("resumed_at").is_null() | (pl.col("peak") <= CONSTANT * pl.col("lowest"))
    starts = starts.with_columns(
        logged_start=pl.when(shown).then(pl.when(warmed_up).then("peak").otherwise("first")),
        logged_peak=pl.when(shown).then("peak"),
        from_step=pl.when(warmed_up).then("peak_step").otherwise(0),
    )
    after = logged.join(starts, on="run_id").filter(pl.col("step") >= pl.col("from_step"))
    shapes = _fits(after).with_columns(shape=_shape()).select("run_id", "shape")
    found = starts.select("run_id", "logged_start", "logged_peak", "resumed_at")
    return found.join(shapes, on="run_id", how="left").sort("run_id")


def _fits(after: pl.DataFrame) -> pl.DataFrame:
    x = (pl.col("step") - pl.col("from_step")) / (pl.col("end") - pl.col("from_step"))
    return (
        after.with_columns(linear=1 - x, cosine=((x * math.pi).cos() + 1) / 2)
        .group_by("run_id")
        .agg(
            points=pl.len(),
            levels=pl.col("learning_rate").n_unique(),
            smallest=pl.col("learning_rate").min(),
            largest=pl.col("learning_rate").max(),
            linear=pl.corr("learning_rate", "linear"),
            cosine=pl.corr("learning_rate", "cosine"),
        )
    )


def _shape() -> pl.Expr:
    linear, cosine = (pl.col(name).fill_nan(0).fill_null(0).clip(0) ** 2 for name in ("linear", "cosine"))
    return (
        pl.when(pl.col("points") < _MINIMUM_POINTS)
        .then(pl.lit(None, dtype=pl.String))
        .when(pl.col("largest") <= CONSTANT * pl.col("smallest"))
        .then(pl.lit("constant"))
        .when((pl.col("levels") <= _STEP_LEVELS) & (pl.col("points") >= _STEP_POINTS * pl.col("levels")))
        .then(pl.lit("step"))
        .when((linear >= _FIT) & (linear >= cosine))
        .then(pl.lit("linear"))
        .when(cosine >= _FIT)
        .then(pl.lit("cosine"))
        .otherwise(pl.lit("other"))
    )
