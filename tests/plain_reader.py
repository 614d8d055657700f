"""A second reader of MLflow stores, for comparison: slow, plain, and sharing nothing with the product.

It gives what a person would find who opens the files one by one: everything of every run that has a readable
`meta.yaml`, `system/` series left out, NaN and the infinities as themselves.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

# The value as text, so that NaN equals itself.
Point = tuple[str, str, int, int, str]
"""(run_uuid, key, step, timestamp, value)."""

STATUS_NUMBERS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
LARGEST = 1.7976931348623157e308


@dataclass(kw_only=True)
class PlainStore:
    """What a store holds; `runs` gives (experiment id, experiment name, run name, status, stage, start, end)."""

    runs: dict[str, tuple[str, str, str, str, str, int | None, int | None]] = field(default_factory=dict)
    params: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    tags: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    points: Counter[Point] = field(default_factory=Counter)

    @property
    def series(self) -> set[tuple[str, str]]:
        return {(run_uuid, key) for run_uuid, key, *_ in self.points}

    @property
    def points_after_exact_duplicates(self) -> int:
        return len(self.points)


def read_plainly(store: Path) -> PlainStore:
    """Read a folder as a file store and a file as a SQLite store."""
    return read_file_store(store) if store.is_dir() else read_sqlite(store)


def public_stores_read(folder: Path) -> Iterator[tuple[str, PlainStore]]:
    """Read every public store that has runs, each with its path in the archive."""
    databases = [path for path in sorted(folder.rglob("*.db")) if path.stat().st_size]
    runs = [meta.parent for meta in sorted(folder.rglob("meta.yaml")) if (meta.parent / "metrics").is_dir()]
    folders = {run.parents[1].parent if run.parents[1].name == ".trash" else run.parents[1] for run in runs}
    for path in [*databases, *sorted(folders)]:
        store = read_plainly(path)
        if store.runs:
            yield path.relative_to(folder).as_posix(), store


def read_file_store(root: Path) -> PlainStore:
    found = PlainStore()
    for meta_path in sorted([*root.glob("[!.]*/*/meta.yaml"), *root.glob(".trash/*/*/meta.yaml")]):
        run_folder, experiment_folder = meta_path.parent, meta_path.parent.parent
        if experiment_folder.name == "models" or run_folder.name in ("models", "traces", "tags", "datasets"):
            continue
        meta = yaml.safe_load(meta_path.read_text())
        if not isinstance(meta, dict):
            continue
        run_uuid = run_folder.name
        experiment = yaml.safe_load((experiment_folder / "meta.yaml").read_text())
        is_trash = experiment_folder.parent.name == ".trash"
        tags = read_texts(run_folder / "tags")
        found.runs[run_uuid] = (
            experiment_folder.name,
            str(experiment["name"]),
            str(meta.get("run_name") or tags.get("mlflow.runName", "")),
            STATUS_NUMBERS[meta["status"]],
            "deleted" if is_trash else meta["lifecycle_stage"],
            meta["start_time"],
            meta["end_time"],
        )
        found.params.update((run_uuid, key, value) for key, value in read_texts(run_folder / "params").items())
        found.tags.update((run_uuid, key, value) for key, value in tags.items())
        for key, text in read_texts(run_folder / "metrics").items():
            if not key.startswith("system/"):
                found.points.update((run_uuid, key, *point) for point in read_lines(text))
    return found


def read_texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in folder.rglob("*") if path.is_file()
    }


def read_lines(text: str) -> list[tuple[int, int, str]]:
    points = []
    for line in text.splitlines():
        if line.strip():
            timestamp, value, step = line.split()
            points.append((int(step), int(timestamp), repr(float(value))))
    return points


def read_sqlite(path: Path) -> PlainStore:
    found = PlainStore()
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    run_names = {}
    for run_uuid, key, value in connection.execute("select run_uuid, key, value from tags"):
        found.tags[run_uuid, key, value] += 1
        if key == "mlflow.runName":
            run_names[run_uuid] = value
    experiments = dict(connection.execute("select experiment_id, name from experiments"))
    rows = connection.execute(
        "select run_uuid, experiment_id, name, status, lifecycle_stage, start_time, end_time from runs"
    )
    for run_uuid, experiment_id, name, *rest in rows:
        run_name = name or run_names.get(run_uuid, "")
        found.runs[run_uuid] = (str(experiment_id), experiments[experiment_id], run_name, *rest)
    for run_uuid, key, value in connection.execute("select run_uuid, key, value from params"):
        found.params[run_uuid, key, value] += 1
    metrics = connection.execute("select run_uuid, key, step, timestamp, value, is_nan from metrics")
    for run_uuid, key, step, timestamp, value, is_nan in metrics:
        if not key.startswith("system/"):
            found.points[run_uuid, key, step, timestamp, shown(value, is_nan)] += 1
    connection.close()
    return found


def shown(value: float, is_nan: int | bool) -> str:
    if is_nan:
        return repr(math.nan)
    if abs(value) >= LARGEST:
        return repr(math.copysign(math.inf, value))
    return repr(float(value))
