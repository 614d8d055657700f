"""Params whose text holds further settings: a dict, JSON, the printed form of a torch optimizer."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

# Deeper than this lie data, not settings.
_DEEPEST: Final = 4
_OPTIMIZER: Final = re.compile(r"^\s*([A-Za-z_]\w*)\s*\(\s*Parameter Group 0\s")
_GROUP: Final = re.compile(r"Parameter Group \d+")
_SETTING: Final = re.compile(r"^\s*(\w+): (.+?)\s*$", re.MULTILINE)


def with_nested(params: pl.DataFrame) -> pl.DataFrame:
    """Add the settings inside of params as params of their own, and strip every value.

    `optimizer = {'lr': 0.1, 'betas': [0.9, 0.99]}` adds `optimizer/lr = 0.1` and `optimizer/betas = [0.9, 0.99]`; the
    param itself stays. Text is parsed as JSON or as a Python literal and never evaluated; what is neither (cut off by
    a store's limit, or with objects in it) adds nothing. Each different text is parsed once.

    A printed torch optimizer adds the settings of its first parameter group, without the rate where its groups differ.
    If it says `initial_lr`, which a scheduler writes there, that is the rate, and `scheduler_attached` is added.

    Parameters
    ----------
    params
        run_id, key, value.

    Returns
    -------
    pl.DataFrame
        run_id, key, value.
    """
    stripped = params.select("run_id", "key", pl.col("value").str.strip_chars())
    texts = stripped.select("value").filter(pl.col("value").str.contains(r"^\{|Parameter Group 0")).unique()
    rows = [(text, *inner) for text in texts["value"].to_list() for inner in _inside(text)]
    inner = pl.DataFrame(
        rows, schema={"value": pl.String, "inner_key": pl.String, "inner_value": pl.String}, orient="row"
    )
    added = stripped.join(inner, on="value").select(
        "run_id", key=pl.concat_str("key", "inner_key", separator="/"), value="inner_value"
    )
    return pl.concat([stripped, added])


def _inside(text: str) -> Iterator[tuple[str, str]]:
    if _OPTIMIZER.match(text):
        yield from _optimizer_settings(text)
    elif isinstance(parsed := _parsed(text), Mapping):
        yield from _flat(parsed, depth=1)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _flat(settings: Mapping[Any, Any], *, depth: int) -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            if depth < _DEEPEST:
                yield from ((f"{key}/{inner}", text) for inner, text in _flat(value, depth=depth + 1))
        else:
            yield str(key), str(value).strip()


def _optimizer_settings(text: str) -> Iterator[tuple[str, str]]:
    first, *others = [dict(_SETTING.findall(group)) for group in _GROUP.split(text)[1:]]
    attached = "initial_lr" in first
    if attached:
        yield "scheduler_attached", "True"
    name = "initial_lr" if attached else "lr"
    for key, value in first.items():
        if key not in ("lr", "initial_lr"):
            yield key, value
    if name in first and all(group.get(name) == first[name] for group in others):
        yield "lr", first[name]
