"""The learning rate of every run: logged, rebuilt from its params, assumed constant, or unknown.

Few runs log their rate. Where it is missing it is rebuilt if the params tell the schedule whole; the mark says which.
"""

import re
from dataclasses import fields
from typing import Final, Literal, NamedTuple

import polars as pl

from features.columns import Columns, require_columns
from features.declared_schedules import declared_warmup, own_rate, rate_rule
from features.declared_settings import declared_settings
from features.names import plain_name
from features.nested_params import with_nested
from features.planned_lengths import planned_lengths
from features.plateau_replay import Plateau, replay
from features.rate_formulas import FORMULAS
from features.rate_rules import Clock, Declared, Length, RateRule, UntoldError
from features.schedule_shapes import schedule_shapes
from features.trajectories import TRAJECTORY_COLUMNS

RateSource = Literal["logged", "rebuilt", "assumed constant", "unknown"]

RATE_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "rate_source": pl.String,
    "rate_reason": pl.String,
    "starting_rate": pl.Float64,
    "schedule": pl.String,
}
RUN_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "source_id": pl.String,
    "experiment_id": pl.String,
    "status": pl.String,
}
CLOCK_COLUMNS: Final[Columns] = {"run_id": pl.String, "step": pl.Int64, "value": pl.Float64}

_MINIMUM_LOGGED: Final = 2  # one point is no series: it says as much as a param does
_AGREES: Final = 0.1  # a declared rate is the logged one up to this share: the first may be logged a little late
_SAME: Final = 0.02  # a rebuilt rate must meet a single logged point this closely
_ROUNDED: Final = 0.005  # older versions of transformers log the epoch with two digits
# Names that can matter for a schedule; a run may have hundreds of others.
_TELLING: Final = (
    r"lr|rate|sched|policy|warm|decay|step|epoch|iter|optim|^opt|gamma|t_?max|t_0|t_mult|eta|patience|factor|milest"
    r"|anneal|cycle|plateau|monitor|power|pct|cooldown|threshold|delta|keras|restart|reduce|fastai|three_phase|strategy|prefetch"
)


class LearningRates(NamedTuple):
    """Trajectories with the rates filled in, and one row a run with `RATE_COLUMNS`."""

    trajectories: pl.DataFrame
    runs: pl.DataFrame


def learning_rates(
    runs: pl.DataFrame, params: pl.DataFrame, trajectories: pl.DataFrame, epochs: pl.DataFrame | None = None
) -> LearningRates:
    """Say where each run's rate comes from, and fill it in where it is not logged.

    - logged: at least two points of the rate are logged. They stay as they are, and stand before every param; where a
      param says otherwise, the reason does so.
    - rebuilt: the params tell the whole schedule (`features.declared_schedules`), or declare it constant.
    - assumed constant: a rate is declared (or logged once), and there is no sign of a schedule, neither in the params
      nor in another run of the experiment, whose logged rate moves. This is a guess, so it names no `schedule`.
    - unknown: the rest; `rate_reason` says why. The declared rate may still be the starting one.

    starting_rate: as declared where what was logged agrees within a tenth or nothing was; else the first logged rate
    above 0, or the peak where the rate warms up (at any length if a param declares a warm-up).

    schedule: as declared; else as recognised from the logged rate, which wins where the two exclude each other.

    Cost: a pass of Polars over the points for each kind of schedule; params run by run; a plateau is replayed loss by
    loss, about 0.2 us each.

    Parameters
    ----------
    runs
        `RUN_COLUMNS`.
    params
        run_id, key, value.
    trajectories
        `TRAJECTORY_COLUMNS`, sorted by run and position.
    epochs
        `CLOCK_COLUMNS`: the points of the metric `epoch`, by which a Trainer's number of steps is known.
    """
    require_columns("runs", runs, RUN_COLUMNS)
    require_columns("trajectories", trajectories, TRAJECTORY_COLUMNS)
    settings = declared_settings(params)
    plans = planned_lengths(runs, settings, trajectories)
    logged = _logged(trajectories, plans)
    known = plans.join(settings.drop("steps", "epochs"), on="run_id", how="left", maintain_order="left").join(
        logged, on="run_id", how="left", maintain_order="left"
    )
    told = _told(known, params, _clocks(epochs))
    points = _rebuilt(trajectories, told, known)
    rules = told.select("run_id", "own_rate", "warms_up", "untold", "kind", "reason", "assumed", rule_rate="rate")
    fits = points.group_by("run_id").agg(
        contradicted=pl.col("apart").any(), rebuilds=pl.col("built").is_not_null().any()
    )
    marks = _marked(
        known.join(_siblings(runs, logged), on="run_id", how="left", maintain_order="left")
        .join(rules, on="run_id", how="left", maintain_order="left")
        .join(fits, on="run_id", how="left", maintain_order="left")
        .with_columns(pl.col("contradicted").fill_null(False))
    )
    return LearningRates(_filled(trajectories, points, marks), marks.select(*RATE_COLUMNS))


def _logged(trajectories: pl.DataFrame, plans: pl.DataFrame) -> pl.DataFrame:
    """Describe the logged rates: run_id, logged_points, logged_start, logged_peak, shape."""
    rates = trajectories.filter(pl.col("learning_rate").is_finite())
    counts = rates.group_by("run_id").agg(logged_points=pl.len())
    shapes = schedule_shapes(rates.join(plans.select("run_id", "planned_steps"), on="run_id", maintain_order="left"))
    return counts.join(shapes, on="run_id", how="left")


def _siblings(runs: pl.DataFrame, logged: pl.DataFrame) -> pl.DataFrame:
    """Say of each run whether a logged rate moves in its experiment: run_id, sibling_moves."""
    moves = ((pl.col("logged_points") >= _MINIMUM_LOGGED) & (pl.col("shape") != "constant")).fill_null(False)
    return (
        runs.select("run_id", "source_id", "experiment_id")
        .join(logged, on="run_id", how="left", maintain_order="left")
        .select("run_id", sibling_moves=moves.any().over("source_id", "experiment_id"))
    )


def _clocks(epochs: pl.DataFrame | None) -> dict[str, Clock]:
    """Take from each run's metric `epoch` the last point of the first epoch, where it counts in fractions."""
    if epochs is None:
        return {}
    require_columns("epochs", epochs, CLOCK_COLUMNS)
    value = pl.col("value")
    rounded = ((value * 100 - (value * 100).round()).abs() < 1e-6).all()
    within = epochs.filter(value > 0, value <= 1, pl.col("step") > 0).sort("run_id", "value", "step")
    last = within.group_by("run_id").agg(pl.col("step").last(), value.last(), rounded=rounded)
    return {
        run_id: Clock(step=step, epoch=epoch, precision=_ROUNDED if rounded and epoch < 1 else 1e-9)
        for run_id, step, epoch, rounded in last.iter_rows()
    }


def _told(known: pl.DataFrame, params: pl.DataFrame, clocks: dict[str, Clock]) -> pl.DataFrame:
    """Ask for each run's rule: the fields of `RateRule`, or none and `untold`; `own_rate` names such an optimizer."""
    written = with_nested(params)
    names = written.select("key").unique().with_columns(name=plain_name(pl.col("key")))
    telling = written.join(names.filter(pl.col("name").str.contains(_TELLING)), on="key").sort("run_id", "key")
    by_run = {
        run_id: (dict(zip(name, value, strict=True)), dict(zip(key, value, strict=True)))
        for run_id, name, key, value in telling.group_by("run_id")
        .agg("name", "key", pl.col("value").fill_null(""))
        .iter_rows()
    }
    rows = []
    for run in known.iter_rows(named=True):
        plain, keys = by_run.get(run["run_id"], ({}, {}))
        last_parts = {re.split(r"[./]", key)[-1]: value for key, value in keys.items()}
        declared = Declared(plain=plain, written=last_parts | keys)
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


_RULE_TYPES: Final = {"str": pl.String, "Kind": pl.String, "bool": pl.Boolean, "float": pl.Float64}
_TOLD_SCHEMA: Final = {"run_id": pl.String, "own_rate": pl.String, "warms_up": pl.Boolean, "untold": pl.String} | {
    field.name: _RULE_TYPES.get(str(field.type), pl.List(pl.Float64)) for field in fields(RateRule)
}


def _rebuilt(trajectories: pl.DataFrame, told: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Work out the rates of all runs that did not log them: row (of trajectories), run_id, built, apart (from the log).

    Rows and runs as integers: joining millions of rows by strings costs several times as much.
    """
    quiet = known.filter(pl.col("logged_points").fill_null(0) < _MINIMUM_LOGGED).select("run_id")
    runs = trajectories["run_id"].rle().struct.unnest().select(run_id="value").with_row_index("run")
    rules = runs.join(told.filter(pl.col("kind").is_not_null()), on="run_id").join(quiet, on="run_id", how="semi")
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


_FAMILIES: Final = {
    "constant": "constant",
    "ultralytics_linear": "linear",
    "ultralytics_cosine": "cosine",
    "torch_one_cycle": "one-cycle",
}


def _marked(known: pl.DataFrame) -> pl.DataFrame:
    logged = (pl.col("logged_points") >= _MINIMUM_LOGGED).fill_null(False)
    told = pl.col("kind").is_not_null() & ~pl.col("contradicted") & pl.col("rebuilds").fill_null(False)
    refuted = pl.col("assumed") & pl.col("sibling_moves")
    source = (
        pl.when(logged)
        .then(pl.lit("logged"))
        .when(told & ~pl.col("assumed"))
        .then(pl.lit("rebuilt"))
        .when(told & ~refuted)
        .then(pl.lit("assumed constant"))
        .otherwise(pl.lit("unknown"))
    )
    return (
        known.with_columns(
            rate_source=source,
            declared_rate=pl.when(pl.col("own_rate").is_null()).then("rate"),
            logged_start=pl.when("warms_up").then("logged_peak").otherwise("logged_start"),
        )
        .with_columns(
            other_rate=((pl.col("rate") / pl.col("logged_start") - 1).abs() > _AGREES).fill_null(False),
            other_schedule=_excluded(pl.col("schedule"), pl.col("shape")),
        )
        .with_columns(rate_reason=_reason(), starting_rate=_starting_rate(), schedule=_schedule())
        .select(*RATE_COLUMNS)
    )


def _excluded(declared: pl.Expr, shape: pl.Expr) -> pl.Expr:
    """Whether a logged rate cannot be of the declared schedule: shapes are recognised roughly, so only where sure."""
    return (
        ((declared == "constant") & (shape != "constant"))
        | (declared.is_in(["linear", "cosine", "exponential"]) & (shape == "constant"))
        | ((declared == "linear") & (shape == "cosine"))
        | ((declared == "cosine") & (shape == "linear"))
    ).fill_null(False)


def _starting_rate() -> pl.Expr:
    source, declared = pl.col("rate_source"), pl.col("declared_rate")
    agreed = pl.when(pl.col("other_rate") | declared.is_null()).then("logged_start").otherwise(declared)
    return (
        pl.when(source == "logged")
        .then(agreed)
        .when(source.is_in(["rebuilt", "assumed constant"]))
        .then("rule_rate")
        .when(~pl.col("contradicted"))
        .then(pl.coalesce(declared, "logged_start"))
    )


def _schedule() -> pl.Expr:
    source, declared = pl.col("rate_source"), pl.col("schedule")
    return (
        pl.when(source == "logged")
        .then(pl.when("other_schedule").then("shape").otherwise(pl.coalesce(declared, "shape")))
        .when(source == "rebuilt")
        .then(pl.coalesce(declared, pl.col("kind").replace_strict(_FAMILIES, default=None, return_dtype=pl.String)))
        .when(source == "unknown")
        .then(declared)
    )


def _reason() -> pl.Expr:
    source = pl.col("rate_source")
    rate = pl.format("; a param says {}, the log {}: the log stands", "rate", "logged_start")
    shape = pl.format("; a param says {}, the log {}: the log stands", "schedule", "shape")
    logged = pl.concat_str(
        pl.format("{} points logged", "logged_points"),
        pl.when("other_rate").then(rate).otherwise(pl.lit("")),
        pl.when("other_schedule").then(shape).otherwise(pl.lit("")),
    )
    return (
        pl.when(source == "logged")
        .then(logged)
        .when((source == "assumed constant") & pl.col("rate").is_null())
        .then(pl.lit("a rate was logged once, and there is no sign of a schedule"))
        .when(source.is_in(["rebuilt", "assumed constant"]))
        .then("reason")
        .when("contradicted")
        .then(pl.format("{} was logged once, which {} does not give", "logged_start", "reason"))
        .when(pl.col("untold").is_not_null())
        .then("untold")
        .when(pl.col("assumed") & pl.col("sibling_moves"))
        .then(pl.lit("no schedule is declared, but in a run of this experiment that logs it the rate moves"))
        .when(pl.col("kind").is_in(["torch_plateau", "keras_plateau"]))
        .then(pl.lit("a plateau is replayed only where every epoch has one validation loss"))
        .otherwise(pl.lit("the run has no curve"))
    )


def _filled(trajectories: pl.DataFrame, points: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    standing = marks.filter(pl.col("rate_source").is_in(["rebuilt", "assumed constant"])).select("run_id")
    built = points.join(standing, on="run_id", how="semi").select("row", "built")
    return (
        trajectories.with_row_index("row")
        .join(built, on="row", how="left", maintain_order="left")
        .with_columns(learning_rate=pl.coalesce("learning_rate", "built"))
        .select(trajectories.columns)
    )
