"""One spelling for the names that people give to metrics and params.

`trainLoss`, `train/loss`, `Train-Loss` and `train loss` are all `train_loss`.
"""

import polars as pl

_GLUED = r"(train|training|val|valid|validation|test|eval|total|mean|avg|epoch|batch)(loss)"


def plain_name(name: pl.Expr) -> pl.Expr:
    """Lower case, words joined by one underscore, nothing else but letters and digits."""
    return (
        name.str.replace_all(r"([a-z0-9])([A-Z])", "${1}_${2}")
        .str.to_lowercase()
        .str.replace_all(r"[^\p{L}\p{N}]+", "_")
        .str.strip_chars("_")
        .str.replace_all(_GLUED, "${1}_${2}")
    )


def words(name: pl.Expr) -> pl.Expr:
    """Give the words of a plain name as a list."""
    return name.str.split("_")


def has_word(name: pl.Expr, vocabulary: frozenset[str]) -> pl.Expr:
    """Whether one of the words of a plain name is in a vocabulary."""
    return words(name).list.eval(pl.element().is_in(sorted(vocabulary))).list.any()


def count_other_words(name: pl.Expr, vocabulary: frozenset[str]) -> pl.Expr:
    """Count the words of a plain name that are outside a vocabulary and no mere numbers."""
    known = pl.element().is_in(sorted(vocabulary)) | pl.element().str.contains(r"^\d+$")
    return words(name).list.eval(~known).list.sum().cast(pl.Int32)
