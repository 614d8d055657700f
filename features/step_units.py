"""One axis for the series of a run: batches, epochs and numbers in time are told apart and brought together."""

from typing import Final

import polars as pl

from features.series_order import EPOCH, TRAINING, VALIDATION

# A loss with fewer points does not set the axis where another series is longer.
_CURVE: Final = 10
_MOST: Final = 0.9
# Steps that run this many times faster than the reference, and end this many times further, are counted differently.
_OTHER_UNIT: Final = 4.0
# A logged epoch tells steps from epochs where they end at least this many times further.
_STEPS_AN_EPOCH: Final = 2.0


def on_one_axis(points: pl.DataFrame, series: pl.DataFrame, numbered: pl.Series) -> pl.DataFrame:
    """Move the series of a run that count in another unit than its reference to the reference's steps.

    The reference is the first of its roles with at least 10 points, else the longest series. Another unit is counted by
    a series

    - whose steps are epochs where the reference's are batches, or the other way round, as the logged epoch says;
    - whose step is its number in time, where the reference's is not, or is of another length;
    - whose steps end 4 times further (or less far) and run 4 times faster (or slower);
    - of one point outside the reference's steps, for one point has no unit that could be told;
    - of a validation loss that counts the batches of its passes, as it shows where a training loss or a rate, too short
      to be a curve, was further on before nearly every one of its points.

    A moved point gets the reference's last step in its epoch, where an epoch was logged; else the reference's step at
    its time. Of several points at one step the last stands.

    Parameters
    ----------
    points
        `SERIES_POINTS`, each step of a series once.
    series
        `SERIES_TABLE`.
    numbered
        The series whose steps are numbers in time.

    Returns
    -------
    pl.DataFrame
        series, step, value; without the epoch.
    """
    shapes = _shapes(points, series, numbered)
    # The logged epoch is an axis and no curve.
    epochs, curves = shapes.filter(pl.col("role") == EPOCH), shapes.filter(pl.col("role") != EPOCH)
    if curves["run"].n_unique() == curves.height and epochs.is_empty():
        return points.select("series", "step", "value")
    passes = _passes(points, curves)
    reference = _references(curves.filter(~pl.col("series").is_in(passes.implode())))
    compared = curves.join(reference, on="run", suffix="_reference").join(_clocks(epochs), on="run", how="left")
    in_passes = pl.col("series").is_in(passes.implode())
    compared = compared.with_columns(by_epoch=_by_epoch() & ~in_passes).with_columns(
        other=pl.col("by_epoch") | _other_unit() | in_passes
    )
    stays = compared.filter(~pl.col("other"))["series"]
    kept = points if stays.len() == shapes.height else points.filter(pl.col("series").is_in(stays.implode()))
    kept = kept.select("series", "step", "value")
    others = compared.filter("other").with_columns(batches=pl.col("last_reference") > pl.col("epochs") + 1)
    if others.is_empty():
        return kept
    return pl.concat([kept, _moved(points, others)])


def _shapes(points: pl.DataFrame, series: pl.DataFrame, numbered: pl.Series) -> pl.DataFrame:
    step, time = pl.col("step"), pl.col("timestamp")
    shapes = points.group_by("series").agg(
        length=pl.len(),
        first=step.min(),
        last=step.max(),
        time=time.max() - time.min(),
        most=pl.col("value").max(),
    )
    return shapes.join(series.select("series", "run", "role"), on="series").with_columns(
        steps=pl.col("last") - pl.col("first"), numbered=pl.col("series").is_in(numbered.implode())
    )


def _passes(points: pl.DataFrame, curves: pl.DataFrame) -> pl.Series:
    """Find the validation losses that were logged batch after batch while the training stood still."""
    none = pl.Series(dtype=pl.UInt32)
    trained = curves.filter(pl.col("role") == TRAINING, pl.col("length") >= _CURVE)
    alone = curves.join(trained, on="run", how="anti")
    validations = alone.filter(pl.col("role") == VALIDATION, pl.col("length") >= _CURVE)
    clocks = alone.filter(pl.col("role") != VALIDATION).join(validations, on="run", how="semi")
    if clocks.is_empty():
        return none
    clock = _of(points, clocks.select("run", "series")).select("run", at="timestamp", to="step")
    validated = _of(points, validations.select("run", "series")).with_columns(at="timestamp")
    behind = (
        _placed(validated, clock).group_by("series").agg(share=(pl.col("step") < pl.col("to")).fill_null(False).mean())
    )
    return behind.filter(pl.col("share") >= _MOST)["series"]


def _references(curves: pl.DataFrame) -> pl.DataFrame:
    short = pl.col("length") < _CURVE
    length = pl.when(short).then(pl.col("length")).otherwise(_CURVE)
    ordered = curves.sort("run", length, "role", "series", descending=[False, True, False, False])
    return ordered.unique("run", keep="first", maintain_order=True)


def _clocks(epochs: pl.DataFrame) -> pl.DataFrame:
    """Keep the logged epochs that tell batches from epochs."""
    tells = (
        pl.col("most").is_finite() & (pl.col("last") >= _STEPS_AN_EPOCH * (pl.col("most") + 1)) & (pl.col("length") > 1)
    )
    return epochs.filter(tells).select(
        "run", epoch_series="series", epochs=pl.col("most"), clock_time=pl.col("time"), clock_last=pl.col("last")
    )


def _by_epoch() -> pl.Expr:
    """Say whether a series counts epochs where the reference counts batches, or the other way round."""

    def in_epochs(suffix: str) -> pl.Expr:
        # What stopped early ends at a low step in any unit.
        whole = pl.col(f"time{suffix}") >= pl.col("clock_time") / 2
        return (pl.col(f"last{suffix}") <= pl.col("epochs") + 1) & whole & ~pl.col(f"numbered{suffix}")

    def in_batches(suffix: str) -> pl.Expr:
        return (pl.col(f"last{suffix}") > pl.col("epochs") + 1) & ~pl.col(f"numbered{suffix}")

    one_of_each = (in_epochs("") & in_batches("_reference")) | (in_batches("") & in_epochs("_reference"))
    return one_of_each.fill_null(False)


def _other_unit() -> pl.Expr:
    is_reference = pl.col("series") == pl.col("series_reference")
    numbered_alone = pl.col("numbered") != pl.col("numbered_reference")
    numbered_apart = (
        pl.col("numbered") & pl.col("numbered_reference") & (pl.col("length") != pl.col("length_reference"))
    )
    further = pl.col("last").clip(1) / pl.col("last_reference").clip(1)
    faster = (pl.col("steps") / pl.col("time").clip(1)) / (pl.col("steps_reference") / pl.col("time_reference").clip(1))
    counted_apart = _far_from_one(further) & _far_from_one(faster)
    inside = (pl.col("last") > pl.col("first_reference")) & (pl.col("last") <= pl.col("last_reference"))
    alone = (pl.col("length") == 1) & ~inside
    is_curve = pl.col("length_reference") > 1
    return is_curve & ~is_reference & (alone | numbered_alone | numbered_apart | counted_apart)


def _far_from_one(ratio: pl.Expr) -> pl.Expr:
    return (ratio > _OTHER_UNIT) | (ratio < 1 / _OTHER_UNIT)


def _moved(points: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Give each point of the others a step of its reference; of several at one step the last stands."""
    reference = _of(points, others.select("run", series="series_reference").unique())
    clock = _of(points, others.filter("by_epoch").select("run", series="epoch_series").unique())
    moving = _of(points, others.select("run", "series", "by_epoch", "batches"))
    in_batches = _placed(
        moving.filter("by_epoch", "batches").with_columns(at=pl.col("step").cast(pl.Float64)),
        clock.select("run", at="value", to="step"),
    )
    in_epochs = _placed(
        moving.filter("by_epoch", ~pl.col("batches")).with_columns(at="step"),
        clock.select("run", at="step", to=pl.col("value").floor().cast(pl.Int64, strict=False)),
    )
    by_epoch = pl.concat([in_batches, in_epochs]).with_columns(at="to").drop("to")
    by_time = moving.filter(~pl.col("by_epoch")).with_columns(at="timestamp")
    first = reference.group_by("run").agg(first_step=pl.col("step").min())
    placed = pl.concat(
        [
            _placed(by_epoch.select(by_time.columns), reference.select("run", at="step", to="step")),
            _placed(by_time, reference.select("run", at="timestamp", to="step")),
        ]
    )
    return (
        placed.join(first, on="run")
        .sort("series", "timestamp", "step")
        .with_columns(step=pl.coalesce("to", "first_step"))
        .unique(["series", "step"], keep="last", maintain_order=True)
        .select("series", "step", "value")
    )


def _of(points: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    return points.filter(pl.col("series").is_in(chosen["series"].unique().implode())).join(chosen, on="series")


def _placed(moving: pl.DataFrame, axis: pl.DataFrame) -> pl.DataFrame:
    """Look up `at` on an axis of its run: `to` is of the last entry at or before it, null where there is none."""
    return (
        moving.filter(pl.col("at").is_not_null())
        .sort("at")
        .join_asof(axis.sort("at", "to"), on="at", by="run", strategy="backward", check_sortedness=False)
        .drop("at")
    )
