"""Told schedules as rates along the curves: by formula, or replayed loss by loss."""

from typing import Final

import polars as pl

from features.plateau_replay import Plateau, replay
from features.rate_formulas import FORMULAS

_SAME: Final = 0.02  # a rebuilt rate must meet a single logged point this closely


def rebuilt_rates(trajectories: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """Work out the rates of the runs whose schedule is told.

    Parameters
    ----------
    trajectories
        run_id, step, validation_loss, learning_rate; sorted by run.
    told
        run_id and the fields of `RateRule`: of `told_schedules`.

    Returns
    -------
    pl.DataFrame
        row (of trajectories, from 0), run_id, built (the rate; null where it cannot be told), apart (whether a rate was
        logged there that differs).
    """
    # Rows and runs as integers: joining millions of rows by strings costs several times as much.
    runs = trajectories["run_id"].rle().struct.unnest().select(run_id="value").with_row_index("run")
    rules = runs.join(told.filter(pl.col("kind").is_not_null()), on="run_id")
    points = trajectories.select(
        pl.row_index("row"), "step", "validation_loss", "learning_rate", run=pl.col("run_id").rle_id()
    )
    columns = {"row": pl.UInt32, "run": pl.UInt32, "built": pl.Float64, "learning_rate": pl.Float64}
    built = [_by_kind(kind, of_kind, points) for (kind,), of_kind in rules.partition_by("kind", as_dict=True).items()]
    rates = pl.concat([pl.DataFrame(schema=columns), *(frame.select(*columns) for frame in built)])
    apart = (pl.col("learning_rate") - pl.col("built")).abs() > _SAME * pl.col("learning_rate")
    return rates.join(runs, on="run").select("row", "run_id", "built", apart=apart.fill_null(False))


def _by_kind(kind: object, rules: pl.DataFrame, points: pl.DataFrame) -> pl.DataFrame:
    t = pl.col("step") - pl.col("offset")
    if kind not in FORMULAS:
        replayed = points.join(rules, on="run", maintain_order="left").with_columns(t=t).partition_by("run")
        return pl.concat([_replayed(run) for run in replayed])
    formula = FORMULAS[str(kind)]()
    needed = {"run", "offset", "from_step", *formula.meta.root_names()} - {"t"}
    known = pl.when(pl.col("step") >= pl.col("from_step"))
    # What is logged at step 0 of steps that count from 1 comes before the first update, which it shares the rate with.
    return (
        points.drop("validation_loss")
        .join(rules.select(sorted(needed)), on="run")
        .with_columns(t=t.clip(lower_bound=0))
        .with_columns(built=known.then(formula))
    )


def _replayed(run: pl.DataFrame) -> pl.DataFrame:
    """Replay the plateau where each epoch has one validation loss; nothing where one is missing."""
    rule = run.row(0, named=True)
    t, losses = run["t"], run["validation_loss"]
    # The last epoch may still lack its loss: it was trained with what the losses before gave.
    if losses.head(-1).null_count() or not (t == pl.Series(range(len(t)))).all():
        return run.with_columns(built=pl.lit(None, dtype=pl.Float64))
    plateau = Plateau(
        rate=rule["rate"],
        factor=rule["gamma"],
        patience=rule["patience"],
        threshold=rule["threshold"],
        cooldown=rule["cooldown"],
        low=rule["low"],
        absolute=rule["absolute"],
        program="keras" if rule["kind"] == "keras_plateau" else "torch",
    )
    return run.with_columns(built=pl.Series(replay(plateau, losses.fill_null(float("nan")).to_list())))
