"""The road as plain functions: what is read, described, grouped and learned before anything is retrained.

Each stage reads the warehouse and writes its rows together with its key; a stage whose key stands there already is
skipped. A stage's version is raised when its results would change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.grouping import groups
from features.learning_rates import learning_rates, with_siblings
from features.run_descriptors import run_descriptors
from features.series_roles import guessed_losses, possible_names, series_roles
from features.trajectories import trajectories, with_progress
from features.trials import parent_run_id, with_trials
from flows.progress import Report, silent
from flows.stage_keys import Part, stage_key
from greedylr.lookup import bundled_presets, load_preset
from greedylr.preset import Candidate
from greedylr.strict_json import encode
from models.candidates import candidates
from models.group_history import GroupHistory
from models.log_statistics import GroupStatistics, group_statistics
from pipeline.ingest_options import IngestOptions
from pipeline.ingest_report import IngestReport, SourcePlan
from pipeline.ingestion import ingest as ingest_stores
from pipeline.ingestion_plan import plan_ingestion
from pipeline.selection import Selection
from pipeline.settings import IngestSettings, Settings
from pipeline.warehouse import EVERY_GROUP, Warehouse

ROLES_VERSION = 2
DESCRIBE_VERSION = 4
LEARN_VERSION = 2

# A store that was moved or copied is another source with the same runs: each is history once, as it was read last.
RUNS = (
    "select * from runs where not is_ours "
    "qualify row_number() over (partition by run_uuid order by ingested_at desc, run_id) = 1 order by run_id"
)

# Points of the runs whose curves are made at a time: what bounds memory, however much the stores hold.
POINTS_AT_ONCE = 1_000_000

# The logged rates: what they say of the other runs of their experiment, which do not log theirs.
RATE_SERIES = """
select run_id, points, minimum, maximum from series join series_roles using (run_id, key) where role = 'learning_rate'
"""

# The metric that tells the epoch of a step.
EPOCHS = "select run_id, step, value from metrics where key = 'epoch' and run_id in (select unnest(?))"

# What a run was configured with. MLflow's own tags (who started it, a note) say nothing of what was trained.
CONFIGURED = """
select run_id, md5(string_agg(md5(kind || chr(31) || key || chr(31) || coalesce(value, '')), '' order by kind, key))
    as configured
from (select 'param' as kind, * from params union all select 'tag', * from tags where not starts_with(key, 'mlflow.'))
group by run_id
"""

# Bundled presets in the order in which they enter a race.
PORTFOLIO = ("robust", "anneal", "core")


@dataclass(frozen=True, kw_only=True)
class Road:
    """Where a refresh works.

    Parameters
    ----------
    settings
        Of the user.
    root
        The folder of the settings file: what a user's `module:factory` is imported from.
    report
        Where progress goes.
    device
        A torch device, for the retraining.
    """

    settings: Settings
    root: Path = Path()
    report: Report = silent
    device: str = "cpu"
    warehouse: Warehouse = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "warehouse", Warehouse(self.settings.warehouse))

    @property
    def data(self) -> Path:
        """The folder of the warehouse, which holds data sets, jobs and pictures too."""
        return self.settings.warehouse.parent


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the logs of a group gave.

    Parameters
    ----------
    runs
        Number of usable runs, each trial of a search counted as one.
    fingerprint
        Hash of the runs' content.
    statistics
        Of the logs.
    key
        Of the stage.
    """

    group: str
    runs: int
    fingerprint: str
    statistics: GroupStatistics
    key: str


def ingest(road: Road, sources: Sequence[str] = (), *, full: bool = False) -> IngestReport:
    """Copy what is new in the sources, by default those of the settings, into the warehouse.

    Parameters
    ----------
    road, sources
        Its settings say which runs and series are read.
    full
        Read every run in the choice again.
    """

    def progress(address: str, done: int, total: int) -> None:
        road.report(f"reading {'/'.join(address.rsplit('/', 2)[-2:]).lstrip('/')}", done, total)

    return ingest_stores(
        road.warehouse, sources or road.settings.sources, _ingest_options(road.settings, full), progress=progress
    )


def ingestion_plan(road: Road, sources: Sequence[str] = (), *, full: bool = False) -> tuple[SourcePlan, ...]:
    """Say what `ingest` would do; nothing is written."""
    return plan_ingestion(road.warehouse, sources or road.settings.sources, _ingest_options(road.settings, full))


def _ingest_options(settings: Settings, full: bool) -> IngestOptions:
    return IngestOptions(
        registry_uri=settings.registry_uri,
        allow_registry_as_source=settings.allow_registry_as_source,
        selection=_selection(settings.ingest),
        choose_series=partial(possible_names, overrides=settings.roles.said),
        full=full,
    )


def _selection(settings: IngestSettings) -> Selection:
    return Selection(
        experiments=settings.experiment,
        since=settings.since,
        where=settings.where,
        max_runs_per_group=settings.max_runs_per_group,
        metrics=settings.metrics,
        all_series=settings.all_series,
    )


def describe(road: Road) -> list[str]:
    """Give every run roles, trajectory and descriptors, put the usable ones into groups; return the groups' names."""
    runs = road.warehouse.frame(RUNS)
    # The rows of these stages bear run ids, which name the source; they are cheap to make again.
    seen = fingerprint(road.warehouse, runs, of_copies=True)
    said = _said(road)
    roles = stage_key("roles", ROLES_VERSION, runs=seen, said=said)
    _assign_roles(road, roles)
    by = list(road.settings.groups.by)
    key = stage_key("describe", DESCRIBE_VERSION, runs=seen, roles=roles, by=list(by))
    if road.warehouse.stage_key(EVERY_GROUP, "describe") != key:
        _describe_runs(road, runs, key)
    return road.warehouse.frame("select distinct group_name from run_groups order by 1")["group_name"].to_list()


def fingerprint(warehouse: Warehouse, runs: pl.DataFrame, *, of_copies: bool = False) -> str:
    """Return a hash of some runs: ids, names, points, states, params and tags.

    Parameters
    ----------
    warehouse
        Which holds them.
    runs
        Rows of its table of runs.
    of_copies
        Whether it counts too from which source they were read, and when. Without, a store that was moved or copied
        gives the same hash.
    """
    columns = ["run_uuid", "experiment_name", "run_name", "status", "lifecycle_stage", "point_count", "configured"]
    if of_copies:
        columns += ["run_id", "ingested_at"]
    rows = runs.join(warehouse.frame(CONFIGURED), on="run_id", how="left").select(columns).sort("run_uuid")
    return hashlib.sha256(json.dumps(rows.rows(), default=str).encode()).hexdigest()[:32]


def learn(road: Road, group: str) -> Learned:
    """Return the statistics of a group's logs, and write them down where they are new."""
    curves = road.warehouse.frame("select run_id from run_groups where group_name = ?", [group])
    parents = curves.select(parent_run_id(pl.col("run_id")).unique())["run_id"].to_list()
    runs = road.warehouse.frame("select * from runs where run_id in (select unnest(?)) order by run_id", [parents])
    seen = fingerprint(road.warehouse, runs)
    said = _said(road)
    key = stage_key("learn", LEARN_VERSION, runs=seen, describe=DESCRIBE_VERSION, roles=ROLES_VERSION, said=said)
    statistics = group_statistics(group_history(road.warehouse, group))
    if road.warehouse.stage_key(group, "learn") != key:
        rows = pl.DataFrame({"statistics": [json.dumps(encode(statistics))]})
        road.warehouse.finish_stage(group, "learn", key, {"group_statistics": rows})
    return Learned(group=group, runs=len(curves), fingerprint=seen, statistics=statistics, key=key)


def group_candidates(
    learned: Learned, fallback_rate: float, largest_stable_rate: float | None = None
) -> list[Candidate]:
    """Return the candidates for a group: from its statistics and the bundled portfolio, within what is stable."""
    portfolio = [
        Candidate(name=name, schedule=load_preset(name).schedule, learning_rate=fallback_rate, origin="portfolio")
        for name in PORTFOLIO
        if name in bundled_presets()
    ]
    return candidates(learned.statistics, portfolio, fallback_rate, largest_stable_rate=largest_stable_rate)


def group_history(warehouse: Warehouse, group: str) -> GroupHistory:
    """Return a group's usable runs and their points as arrays."""
    runs = warehouse.frame(
        "select run_id, starting_rate, schedule, rate_source, final_loss, diverged, planned_steps "
        "from usable_runs join run_groups using (run_id) where group_name = ? order by run_id",
        [group],
    )
    # Where the plan is unknown the share of what was seen stands in: good enough for noise, never used as progress.
    points = warehouse.frame(
        "select run_id, coalesce(least(progress, 1), position / greatest(1, max(position) over (partition by run_id))) "
        "as position, training_loss, learning_rate "
        "from trajectories join run_groups using (run_id) where group_name = ? and training_loss is not null",
        [group],
    )
    index = {run_id: number for number, run_id in enumerate(runs["run_id"].to_list())}
    return GroupHistory(
        run_id=runs["run_id"].to_numpy(),
        starting_rate=_numbers(runs["starting_rate"]),
        schedule=runs["schedule"].fill_null("").to_numpy(),
        rate_source=runs["rate_source"].to_numpy(),
        final_loss=_numbers(runs["final_loss"]),
        diverged=runs["diverged"].to_numpy(),
        planned_steps=_numbers(runs["planned_steps"]),
        run_index=points["run_id"].replace_strict(index, return_dtype=pl.Int64).to_numpy(),
        position=points["position"].to_numpy(),
        training_loss=_numbers(points["training_loss"]),
        learning_rate=_numbers(points["learning_rate"]),
    )


def _numbers(column: pl.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _said(road: Road) -> list[Part]:
    """Return the roles that the settings say, in their order, for globs come one before the other."""
    return [[name, role] for name, role in road.settings.roles.said.items()]


def _assign_roles(road: Road, key: str) -> None:
    if road.warehouse.stage_key(EVERY_GROUP, "roles") != key:
        roles = series_roles(road.warehouse.frame("from series"), road.settings.roles.said)
        road.warehouse.finish_stage(EVERY_GROUP, "roles", key, {"series_roles": roles})


def _describe_runs(road: Road, runs: pl.DataFrame, key: str) -> None:
    params = road.warehouse.frame("from params")
    tags = road.warehouse.frame("from tags")
    runs = with_siblings(runs, road.warehouse.frame(RATE_SERIES))
    curves, described = zip(*(_described(road, some, params) for some in _chunks(runs)), strict=True)
    usable = pl.concat(described)
    tables = {
        "trajectories": pl.concat(curves),
        "usable_runs": usable,
        "run_groups": groups(with_trials(runs, usable), params, usable, road.settings.groups.by, tags=tags),
    }
    road.warehouse.finish_stage(EVERY_GROUP, "describe", key, tables)


def _chunks(runs: pl.DataFrame) -> list[pl.DataFrame]:
    """Cut the runs into pieces whose points fit into memory with ease."""
    before = pl.col("point_count").cum_sum() - pl.col("point_count")
    return runs.with_columns(chunk=before // POINTS_AT_ONCE).partition_by("chunk", include_key=False) or [runs]


def _described(road: Road, runs: pl.DataFrame, params: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the curves of some runs, and the table that describes these runs."""
    run_ids = runs["run_id"].to_list()
    points, roles = (
        road.warehouse.frame(f"from {table} where run_id in (select unnest(?))", [run_ids])
        for table in ("role_points", "series_roles")
    )
    params = params.join(runs.select("run_id"), on="run_id", how="semi")
    epochs = road.warehouse.frame(EPOCHS, [run_ids])
    curves = trajectories(points, roles)
    # Whether a run logged anything is a matter of its source, not of the series that were copied.
    runs = with_trials(runs.with_columns(point_count=pl.max_horizontal("point_count", "logged_points")), curves)
    curves, rates = learning_rates(runs, params, curves, epochs)
    described = run_descriptors(runs, params, curves, rates, guessed_losses(roles))
    return with_progress(curves, described), described
