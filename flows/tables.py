"""What the commands print: tables for people, plain rows for `--json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from rich.console import RenderableType
from rich.text import Text

from flows.cell_tables import cells_note, cells_table, plain_table, selection_note, titled, verdict_text
from flows.refresh import GroupOutcome, PlannedGroup
from greedylr.preset import Preset
from greedylr.preset_facts import facts
from greedylr.schedules import PRIMARY_CONTROL
from models.group_history import RATE_SOURCES
from pipeline.ingest_report import IngestReport, SourcePlan, SourceReport
from pipeline.warehouse import Warehouse

MOST_WIDTH_OF_NAMES = 36
SCHEDULE_FACTS = ("factor", "patience", "window", "bounds", "extras")


def ingest_table(report: IngestReport) -> RenderableType:
    """Return one row a source: what was new, what was left out and why, and how fast it went."""
    table = plain_table("source", "runs", "points", "points/s", "remark")
    for source in report.sources:
        unreadable = source.status == "unreadable"
        table.add_row(
            Text(source.uri),
            "" if unreadable else _run_counts(source),
            "" if unreadable else f"{source.points:,}",
            f"{source.points / source.seconds:,.0f}" if source.points else "",
            Text(source.reason or "", style="" if source.status == "read" else "red"),
        )
    return titled("Sources", table)


def ingestion_plan_table(plan: Sequence[SourcePlan]) -> RenderableType:
    """Return one row a source: what an ingestion would do, and how long it would take."""
    table = plain_table("source", "runs", "points to copy", "expected time", "remark")
    for source in plan:
        about = "" if source.is_exact else "about "
        speed = f" ({source.points_per_second:,.0f} points/s in a sample)" if source.points_per_second else ""
        table.add_row(
            Text(source.uri),
            _run_counts(source) if source.is_readable else "",
            f"{about}{source.points:,}" if source.is_readable else "",
            f"{duration_text(source.seconds)}{speed}" if source.is_readable else "",
            Text(source.reason or "", style="" if source.is_readable else "red"),
        )
    return titled("What would be read; nothing was written", table)


def duration_text(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _run_counts(source: SourceReport | SourcePlan) -> str:
    counts = {"new": source.runs_new, "updated": source.runs_updated, "unchanged": source.runs_unchanged}
    counts |= {"vanished": source.runs_vanished}
    counts |= {f"left out ({why})": count for why, count in source.skipped.items()}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "none"


def runs_overview(warehouse: Warehouse, min_runs: int) -> dict[str, Any]:
    """Return what the warehouse holds: sources, reasons why runs are not usable, groups."""
    sources = warehouse.frame("select uri, status, reason, run_count, point_count from sources order by uri")
    reasons = warehouse.frame(
        "select reason, count(*) as runs from usable_runs where not usable group by reason order by runs desc, reason"
    )
    groups = warehouse.frame(
        "select group_name as group, count(*) as runs, count(*) filter (diverged) as diverged, "
        "count(starting_rate) as with_rate, list(rate_source) as rate_sources, count(distinct schedule) as schedules "
        "from run_groups join usable_runs using (run_id) group by group_name order by runs desc, group_name"
    )
    copies = warehouse.frame("select count(*) - count(distinct run_uuid) as runs from runs where not is_ours")
    trials = warehouse.frame("select count(*) as trials from usable_runs where regexp_matches(run_id, '#\\d+$')")
    usable = int(groups["runs"].sum())
    not_usable = {row["reason"]: row["runs"] for row in reasons.to_dicts()}
    if copies["runs"][0]:
        not_usable["a copy of a run in another source"] = copies["runs"][0]
    return {
        "sources": sources.to_dicts(),
        "runs": usable + sum(not_usable.values()),
        "usable": usable,
        "trials": trials["trials"][0],
        "not_usable": not_usable,
        "min_runs": min_runs,
        "groups": [group | {"rate_sources": dict(Counter(group["rate_sources"]))} for group in groups.to_dicts()],
    }


def runs_tables(overview: dict[str, Any]) -> Iterator[RenderableType]:
    """Return the overview as tables."""
    sources = plain_table("source", "runs", "points", "remark")
    for source in overview["sources"]:
        remark = Text(source["reason"] or "", style="" if source["status"] == "read" else "red")
        sources.add_row(Text(source["uri"]), str(source["run_count"]), f"{source['point_count']:,}", remark)
    yield titled("Sources", sources)
    reasons = plain_table("why not", "runs")
    for reason, count in overview["not_usable"].items():
        reasons.add_row(reason, str(count))
    trials = f" ({overview['trials']} of all are trials within a run)" if overview["trials"] else ""
    yield titled(f"{overview['usable']} of {overview['runs']} runs are usable{trials}", reasons)
    groups = plain_table("group", "usable runs", "diverged", "rates", "schedules", "remark")
    for group in overview["groups"]:
        few = group["runs"] < overview["min_runs"]
        sources = group["rate_sources"]
        rates = ", ".join(f"{sources[source]} {source}" for source in RATE_SOURCES if source in sources)
        counts = (group["runs"], group["diverged"], rates, group["schedules"])
        advice = f"fewer than {overview['min_runs']}: bundled presets" if few else ""
        groups.add_row(group["group"], *map(str, counts), Text(advice, style="yellow"))
    yield titled("Groups", groups)


def plan_table(plan: Sequence[PlannedGroup]) -> RenderableType:
    """Return one row a group: what a refresh would retrain."""
    table = plain_table("group", "usable runs", "workload", "trainings", "remark")
    for group in plan:
        workload = group.workload + (" (stand-in)" if group.workload and not group.own_workload else "")
        remark = Text(group.message or "a proof", style="red" if group.status == "failed" else "")
        table.add_row(group.group, str(group.runs), Text(workload), _trainings(group), remark)
    return titled("Plan", table)


def _trainings(group: PlannedGroup) -> str:
    if group.status != "proved":
        return "none"
    if not group.most:
        return f"{group.first_look:,} and what the time allows"
    if group.first_look == group.most:
        return f"about {group.most:,}"
    return f"about {group.first_look:,} to {group.most:,}"


def outcome_tables(warehouse: Warehouse, outcomes: Sequence[GroupOutcome]) -> Iterator[RenderableType]:
    """Return one line a group with its preset, then each group's cells; and why a group has no fresh proof."""
    newest = warehouse.frame(
        "select * from preset_versions qualify row_number() over (partition by group_name order by attempt desc) = 1"
    )
    rows = {row["group_name"]: row for row in newest.to_dicts()}
    known = {outcome.group: rows[outcome.group] for outcome in outcomes if outcome.group in rows}
    presets = {group: Preset.from_json(row["preset"]) for group, row in known.items()}
    table = plain_table("group", "starting rate", *SCHEDULE_FACTS)
    table.columns[0].no_wrap = max(map(len, presets), default=0) <= MOST_WIDTH_OF_NAMES
    for group, preset in presets.items():
        rate = "unknown" if preset.learning_rate is None else f"{preset.learning_rate:.3g}"
        described = facts(preset)
        table.add_row(group, rate, *(described[name] for name in SCHEDULE_FACTS))
    if presets:
        yield titled("Presets", table)
    for group, preset in presets.items():
        yield _evidence(warehouse, group, preset, f"models:/{known[group]['registered_name']}@{known[group]['alias']}")
    remarks = plain_table("group", "status", "remark")
    for outcome in outcomes:
        if outcome.status != "proved":
            style = "red" if outcome.status == "failed" else ""
            remarks.add_row(outcome.group, Text(outcome.status, style=style), Text(outcome.message))
    if remarks.row_count:
        yield titled("Nothing proved now" if remarks.row_count == len(outcomes) else "Others", remarks)


def _evidence(warehouse: Warehouse, group: str, preset: Preset, address: str) -> RenderableType:
    verdict = preset.verdict
    assert verdict is not None  # every registered preset has one
    cells = warehouse.frame("select * from cells where group_name = ?", [group])
    stand_in = "" if verdict.own_workload else f" on the stand-in {verdict.workload}"
    regrets = warehouse.frame("select schedule_name, mean_regret from mean_regrets where group_name = ?", [group])
    mean_regrets = dict(regrets.iter_rows())
    beside = ""
    # A proof on a budget may know cosine at an untuned rate only, or not at all.
    if verdict.primary_control != PRIMARY_CONTROL and mean_regrets:
        beside = f" ({_own_verdict(cells, PRIMARY_CONTROL)} against tuned {PRIMARY_CONTROL})"
    title = Text.assemble((f"{group}: ", "bold"), verdict_text(verdict, stand_in), f"{beside}, {address}")
    standings = warehouse.frame(
        "select trainings, survived from race_standings where group_name = ? order by place", [group]
    )
    note = f"{cells_note(mean_regrets)} {_spent(verdict.device_seconds, standings)}"
    return titled(title, cells_table(cells, mean_regrets), f"{note}{selection_note(verdict)}")


def _spent(device_seconds: float, standings: pl.DataFrame) -> str:
    spent = f"The proof took {device_seconds:,.0f} device-seconds"
    if not len(standings):
        return f"{spent}."
    lost = standings.filter(~pl.col("survived"))["trainings"].sum()
    return (
        f"{spent}; of the {standings['trainings'].sum()} trainings in which {len(standings)} candidates raced, {lost} "
        "went into those that lost."
    )


def _own_verdict(cells: pl.DataFrame, control: str) -> str:
    own = cells.filter((pl.col("control") == control) & (pl.col("region") == "own rate"))
    return str(own["verdict"][0])
