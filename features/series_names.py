"""What the name of a metric says: a loss of which split, whole or in part, a rate, an epoch, or none of these.

People name by a few dozen words. `train/box_loss` is of the training split, a loss, and a part of one, for `box` is
none of the words that leave a loss whole.
"""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

import polars as pl

from features.names import count_other_words, has_word, plain_name
from features.series_words import (
    ABOUT,
    EPOCH,
    ERROR_CRITERIA,
    FINE,
    LOSS,
    NEUTRAL,
    NUMBER,
    PLAYERS,
    RATE,
    RATES,
    TEST,
    TRAINING,
    VALIDATION,
)

Role = Literal["training_loss", "validation_loss", "learning_rate", "epoch"]

IGNORED: Final = "ignored"
"""As an override: this series has no role, whatever its name says."""

NAMED_LIKE_NOTHING: Final = "named like no loss, no rate and no epoch"
"""The reason of a series whose name means nothing to us."""

# How sure a role is. Behind each level: of how many labelled names (tests/features/*_labels.csv, each name of a store,
# a library or a script counted once) a person gives the same role, and how many are the very series they would take.
# The lower levels are set below what was counted, for the names that fall into them are few and of many kinds.
SAID: Final = 1.0  # an override
USUAL: Final = 0.95  # a whole loss that names its split; a rate without addition; an epoch: 138 of 138, 136
PLAIN: Final = 0.9  # a whole loss that names no split; the rate of a group or an optimizer: 36 of 36, 31
SUMMED: Final = 0.8  # a part of a loss, summed with the others: 50 of 50
CRITERION: Final = 0.7  # an error criterion where no loss is logged: 9 of 9
STAND_IN: Final = 0.6  # a part alone, a test loss or one of batches for validation, a rate logged once: 14 of 14, 10
ONE_OF_SEVERAL: Final = 0.5  # the first of several folds, loaders or clients: 3 of 3
GUESS: Final = 0.3  # one player's loss of a game of two, an actor's, a measure of something: 12 of 12
ONCE: Final = 0.2  # all that a run has, and logged once: 5 of 9

# Generous on purpose: the rules may learn to tell a name, but only of what was copied.
_PERHAPS: Final = (
    r"loss|cost|objective|error|perplexity|ppl|mse|rmse|mae|nll|bce|(?:^|_)x?ce(?:_|$)|entropy|elbo|kl|divergence|"
    r"criterion|reconstruction|(?:^|_|[a-z])lrs?(?:_|\d|$)|(?:^|_)(?:lr|eta)|learning_?rate|(?:^|_)(?:step_size|rate)(?:_|$)|"
    r"(?:^|_)epochs?(?:_|$)"
)


def could_mean_a_role(key: pl.Expr) -> pl.Expr:
    """Whether a metric is named anything like a loss, an error, a rate or an epoch."""
    return plain_name(key).str.contains(_PERHAPS)


def named_roles(keys: pl.Series, overrides: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Read the one role that each name allows.

    Parameters
    ----------
    keys
        Names of metrics.
    overrides
        Role by the name of a metric or by a glob, or `IGNORED`; comes before every rule.

    Returns
    -------
    pl.DataFrame
        One row a name: key; role, null for none; rank, lower is better; confidence; reason; family, equal for the
        parts of one loss and null for what is never summed; alike, equal for names that only a number, or the group of
        a rate, tells apart.

    Raises
    ------
    ValueError
        An override names no role.
    """
    keys = keys.unique()
    said = said_roles(keys.to_list(), overrides or {})
    said_frame = pl.DataFrame(
        {"key": list(said), "said": list(said.values())}, schema={"key": pl.String, "said": pl.String}
    )
    name = pl.col("name")
    named = (
        pl.DataFrame({"key": keys}, schema={"key": pl.String})
        .join(said_frame, on="key", how="left")
        .with_columns(name=plain_name(pl.col("key")).str.replace_all("cross_entropy", "crossentropy"))
        .with_columns(
            rate_rank=_rate_rank(name),
            is_epoch=name.str.contains(EPOCH),
            is_loss=has_word(name, LOSS | ERROR_CRITERIA) & ~has_word(name, ABOUT),
            says_loss=has_word(name, LOSS),
            held_out=has_word(name, VALIDATION | TEST),
            others=count_other_words(name, LOSS | ERROR_CRITERIA | TRAINING | VALIDATION | TEST | NEUTRAL),
            player=_player(name),
        )
        .with_columns(kind=_kind())
    )
    return named.with_columns(
        role=_role(), rank=_rank(name), confidence=_confidence(name), reason=_reason(name), family=_family(name)
    ).select("key", "role", "rank", "confidence", "reason", "family", alike=_alike(name))


def said_roles(keys: Collection[str], overrides: Mapping[str, str]) -> dict[str, str]:
    """Give what overrides say of some names: an override by the very name before globs, and globs in their order.

    Raises
    ------
    ValueError
        An override names no role.
    """
    for pattern, role in overrides.items():
        if role not in (*get_args(Role), IGNORED):
            known = ", ".join((*get_args(Role), IGNORED))
            raise ValueError(f"the role of '{pattern}' must be one of {known}; got '{role}'")
    said = {}
    for key in keys:
        by_glob = (role for pattern, role in overrides.items() if fnmatchcase(key, pattern))
        if role_of_key := overrides.get(key) or next(by_glob, None):
            said[key] = role_of_key
    return said


def _rate_rank(name: pl.Expr) -> pl.Expr:
    return pl.coalesce(
        pl.when(name.str.contains(pattern)).then(pl.lit(rank, pl.Int32)) for rank, pattern in enumerate(RATES)
    )


def _player(name: pl.Expr) -> pl.Expr:
    return pl.coalesce(
        pl.when(has_word(name, vocabulary)).then(pl.lit(number, pl.Int32))
        for number, (_, vocabulary) in enumerate(PLAYERS)
    )


def _kind() -> pl.Expr:
    """Tell a whole loss, an error criterion, a part of a loss, a player's loss, and a measure with other words."""
    return (
        pl.when(~pl.col("is_loss"))
        .then(None)
        .when(pl.col("player").is_not_null())
        .then(pl.lit("player"))
        .when((pl.col("others") > 0) & pl.col("says_loss"))
        .then(pl.lit("part"))
        .when(pl.col("others") > 0)
        .then(pl.lit("measure"))
        .when(has_word(pl.col("name"), ERROR_CRITERIA))
        .then(pl.lit("criterion"))
        .otherwise(pl.lit("whole"))
    )


def _by_kind(**of: object) -> pl.Expr:
    kinds = pl.coalesce(pl.when(pl.col("kind") == kind).then(pl.lit(value)) for kind, value in of.items())
    return pl.coalesce(kinds)


def _role() -> pl.Expr:
    loss = pl.when(pl.col("held_out")).then(pl.lit("validation_loss")).otherwise(pl.lit("training_loss"))
    return (
        pl.when(pl.col("said") == IGNORED)
        .then(None)
        .when(pl.col("said").is_not_null())
        .then("said")
        .when(pl.col("rate_rank").is_not_null())
        .then(pl.lit("learning_rate"))
        .when("is_epoch")
        .then(pl.lit("epoch"))
        .when("is_loss")
        .then(loss)
    )


def _rank(name: pl.Expr) -> pl.Expr:
    """Whole losses, then error criteria, then parts, players, measures; within each, the plainest name first."""
    kind = _by_kind(whole=0, criterion=100, part=200, player=300, measure=400) + 10 * pl.col("player").fill_null(0)
    split_not_named = ~has_word(name, TRAINING | VALIDATION)
    # A validation loss of single batches is noisier than its mean, a training loss of single steps says more.
    fine = pl.col("held_out") & has_word(name, FINE)
    loss = kind + 4 * split_not_named.cast(pl.Int32) + 2 * fine.cast(pl.Int32) + (pl.col("others") > 1)
    return pl.when(pl.col("said").is_not_null()).then(-1).otherwise(pl.coalesce("rate_rank", loss, 0)).cast(pl.Int32)


def _confidence(name: pl.Expr) -> pl.Expr:
    names_split = has_word(name, TRAINING | VALIDATION)
    stands_in = has_word(name, TEST) | (pl.col("held_out") & has_word(name, FINE))
    loss = (
        pl.when((pl.col("kind") == "whole") & stands_in)
        .then(STAND_IN)
        .when((pl.col("kind") == "whole") & names_split)
        .then(USUAL)
        .otherwise(_by_kind(whole=PLAIN, criterion=CRITERION, part=STAND_IN, player=GUESS, measure=GUESS))
    )
    return (
        pl.when(pl.col("said").is_not_null())
        .then(SAID)
        .when(pl.col("rate_rank").is_not_null())
        .then(pl.when(pl.col("rate_rank") <= 1).then(USUAL).otherwise(PLAIN))
        .when("is_epoch")
        .then(USUAL)
        .otherwise(loss)
    )


def _reason(name: pl.Expr) -> pl.Expr:
    players = pl.coalesce(
        pl.when(pl.col("player") == number).then(pl.lit(text)) for number, (text, _) in enumerate(PLAYERS)
    )
    whole = (
        pl.when(has_word(name, TEST))
        .then(pl.lit("test loss taken as validation loss"))
        .when(pl.col("held_out") & has_word(name, FINE))
        .then(pl.lit("named a loss, of single batches"))
    )
    about = has_word(name, LOSS | ERROR_CRITERIA) | name.str.contains(rf"(?:^|_){RATE}(?:_|$)")
    return (
        pl.when(pl.col("said") == IGNORED)
        .then(pl.lit("ignored in the settings"))
        .when(pl.col("said").is_not_null())
        .then(pl.lit("override"))
        .when(pl.col("rate_rank").is_not_null())
        .then(pl.lit("named a learning rate"))
        .when("is_epoch")
        .then(pl.lit("named an epoch"))
        .when(pl.col("kind") == "player")
        .then(players)
        .when(pl.col("kind") == "part")
        .then(pl.lit("named a part of a loss, of which no other is logged"))
        .when("is_loss")
        .then(
            pl.coalesce(
                whole,
                _by_kind(
                    whole="named a loss",
                    criterion="error criterion",
                    measure="error criterion of something",
                ),
            )
        )
        .when(about)
        .then(pl.lit("named after a loss or a rate, but tells something else of it"))
        .otherwise(pl.lit(NAMED_LIKE_NOTHING))
    )


def _family(name: pl.Expr) -> pl.Expr:
    """Equal for what may be summed: losses by name, of one split, logged as often (by step or by epoch)."""
    split = (
        pl.when(has_word(name, TEST))
        .then(pl.lit("test"))
        .when(has_word(name, VALIDATION))
        .then(pl.lit("validation"))
        .when(has_word(name, TRAINING))
        .then(pl.lit("training"))
        .otherwise(pl.lit(""))
    )
    grain = (
        pl.when(has_word(name, FINE))
        .then(pl.lit(" of steps"))
        .when(has_word(name, frozenset({"epoch", "epochs"})))
        .then(pl.lit(" of epochs"))
        .otherwise(pl.lit(""))
    )
    summable = pl.col("says_loss") & pl.col("kind").is_in(["part", "criterion"])
    said_loss = pl.col("said").is_in(["training_loss", "validation_loss"])
    return (
        pl.when(said_loss)
        .then(pl.lit("said"))
        .when(pl.col("said").is_null() & summable)
        .then(pl.concat_str(split, grain))
    )


def _alike(name: pl.Expr) -> pl.Expr:
    of_group = pl.col("rate_rank") >= 2
    return pl.when(of_group).then(pl.format("rate {}", "rate_rank")).otherwise(name.str.replace_all(NUMBER, "$1#$2"))
