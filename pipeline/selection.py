"""What of a source is read: a team's server holds 20,000 runs, and other teams' too."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

import polars as pl

from pipeline.since import since_ms
from pipeline.sources.source import Scope
from pipeline.where_expression import check_where

ChooseSeries = Callable[[Collection[str]], Collection[str]]
"""Of some names of series, those that are worth copying."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The runs and series that a user wants read; what it leaves out stays in the warehouse as it is.

    Parameters
    ----------
    experiments
        Globs of experiment names, one of which must match; none take all.
    since
        Runs that started since: an age (`12h`, `180d`, `4w`), or a date or time in ISO 8601 (UTC where it names no
        zone). Runs without a start are taken.
    where
        A boolean expression of DuckDB, see `where_expression.matching`.
    max_runs_per_group
        The newest so many of an experiment, of those that the other conditions leave. What forms a group is known only
        after reading; the experiment stands for it.
    metrics
        Globs of names: the series that match are copied, and no others.
    all_series
        Copy every series. By default, without `metrics`, whoever calls `ingest` decides by the names.

    Raises
    ------
    ValueError
        A value breaks its rule, or `metrics` and `all_series` are both given.
    """

    experiments: tuple[str, ...] = ()
    since: str | None = None
    where: str | None = None
    max_runs_per_group: int | None = None
    metrics: tuple[str, ...] = ()
    all_series: bool = False

    def __post_init__(self) -> None:
        if self.since is not None:
            since_ms(self.since, datetime.now(UTC))
        if self.where is not None:
            check_where(self.where)
        if self.max_runs_per_group is not None and self.max_runs_per_group < 1:
            raise ValueError(
                f"max_runs_per_group must be a whole number >= 1, got {self.max_runs_per_group}; leave it out for all"
            )
        if self.metrics and self.all_series:
            raise ValueError(
                f"metrics and all_series must not be given both, got {', '.join(self.metrics)}; with all_series every "
                "series is copied"
            )

    def scope(self, now: datetime) -> Scope:
        """Give what a source may choose by itself."""
        return Scope(experiments=self.experiments, since=None if self.since is None else since_ms(self.since, now))

    def series(self, choose: ChooseSeries | None) -> ChooseSeries | None:
        """Give what decides about names of series; None where all are copied."""
        if self.all_series:
            return None
        if not self.metrics:
            return choose
        return lambda keys: {key for key in keys if matches(key, self.metrics)}


EVERY_RUN: Final = Selection()


def matches(name: str, globs: Collection[str]) -> bool:
    """Say whether one of the globs matches, capitals counting."""
    return any(fnmatchcase(name, glob) for glob in globs)


def in_scope(runs: pl.DataFrame, scope: Scope) -> pl.Series:
    """Say of each run whether it is asked for; a start_time that is null or -1 is one that is not known."""
    names = runs["experiment_name"]
    fits = {name: not scope.experiments or matches(name, scope.experiments) for name in names.unique()}
    named = names.replace_strict(fits, return_dtype=pl.Boolean) if fits else names.is_null()
    if scope.since is None:
        return named
    started = runs["start_time"].fill_null(-1)
    return named & ((started == -1) | (started >= scope.since))


def newest(runs: pl.DataFrame, count: int | None) -> pl.DataFrame:
    """Give the newest so many runs of each experiment; all for None."""
    if count is None:
        return runs
    return (
        runs.sort("start_time", "run_uuid", descending=[True, False])
        .group_by("experiment_id", "experiment_name", maintain_order=True)
        .head(count)
        .select(runs.columns)
    )
