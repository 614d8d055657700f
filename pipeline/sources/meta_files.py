"""What `meta.yaml` says about a run or an experiment of a file store, as every version of MLflow has written it."""

from dataclasses import dataclass
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from pipeline.sources.store_files import UnusableFileError

_STATUSES: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_STAGES: Final = ("active", "deleted")

# MLflow writes some 500 bytes, and one bracket. What is far beyond is no meta file; some ten thousand levels of
# collections in collections, each begun by one of these signs, end the process inside libyaml.
_MOST_BYTES: Final = 65_536
_LEVEL_SIGNS: Final = (b"[", b"{", b"-", b"?")
_MOST_LEVEL_SIGNS: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RunMeta:
    """A run. Times are milliseconds since 1970, -1 where there is none; `run_name` is '' where the tag holds it."""

    run_name: str
    status: str
    lifecycle_stage: str
    start_time: int
    end_time: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentMeta:
    """An experiment: its name, and whether it was deleted."""

    name: str
    deleted: bool


def run_meta(content: bytes, run_uuid: str) -> RunMeta:
    """Read what describes the run in the folder `run_uuid`.

    MLflow writes the keys in the order of the alphabet, so a file that was cut off between two lines is still YAML and
    lacks `status` and `start_time`: both must be there.

    Raises
    ------
    UnusableFileError
        Not YAML, not a mapping, a key that is missing or holds something else, or the description of another run.
    """
    found = _mapping(content)
    missing = [key for key in ("start_time", "status") if key not in found]
    if missing:
        raise UnusableFileError(f"lacks {' and '.join(missing)}; was it cut off?")
    named = found.get("run_id", found.get("run_uuid", run_uuid))
    # A name of digits alone that somebody's tool has not quoted is a number to YAML, perhaps an octal one.
    if isinstance(named, str) and named != run_uuid:
        raise UnusableFileError(f"describes another run, {_shown(named)}; is the folder a copy?")
    stage = found.get("lifecycle_stage", "active")
    if stage not in _STAGES:
        raise UnusableFileError(f"lifecycle_stage must be active or deleted, got {_shown(stage)}")
    return RunMeta(
        run_name=str(found.get("run_name") or found.get("name") or ""),
        status=_status(found["status"]),
        lifecycle_stage=stage,
        start_time=_milliseconds("start_time", found["start_time"]),
        end_time=_milliseconds("end_time", found.get("end_time")),
    )


def experiment_meta(content: bytes) -> ExperimentMeta:
    """Read what describes an experiment.

    Raises
    ------
    UnusableFileError
        Not YAML, not a mapping, or without a name.
    """
    found = _mapping(content)
    if found.get("name") is None:
        raise UnusableFileError("lacks name; was it cut off?")
    return ExperimentMeta(name=str(found["name"]), deleted=found.get("lifecycle_stage") == "deleted")


def _mapping(content: bytes) -> dict[Any, Any]:
    if len(content) > _MOST_BYTES:
        raise UnusableFileError(f"{len(content)} bytes, more than the {_MOST_BYTES} that a meta file may have")
    if (signs := sum(content.count(sign) for sign in _LEVEL_SIGNS)) > _MOST_LEVEL_SIGNS:
        raise UnusableFileError(f"{signs} signs that begin a collection, more than the {_MOST_LEVEL_SIGNS} it may have")
    # libyaml is ten times as fast, but not every PyYAML is built with it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # A user's name in Latin-1 is no reason to lose the run.
        found = yaml.load(content.decode("utf-8-sig", errors="replace"), Loader=loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise UnusableFileError(f"not YAML: {str(error).splitlines()[0]}") from error
    except (ValueError, RecursionError) as error:  # a date such as 2024-99-99; brackets in brackets
        raise UnusableFileError(f"not YAML that can be read: {error}") from error
    if found is None:
        raise UnusableFileError("empty")
    if not isinstance(found, dict):
        raise UnusableFileError(f"a mapping is wanted, got {_shown(found)}")
    return found


def _status(value: Any) -> str:
    name = _STATUSES.get(int(value), "") if _is_whole(value) else value
    if name not in _STATUSES.values():
        raise UnusableFileError(f"status must be 1 to 5 or one of {', '.join(_STATUSES.values())}, got {_shown(value)}")
    return str(name)


def _milliseconds(key: str, value: Any) -> int:
    if value is None:
        return -1
    if not _is_whole(value) or not 0 <= int(value) < 2**63:
        raise UnusableFileError(f"{key} must be milliseconds since 1970 or null, got {_shown(value)}")
    return int(value)


def _is_whole(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    # The text of nested YAML aliases may be longer than any memory: only that of plain values is shown.
    plain = value is None or isinstance(value, str | int | float | bool)
    return repr(str(value)[:64]) if plain else f"a {type(value).__name__}"
