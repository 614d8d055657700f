"""An MLflow tracking server, read over its REST API by a few threads; artifacts are never touched."""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa

from pipeline.errors import SourceUnreadableError
from pipeline.sources.answers_ahead import answers
from pipeline.sources.rest_client import API, RestClient, canonical_server_uri
from pipeline.sources.served_histories import HistoryRequest, Series, ServedHistories, history_requests
from pipeline.sources.served_runs import Description, packed, run_row, run_uuid_of, unpacked
from pipeline.sources.server_refusals import AnswerRefusedError
from pipeline.sources.server_workspace import with_workspace, workspace_of
from pipeline.sources.source import (
    EVERYTHING,
    PAIR_SCHEMA,
    POINT_SCHEMA,
    RUN_SCHEMA,
    SERIES_SCHEMA,
    Scope,
    source_id_of,
)

_EXPERIMENTS_PER_PAGE: Final = 1_000
_EXPERIMENTS_PER_SEARCH: Final = 100
_RUNS_PER_PAGE: Final = 500
_ROWS_PER_BATCH: Final = 65_536
_UNKNOWN_RUN: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""MLflow's codes for a run that is not there, and for a text that can name none."""

Batches = Generator[pa.RecordBatch, None, None]


class TrackingServer:
    """One MLflow server as a `Source`, open between `with` and its end.

    A server cannot count: `point_count` is 0 for a run without series and `UNCOUNTED` for every other. The watermark is
    made of the latest point of every series, the status and the end, which are all that a search tells: a point logged
    late at a lower step leaves it as it is, so it is not exact, running runs have to be read again, and finished ones
    when the user asks for it.

    A server finds no run without a start by a time: where `Scope.since` is given, such runs are not told of.

    Parameters
    ----------
    address
        `http://host:port` or `https://host/prefix`. Credentials come from where MLflow takes them, the environment
        (MLFLOW_TRACKING_USERNAME, _PASSWORD, _TOKEN, _AUTH, _INSECURE_TLS, _SERVER_CERT_PATH, _CLIENT_CERT_PATH) and
        ~/.mlflow/credentials; MLFLOW_WORKSPACE names a workspace. A `user:password@` and a `?workspace=` in the address
        go before them.
    threads
        Requests at once, at least 1. MLflow's server works on four at a time unless told otherwise.

    Raises
    ------
    ValueError
        Fewer than one thread.
    SourceUnreadableError
        No HTTP address; on entering: no server, no MLflow, no permission.
    """

    def __init__(self, address: str, *, threads: int = 4) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._uri = with_workspace(canonical_server_uri(address), workspace_of(address))
        self._address = address
        self._threads = threads
        self._client: RestClient | None = None
        self._histories: ServedHistories | None = None
        # What a search said of each run: its params, tags and latest steps are asked for later, and a search costs a
        # server as much as many histories. Compressed, since 20,000 runs with their tags would take a few 100 MB.
        self._described: dict[str, bytes] = {}

    @property
    def uri(self) -> str:
        """The address in its canonical form, without user and password; with the workspace if it is not the default."""
        return self._uri

    @property
    def source_id(self) -> str:
        """A short name of the address, the first half of every `run_id`."""
        return source_id_of(self.uri)

    @property
    def exact_watermark(self) -> bool:
        """False: the latest points do not show one that was logged late at a lower step."""
        return False

    @property
    def problems(self) -> Mapping[str, str]:
        """None: a server gives a run whole or not at all."""
        return {}

    def __enter__(self) -> Self:
        client = RestClient(self._address, connections=self._threads)
        try:
            found = client.post(f"{API}experiments/search", {"max_results": 1})
            if found and "experiments" not in found:
                raise SourceUnreadableError("answers, but not as an MLflow server does; check the address")
        except BaseException:
            client.close()
            raise
        self._client, self._histories = client, ServedHistories(client)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._histories = None
        self._described.clear()

    @contextmanager
    def runs(self, scope: Scope = EVERYTHING) -> Iterator[pa.RecordBatchReader]:
        """Every run of the experiments and the time in scope, deleted ones too, with `RUN_COLUMNS`."""
        with _reading(RUN_SCHEMA, self._runs(self._open_client(), scope)) as reader:
            yield reader

    @contextmanager
    def params(self, run_uuids: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        """Give the parameters of these runs, as the last search told them."""
        rows = ((run_uuid, *param) for run_uuid in run_uuids for param in self._description(run_uuid).params)
        with _reading(PAIR_SCHEMA, _batches(PAIR_SCHEMA, rows)) as reader:
            yield reader

    @contextmanager
    def tags(self, run_uuids: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        """Give the tags of these runs, as the last search told them."""
        rows = ((run_uuid, *tag) for run_uuid in run_uuids for tag in self._description(run_uuid).tags)
        with _reading(PAIR_SCHEMA, _batches(PAIR_SCHEMA, rows)) as reader:
            yield reader

    @contextmanager
    def series(self, run_uuids: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        """Name the series of these runs, as the last search told them."""
        rows = ((one.run_uuid, one.key) for one in self._series(run_uuids, None))
        with _reading(SERIES_SCHEMA, _batches(SERIES_SCHEMA, rows)) as reader:
            yield reader

    @contextmanager
    def points(self, run_uuids: Sequence[str], keys: Collection[str] | None = None) -> Iterator[pa.RecordBatchReader]:
        """Read all points of these runs, or those of the series with these names, by several threads."""
        with _reading(POINT_SCHEMA, self._ask(history_requests(self._series(run_uuids, keys)))) as reader:
            yield reader

    def _ask(self, requests: Iterable[HistoryRequest]) -> Batches:
        self._open_client()
        assert self._histories is not None
        return answers(self._histories.ask, requests, self._threads)

    def _runs(self, client: RestClient, scope: Scope) -> Batches:
        names = self._experiment_names(client, scope)
        experiment_ids = iter(names)
        told: set[str] = set()
        while chosen := list(islice(experiment_ids, _EXPERIMENTS_PER_SEARCH)):
            for found in client.searched(f"{API}runs/search", _run_search(chosen, scope), "runs"):
                # A run that starts meanwhile can move another from one page to the next.
                runs = [run for run in found if run_uuid_of(run) not in told]
                told.update(map(run_uuid_of, runs))
                self._described.update((run_uuid_of(run), packed(run)) for run in runs)
                yield from _batches(RUN_SCHEMA, (run_row(run, names) for run in runs))

    def _experiment_names(self, client: RestClient, scope: Scope) -> dict[str, str]:
        body = {"view_type": "ALL", "max_results": _EXPERIMENTS_PER_PAGE}
        found = (one for page in client.searched(f"{API}experiments/search", body, "experiments") for one in page)
        names = {str(one["experiment_id"]): str(one["name"]) for one in found}
        globs = scope.experiments or ("*",)
        return {which: name for which, name in names.items() if any(fnmatchcase(name, glob) for glob in globs)}

    def _series(self, run_uuids: Sequence[str], keys: Collection[str] | None) -> Iterator[Series]:
        chosen = None if keys is None else frozenset(keys)
        for run_uuid in run_uuids:
            for key, step in self._description(run_uuid).latest_steps:
                if chosen is None or key in chosen:
                    yield Series(run_uuid, key, step)

    def _description(self, run_uuid: str) -> Description:
        client = self._open_client()
        if run_uuid not in self._described:
            try:
                run = client.get(f"{API}runs/get", {"run_id": run_uuid})["run"]
            except AnswerRefusedError as error:
                if error.code not in _UNKNOWN_RUN:
                    raise
                run = {}
            self._described[run_uuid] = packed(run)
        return unpacked(self._described[run_uuid])

    def _open_client(self) -> RestClient:
        if self._client is None:
            raise ValueError(
                "a server must be entered before it is read; write `with TrackingServer(address) as server:`"
            )
        return self._client


def _run_search(experiment_ids: list[str], scope: Scope) -> dict[str, Any]:
    body: dict[str, Any] = {
        "experiment_ids": experiment_ids,
        "run_view_type": "ALL",
        "max_results": _RUNS_PER_PAGE,
        # The oldest first: what starts meanwhile comes at the end.
        "order_by": ["attributes.start_time ASC"],
    }
    return body if scope.since is None else {**body, "filter": f"attributes.start_time >= {scope.since}"}


def _batches(schema: pa.Schema, rows: Iterable[tuple[Any, ...]]) -> Batches:
    remaining = iter(rows)
    while chunk := list(islice(remaining, _ROWS_PER_BATCH)):
        columns = (pa.array(column, field.type) for column, field in zip(zip(*chunk, strict=True), schema, strict=True))
        yield pa.record_batch(list(columns), schema=schema)


@contextmanager
def _reading(schema: pa.Schema, batches: Batches) -> Iterator[pa.RecordBatchReader]:
    failures: list[SourceUnreadableError] = []

    def watched() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except SourceUnreadableError as error:
            failures.append(error)
            raise

    try:
        yield pa.RecordBatchReader.from_batches(schema, watched())
    finally:
        batches.close()
        if failures:
            # A database that read the batches has made an error of its own of this one.
            raise failures[0]
