"""What every source of past runs offers: Arrow batches, read-only, a chunk of runs at a time."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

ROLE_TAG = "greedylr.role"
"""On every run that this project made itself: such a run is never history."""

PRESET_TAG = "greedylr.preset"
"""On a user's run that was trained with a preset of ours; its value says which."""

SYSTEM_PREFIX = "system/"
"""MLflow's own measurements of the machine (CPU, memory, network): never copied, never counted."""

FOLDER_PROBLEM = "experiment "
"""How the name of a problem begins that is none of a single run: the id of the experiment follows."""

UNCOUNTED = -1
"""As `point_count`: the source cannot tell how many points a run has before it reads them."""

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
    "watermark",
)
"""Columns of `Source.runs`.

Times are milliseconds since 1970, -1 where there is none; `role` and `preset` are the values of the two tags, '' where
there is none; `watermark` is a text that differs as soon as the run's points differ, as far as the source can tell
without reading them (the number of points of a database, the latest values of a server, the sizes of files).
"""

_COUNTS_AND_TIMES = ("start_time", "end_time", "point_count", "param_count", "tag_count")
RUN_SCHEMA = pa.schema([(name, pa.int64() if name in _COUNTS_AND_TIMES else pa.string()) for name in RUN_COLUMNS])
"""Columns and types of `Source.runs`, nothing null."""

PAIR_SCHEMA = pa.schema([("run_uuid", pa.string()), ("key", pa.string()), ("value", pa.string())])
"""Columns and types of `Source.params` and `Source.tags`, nothing null."""

SERIES_SCHEMA = pa.schema([("run_uuid", pa.string()), ("key", pa.string())])
"""Columns and types of `Source.series`, nothing null."""

POINT_SCHEMA = pa.schema(
    [
        ("run_uuid", pa.string()),
        ("key", pa.string()),
        ("step", pa.int64()),
        ("timestamp", pa.int64()),
        ("value", pa.float64()),
        ("is_nan", pa.int64()),
    ]
)
"""Columns and types of `Source.points`, nothing null; `is_nan` is 0 or 1."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which runs are asked for. A source that cannot choose gives more; whoever reads chooses again.

    Parameters
    ----------
    experiments
        Globs of experiment names, one of which must match; none ask for all.
    since
        Milliseconds since 1970: runs that started before are not asked for. Runs without a start are.
    """

    experiments: tuple[str, ...] = ()
    since: int | None = None


EVERYTHING = Scope()


class Source(Protocol):
    """A store of past runs, open between `with` and its end; every reader is used up before the next one is opened.

    `params` and `tags` give (run_uuid, key, value), `series` (run_uuid, key), `points` (run_uuid, key, step, timestamp,
    value, is_nan) as the store holds them: MLflow writes NaN as a flag and the infinities as the largest floats.
    Series whose name begins with `system/` do not exist for a source.

    Raises, on entering or reading: `SourceUnreadableError`, never with a password or token in its message.
    """

    @property
    def uri(self) -> str:
        """The address in its canonical form, without a password."""

    @property
    def source_id(self) -> str:
        """A short name of the address, the first half of every `run_id`."""

    @property
    def exact_watermark(self) -> bool:
        """Whether a run's watermark differs whenever its points do; where it may not, running runs are read again."""

    @property
    def problems(self) -> Mapping[str, str]:
        """What could not be read so far, a run_uuid or `FOLDER_PROBLEM` and an experiment's id, and the reason."""

    def __enter__(self) -> Self:
        """Open the store; find out whether it is one."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""

    def runs(self, scope: Scope = EVERYTHING) -> AbstractContextManager[pa.RecordBatchReader]:
        """Every run in scope, and perhaps others, with `RUN_COLUMNS`; deleted ones too."""

    def params(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read the parameters of these runs."""

    def tags(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read the tags of these runs."""

    def series(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Name the series of these runs, without reading their points."""

    def points(
        self, run_uuids: Sequence[str], keys: Collection[str] | None = None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read all points of these runs, or those of the series with these names."""


def source_id_of(uri: str) -> str:
    """Name an address: 12 hexadecimal digits of its SHA-256, the same on every machine and in every release."""
    return hashlib.sha256(uri.encode()).hexdigest()[:12]
