"""A run as an MLflow server tells of it in a search: one row, and what is kept to answer later questions."""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.sources.source import PRESET_TAG, ROLE_TAG, RUN_COLUMNS, SYSTEM_PREFIX, UNCOUNTED

ServedRun = Mapping[str, Any]
"""`{"info": {...}, "data": {"metrics": [...], "params": [...], "tags": [...]}}`, where empty lists are left out."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a search says of a run, apart from its row.

    Parameters
    ----------
    params, tags
        Key and value.
    latest_steps
        Key of each series, and the step of its latest point.
    """

    params: list[tuple[str, str]]
    tags: list[tuple[str, str]]
    latest_steps: list[tuple[str, int]]


def run_uuid_of(run: ServedRun) -> str:
    """Name a run; servers before 2019 know it by `run_uuid` alone."""
    info = run["info"]
    return str(info["run_id"] if "run_id" in info else info["run_uuid"])


def run_row(run: ServedRun, experiment_names: Mapping[str, str]) -> tuple[str | int, ...]:
    """Give the values of `RUN_COLUMNS`."""
    info, tags = run["info"], dict(_texts(run, "tags"))
    experiment_id = str(info["experiment_id"])
    row = {
        "run_uuid": run_uuid_of(run),
        "experiment_id": experiment_id,
        "experiment_name": experiment_names[experiment_id],
        "run_name": info.get("run_name") or tags.get("mlflow.runName", ""),
        "status": info.get("status", ""),
        "lifecycle_stage": info.get("lifecycle_stage", "active"),
        "start_time": int(info.get("start_time", -1)),
        "end_time": int(info.get("end_time", -1)),
        "role": tags.get(ROLE_TAG, ""),
        "preset": tags.get(PRESET_TAG, ""),
        "point_count": UNCOUNTED if _latest(run) else 0,
        "param_count": len(_texts(run, "params")),
        "tag_count": len(_texts(run, "tags")),
        "watermark": watermark(run),
    }
    return tuple(row[name] for name in RUN_COLUMNS)


def watermark(run: ServedRun) -> str:
    """Digest the latest point of every series, the status and the end of a run."""
    info = run["info"]
    points = sorted(
        (point["key"], str(point.get("value")), str(point.get("step")), str(point.get("timestamp")))
        for point in _latest(run)
    )
    told = json.dumps([points, info.get("status"), str(info.get("end_time"))])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def packed(run: ServedRun) -> bytes:
    """Keep what a search says of a run in about a kilobyte, for `unpacked`."""
    latest_steps = [(point["key"], int(point.get("step", 0))) for point in _latest(run)]
    told = [_texts(run, "params"), _texts(run, "tags"), latest_steps]
    return zlib.compress(json.dumps(told).encode(), level=1)


def unpacked(kept: bytes) -> Description:
    """Undo `packed`."""
    params, tags, latest_steps = ([(key, value) for key, value in part] for part in json.loads(zlib.decompress(kept)))
    return Description(params=params, tags=tags, latest_steps=latest_steps)


def _texts(run: ServedRun, kind: str) -> list[tuple[str, str]]:
    return [(one["key"], one.get("value", "")) for one in run.get("data", {}).get(kind, [])]


def _latest(run: ServedRun) -> list[Any]:
    points = run.get("data", {}).get("metrics", [])
    return [point for point in points if not point["key"].startswith(SYSTEM_PREFIX)]
