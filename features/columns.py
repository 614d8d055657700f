"""The columns a feature needs: declared beside it, checked once where a table comes in."""

from collections.abc import Mapping

import polars as pl

Columns = Mapping[str, type[pl.DataType]]
"""Names and types; what else a table holds does not matter."""


def require_columns(what: str, frame: pl.DataFrame, columns: Columns) -> None:
    """Refuse a table that lacks a column or holds it in another type; the message is the difference."""
    missing = [name for name in columns if name not in frame.columns]
    wrong = [
        f"{name} is {frame.schema[name]}, not {kind.__name__}"
        for name, kind in columns.items()
        if name in frame.columns and frame.schema[name] != kind
    ]
    if missing or wrong:
        raise ValueError(
            f"{what} must have the columns {', '.join(columns)}; "
            f"missing: {', '.join(missing) or 'none'}; of another type: {'; '.join(wrong) or 'none'}"
        )
