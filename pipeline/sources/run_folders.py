"""Find the runs of a file store: `<root>/<experiment_id>/<run_uuid>`, and the same below `.trash`.

Every folder is listed once and every meta file read once; of metric files only names and sizes are taken. On a network
drive each of these calls is waited for, so the runs are looked at by many threads.
"""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from operator import itemgetter
from pathlib import Path
from typing import Final

from pipeline.sources.meta_files import ExperimentMeta, RunMeta, experiment_meta, run_meta
from pipeline.sources.source import PRESET_TAG, ROLE_TAG, SYSTEM_PREFIX, Scope
from pipeline.sources.store_files import UnusableFileError, read_whole

META_FILE: Final = "meta.yaml"
TRASH: Final = ".trash"
PARTS: Final = ("metrics", "params", "tags")
# The registry of models beside the experiments, and what newer versions of MLflow keep beside the runs.
_NO_EXPERIMENTS: Final = frozenset({TRASH, "models"})
_NO_RUNS: Final = frozenset({"datasets", "models", "tags", "traces"})
_NAME_TAG: Final = "mlflow.runName"
# Left among the logged files by a Mac and by people who want git to keep an empty folder.
_NOT_LOGGED: Final = frozenset({".DS_Store", ".gitkeep"})


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFile:
    """A metric file that is not empty: its size in bytes, and the bits of its mode that let it be read."""

    size: int
    readable: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """One run: what its meta file says, and the names of its files relative to `metrics`, `params` and `tags`."""

    path: str
    run_uuid: str
    experiment_id: str
    experiment_name: str
    meta: RunMeta
    metrics: Mapping[str, MetricFile]
    params: tuple[str, ...]
    tags: tuple[str, ...]
    role: str
    preset: str

    @property
    def watermark(self) -> str:
        """How many series, how many bytes, and a digest of the names and sizes."""
        files = sorted(self.metrics.items())
        listed = "\n".join(f"{name} {file.size} {file.readable}" for name, file in files)
        digest = hashlib.sha256(os.fsencode(listed)).hexdigest()[:16]
        return f"{len(files)}/{sum(file.size for _, file in files)}/{digest}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundRun:
    """A run folder, none where it is out of scope or broken, and what could not be read of it: thing -> reason."""

    run_uuid: str
    folder: RunFolder | None
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentFolder:
    """One experiment; its problem is why it is named by its folder."""

    path: str
    experiment_id: str
    meta: ExperimentMeta
    problem: str | None = None


def experiment_folders(root: str) -> Iterator[ExperimentFolder]:
    """Every folder that may hold runs, the deleted ones last.

    Raises
    ------
    OSError
        The root cannot be listed.
    """
    for name in _folders(root, _NO_EXPERIMENTS):
        yield _experiment_folder(f"{root}/{name}", name, in_trash=False)
    trash = f"{root}/{TRASH}"
    for name in _folders(trash, ()) if Path(trash).is_dir() else ():
        yield _experiment_folder(f"{trash}/{name}", name, in_trash=True)


def found_runs(experiment: ExperimentFolder, scope: Scope, pool: Executor) -> Iterator[FoundRun]:
    """Every run of an experiment, in the order of their names, but folders only of those that started in scope.

    Raises
    ------
    OSError
        The folder of the experiment cannot be listed.
    """
    names = _folders(experiment.path, _NO_RUNS)
    yield from (run for run in pool.map(lambda name: _found_run(experiment, name, scope), names) if run is not None)


def in_scope(experiment: ExperimentFolder, scope: Scope) -> bool:
    """Tell whether the experiment is asked for."""
    return not scope.experiments or any(fnmatchcase(experiment.meta.name, glob) for glob in scope.experiments)


def text_of(name: str) -> str:
    """Give the name of a file as text, bytes that are not UTF-8 replaced."""
    return name if name.isascii() else os.fsencode(name).decode(errors="replace")


def _folders(parent: str, without: Iterable[str]) -> list[str]:
    with os.scandir(parent) as entries:
        return sorted(e.name for e in entries if e.name not in without and e.is_dir() and not _leads_back(e, parent))


def _leads_back(entry: os.DirEntry[str], parent: str) -> bool:
    """Tell whether a link points to a folder that contains it."""
    if not entry.is_symlink():
        return False
    target, here = os.path.realpath(entry.path), os.path.realpath(parent)
    return os.path.commonpath([target, here]) == target


def _experiment_folder(path: str, experiment_id: str, in_trash: bool) -> ExperimentFolder:
    problem = None
    try:
        meta = experiment_meta(read_whole(f"{path}/{META_FILE}"))
    except UnusableFileError as error:
        problem = f"{error}; named by its folder"
        meta = ExperimentMeta(name=text_of(experiment_id), deleted=False)
    return ExperimentFolder(
        path=path,
        experiment_id=text_of(experiment_id),
        meta=replace(meta, deleted=meta.deleted or in_trash),
        problem=problem,
    )


def _found_run(experiment: ExperimentFolder, name: str, scope: Scope) -> FoundRun | None:
    path, run_uuid = f"{experiment.path}/{name}", text_of(name)
    try:
        meta = run_meta(read_whole(f"{path}/{META_FILE}"), run_uuid)
    except UnusableFileError as error:
        if not any(os.path.lexists(f"{path}/{part}") for part in (META_FILE, *PARTS)):
            return None  # of artifacts alone, or nothing of MLflow's
        return FoundRun(run_uuid=run_uuid, folder=None, problems={META_FILE: str(error)})
    if scope.since is not None and -1 < meta.start_time < scope.since:
        return FoundRun(run_uuid=run_uuid, folder=None)
    if experiment.meta.deleted:
        # Deleting an experiment deletes its runs; on files MLflow moves the folder and leaves their meta files alone.
        meta = replace(meta, lifecycle_stage="deleted")
    return _logged(path, run_uuid, experiment, meta)


def _logged(path: str, run_uuid: str, experiment: ExperimentFolder, meta: RunMeta) -> FoundRun:
    problems: dict[str, str] = {}
    tags = tuple(sorted(name for name, _ in _files(path, "tags", problems)))
    role, preset = (_tag(path, tag, tags, problems) for tag in (ROLE_TAG, PRESET_TAG))
    folder = RunFolder(
        path=path,
        run_uuid=run_uuid,
        experiment_id=experiment.experiment_id,
        experiment_name=experiment.meta.name,
        meta=replace(meta, run_name=meta.run_name or _tag(path, _NAME_TAG, tags, problems)),
        metrics=_metric_files(path, problems),
        params=tuple(sorted(name for name, _ in _files(path, "params", problems))),
        tags=tags,
        role=role,
        preset=preset,
    )
    return FoundRun(run_uuid=run_uuid, folder=folder, problems=problems)


def _metric_files(path: str, problems: dict[str, str]) -> dict[str, MetricFile]:
    found = {}
    for name, entry in sorted(_files(path, "metrics", problems), key=itemgetter(0)):
        try:
            status = entry.stat()
        except OSError as error:
            problems[f"metrics/{text_of(name)}"] = f"cannot be looked at: {error.strerror}"
            continue
        if status.st_size:
            found[name] = MetricFile(size=status.st_size, readable=status.st_mode & 0o444)
    return found


def _files(path: str, part: str, problems: dict[str, str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file below a part of a run, with its name relative to it; links to folders are not followed."""
    folders = [""]
    while folders:
        prefix = folders.pop()
        try:
            with os.scandir(f"{path}/{part}/{prefix}") as entries:
                for entry in entries:
                    name = sys.intern(prefix + entry.name)  # the same for thousands of runs
                    if entry.is_dir(follow_symlinks=False):
                        if part != "metrics" or f"{name}/" != SYSTEM_PREFIX:
                            folders.append(f"{name}/")
                    elif not entry.is_file():
                        problems[f"{part}/{text_of(name)}"] = "not a regular file"
                    elif entry.name not in _NOT_LOGGED:
                        yield name, entry
        except FileNotFoundError:
            # git keeps no empty folders: a run without params has none for them.
            continue
        except OSError as error:
            problems[f"{part}/{text_of(prefix)}"] = f"cannot be listed: {error.strerror}"


def _tag(path: str, name: str, tags: tuple[str, ...], problems: dict[str, str]) -> str:
    if name not in tags:
        return ""
    try:
        return read_whole(f"{path}/tags/{name}").decode(errors="replace")
    except UnusableFileError as error:
        problems[f"tags/{name}"] = str(error)
        return ""
