"""The series of the public stores, by a reader that shares nothing with ours."""

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from features.series_roles import SERIES_COLUMNS


def public_series(folder: Path) -> pl.DataFrame:
    """One row a series of every store in a folder, its run_id 'STORE/RUN'; series of system metrics are left out."""
    rows = []
    for run, key, values in [*_of_databases(folder), *_of_files(folder)]:
        finite = [value for value in values if math.isfinite(value)]
        if values and not key.startswith("system/"):
            ends = (min(finite), max(finite), all(map(float.is_integer, finite))) if finite else (None, None, None)
            rows.append((run, key, len(finite), len(values) - len(finite), *ends))
    return pl.DataFrame(rows, schema=SERIES_COLUMNS, orient="row")


def _of_databases(folder: Path) -> Iterator[tuple[str, str, list[float]]]:
    for path in sorted(folder.rglob("*.db")):
        series = defaultdict(list)
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as connection:
            tables = {name for (name,) in connection.execute("select name from sqlite_master")}
            if "metrics" in tables:
                for run, key, value, is_nan in connection.execute("select run_uuid, key, value, is_nan from metrics"):
                    series[run, key].append(math.nan if is_nan else float(value))
        connection.close()
        for (run, key), values in series.items():
            yield f"{_store(folder, path)}/{run}", key, values


def _of_files(folder: Path) -> Iterator[tuple[str, str, list[float]]]:
    for metrics in sorted(folder.rglob("metrics")):
        if (metrics.parent / "meta.yaml").is_file():
            for path in sorted(path for path in metrics.rglob("*") if path.is_file()):
                lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
                # A pointer of Git LFS stands where some metrics of one store were.
                values = [float(line[1]) for line in lines if len(line) in (2, 3) and line[0].isdigit()]
                yield f"{_store(folder, path)}/{metrics.parent.name}", path.relative_to(metrics).as_posix(), values


def _store(folder: Path, path: Path) -> str:
    return path.relative_to(folder).parts[0].split("__")[1]
