"""An MLflow file store, an `mlruns` folder, read without MLflow: its client refuses such stores, and fails on oddities.

One broken file costs what it holds, and `FileStore.problems` says so: a meta file its run, a line its point.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Final, Literal, Self

import numpy as np
import pyarrow as pa

from pipeline.errors import SourceUnreadableError
from pipeline.sources.file_store_folder import check_file_store, file_store_path
from pipeline.sources.logged_files import LoggedFile, contents, groups
from pipeline.sources.metric_files import flag_nans, parse_metric_files
from pipeline.sources.run_folders import (
    META_FILE,
    ExperimentFolder,
    FoundRun,
    RunFolder,
    experiment_folders,
    found_runs,
    in_scope,
    text_of,
)
from pipeline.sources.source import (
    EVERYTHING,
    FOLDER_PROBLEM,
    PAIR_SCHEMA,
    POINT_SCHEMA,
    RUN_SCHEMA,
    SERIES_SCHEMA,
    UNCOUNTED,
    Scope,
    source_id_of,
)
from pipeline.sources.store_files import UnusableFileError

logger = logging.getLogger(__name__)

# They hide the delays of a network drive: on a local disk one thread is as fast.
_THREADS: Final = 16
_ROWS_PER_BATCH: Final = 262_144
_REASONS_SHOWN: Final = 3


class FileStore:
    """One MLflow file store as a `Source`, open between `with` and its end.

    `runs` lists the folders; the other readers open the files of the runs that they are asked for and no others.
    `point_count` is always `UNCOUNTED`, for counting lines is reading them. `watermark` is made of the names and sizes
    of the metric files, which MLflow only ever appends to.

    Parameters
    ----------
    address
        `file:///absolute/path` or a path: of the store, or of a folder with the store in its `mlruns`.

    Raises
    ------
    SourceUnreadableError
        On entering: the folder is missing, no folder, or no file store. On `runs`: all that are asked for are broken.
    """

    def __init__(self, address: str) -> None:
        self._root = file_store_path(address)
        self._pool: ThreadPoolExecutor | None = None
        self._folders: dict[str, RunFolder] = {}
        self._is_listed_whole = False
        self._has_usable_runs = False
        self._problems: dict[str, dict[str, str]] = {}

    @property
    def uri(self) -> str:
        """The address in its canonical form."""
        return self._root.as_uri()

    @property
    def source_id(self) -> str:
        """A short name of the address, the first half of every `run_id`."""
        return source_id_of(self.uri)

    @property
    def exact_watermark(self) -> bool:
        """A point is a line more, and a line more makes its file longer."""
        return True

    @property
    def problems(self) -> Mapping[str, str]:
        """What could not be read so far: the run_uuid, or `experiment` and its id, and the reason."""
        return {name: _summary(reasons) for name, reasons in self._problems.items()}

    def __enter__(self) -> Self:
        check_file_store(self._root)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="file-store")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    @contextmanager
    def runs(self, scope: Scope = EVERYTHING) -> Iterator[pa.RecordBatchReader]:
        """Every run in scope with `RUN_COLUMNS`, in the order of the names of experiments and runs."""
        folders = self._list(scope)
        if not self._has_usable_runs and self._problems:
            name, reason = next(iter(self.problems.items()))
            raise SourceUnreadableError(f"none of its runs can be read, for instance {name}: {reason}")
        batch = pa.RecordBatch.from_pylist([_row(folder) for folder in folders], schema=RUN_SCHEMA)
        yield pa.RecordBatchReader.from_batches(RUN_SCHEMA, [batch])

    def params(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read the parameters of these runs."""
        return self._texts("params", run_uuids)

    def tags(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read the tags of these runs."""
        return self._texts("tags", run_uuids)

    @contextmanager
    def series(self, run_uuids: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        """Name the series of these runs: their metric files that are not empty."""
        folders = self._chosen(run_uuids)
        rows = [{"run_uuid": run.run_uuid, "key": text_of(name)} for run in folders for name in run.metrics]
        yield pa.RecordBatchReader.from_batches(SERIES_SCHEMA, [pa.RecordBatch.from_pylist(rows, schema=SERIES_SCHEMA)])

    @contextmanager
    def points(self, run_uuids: Sequence[str], keys: Collection[str] | None = None) -> Iterator[pa.RecordBatchReader]:
        """Read all points of these runs, or those of the series with these names; a NaN is 0 with a flag."""
        wanted = None if keys is None else frozenset(keys)
        files = [
            LoggedFile(run_uuid=run.run_uuid, run_path=run.path, part="metrics", name=name, size=file.size)
            for run in self._chosen(run_uuids)
            for name, file in run.metrics.items()
            if wanted is None or text_of(name) in wanted
        ]
        batches = (batch for group in groups(files) for batch in self._point_batches(group))
        yield pa.RecordBatchReader.from_batches(POINT_SCHEMA, batches)

    @contextmanager
    def _texts(self, part: Literal["params", "tags"], run_uuids: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        files = [
            LoggedFile(run_uuid=run.run_uuid, run_path=run.path, part=part, name=name)
            for run in self._chosen(run_uuids)
            for name in (run.params if part == "params" else run.tags)
        ]
        yield pa.RecordBatchReader.from_batches(PAIR_SCHEMA, (self._text_batch(group) for group in groups(files)))

    def _text_batch(self, files: Sequence[LoggedFile]) -> pa.RecordBatch:
        rows = [
            {"run_uuid": file.run_uuid, "key": file.key, "value": content.decode(errors="replace")}
            for file, content in self._usable_contents(files)
            if content is not None
        ]
        return pa.RecordBatch.from_pylist(rows, schema=PAIR_SCHEMA)

    def _point_batches(self, files: Sequence[LoggedFile]) -> Iterator[pa.RecordBatch]:
        parsed = parse_metric_files([content or b"" for _, content in self._usable_contents(files)])
        for file, good, bad in zip(files, parsed.rows, parsed.bad_lines, strict=True):
            if bad:
                self._note(file.run_uuid, f"metrics/{file.key}", f"{bad} of {good + bad} lines are no points")
        run_uuids = pa.array([file.run_uuid for file in files], pa.string())
        keys = pa.array([file.key for file in files], pa.string())
        file_of_row = np.repeat(np.arange(len(files)), parsed.rows)
        for start in range(0, parsed.points.num_rows, _ROWS_PER_BATCH):
            points = parsed.points.slice(start, _ROWS_PER_BATCH)
            origin = pa.array(file_of_row[start : start + _ROWS_PER_BATCH])
            values, flags = flag_nans(points["value"])
            columns = [run_uuids.take(origin), keys.take(origin), points["step"], points["timestamp"], values, flags]
            yield from pa.table(columns, schema=POINT_SCHEMA).combine_chunks().to_batches()

    def _usable_contents(self, files: Sequence[LoggedFile]) -> Iterator[tuple[LoggedFile, bytes | None]]:
        for file, content in zip(files, contents(files, self._opened_pool()), strict=True):
            if isinstance(content, UnusableFileError):
                self._note(file.run_uuid, f"{file.part}/{file.key}", str(content))
                yield file, None
            else:
                yield file, content

    def _chosen(self, run_uuids: Sequence[str]) -> list[RunFolder]:
        if not self._is_listed_whole and any(run_uuid not in self._folders for run_uuid in run_uuids):
            self._list(EVERYTHING)
        return [self._folders[run_uuid] for run_uuid in run_uuids if run_uuid in self._folders]

    def _list(self, scope: Scope) -> list[RunFolder]:
        listed: dict[str, RunFolder] = {}
        try:
            for experiment in experiment_folders(str(self._root)):
                if in_scope(experiment, scope):
                    self._list_experiment(experiment, scope, listed)
        except OSError as error:
            raise SourceUnreadableError(f"cannot be listed: {error.strerror}", stands=True) from error
        self._folders |= listed
        self._is_listed_whole = self._is_listed_whole or scope == EVERYTHING
        return list(listed.values())

    def _list_experiment(self, experiment: ExperimentFolder, scope: Scope, listed: dict[str, RunFolder]) -> None:
        name, runs = f"{FOLDER_PROBLEM}{experiment.experiment_id}", 0
        try:
            for run in found_runs(experiment, scope, self._opened_pool()):
                self._take(run, listed)
                runs += 1
        except OSError as error:
            self._note(name, "folder", f"cannot be listed: {error.strerror}")
        if runs and experiment.problem is not None:
            self._note(name, META_FILE, experiment.problem)

    def _take(self, run: FoundRun, listed: dict[str, RunFolder]) -> None:
        self._has_usable_runs = self._has_usable_runs or META_FILE not in run.problems
        for thing, reason in run.problems.items():
            self._note(run.run_uuid, thing, reason)
        if run.folder is None:
            return
        first = listed.setdefault(run.run_uuid, run.folder)
        if first is not run.folder:
            self._note(run.run_uuid, run.folder.path, f"not read: {first.path} holds a run of this name too")

    def _note(self, name: str, thing: str, reason: str) -> None:
        reasons = self._problems.setdefault(name, {})
        if thing not in reasons:
            logger.warning("%s: %s: %s: %s", self._root, name, thing, reason)
        reasons[thing] = reason

    def _opened_pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            raise ValueError("a store must be entered before it is read; write `with FileStore(address) as store:`")
        return self._pool


def _row(run: RunFolder) -> dict[str, str | int]:
    return {
        "run_uuid": run.run_uuid,
        "experiment_id": run.experiment_id,
        "experiment_name": run.experiment_name,
        "run_name": run.meta.run_name,
        "status": run.meta.status,
        "lifecycle_stage": run.meta.lifecycle_stage,
        "start_time": run.meta.start_time,
        "end_time": run.meta.end_time,
        "role": run.role,
        "preset": run.preset,
        "point_count": UNCOUNTED,
        "param_count": len(run.params),
        "tag_count": len(run.tags),
        "watermark": run.watermark,
    }


def _summary(reasons: Mapping[str, str]) -> str:
    shown = [f"{thing}: {reason}" for thing, reason in list(reasons.items())[:_REASONS_SHOWN]]
    rest = len(reasons) - len(shown)
    return "; ".join([*shown, f"and {rest} more"] if rest else shown)
