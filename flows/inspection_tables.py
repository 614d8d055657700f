"""How `greedylr inspect` shows a run or a group to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from features.feature_catalogue import FEATURES
from features.series_names import NAMED_LIKE_NOTHING
from flows.run_remarks import CURVES
from flows.sparkline import sparkline

MOST_ROWS = 12
MOST_MOMENTS = 6
MOST_RUNS = 40
SPARKLINE = 60
ROLE_STYLES = {"training_loss": "green", "validation_loss": "cyan", "learning_rate": "magenta", "epoch": "blue"}


def run_tables(found: Mapping[str, Any], *, plain: bool = False) -> Iterator[RenderableType]:
    """Return the parts of a run's page, one after the other.

    Parameters
    ----------
    found
        Of `inspected_run`.
    plain
        Whether curves are drawn in ASCII.
    """
    run, described = found["run"], found["described"]
    title = Text.assemble((run["run_name"] or run["run_uuid"], "bold"), f"  {run['experiment_name']}")
    yield Group(title, _facts(_origin(found)), Text())
    yield _verdict(described, found["remarks"])
    yield Group(Text("Trained with", style="bold"), _facts(_settings(found)), Text())
    yield Group(Text("Series", style="bold"), _series_table(found["series"]), *_other_series(found), Text())
    if found["trials"]:
        yield Group(Text(f"{len(found['trials'])} trials", style="bold"), _trials_table(found["trials"]), Text())
    if found["trajectory"]:
        yield Group(
            Text(f"Trajectory of {len(found['trajectory']):,} points", style="bold"), *_curves(found, plain), Text()
        )
        yield Group(_spread_rows(found["trajectory"]), Text())
    if found["features"]:
        yield _features_table(found["features"])


def _verdict(described: Mapping[str, Any], remarks: Sequence[str]) -> Group:
    if not described["usable"]:
        title, odd = Text(remarks[0], style="red"), remarks[1:]
    else:
        title, odd = Text("usable" + (", and what is odd about it" if remarks else ""), style="green"), remarks
    return Group(title, *(Text(f"  {remark}", style="yellow") for remark in odd), Text())


def _facts(facts: Mapping[str, object]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value not in (None, ""):
            table.add_row(name, Text(_shown(value)))
    return table


def _origin(found: Mapping[str, Any]) -> dict[str, object]:
    run = found["run"]
    deleted = "" if run["lifecycle_stage"] == "active" else f", {run['lifecycle_stage']}"
    return {
        "run": run["run_uuid"],
        "trial": run["trial"],
        "source": run["uri"],
        "status": f"{run['status']}{deleted}",
        "started": _moment(run["start_time"]),
        "took": _duration(run["start_time"], run["end_time"]),
        "points": f"{run['point_count']:,} in {len(found['series'])} series",
        "groups": ", ".join(found["groups"]),
        "preset": run["trained_with_preset"],
    }


def _settings(found: Mapping[str, Any]) -> dict[str, object]:
    """Tell what the params declare, then what was made of it together with the logged rate."""
    declared = {f"declared {name.replace('_', ' ')}": value for name, value in found["declared"].items()}
    shown = {name: value for name, value in found["described"].items() if name not in ("usable", "reason", "diverged")}
    return {**{name.replace("_", " "): value for name, value in shown.items()}, **declared}


def _series_table(series: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(header_style="dim", box=None, pad_edge=True)
    for column in ("metric", "role", "sure", "why", "points", "lowest", "highest"):
        table.add_column(column, overflow="fold", justify="right" if column in ("sure", "points") else "left")
    for row in series:
        if row["reason"] == NAMED_LIKE_NOTHING:
            continue
        role = row["role"]
        style = "" if role else "dim"
        points = f"{row['points']:,}" + (f" + {row['non_finite_points']:,}" if row["non_finite_points"] else "")
        table.add_row(
            Text(row["key"]),
            Text(role.replace("_", " ") if role else "none", style=ROLE_STYLES.get(role, "")),
            f"{row['confidence']:.2f}" if role else "",
            Text(row["reason"]),
            points,
            _shown(row["minimum"]),
            _shown(row["maximum"]),
            style=style,
        )
    return table


def _trials_table(trials: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(header_style="dim", box=None, pad_edge=True)
    names = ("points", "optimizer", "starting_rate", "schedule", "final_loss", "planned_steps")
    for column in ("trial", *(name.replace("_", " ") for name in names), "remark"):
        table.add_column(column, justify="right" if column in ("points", "final loss", "planned steps") else "left")
    for trial in trials[:MOST_RUNS]:
        remark = trial["reason"] or ("diverged" if trial["diverged"] else "")
        number = f"#{trial['run_id'].rpartition('#')[2]}"
        table.add_row(number, *(_shown(trial[name]) for name in names), Text(remark, style="red"))
    if len(trials) > MOST_RUNS:
        table.add_row("...", Text(f"{len(trials) - MOST_RUNS:,} more; --json lists all", style="dim"))
    return table


def _other_series(found: Mapping[str, Any]) -> Iterator[Text]:
    others = [row["key"] for row in found["series"] if row["reason"] == NAMED_LIKE_NOTHING]
    if others:
        yield Text(f" {len(others)} {NAMED_LIKE_NOTHING}: {', '.join(others)}", style="dim")
    if awaited := found["awaited"]:
        yield Text(f" the next `greedylr ingest` will copy {', '.join(awaited)}", style="yellow")
    if left_out := [key for key in found["not_copied"] if key not in awaited]:
        yield Text(
            f" {len(left_out)} not copied, for no role is possible by their names: {', '.join(left_out)}", style="dim"
        )


def _curves(found: Mapping[str, Any], plain: bool) -> Iterator[Text]:
    for name in CURVES:
        values = [row[name] for row in found["trajectory"] if row[name] is not None]
        if values:
            ends = f"  {_shown(values[0])} to {_shown(values[-1])}, {len(values):,} points"
            line = sparkline(values, SPARKLINE, plain=plain)
            yield Text.assemble(f"  {name.replace('_', ' '):16}", (line, ROLE_STYLES[name]), (ends, "dim"))


def _features_table(rows: Sequence[Mapping[str, Any]]) -> Group:
    """Show the features, one a line: a dozen columns would not fit the page the other way round."""
    moments = _spread([{**row, "progress": f"{row['progress']:.0%}"} for row in rows], MOST_MOMENTS)
    table = Table(header_style="dim", box=None, pad_edge=True)
    table.add_column("at the end of")
    for row in moments:
        table.add_column(row["progress"], justify="right")
    for feature in FEATURES:
        if feature.name != "progress" and any(row[feature.name] is not None for row in rows):
            table.add_row(feature.name.replace("_", " "), *(_shown(row[feature.name]) for row in moments))
    title = Text.assemble(
        ("Features", "bold"), (f" at {len(rows)} decisions of the plan; docs/features.md defines them", "dim")
    )
    return Group(title, table, Text())


def _spread(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Choose so many rows, evenly spread, with the first and the last among them."""
    last, count = len(rows) - 1, min(most, len(rows))
    return [rows[index] for index in sorted({round(number * last / max(count - 1, 1)) for number in range(count)})]


def _spread_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(header_style="dim", box=None, pad_edge=True)
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for row in _spread(rows, MOST_ROWS):
        table.add_row(*(_shown(row[name]) for name in columns))
    return table


def group_tables(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Return the tables of a group: the series that tell its curves, and its runs, the newest first."""
    roles = Table(header_style="dim", box=None, pad_edge=True)
    for column in ("role", "metric", "runs", "sure", "why"):
        roles.add_column(column, overflow="fold", justify="right" if column in ("runs", "sure") else "left")
    for row in found["roles"]:
        role = Text(row["role"].replace("_", " "), style=ROLE_STYLES[row["role"]])
        roles.add_row(role, Text(row["key"]), str(row["runs"]), f"{row['confidence']:.2f}", Text(row["reason"]))
    yield Group(Text(f"{found['group']}: {len(found['runs'])} runs", style="bold"), roles, Text())
    runs = Table(header_style="dim", box=None, pad_edge=True)
    for column in (
        "run",
        "name",
        "started",
        "status",
        "optimizer",
        "rate",
        "schedule",
        "points",
        "final loss",
        "remark",
    ):
        runs.add_column(column, overflow="fold", no_wrap=column in ("run", "started"))
    for row in found["runs"][:MOST_RUNS]:
        runs.add_row(
            f"{row['run'][:12]}{row['run'][32:]}",
            Text(row["run_name"] or ""),
            _moment(row["start_time"])[:10],
            row["status"],
            *(
                _shown(row[name])
                for name in ("optimizer", "starting_rate", "schedule", "training_points", "final_loss")
            ),
            Text("diverged", style="red") if row["diverged"] else "",
        )
    more = len(found["runs"]) - MOST_RUNS
    yield Group(runs, *([Text(f"and {more:,} older ones; --json lists all", style="dim")] if more > 0 else []))


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case _:
            return str(value)


def _moment(milliseconds: int | None) -> str:
    return "" if milliseconds is None else f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _duration(start: int | None, end: int | None) -> str:
    if start is None or end is None or end < start:
        return ""
    seconds = (end - start) / 1000
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
