"""Which source of the warehouse an address is: one known by it, a store that moved there, or another one.

The id of a source is made from its first address and stays its own wherever it goes, so a store that moved goes on as
the same history and nothing of it is read twice. A copy whose original still stands is a source of its own.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

import polars as pl

from pipeline.catalogue import read_runs
from pipeline.errors import SourceUnreadableError
from pipeline.selection import in_scope
from pipeline.sources.opening import open_source
from pipeline.sources.source import EVERYTHING, Scope, source_id_of

_MOST: Final = 0.5

IsThere = Callable[[str, Collection[str]], bool]
"""Says of an address whether a store with one of these runs still stands there."""


def source_id_at(uri: str, source_ids: Mapping[str, str]) -> str:
    """Give the id of the source at an address: the one known by it, else a free one made from the address.

    Parameters
    ----------
    uri
        A canonical address.
    source_ids
        Those of the warehouse by address.
    """
    if uri in source_ids:
        return source_ids[uri]
    taken = set(source_ids.values())
    # A store that was here first, and has moved, has kept the id of this address.
    names = (uri if number == 1 else f"{uri}#{number}" for number in range(1, len(taken) + 2))
    return next(source_id for source_id in map(source_id_of, names) if source_id not in taken)


def origin(seen: Collection[str], known: pl.DataFrame, scope: Scope) -> str | None:
    """Name the source that most likely stood elsewhere before it was found here: most of its runs are among these.

    Parameters
    ----------
    seen
        The run_uuids that were found.
    known
        All runs that the warehouse has not seen vanish: source_id, run_uuid, experiment_name, start_time.
    scope
        What the source was asked for.
    """
    expected = known.filter(in_scope(known, scope)).with_columns(is_here=pl.col("run_uuid").is_in(list(seen)))
    shares = (
        expected.group_by("source_id")
        .agg(share=pl.col("is_here").mean(), here=pl.col("is_here").sum())
        .filter(pl.col("share") > _MOST)
        .sort("here", "source_id", descending=[True, False])
    )
    return str(shares["source_id"][0]) if len(shares) else None


def is_there(uri: str, run_uuids: Collection[str]) -> bool:
    """Look whether a store with one of these runs still stands at an address.

    It is opened without the password that it may ask for: what refuses us, or is locked or busy, stands there.
    """
    try:
        with open_source(uri) as source:
            return not set(run_uuids).isdisjoint(read_runs(source.runs(EVERYTHING))["run_uuid"])
    except SourceUnreadableError as error:
        return error.stands
