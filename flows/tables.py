"""What the commands print: tables for people, plain rows for `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from rich.table import Table
from rich.text import Text

from flows.refresh import GroupOutcome, PlannedGroup
from greedylr.preset import Preset
from greedylr.preset_facts import facts
from models.cells import REGIONS
from pipeline.ingestion import IngestReport
from pipeline.warehouse import Warehouse

# Cut in two these could not be copied.
ONE_LINE = ("group", "verdict", "starting rate", "address")
VERDICT_STYLES = {"better": "green", "non-inferior": "cyan", "undecided": "yellow", "worse": "red"}


def ingest_table(report: IngestReport) -> Table:
    """Return one row a source: what was new, what was left out and why, and how fast it went."""
    table = _table("Sources", "source", "new", "updated", "unchanged", "skipped", "points", "points/s", "remark")
    for source in report.sources:
        skipped = ", ".join(f"{count} {why}" for why, count in source.skipped.items())
        speed = f"{source.points / source.seconds:,.0f}" if source.points else ""
        unreadable = source.status == "unreadable"
        remark = Text(source.reason or "", style="red" if unreadable else "")
        counts = () if unreadable else (source.runs_new, source.runs_updated, source.runs_unchanged)
        cells = (*map(str, counts), skipped, f"{source.points:,}", speed) if counts else ("",) * 6
        table.add_row(Text(source.uri), *cells, remark)
    return table


def runs_overview(warehouse: Warehouse, min_runs: int) -> dict[str, Any]:
    """Return what the warehouse holds: sources, reasons why runs are not usable, groups."""
    sources = warehouse.frame("select uri, status, reason, run_count, point_count from sources order by uri")
    reasons = warehouse.frame(
        "select reason, count(*) as runs from usable_runs where not usable group by reason order by runs desc, reason"
    )
    groups = warehouse.frame(
        "select group_name as group, count(*) as runs, count(*) filter (diverged) as diverged, "
        "count(starting_rate) as with_rate, count(distinct schedule) as schedules "
        "from run_groups join usable_runs using (run_id) group by group_name order by runs desc, group_name"
    )
    usable = int(groups["runs"].sum())
    return {
        "sources": sources.to_dicts(),
        "runs": usable + int(reasons["runs"].sum()),
        "usable": usable,
        "not_usable": {row["reason"]: row["runs"] for row in reasons.to_dicts()},
        "min_runs": min_runs,
        "groups": groups.to_dicts(),
    }


def runs_tables(overview: dict[str, Any]) -> Iterator[Table]:
    """Return the overview as tables."""
    sources = _table("Sources", "source", "runs", "points", "remark")
    for source in overview["sources"]:
        remark = Text(source["reason"] or "", style="red" if source["status"] == "unreadable" else "")
        sources.add_row(Text(source["uri"]), str(source["run_count"]), f"{source['point_count']:,}", remark)
    yield sources
    usable = _table(f"{overview['usable']} of {overview['runs']} runs are usable", "why not", "runs")
    for reason, count in overview["not_usable"].items():
        usable.add_row(reason, str(count))
    yield usable
    groups = _table("Groups", "group", "usable runs", "diverged", "rate known", "schedules", "remark")
    for group in overview["groups"]:
        few = group["runs"] < overview["min_runs"]
        counts = (group["runs"], group["diverged"], group["with_rate"], group["schedules"])
        advice = f"fewer than {overview['min_runs']}: bundled presets" if few else ""
        groups.add_row(group["group"], *map(str, counts), Text(advice, style="yellow"))
    yield groups


def plan_table(plan: Sequence[PlannedGroup]) -> Table:
    """Return one row a group: what a refresh would retrain."""
    table = _table("Plan", "group", "usable runs", "workload", "trainings", "remark")
    for group in plan:
        workload = group.workload if group.own_workload else f"{group.workload} (stand-in)"
        trainings = f"{group.first_look:,} to {group.most:,}" if group.status == "proved" else "none"
        table.add_row(group.group, str(group.runs), workload, trainings, group.message or "a proof")
    return table


def outcome_tables(warehouse: Warehouse, outcomes: Sequence[GroupOutcome]) -> Iterator[Table]:
    """Return one line a group with its preset, then each group's cells; groups without a preset with the reason."""
    newest = warehouse.frame(
        "select * from preset_versions qualify row_number() over (partition by group_name order by attempt desc) = 1"
    )
    presets = {row["group_name"]: row for row in newest.to_dicts()}
    table = _table(
        "Presets", "group", "verdict", "starting rate", "factor", "patience", "window", "bounds", "extras", "address"
    )
    for outcome in outcomes:
        if outcome.group in presets:
            table.add_row(*_preset_cells(outcome.group, presets[outcome.group]))
    if table.row_count:
        yield table
    for outcome in outcomes:
        if outcome.group in presets:
            yield _cells_table(warehouse, outcome.group)
    remarks = _table("Groups", "group", "status", "remark")
    for outcome in outcomes:
        if outcome.status != "proved":
            style = "red" if outcome.status == "failed" else ""
            remarks.add_row(outcome.group, Text(outcome.status, style=style), Text(outcome.message))
    if remarks.row_count:
        yield remarks


def _preset_cells(group: str, row: dict[str, Any]) -> list[str | Text]:
    preset = Preset.from_json(row["preset"])
    verdict, known = preset.verdict, facts(preset)
    assert verdict is not None  # every registered preset has one
    name = f"{verdict.verdict} than {verdict.primary_control}"
    if verdict.verdict in ("non-inferior", "undecided"):
        name = f"{verdict.verdict} against {verdict.primary_control}"
    stand_in = "" if verdict.own_workload else f" on the stand-in {verdict.workload}"
    return [
        group,
        Text(name + stand_in, style=VERDICT_STYLES[verdict.verdict]),
        "unknown" if preset.learning_rate is None else f"{preset.learning_rate:.3g}",
        *(known[name] for name in ("factor", "patience", "window", "bounds", "extras")),
        f"models:/{row['registered_name']}@{row['alias']}",
    ]


def _cells_table(warehouse: Warehouse, group: str) -> Table:
    cells = warehouse.frame("select * from cells where group_name = ?", [group])
    table = _table(
        f"{group}: difference in regret (below 0 the preset is better); starting rates where it is as good or better",
        "control",
        "each at its own rate",
        "seeds",
        "verdict",
        *REGIONS[:-1],
    )
    for control in cells["control"].unique(maintain_order=True).to_list():
        table.add_row(*_control_row(control, cells.filter(pl.col("control") == control)))
    return table


def _control_row(control: str, cells: pl.DataFrame) -> list[str | Text]:
    own = cells.filter(pl.col("region") == "own rate").to_dicts()[0]
    shares = []
    for region in REGIONS[:-1]:
        verdicts = cells.filter(pl.col("region") == region)["verdict"].to_list()
        passed = sum(verdict in ("better", "non-inferior") for verdict in verdicts)
        shares.append(f"{passed} of {len(verdicts)}" if verdicts else "")
    return [
        control,
        f"{own['difference']:+.3f} [{own['lower']:+.3f}, {own['upper']:+.3f}]",
        str(own["seeds"]),
        Text(own["verdict"], style=VERDICT_STYLES[own["verdict"]]),
        *shares,
    ]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_style="bold", title_justify="left", header_style="dim", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ONE_LINE)
    return table
