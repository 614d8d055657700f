"""What a source says of its runs before a single point is read: which are in the choice, with their params and tags."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.selection import Selection, in_scope, newest
from pipeline.sources.source import PAIR_SCHEMA, Source
from pipeline.where_expression import matching

OURS: Final = "trained by greedylr"
"""Why a run is left out: it carries the tag `greedylr.role`, and what we made is never history."""

OUTSIDE: Final = "outside the choice"
"""Why a run is left out: `Selection` does not ask for it."""

ROWS_PER_READ: Final = 500_000
"""A source's reader holds SQLite's shared lock until its last row, and a training job that logs into the same store
waits that long: half a million rows take about half a second, well below the five after which its client gives up."""

ReadTexts = Callable[[Sequence[str]], AbstractContextManager[pa.RecordBatchReader]]


# DuckDB combines the arguments of its own hash() so loosely that two tags which swap their values leave it as it was.
_CONTENT: Final = """
select run_uuid, bit_xor(md5_number_lower(concat_ws(':', kind, length(key), key, value)))::varchar as content
from (select 'param' as kind, * from given_params union all select 'tag', * from given_tags)
group by run_uuid
"""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The runs of a source, as it tells of them.

    Parameters
    ----------
    runs
        Those in the choice, with the columns of `Source.runs` and `content`, a digest of the params and tags.
    ours
        Those that this project made.
    seen
        The run_uuids of all that the source told of, in the choice or not.
    params, tags
        run_uuid, key, value of the runs in the choice, perhaps of others.
    """

    runs: pl.DataFrame
    ours: frozenset[str]
    seen: frozenset[str]
    params: pa.Table
    tags: pa.Table

    @property
    def left_out(self) -> dict[str, int]:
        """How many runs are left out, and why."""
        outside = len(self.seen) - len(self.ours) - len(self.runs)
        return {why: count for why, count in ((OURS, len(self.ours)), (OUTSIDE, outside)) if count}


def read_catalogue(source: Source, selection: Selection, now: datetime) -> Catalogue:
    """Ask an open source for its runs, and choose among them; errors as `Source`, and `matching` for `where`."""
    scope = selection.scope(now)
    told = read_runs(source.runs(scope))
    is_ours = told["role"] != ""
    runs = told.filter(~is_ours & in_scope(told, scope)).drop("role")
    if selection.where is None:
        runs = newest(runs, selection.max_runs_per_group)
    params = _read_texts(source.params, runs, "param_count")
    tags = _read_texts(source.tags, runs, "tag_count")
    if selection.where is not None:
        fits = matching(selection.where, runs.to_arrow(), params, tags)
        runs = newest(runs.filter(pl.col("run_uuid").is_in(list(fits))), selection.max_runs_per_group)
    return Catalogue(
        runs=runs.join(_content(params, tags), on="run_uuid", how="left"),
        ours=frozenset(told.filter(is_ours)["run_uuid"]),
        seen=frozenset(told["run_uuid"]),
        params=params,
        tags=tags,
    )


def read_runs(opened: AbstractContextManager[pa.RecordBatchReader]) -> pl.DataFrame:
    """Read what `Source.runs` gives to its end."""
    with opened as reader:
        frame = pl.from_arrow(reader.read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


def chunks(runs: Iterable[tuple[str, int]], rows_per_chunk: int) -> Iterator[list[str]]:
    """Cut (run_uuid, rows) into lists of about so many rows; a run is never divided."""
    chunk: list[str] = []
    rows_in_chunk = 0
    for run_uuid, rows in runs:
        if chunk and rows_in_chunk + rows > rows_per_chunk:
            yield chunk
            chunk, rows_in_chunk = [], 0
        chunk.append(run_uuid)
        rows_in_chunk += rows
    if chunk:
        yield chunk


def _read_texts(read: ReadTexts, runs: pl.DataFrame, count: str) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    with_any = runs.filter(pl.col(count) != 0).select("run_uuid", pl.col(count).clip(lower_bound=1))
    for run_uuids in chunks(with_any.iter_rows(), ROWS_PER_READ):
        with read(run_uuids) as reader:
            batches += [batch for batch in reader if batch.num_rows]
    return pa.Table.from_batches(batches) if batches else PAIR_SCHEMA.empty_table()


def _content(params: pa.Table, tags: pa.Table) -> pl.DataFrame:
    connection = duckdb.connect()
    try:
        connection.register("given_params", params)
        connection.register("given_tags", tags)
        frame = pl.from_arrow(connection.sql(_CONTENT).to_arrow_table())
    finally:
        connection.close()
    assert isinstance(frame, pl.DataFrame)
    return frame
