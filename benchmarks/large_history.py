"""A history of two million points in MLflow's own schema, made in a minute instead of the hours that logging it takes.

MLflow makes the empty store, so the tables and indices are those that its users have; the rows go in below it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

KEYS = ("train_loss", "val_loss", "learning_rate", "accuracy")
RUNS_AN_EXPERIMENT = 100
FIRST_TIMESTAMP = 1_700_000_000_000

COLUMNS = {
    "experiments": ("experiment_id", "name", "artifact_location", "lifecycle_stage"),
    "runs": ("run_uuid", "name", "status", "lifecycle_stage", "experiment_id", "start_time", "end_time"),
    "params": ("run_uuid", "key", "value"),
    "tags": ("run_uuid", "key", "value"),
    "metrics": ("run_uuid", "key", "step", "timestamp", "value", "is_nan"),
    "latest_metrics": ("run_uuid", "key", "step", "timestamp", "value", "is_nan"),
}
"""The columns that a training job fills, by table, in an order that foreign keys allow."""


@dataclass(frozen=True, kw_only=True)
class LargeHistory:
    """How many runs, and how many steps each of their four series has."""

    runs: int = 500
    steps: int = 1000

    @property
    def points(self) -> int:
        """Points of all series of all runs."""
        return self.runs * len(KEYS) * self.steps

    def run_uuids(self) -> list[str]:
        """Names like those that MLflow draws, the same every time."""
        return [hashlib.md5(str(number).encode()).hexdigest() for number in range(self.runs)]  # noqa: S324 - a name

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Give the rows of one table of `COLUMNS`; points come in the order in which a training job logs them."""
        if table == "experiments":
            for number in range(-(-self.runs // RUNS_AN_EXPERIMENT)):
                yield number + 1, f"team-{number}", "unused:/", "active"
            return
        for number, run_uuid in enumerate(self.run_uuids()):
            yield from _RUN_ROWS[table](self, number, run_uuid)

    def _run(self, number: int, run_uuid: str) -> Iterator[tuple[Any, ...]]:
        started = FIRST_TIMESTAMP + 3_600_000 * number
        experiment = number // RUNS_AN_EXPERIMENT + 1
        yield run_uuid, f"run-{number}", "FINISHED", "active", experiment, started, started + 1000 * self.steps

    def _params(self, number: int, run_uuid: str) -> Iterator[tuple[Any, ...]]:
        for key, value in {"optimizer": "Adam", "lr": 10 ** -(number % 5), "batch_size": 32, "seed": number}.items():
            yield run_uuid, key, str(value)

    def _tags(self, number: int, run_uuid: str) -> Iterator[tuple[Any, ...]]:
        yield run_uuid, "mlflow.runName", f"run-{number}"
        yield run_uuid, "mlflow.user", "team"

    def _points(self, number: int, run_uuid: str) -> Iterator[tuple[Any, ...]]:
        started = FIRST_TIMESTAMP + 3_600_000 * number
        values = np.random.default_rng(number).random((self.steps, len(KEYS))).tolist()
        for step, values_of_step in enumerate(values):
            for key, value in zip(KEYS, values_of_step, strict=True):
                yield run_uuid, key, step, started + 1000 * step, value, False

    def _latest(self, number: int, run_uuid: str) -> Iterator[tuple[Any, ...]]:
        yield from list(self._points(number, run_uuid))[-len(KEYS) :]


_RUN_ROWS = {
    "runs": LargeHistory._run,
    "params": LargeHistory._params,
    "tags": LargeHistory._tags,
    "metrics": LargeHistory._points,
    "latest_metrics": LargeHistory._latest,
}


def fill_sqlite(path: Path, history: LargeHistory) -> None:
    """Write the history into a new SQLite file with the tables of this MLflow."""
    _make_store(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("pragma synchronous = off")
        connection.execute("pragma cache_size = -1000000")
        for table, columns in COLUMNS.items():
            places = ", ".join("?" * len(columns))
            connection.executemany(
                f"insert into {table} ({', '.join(columns)}) values ({places})",  # noqa: S608 - literal names
                history.rows(table),
            )
    connection.close()


def fill_postgresql(uri: str, history: LargeHistory) -> None:
    """Write the history into an empty PostgreSQL database; `uri` is libpq's, `postgresql://...`."""
    import psycopg2

    _make_store(uri.replace("postgresql://", "postgresql+psycopg2://", 1))
    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        for table, columns in COLUMNS.items():
            cursor.copy_expert(
                f"copy {table} ({', '.join(columns)}) from stdin with (format csv)",
                _TextOfRows(history.rows(table)),
            )
    # As autovacuum would have left it by the time somebody reads the history.
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("vacuum analyze")
    connection.close()


def _make_store(address: str) -> None:
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=address).search_experiments()


class _TextOfRows:
    """Rows as the file of CSV that COPY reads from, a thousand rows in memory at a time."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._rows = iter(rows)
        self._text = ""

    def read(self, size: int = -1) -> str:
        """Give the next characters, at most `size` of them; none at the end."""
        while len(self._text) < size:
            rows = list(islice(self._rows, 1000))
            if not rows:
                break
            lines = io.StringIO()
            csv.writer(lines).writerows(rows)
            self._text += lines.getvalue()
        given, self._text = self._text[:size], self._text[size:]
        return given
