"""Whole metric histories from an MLflow server, by the quickest of its endpoints that is provably whole.

Three endpoints give histories. `get-history-bulk-interval`, which draws MLflow's charts, samples. `get-history` pages
through one series of one run. `get-history-bulk` gives a series of many runs at about twice the rate, but stops
at 25,000 points and does not say so: an answer is believed as far as it can be whole, and the rest is asked for again.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.errors import SourceUnreadableError
from pipeline.sources.rest_client import API, INTERFACE_API, RestClient
from pipeline.sources.server_refusals import AnswerRefusedError
from pipeline.sources.source import POINT_SCHEMA

logger = logging.getLogger(__name__)

LARGEST_ANSWER: Final = 25_000
"""Points: the most that `get-history-bulk` gives, and Databricks a page of `get-history`."""

_POINTS_PER_REQUEST: Final = 5_000
_RUNS_PER_REQUEST: Final = 40  # a hundred are allowed, but their names in one address can be too long for a proxy
_LARGEST_FLOAT: Final = float(np.finfo(np.float64).max)

Point = dict[str, Any]


@dataclass(frozen=True)
class Series:
    """One series of one run, and the step of its latest point."""

    run_uuid: str
    key: str
    latest_step: int


@dataclass(frozen=True)
class HistoryRequest:
    """Histories to ask for in one request: many at once, or one from a page on.

    Parameters
    ----------
    series
        All of one key.
    is_paged
        Whether to page through them, one by one, instead of asking for all at once.
    page_token
        Where the first of them goes on; '' at its beginning.
    """

    series: tuple[Series, ...]
    is_paged: bool = False
    page_token: str = ""


def history_requests(series: Iterable[Series]) -> Iterator[HistoryRequest]:
    """Put series into requests of about 5,000 points, taking a series for as long as its latest step says.

    Many are shorter (logged every 50 steps) or longer (the step is an epoch); the first costs requests, the second is
    noticed when the answer is cut.
    """
    gathered: list[Series] = []
    points = 0
    for one in sorted(series, key=lambda one: (one.key, one.run_uuid)):
        expected = max(one.latest_step, 0) + 1
        if expected >= LARGEST_ANSWER:
            yield HistoryRequest((one,), is_paged=True)
            continue
        is_full = len(gathered) == _RUNS_PER_REQUEST or points + expected > _POINTS_PER_REQUEST
        if gathered and (is_full or gathered[0].key != one.key):
            yield HistoryRequest(tuple(gathered))
            gathered, points = [], 0
        gathered.append(one)
        points += expected
    if gathered:
        yield HistoryRequest(tuple(gathered))


class ServedHistories:
    """Answers to history requests; threads may share it.

    Parameters
    ----------
    client
        An open one.
    """

    def __init__(self, client: RestClient) -> None:
        self._client = client
        self._has_bulk = True

    def ask(self, request: HistoryRequest) -> tuple[pa.RecordBatch, list[HistoryRequest]]:
        """Make one request; give the points of the histories, and what is still to be asked for."""
        if request.is_paged or not self._has_bulk:
            return self._page(request)
        series = request.series
        try:
            answer = self._client.get(
                f"{INTERFACE_API}metrics/get-history-bulk",
                {
                    "run_id": [one.run_uuid for one in series],
                    "metric_key": series[0].key,
                    "max_results": LARGEST_ANSWER,
                },
            )
        except AnswerRefusedError as error:
            # A server of 2021, Databricks, or a proxy that lets only the documented API through. Whatever the true
            # reason is, `get-history` will meet it again.
            if self._has_bulk:
                logger.info("histories are read one by one: get-history-bulk %s", error)
            self._has_bulk = False
            return self._page(request)
        points = answer.get("metrics", [])
        whole, rest = whole_histories(series, points)
        if rest:
            points = [point for point in points if point["run_id"] in whole]
        return batch_of([point["run_id"] for point in points], series[0].key, points), rest

    def _page(self, request: HistoryRequest) -> tuple[pa.RecordBatch, list[HistoryRequest]]:
        one, *others = request.series
        rest = [HistoryRequest(tuple(others), is_paged=True)] if others else []
        parameters = {"run_id": one.run_uuid, "metric_key": one.key, "max_results": str(LARGEST_ANSWER)}
        if request.page_token:
            parameters["page_token"] = request.page_token
        try:
            answer = self._client.get(f"{API}metrics/get-history", parameters)
        except AnswerRefusedError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            answer = {}  # deleted for good since it was named
        points = answer.get("metrics", [])
        token = answer.get("next_page_token") or ""
        if token and (not points or token == request.page_token):
            raise SourceUnreadableError(f"the server's pages of the history of '{one.key}' have no end")
        if token:
            rest = [HistoryRequest((one,), is_paged=True, page_token=token), *rest]
        return batch_of([one.run_uuid] * len(points), one.key, points), rest


def whole_histories(series: Sequence[Series], points: Sequence[Point]) -> tuple[set[str], list[HistoryRequest]]:
    """Tell of an answer of `get-history-bulk` which runs' histories are whole, and what to ask for of the others.

    The answer is ordered by run, then by time. One that may be cut holds the last run in part, and runs that it does
    not show are asked for again. A history that ends before the latest step that its run tells of is paged through.
    """
    latest: dict[str, int] = {}
    for point in points:
        run_uuid, step = point["run_id"], int(point.get("step", 0))
        latest[run_uuid] = max(step, latest.get(run_uuid, step))
    is_cut = len(points) >= LARGEST_ANSWER
    last = points[-1]["run_id"] if is_cut else None
    again, alone = [], []
    whole = set()
    for one in series:
        if is_cut and (one.run_uuid not in latest or (one.run_uuid == last and len(latest) > 1)):
            again.append(one)
        elif one.run_uuid == last or one.run_uuid not in latest or latest[one.run_uuid] < one.latest_step:
            alone.append(one)
        else:
            whole.add(one.run_uuid)
    rest = [HistoryRequest(tuple(group), is_paged=group is alone) for group in (again, alone) if group]
    return whole, rest


def batch_of(run_uuids: list[str], key: str, points: Sequence[Point]) -> pa.RecordBatch:
    """Put points into columns, values as MLflow's databases hold them: NaN is 0 with a flag, infinities are clipped.

    JSON has no NaN: MLflow writes the text "NaN" into answers made by protobuf, the bare word into others; a server
    over a file store answers "Infinity". Large whole numbers come as text from some servers.
    """
    values = np.array([float(point.get("value", 0.0)) for point in points], dtype=np.float64)
    is_nan = np.isnan(values)
    values = np.clip(np.where(is_nan, 0.0, values), -_LARGEST_FLOAT, _LARGEST_FLOAT)
    return pa.record_batch(
        [
            pa.array(run_uuids, pa.string()),
            pa.repeat(pa.scalar(key, pa.string()), len(points)),
            pa.array([int(point.get("step", 0)) for point in points], pa.int64()),
            pa.array([int(point.get("timestamp", 0)) for point in points], pa.int64()),
            pa.array(values, pa.float64()),
            pa.array(is_nan.astype(np.int64), pa.int64()),
        ],
        schema=POINT_SCHEMA,
    )
