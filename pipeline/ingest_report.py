"""What became of each source in an ingestion, and what one would do."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pipeline.sources.source import FOLDER_PROBLEM

SourceStatus = Literal["read", "broken off", "unreadable"]
"""Broken off: what was finished before is kept."""

UNREADABLE: Final = "cannot be read"
"""Why a run is left out: something of it is broken, and the remark says what."""

_REASONS_SHOWN: Final = 3


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What became of one source.

    Parameters
    ----------
    uri
        Its canonical address, without a password.
    source_id
        Under which its runs are kept; None where it was not read far enough to tell.
    status, reason
        Why it is not "read"; else what is odd about it, or None.
    runs_new, runs_updated, runs_unchanged, runs_vanished
        Copied for the first time, copied again, left as they are, and no more at the source: these stay history.
    skipped
        Runs left out by reason.
    points
        Copied now.
    seconds
        All in all.
    """

    uri: str
    status: SourceStatus
    source_id: str | None = None
    reason: str | None = None
    runs_new: int = 0
    runs_updated: int = 0
    runs_unchanged: int = 0
    runs_vanished: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    points: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What became of every source, in the order given."""

    sources: tuple[SourceReport, ...]


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """What an ingestion would do with one source.

    Parameters
    ----------
    uri, reason
        As in `SourceReport`; `is_readable` is false where nothing can be read, with the reason.
    runs_new, runs_updated, runs_unchanged, runs_vanished, skipped
        As in `SourceReport`.
    points, is_exact
        That would be copied: exact where the source counts and every series is copied, else expected from the share
        of series and a sample.
    points_per_second
        Measured on a sample that was read; None where nothing would be read.
    seconds
        Expected for reading and writing.
    """

    uri: str
    is_readable: bool
    reason: str | None = None
    runs_new: int = 0
    runs_updated: int = 0
    runs_unchanged: int = 0
    runs_vanished: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    points: int = 0
    is_exact: bool = True
    points_per_second: float | None = None
    seconds: float = 0.0


def left_out_as_unreadable(problems: Mapping[str, str], seen: Collection[str]) -> dict[str, int]:
    """Count the runs that a source could not tell of; the problem of a folder is no run's."""
    count = sum(not name.startswith(FOLDER_PROBLEM) and name not in seen for name in problems)
    return {UNREADABLE: count} if count else {}


def problems_remark(problems: Mapping[str, str]) -> str | None:
    """Say what could not be read, the commonest reasons first; None where nothing was in the way."""
    if not problems:
        return None
    reasons = Counter(problems.values()).most_common()
    shown = [f"{count:,} × {reason}" for reason, count in reasons[:_REASONS_SHOWN]]
    rest = sum(count for _, count in reasons[_REASONS_SHOWN:])
    return f"not read whole: {'; '.join([*shown, f'{rest:,} × other reasons'] if rest else shown)}"
