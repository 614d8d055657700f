"""The series of the public stores, as the plain reader of the tests finds them."""

import math
from collections import defaultdict
from pathlib import Path

import polars as pl

from features.series_roles import SERIES_COLUMNS
from tests.plain_reader import public_stores_read


def public_series(folder: Path) -> pl.DataFrame:
    """One row a series of every store in a folder, its run_id 'STORE/RUN'; series of system metrics are left out."""
    rows = []
    for path, store in public_stores_read(folder):
        series = defaultdict(list)
        for (run, key, *_, value), times in store.points.items():
            series[run, key].extend([float(value)] * times)
        for (run, key), values in series.items():
            finite = [value for value in values if math.isfinite(value)]
            ends = (min(finite), max(finite), all(map(float.is_integer, finite))) if finite else (None, None, None)
            name = path.split("/")[0].split("__")[1]
            rows.append((f"{name}/{run}", key, len(finite), len(values) - len(finite), *ends))
    return pl.DataFrame(rows, schema=SERIES_COLUMNS, orient="row")
