"""What the commands print: tables for people, plain rows for `--json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.refresh import GroupOutcome, PlannedGroup
from greedylr.preset import Preset
from greedylr.preset_facts import facts
from greedylr.schedules import PRIMARY_CONTROL
from models.cells import REGIONS
from models.group_history import RATE_SOURCES
from models.proving import PRESET
from pipeline.ingest_report import IngestReport, SourcePlan, SourceReport
from pipeline.warehouse import Warehouse

# Short, and hard to read in two lines. An address is never among them: Rich would cut it off where room is short.
ONE_LINE = ("verdict", "starting rate", "difference", "factor")
MOST_WIDTH_OF_NAMES = 36
SCHEDULE_FACTS = ("factor", "patience", "window", "bounds", "extras")
VERDICT_STYLES = {"better": "green", "non-inferior": "cyan", "undecided": "yellow", "worse": "red"}


def ingest_table(report: IngestReport) -> RenderableType:
    """Return one row a source: what was new, what was left out and why, and how fast it went."""
    table = _table("source", "runs", "points", "points/s", "remark")
    for source in report.sources:
        unreadable = source.status == "unreadable"
        table.add_row(
            Text(source.uri),
            "" if unreadable else _run_counts(source),
            "" if unreadable else f"{source.points:,}",
            f"{source.points / source.seconds:,.0f}" if source.points else "",
            Text(source.reason or "", style="" if source.status == "read" else "red"),
        )
    return _titled("Sources", table)


def ingestion_plan_table(plan: Sequence[SourcePlan]) -> RenderableType:
    """Return one row a source: what an ingestion would do, and how long it would take."""
    table = _table("source", "runs", "points to copy", "expected time", "remark")
    for source in plan:
        about = "" if source.is_exact else "about "
        speed = f" ({source.points_per_second:,.0f} points/s in a sample)" if source.points_per_second else ""
        table.add_row(
            Text(source.uri),
            _run_counts(source) if source.is_readable else "",
            f"{about}{source.points:,}" if source.is_readable else "",
            f"{_duration(source.seconds)}{speed}" if source.is_readable else "",
            Text(source.reason or "", style="" if source.is_readable else "red"),
        )
    return _titled("What would be read; nothing was written", table)


def _duration(seconds: float) -> str:
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
    sources = _table("source", "runs", "points", "remark")
    for source in overview["sources"]:
        remark = Text(source["reason"] or "", style="" if source["status"] == "read" else "red")
        sources.add_row(Text(source["uri"]), str(source["run_count"]), f"{source['point_count']:,}", remark)
    yield _titled("Sources", sources)
    reasons = _table("why not", "runs")
    for reason, count in overview["not_usable"].items():
        reasons.add_row(reason, str(count))
    trials = f" ({overview['trials']} of all are trials within a run)" if overview["trials"] else ""
    yield _titled(f"{overview['usable']} of {overview['runs']} runs are usable{trials}", reasons)
    groups = _table("group", "usable runs", "diverged", "rates", "schedules", "remark")
    for group in overview["groups"]:
        few = group["runs"] < overview["min_runs"]
        sources = group["rate_sources"]
        rates = ", ".join(f"{sources[source]} {source}" for source in RATE_SOURCES if source in sources)
        counts = (group["runs"], group["diverged"], rates, group["schedules"])
        advice = f"fewer than {overview['min_runs']}: bundled presets" if few else ""
        groups.add_row(group["group"], *map(str, counts), Text(advice, style="yellow"))
    yield _titled("Groups", groups)


def plan_table(plan: Sequence[PlannedGroup]) -> RenderableType:
    """Return one row a group: what a refresh would retrain."""
    table = _table("group", "usable runs", "workload", "trainings", "remark")
    for group in plan:
        workload = group.workload + (" (stand-in)" if group.workload and not group.own_workload else "")
        remark = Text(group.message or "a proof", style="red" if group.status == "failed" else "")
        table.add_row(group.group, str(group.runs), Text(workload), _trainings(group), remark)
    return _titled("Plan", table)


def _trainings(group: PlannedGroup) -> str:
    if group.status != "proved":
        return "none"
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
    table = _table("group", "starting rate", *SCHEDULE_FACTS)
    table.columns[0].no_wrap = max(map(len, presets), default=0) <= MOST_WIDTH_OF_NAMES
    for group, preset in presets.items():
        rate = "unknown" if preset.learning_rate is None else f"{preset.learning_rate:.3g}"
        described = facts(preset)
        table.add_row(group, rate, *(described[name] for name in SCHEDULE_FACTS))
    if presets:
        yield _titled("Presets", table)
    for group, preset in presets.items():
        yield _evidence(warehouse, group, preset, f"models:/{known[group]['registered_name']}@{known[group]['alias']}")
    remarks = _table("group", "status", "remark")
    for outcome in outcomes:
        if outcome.status != "proved":
            style = "red" if outcome.status == "failed" else ""
            remarks.add_row(outcome.group, Text(outcome.status, style=style), Text(outcome.message))
    if remarks.row_count:
        yield _titled("Nothing proved now" if remarks.row_count == len(outcomes) else "Others", remarks)


def _evidence(warehouse: Warehouse, group: str, preset: Preset, address: str) -> RenderableType:
    verdict = preset.verdict
    assert verdict is not None  # every registered preset has one
    words = "than" if verdict.verdict in ("better", "worse") else "against"
    stand_in = "" if verdict.own_workload else f" on the stand-in {verdict.workload}"
    beside = ""
    if verdict.primary_control != PRIMARY_CONTROL:
        beside = f" ({_own_verdict(warehouse, group, PRIMARY_CONTROL)} against tuned {PRIMARY_CONTROL})"
    selection = "" if verdict.selection == "apart" else ", selection = report"
    title = Text.assemble(
        (f"{group}: ", "bold"),
        (f"{verdict.verdict} {words} {verdict.primary_control}{stand_in}", VERDICT_STYLES[verdict.verdict]),
        f"{beside}{selection}, {address}",
    )
    regrets = warehouse.frame("select schedule_name, mean_regret from mean_regrets where group_name = ?", [group])
    mean_regrets = dict(regrets.iter_rows())
    note = (
        "Difference in regret with its interval, each schedule at its own rate: below 0 the preset is better. Then "
        "from how many starting rates it is as good or better (27, 9 and 3 times below cosine's tuned rate; at it; "
        "3 and 9 times above), and the control's mean regret over them; the preset's is "
        f"{mean_regrets[PRESET]:.3f}."
    )
    if verdict.selection == "report":
        note += " Rates were chosen by the very metric that is reported: name a report_metric to keep the two apart."
    return _titled(title, _cells_table(warehouse, group, mean_regrets), note)


def _own_verdict(warehouse: Warehouse, group: str, control: str) -> str:
    cell = warehouse.frame(
        "select verdict from cells where group_name = ? and control = ? and region = 'own rate'", [group, control]
    )
    return str(cell["verdict"][0])


def _cells_table(warehouse: Warehouse, group: str, mean_regrets: Mapping[str, float]) -> Table:
    cells = warehouse.frame("select * from cells where group_name = ?", [group])
    table = _table("control", "difference", "seeds", "verdict", *REGIONS[:-1], "mean regret")
    for control in cells["control"].unique(maintain_order=True).to_list():
        regret = f"{mean_regrets[control]:.3f}" if control in mean_regrets else ""
        table.add_row(*_control_row(control, cells.filter(pl.col("control") == control)), regret)
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
        # Rich reads [...] as a style.
        Text(f"{own['difference']:+.3f} [{own['lower']:+.3f}, {own['upper']:+.3f}]"),
        str(own["seeds"]),
        Text(own["verdict"], style=VERDICT_STYLES[own["verdict"]]),
        *shares,
    ]


def _titled(title: str | Text, table: Table, note: str = "") -> RenderableType:
    """Return a table under its title: Rich would break the title to the width of the table."""
    heading = Text(title, style="bold") if isinstance(title, str) else title
    notes = [Text(note, style="dim")] if note else []
    return Group(heading, *notes, *([table] if table.row_count else []), Text())


def _table(*columns: str) -> Table:
    table = Table(header_style="dim", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ONE_LINE)
    return table
