"""What every source of past runs offers: Arrow batches, read-only, a chunk of runs at a time."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

ROLE_TAG = "greedylr.role"
"""On every run that this project made itself: such a run is never history."""

PRESET_TAG = "greedylr.preset"
"""On a user's run that was trained with a preset of ours; its value says which."""

SYSTEM_PREFIX = "system/"
"""MLflow's own measurements of the machine (CPU, memory, network): never copied, never counted."""

RUN_COLUMNS = (
    "run_uuid",
    "experiment_id",
    "experiment_name",
    "run_name",
    "status",
    "lifecycle_stage",
    "start_time",
    "end_time",
    "role",
    "preset",
    "point_count",
    "param_count",
    "tag_count",
)
"""Columns of `Source.runs`; `role` and `preset` are the values of the two tags, '' where there is none."""


class Source(Protocol):
    """A store of past runs. Every reader must be used up before the next one is opened.

    `params` and `tags` give (run_uuid, key, value); `points` gives (run_uuid, key, step, timestamp, value, is_nan) as
    the store holds them: MLflow writes NaN as a flag and the infinities as the largest floats.
    """

    @property
    def uri(self) -> str:
        """The address in its canonical form."""

    @property
    def source_id(self) -> str:
        """A short name of the address, the first half of every `run_id`."""

    def runs(self) -> AbstractContextManager[pa.RecordBatchReader]:
        """Every run with `RUN_COLUMNS`."""

    def params(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read the parameters of these runs."""

    def tags(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read the tags of these runs."""

    def points(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read all points of these runs except those of `system/` series."""


def source_id_of(uri: str) -> str:
    """Name an address: 12 hexadecimal digits of its SHA-256, the same on every machine and in every release."""
    return hashlib.sha256(uri.encode()).hexdigest()[:12]
