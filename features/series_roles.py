"""Which logged series of a run is its training loss, its validation loss, its learning rate.

Decided by name, for nothing else tells a loss from an accuracy for sure; the numbers only break ties and rule out what
cannot be. An override names what the rules get wrong.
"""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

import polars as pl

from features.columns import Columns, require_columns
from features.names import has_other_word, has_word, plain_name

Role = Literal["training_loss", "validation_loss", "learning_rate"]

IGNORED: Final = "ignored"
"""As an override: this series has no role, whatever its name says."""

MINIMUM_TRAINING_POINTS: Final = 10
MINIMUM_VALIDATION_POINTS: Final = 5
"""A loss with fewer points is no curve: another series of the run is preferred, whatever the names."""

SERIES_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "key": pl.String,
    "points": pl.Int64,
    "non_finite_points": pl.Int64,
    "minimum": pl.Float64,
    "maximum": pl.Float64,
}

_TRAINING: Final = frozenset({"train", "training", "tr", "fit"})
_VALIDATION: Final = frozenset(
    {"val", "valid", "validation", "eval", "evaluation", "dev", "heldout", "holdout", "devset", "valset"}
)
_TEST: Final = frozenset({"test", "testing", "testset"})
_LOSS: Final = frozenset({"loss", "losses", "logloss", "cost"})
_CRITERION: Final = frozenset(
    {"mse", "rmse", "mae", "nll", "bce", "ce", "crossentropy", "objective", "mlogloss", "reconstruction"}
)
# fmt: off
_NEUTRAL: Final = frozenset({
    "total", "overall", "mean", "avg", "average", "running", "smooth", "smoothed", "ema", "epoch", "epochs", "step",
    "steps", "batch", "batches", "iter", "iteration", "iterations", "per", "model", "full", "combined", "metric",
    "metrics", "log", "nats", "global", "end", "on",
})
# With one of these words a series is about a loss, not a loss: loss_scale, loss_weight, best_val_loss, lr_loss ...
_ABOUT: Final = frozenset({
    "lr", "rate", "scale", "scaler", "scaling", "weight", "weights", "coef", "coeff", "coefficient", "lambda",
    "ratio", "grad", "grads", "gradient", "norm", "std", "var", "variance", "count", "time", "seconds", "patience",
    "best", "min", "max", "minimum", "maximum", "lowest", "final", "last", "initial", "init", "delta", "diff",
    "change", "improvement", "early", "stopping", "stop", "stopped", "threshold", "target", "accuracy", "acc",
})
# fmt: on
_FINE: Final = frozenset({"step", "batch", "iter", "iteration"})

_RATE: Final = r"(?:lr|learning_?rate)"
_OWNER: Final = (
    r"(?:train|training|trainer|optimizer|optim|opt|scheduler|schedule|hyperparameters|hparams|hyper|params|metrics|"
    r"charts|general|current|cur|base|effective|global|model)"
)
_OPTIMIZER: Final = (
    r"(?:adam|adam_?w|adamax|nadam|radam|sgd|rms_?prop|ada_?grad|ada_?delta|adafactor|lamb|lars|lion|muon|asgd|rprop|"
    r"optimizer)"
)
# Rates in order of preference. Anything else with "lr" in its name (lr_loss, learning_rate_error, lr-SGD-momentum,
# log_lr) is no rate.
_RATES: Final = (
    rf"^{_RATE}$",
    rf"^(?:{_OWNER}_)+{_RATE}$|^(?:{_OWNER}_)*{_RATE}_(?:step|epoch|iter|batch)$",
    rf"^(?:{_OWNER}_)*{_RATE}_(?:param_)?(?:group|pg)?_?\d+$|^(?:{_OWNER}_)*{_RATE}_{_OPTIMIZER}(?:_\d+)?(?:_pg_?\d+)?$"
    rf"|^{_OPTIMIZER}_{_RATE}$",
)


# Generous on purpose: the rules may learn to tell a name, but only of what was copied.
_PERHAPS: Final = (
    r"loss|cost|objective|error|perplexity|ppl|mse|rmse|mae|nll|bce|(?:^|_)x?ce(?:_|$)|entropy|elbo|kl|divergence|"
    r"criterion|reconstruction|(?:^|_|[a-z])lrs?(?:_|\d|$)|(?:^|_)(?:lr|eta)|learning_?rate|(?:^|_)(?:step_size|rate)(?:_|$)|"
    r"(?:^|_)epochs?(?:_|$)"
)


def possible_names(keys: Collection[str], overrides: Mapping[str, str] | None = None) -> list[str]:
    """Name those of some metrics that could have a role, by their names alone; in alphabetical order.

    Generous: everything that is named anything like a loss, an error, a rate or an epoch.

    Parameters
    ----------
    keys
        Names of metrics, as they were logged.
    overrides
        Role by the name of a metric or by a glob, or `IGNORED`; comes before every rule.
    """
    names = pl.DataFrame({"key": sorted(set(keys))}, schema={"key": pl.String})
    perhaps = names.filter(plain_name(pl.col("key")).str.contains(_PERHAPS))["key"].to_list()
    said = {key: role for key in names["key"] if (role := _said(key, overrides or {})) is not None}
    return sorted({key for key in perhaps if said.get(key) != IGNORED} | {k for k, r in said.items() if r != IGNORED})


def _said(key: str, overrides: Mapping[str, str]) -> str | None:
    """Return what an override says of a name: the name itself before globs, and globs in their order."""
    if key in overrides:
        return overrides[key]
    return next((role for pattern, role in overrides.items() if fnmatchcase(key, pattern)), None)


def series_roles(series: pl.DataFrame, overrides: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Give each run at most one series for each role.

    Among the series that a name allows: first those long enough to be a curve and not constant, then the better name
    (`train_loss` before `loss` before `train_mse` before `train/box_loss`), then more points, then the alphabet.

    Parameters
    ----------
    series
        One row a series, with `SERIES_COLUMNS`: `points`, `minimum` and `maximum` are of the finite values.
    overrides
        Role by the exact name of a metric, or `IGNORED`; comes before every rule.

    Returns
    -------
    pl.DataFrame
        run_id, key, role, reason; sorted by run_id and role.

    Raises
    ------
    ValueError
        A column is missing, or an override names no role.
    """
    require_columns("series", series, SERIES_COLUMNS)
    overrides = overrides or {}
    for key, role in overrides.items():
        if role not in (*get_args(Role), IGNORED):
            raise ValueError(f"the role of '{key}' must be one of {', '.join(get_args(Role))}, {IGNORED}; got '{role}'")
    ranked = (
        _ranked_names(series.select("key").unique(), overrides)
        .join(series, on="key", how="inner")
        .filter(_possible())
        .with_columns(is_curve=_is_curve())
    )
    return (
        ranked.sort(
            "run_id", "role", "is_curve", "rank", "points", "key", descending=[False, False, True, False, True, False]
        )
        .unique(["run_id", "role"], keep="first", maintain_order=True)
        .select("run_id", "key", "role", "reason")
    )


def _ranked_names(keys: pl.DataFrame, overrides: Mapping[str, str]) -> pl.DataFrame:
    """Rank each name for the one role it can have: key, role, rank (lower is better), reason."""
    said = pl.DataFrame(
        {"key": list(overrides), "said": list(overrides.values())}, schema={"key": pl.String, "said": pl.String}
    )
    name = pl.col("name")
    return (
        keys.join(said, on="key", how="left")
        .with_columns(name=plain_name(pl.col("key")).str.replace_all("cross_entropy", "crossentropy"))
        .with_columns(rate_rank=_rate_rank(name), loss_role=_loss_role(name), loss_rank=_loss_rank(name))
        .with_columns(
            role=pl.coalesce(
                "said", pl.when(pl.col("rate_rank").is_not_null()).then(pl.lit("learning_rate")), "loss_role"
            ),
            rank=pl.when(pl.col("said").is_not_null()).then(-1).otherwise(pl.coalesce("rate_rank", "loss_rank")),
            reason=pl.when(pl.col("said").is_not_null())
            .then(pl.lit("override"))
            .when(pl.col("rate_rank").is_not_null())
            .then(pl.lit("named a learning rate"))
            .otherwise(_loss_reason(name)),
        )
        .filter(pl.col("role").is_not_null(), pl.col("role") != IGNORED)
        .select("key", "role", "rank", "reason")
    )


def _rate_rank(name: pl.Expr) -> pl.Expr:
    return pl.coalesce(
        pl.when(name.str.contains(pattern)).then(pl.lit(rank, pl.Int32)) for rank, pattern in enumerate(_RATES)
    )


def _is_loss(name: pl.Expr) -> pl.Expr:
    return has_word(name, _LOSS | _CRITERION) & ~has_word(name, _ABOUT)


def _loss_role(name: pl.Expr) -> pl.Expr:
    held_out = has_word(name, _VALIDATION | _TEST)
    return pl.when(_is_loss(name)).then(
        pl.when(held_out).then(pl.lit("validation_loss")).otherwise(pl.lit("training_loss"))
    )


def _loss_rank(name: pl.Expr) -> pl.Expr:
    """Whole losses, then error criteria, then parts of a loss; within each, the plainest name first."""
    kind = pl.when(_is_part(name)).then(8).when(_is_criterion(name)).then(4).otherwise(0)
    split_not_named = ~has_word(name, _TRAINING | _VALIDATION)
    # A validation loss of single batches is noisier than its mean, a training loss of single steps says more.
    fine = has_word(name, _VALIDATION | _TEST) & has_word(name, _FINE)
    return (kind + 2 * split_not_named.cast(pl.Int32) + fine.cast(pl.Int32)).cast(pl.Int32)


def _is_criterion(name: pl.Expr) -> pl.Expr:
    return has_word(name, _CRITERION)


def _is_part(name: pl.Expr) -> pl.Expr:
    return has_other_word(name, _LOSS | _CRITERION | _TRAINING | _VALIDATION | _TEST | _NEUTRAL | {"error"})


def _loss_reason(name: pl.Expr) -> pl.Expr:
    return (
        pl.when(_is_part(name))
        .then(pl.lit("part of a loss"))
        .when(has_word(name, _TEST))
        .then(pl.lit("test loss taken as validation loss"))
        .when(_is_criterion(name))
        .then(pl.lit("error criterion"))
        .otherwise(pl.lit("named a loss"))
    )


def _possible() -> pl.Expr:
    """Rule out by its values what is named like a rate and is none: log rates, scores of a model called LR."""
    is_rate = (pl.col("role") == "learning_rate") & (pl.col("reason") != "override")
    return ~is_rate | ((pl.col("points") > 0) & (pl.col("minimum") >= 0) & (pl.col("maximum") > 0))


def _is_curve() -> pl.Expr:
    logged = pl.col("points") + pl.col("non_finite_points")
    varies = ((pl.col("maximum") > pl.col("minimum")) | (pl.col("non_finite_points") > 0)).fill_null(False)
    return (
        pl.when(pl.col("role") == "learning_rate")
        .then(pl.col("points") >= 2)
        .when(pl.col("role") == "validation_loss")
        .then(varies & (logged >= MINIMUM_VALIDATION_POINTS))
        .otherwise(varies & (logged >= MINIMUM_TRAINING_POINTS))
    )
