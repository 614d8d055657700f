"""The schedule that each run's params tell, run by run, as a table."""

import re
from dataclasses import fields
from typing import Final

import polars as pl

from features.columns import Columns, require_columns
from features.declared_schedules import declared_warmup, own_rate, rate_rule
from features.names import plain_name
from features.nested_params import with_nested
from features.rate_rules import Clock, Declared, Length, RateRule, UntoldError

CLOCK_COLUMNS: Final[Columns] = {"run_id": pl.String, "step": pl.Int64, "value": pl.Float64}

_ROUNDED: Final = 0.005  # older versions of transformers log the epoch with two digits
# Names that can matter for a schedule; a run may have hundreds of others.
_TELLING: Final = (
    r"lr|rate|sched|policy|warm|decay|step|epoch|iter|optim|^opt|gamma|t_?max|t_0|t_mult|eta|patience|factor|milest"
    r"|anneal|cycle|plateau|monitor|power|pct|cooldown|threshold|delta|keras|restart|reduce|fastai"
    r"|three_phase|strategy|prefetch|deepspeed|restore|per_device"
)
_RULE_TYPES: Final = {"str": pl.String, "Kind": pl.String, "bool": pl.Boolean, "float": pl.Float64}
_TOLD_SCHEMA: Final = {"run_id": pl.String, "own_rate": pl.String, "warms_up": pl.Boolean, "untold": pl.String} | {
    field.name: _RULE_TYPES.get(str(field.type), pl.List(pl.Float64)) for field in fields(RateRule)
}


def told_schedules(runs: pl.DataFrame, params: pl.DataFrame, epochs: pl.DataFrame) -> pl.DataFrame:
    """Ask for each run's rule.

    Parameters
    ----------
    runs
        run_id, unit, planned_steps, first_step, last_step (of `planned_lengths`), rate (of `declared_settings`),
        logged_start (null where no rate was logged).
    params
        run_id, key, value.
    epochs
        `CLOCK_COLUMNS`: the points of the metric `epoch`.

    Returns
    -------
    pl.DataFrame
        run_id; the fields of `RateRule`, all null where the params do not tell it; why not (untold); own_rate (an
        optimizer that chooses its rate, null else); warms_up (whether a warm-up is declared).
    """
    require_columns("epochs", epochs, CLOCK_COLUMNS)
    clocks = _clocks(epochs)
    by_run = _declared(params)
    rows = []
    for run in runs.iter_rows(named=True):
        declared = by_run.get(run["run_id"], Declared(plain={}, written={}))
        length = Length(
            unit=run["unit"],
            planned=run["planned_steps"] if run["unit"] else None,
            first=run["first_step"] or 0,
            last=run["last_step"] or 0,
            clock=clocks.get(run["run_id"]),
        )
        # A rate logged once is as good as a declared one.
        rate = run["rate"] if run["rate"] is not None else run["logged_start"]
        row = {
            "run_id": run["run_id"],
            "own_rate": own_rate(declared),
            "warms_up": bool(declared_warmup(declared)),
            "untold": None,
        }
        try:
            rows.append(row | vars(rate_rule(declared, rate, length)))
        except UntoldError as error:
            rows.append(row | {"untold": str(error)})
    return pl.DataFrame(rows, schema=_TOLD_SCHEMA)


def _declared(params: pl.DataFrame) -> dict[str, Declared]:
    written = with_nested(params)
    names = written.select("key").unique().with_columns(name=plain_name(pl.col("key")))
    telling = written.join(names.filter(pl.col("name").str.contains(_TELLING)), on="key").sort("run_id", "key")
    by_run = telling.group_by("run_id").agg("name", "key", pl.col("value").fill_null(""))
    return {
        run_id: Declared(plain=dict(zip(names, values, strict=True)), written=_written(keys, values))
        for run_id, names, keys, values in by_run.iter_rows()
    }


def _written(keys: list[str], values: list[str]) -> dict[str, str]:
    """Name each value by its whole key, and by the last part of it where no key is that."""
    last_parts = {re.split(r"[./]", key)[-1]: value for key, value in zip(keys, values, strict=True)}
    return last_parts | dict(zip(keys, values, strict=True))


def _clocks(epochs: pl.DataFrame) -> dict[str, Clock]:
    """Take from each run's metric `epoch` the last point of the first epoch."""
    value = pl.col("value")
    rounded = ((value * 100 - (value * 100).round()).abs() < 1e-6).all()
    within = epochs.filter(value > 0, value <= 1, pl.col("step") > 0).sort("run_id", "value", "step")
    last = within.group_by("run_id").agg(pl.col("step").last(), value.last(), rounded=rounded)
    return {
        run_id: Clock(step=step, epoch=epoch, precision=_ROUNDED if rounded and epoch < 1 else 1e-9)
        for run_id, step, epoch, rounded in last.iter_rows()
    }
