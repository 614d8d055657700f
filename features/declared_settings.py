"""What a run's params declare: optimizer, starting rate, schedule, length. People spell them in many ways."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from features.columns import Columns, require_columns
from features.names import plain_name
from features.nested_params import with_nested

PARAM_COLUMNS: Final[Columns] = {"run_id": pl.String, "key": pl.String, "value": pl.String}

_INSIDE: Final = (
    r"(?:(?:train|training|trainer|training_args|optimizer|optim|opt|solver|scheduler|hparams|hyperparameters|hyper|"
    r"params|config|cfg|args|model|general|run)_)*"
)
_KIND: Final = r"(?:_(?:name|type|class|class_name|target|func|fn|cls))?"
_RATE: Final = r"(?:lr|learning_?rate)"

# Patterns of plain names in order of preference.
_OPTIMIZER_NAMES: Final = (
    rf"^(?:optimizer|optimiser|optim|opt){_KIND}$",
    rf"^{_INSIDE}(?:optimizer|optim|opt){_KIND}$",
)
_RATE_NAMES: Final = (
    rf"^{_RATE}$",
    rf"^(?:base|initial|init|start|starting|peak|max)_{_RATE}$|^{_RATE}_?(?:init|initial|base|start|peak|max|0)$",
    rf"^{_INSIDE}{_RATE}$",
    rf"^{_INSIDE}(?:base|initial|init|start|starting|peak|max)_{_RATE}$|^eta_?0$",
)
_SCHEDULE: Final = r"(?:(?:lr|learning_?rate)_?)?(?:scheduler|schedule|sched)|(?:lr|learning_?rate)_policy"
_SCHEDULE_NAMES: Final = (rf"^(?:{_SCHEDULE}){_KIND}$", rf"^{_INSIDE}(?:{_SCHEDULE}){_KIND}$")
_COUNT: Final = (
    r"(?:(?:total|max|maximum|num|n|nb|number_of|train|training|num_train|num_training|max_train|total_train|"
    r"total_training)_)?"
)
_STEPS_NAMES: Final = (rf"^{_INSIDE}{_COUNT}(?:steps|iters|iter|iterations|updates)$",)
_EPOCHS_NAMES: Final = (rf"^{_INSIDE}{_COUNT}(?:epochs|epoch)$",)

# In this order: `adamw_torch_fused` is AdamW, not Adam, and SGD with momentum is SGD.
# fmt: off
_OPTIMIZERS: Final = (
    "schedulefree", "adafactor", "adabelief", "adadelta", "novograd", "rmsprop", "adagrad", "shampoo", "prodigy",
    "sophia", "adamax", "sparseadam", "adamw", "nadam", "radam", "rprop", "lbfgs", "adam", "muon", "yogi", "ftrl",
    "asgd", "sgd", "lion", "lamb", "lars", "adan", "nesterov", "momentum",
)
# fmt: on
_WHOLE_WORDS: Final = ("lion", "lamb", "lars", "adan")  # a lambda is no LAMB
_SCHEDULES: Final = (
    ("greedylr", r"greedy"),
    ("one-cycle", r"one_?cycle|1_?cycle"),
    ("plateau", r"plateau"),
    ("wsd", r"wsd|stable_?decay"),
    ("inverse-square-root", r"inv(erse)?_?(sqrt|square)|rsqrt|noam"),
    ("cosine", r"cos"),
    ("polynomial", r"poly"),
    ("exponential", r"expon"),
    ("step", r"step"),
    ("linear", r"linear"),
    # `None` may be what was never filled in.
    ("constant", r"const|^false$|^fixed$|^off$|^no$"),
)
_NO_NAME: Final = ("true", "false", "none", "null", "nan", "auto", "default", "yes", "no")


def declared_settings(params: pl.DataFrame) -> pl.DataFrame:
    """Read what the params declare.

    Settings inside of a param's text, such as a dict's, count as its own (`features.nested_params`).

    Parameters
    ----------
    params
        `PARAM_COLUMNS`.

    Returns
    -------
    pl.DataFrame
        One row a run that has params: run_id, optimizer, rate (finite and above 0), schedule, steps, epochs (above 0);
        null where nothing usable is declared. Names are lower case; known optimizers and schedules have one spelling.
    """
    require_columns("params", params, PARAM_COLUMNS)
    params = with_nested(params)
    keys = params.select("key").unique().with_columns(name=plain_name(pl.col("key")))
    named = params.join(keys, on="key")
    settings = params.select("run_id").unique().sort("run_id")
    for setting, patterns, value in (
        ("optimizer", _OPTIMIZER_NAMES, _optimizer(pl.col("value"))),
        ("rate", _RATE_NAMES, _positive(pl.col("value"))),
        ("schedule", _SCHEDULE_NAMES, _schedule(pl.col("value"))),
        ("steps", _STEPS_NAMES, _count(pl.col("value"))),
        ("epochs", _EPOCHS_NAMES, _count(pl.col("value"))),
    ):
        settings = settings.join(_best(named, patterns, value.alias(setting)), on="run_id", how="left")
    return settings.sort("run_id")


def _best(named: pl.DataFrame, patterns: Sequence[str], value: pl.Expr) -> pl.DataFrame:
    """Take a run's first usable value by the order of the patterns, then the shorter name, then the alphabet."""
    rank = pl.coalesce(
        pl.when(pl.col("name").str.contains(pattern)).then(pl.lit(rank, pl.Int32))
        for rank, pattern in enumerate(patterns)
    )
    return (
        named.with_columns(rank=rank)
        .filter(pl.col("rank").is_not_null())
        .select("run_id", "key", "rank", value)
        .drop_nulls()
        .sort("run_id", "rank", pl.col("key").str.len_chars(), "key")
        .unique("run_id", keep="first", maintain_order=True)
        .drop("key", "rank")
    )


def _optimizer(value: pl.Expr) -> pl.Expr:
    text = value.str.to_lowercase().str.replace_all("_", "")
    known = pl.coalesce(
        pl.when(text.str.contains(rf"\b{name}\b" if name in _WHOLE_WORDS else name)).then(pl.lit(name))
        for name in _OPTIMIZERS
    )
    return pl.coalesce(known, _own_name(value))


def _schedule(value: pl.Expr) -> pl.Expr:
    text = plain_name(value)
    known = pl.coalesce(pl.when(text.str.contains(pattern)).then(pl.lit(name)) for name, pattern in _SCHEDULES)
    return pl.coalesce(known, _own_name(value))


def _own_name(value: pl.Expr) -> pl.Expr:
    """Keep an unknown name as it is if it looks like one."""
    name = value.str.strip_chars().str.to_lowercase()
    is_name = name.str.contains(r"^[a-z][a-z0-9_.+-]{1,30}$") & ~name.is_in(_NO_NAME)
    return pl.when(is_name).then(name)


def _positive(value: pl.Expr) -> pl.Expr:
    number = value.str.strip_chars(" []()").str.strip_chars_end(",").cast(pl.Float64, strict=False)
    return pl.when(number.is_finite() & (number > 0)).then(number)


def _count(value: pl.Expr) -> pl.Expr:
    number = _positive(value)
    return pl.when((number >= 1) & (number < 2**53)).then(number.round()).cast(pl.Int64)
