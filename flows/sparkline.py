"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-:=+*#"
NOT_FINITE = "×"
PLAIN_NOT_FINITE = "x"

# A curve whose highest value is this many times its lowest is drawn by its logarithm.
_LOGARITHMIC = 100.0


def sparkline(values: Sequence[float | None], width: int, *, plain: bool = False) -> str:
    """Draw values from left to right, each column the median of its share of them.

    Parameters
    ----------
    values
        In order; None leaves a gap, and what is not finite is a cross.
    width
        The most columns, at least 1.
    plain
        Whether in ASCII, for terminals that know nothing else.
    """
    columns = [_column(values, index, min(width, len(values))) for index in range(min(width, len(values)))]
    finite = [value for value in columns if value is not None and math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    scale = math.log if low > 0 and high > _LOGARITHMIC * low else float
    blocks, cross = (PLAIN, PLAIN_NOT_FINITE) if plain else (BLOCKS, NOT_FINITE)

    def drawn(value: float | None) -> str:
        if value is None:
            return " "
        if not math.isfinite(value):
            return cross
        share = (scale(value) - scale(low)) / (scale(high) - scale(low)) if high > low else 0.0
        return blocks[min(int(share * len(blocks)), len(blocks) - 1)]

    return "".join(map(drawn, columns))


def _column(values: Sequence[float | None], index: int, width: int) -> float | None:
    """Take the median of a column's values; what is not finite counts as the highest."""
    share = values[index * len(values) // width : (index + 1) * len(values) // width]
    known = sorted((math.inf if math.isnan(value) else value) for value in share if value is not None)
    return known[len(known) // 2] if known else None
