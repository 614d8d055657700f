"""The pipeline's commands: which there are, that each is documented, and what they print."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from rich.console import Console
from typer.main import get_command

from flows.cell_tables import plain_table
from flows.cli import register
from flows.refresh import GroupOutcome, PlannedGroup
from flows.road import Road, describe
from flows.tables import ingest_table, outcome_tables, plan_table, runs_overview
from greedylr import Interval, Verdict, load_preset
from greedylr.command_line import PIPELINE_COMMANDS, application
from greedylr.verdict import Selection
from pipeline.ingest_report import IngestReport, SourceReport
from pipeline.settings import Settings, load_settings
from pipeline.warehouse import Warehouse

ROOT = Path(__file__).parents[2]
LONG = "sqlite:////home/someone/experiments/with-a-long-name/of-many-parts/that-goes-on/and-on/mlflow.db"

Greedylr = Callable[..., Any]


def commands() -> list[tuple[str, ...]]:
    """All commands, those of `greedylr presets` too."""
    tree: Any = get_command(application())
    found: list[tuple[str, ...]] = [()]
    for name, command in tree.commands.items():
        found += [(name,), *((name, inner) for inner in getattr(command, "commands", {}))]
    return found


def test_flows_adds_exactly_the_commands_that_the_library_names() -> None:
    app = typer.Typer()
    register(app)
    tree: Any = get_command(app)
    assert tuple(tree.commands) == PIPELINE_COMMANDS


@pytest.mark.parametrize("command", commands()[1:], ids=" ".join)
def test_the_help_of_every_command_has_an_example_of_it(
    command: tuple[str, ...], greedylr: Greedylr, tmp_path: Path
) -> None:
    ended = greedylr(tmp_path, *command, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert re.search(rf"Example: greedylr {' '.join(command)}\b", " ".join(ended.out.split()))


def test_no_help_holds_words_in_brackets_which_rich_would_take_for_a_style() -> None:
    tree: Any = get_command(application())
    texts = [
        text for command in tree.commands.values() for text in (command.help, *(p.help for p in command.params)) if text
    ]
    assert len(texts) > 50
    assert [text for text in texts if re.search(r"\[[a-z#/@]", text)] == []


def test_no_word_of_a_heading_is_broken_where_room_is_short() -> None:
    table = plain_table("control", "difference", "mean regret")
    table.add_row("greedy_smooth50_anneal_ramp", "+0.002 [-0.009, +0.012]", "0.092")
    shown = Console(width=45)
    with shown.capture() as captured:
        shown.print(table)
    assert {"control", "difference", "mean", "regret"} <= set(captured.get().split())


def test_the_readme_shows_only_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^(?: {4}|\t)(.*)$", text, re.MULTILINE) + re.findall(r"`(greedylr [^`]*)`", text)
    blocks += [line for fence in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in fence.splitlines()]
    shown = {match[1] for line in blocks if (match := re.match(r"greedylr (\w+)", line.strip()))}
    assert shown >= {"init", "ingest", "runs", "run", "presets"}
    assert shown <= {command[0] for command in commands() if command}
    presets = next(line for line in blocks if "greedylr presets" in line).partition("greedylr presets")[2]
    inner = {command[1] for command in commands() if len(command) == 2}
    assert {part.split()[0] for part in presets.split("|")} <= inner


@pytest.fixture
def root(
    tmp_path: Path,
    new_repository: Callable[..., Path],
    log_history: Callable[..., None],
    log_run: Callable[..., str],
) -> Path:
    """A repository with two groups of runs, of eight and of three, and a run that is too short."""
    root = new_repository(tmp_path / "repository")
    log_history(root / "mlflow.db", "digits", [("cosine", 0.003)] * 5 + [("constant", 0.03)] * 2 + [("linear", 1.0)])
    log_history(root / "mlflow.db", "pilot", [("cosine", 0.01)] * 3)
    log_run("pilot", metrics={"loss": [2.0, 1.0]}, store=root / "mlflow.db")
    return root


def test_runs_are_counted_for_programs(root: Path, greedylr: Greedylr) -> None:
    greedylr(root, "ingest")
    ended = greedylr(root, "runs", "--json")
    assert (ended.status, ended.err) == (0, "")
    assert json.loads(ended.out) == {
        "sources": [
            {
                "uri": f"sqlite:///{root}/mlflow.db",
                "status": "read",
                "reason": None,
                "run_count": 12,
                "point_count": 222,
            }
        ],
        "runs": 12,
        "usable": 11,
        "trials": 0,
        "not_usable": {"fewer than 10 points": 1},
        "min_runs": 6,
        "groups": [
            {
                "group": "digits-sgd",
                "runs": 8,
                "diverged": 1,
                "with_rate": 8,
                "rate_sources": {"rebuilt": 2, "unknown": 6},
                "schedules": 3,
            },
            {
                "group": "pilot-sgd",
                "runs": 3,
                "diverged": 0,
                "with_rate": 3,
                "rate_sources": {"unknown": 3},
                "schedules": 1,
            },
        ],
    }


def test_runs_are_shown_to_people(root: Path, greedylr: Greedylr) -> None:
    greedylr(root, "ingest")
    shown = [re.split(r" {2,}", line.strip()) for line in greedylr(root, "runs").out.splitlines()]
    assert shown == [
        ["Sources"],
        ["source", "runs", "points", "remark"],
        [f"sqlite:///{root}/mlflow.db", "12", "222"],
        [""],
        ["11 of 12 runs are usable"],
        ["why not", "runs"],
        ["fewer than 10 points", "1"],
        [""],
        ["Groups"],
        ["group", "usable runs", "diverged", "rates", "schedules", "remark"],
        ["digits-sgd", "8", "1", "2 rebuilt, 6 unknown", "3"],
        ["pilot-sgd", "3", "0", "3 unknown", "1", "fewer than 6: bundled presets"],
        [""],
    ]


def test_an_ingest_says_what_was_new_and_a_second_one_that_nothing_was(root: Path, greedylr: Greedylr) -> None:
    first, second = greedylr(root, "ingest"), greedylr(root, "ingest")
    assert re.search(r"mlflow\.db +12 new +222 +[\d,]+ +$", first.out, re.MULTILINE)
    assert re.search(r"mlflow\.db +12 unchanged +0 +$", second.out, re.MULTILINE)


def test_a_dry_run_shows_groups_workloads_and_costs_and_retrains_nothing(root: Path, greedylr: Greedylr) -> None:
    with (root / "greedylr.toml").open("a") as file:
        file.write('[groups."pilot-sgd"]\nworkload = "reference:nothing"\n')
    ended = greedylr(root, "run", "--dry-run")
    shown = [re.split(r" {2,}", line.strip()) for line in ended.out.splitlines()]
    assert ended.status == 1
    assert shown[1:4] == [
        ["group", "usable runs", "workload", "trainings", "remark"],
        ["digits-sgd", "8", "breast-cancer-logistic (stand-in)", "about 901 to 2,461", "a proof"],
        [
            "pilot-sgd",
            "3",
            "none",
            "the workload of group pilot-sgd must be one that `greedylr workloads` lists or your own factory, "
            "got 'reference:nothing'",
        ],
    ]
    assert sorted(path.name for path in (root / "data").iterdir()) == ["greedylr.duckdb", "registry.db"]


def test_another_warehouse_can_be_named(root: Path, greedylr: Greedylr) -> None:
    assert greedylr(root, "ingest", "--warehouse", "other/mine.duckdb").status == 0
    assert greedylr(root, "runs", "--warehouse", "other/mine.duckdb", "--json").status == 0
    assert (root / "other" / "mine.duckdb").is_file()
    assert not (root / "data" / "greedylr.duckdb").exists()


def test_settings_of_another_folder_keep_their_own_paths(root: Path, greedylr: Greedylr, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    ended = greedylr(tmp_path / "elsewhere", "run", "--dry-run", "--config", "../repository/greedylr.toml")
    assert ended.status == 0
    assert (root / "data" / "greedylr.duckdb").is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_store_that_was_copied_is_history_once(root: Path, greedylr: Greedylr) -> None:
    shutil.copyfile(root / "mlflow.db", root / "copy.db")
    assert greedylr(root, "ingest", "mlflow.db", "copy.db").status == 0
    road = Road(settings=load_settings(root / "greedylr.toml"), root=root)
    assert describe(road) == ["digits-sgd", "pilot-sgd"]
    overview = runs_overview(road.warehouse, 6)
    assert (overview["runs"], overview["usable"]) == (24, 11)
    assert overview["not_usable"] == {"fewer than 10 points": 1, "a copy of a run in another source": 12}


def printed(*tables: Any, width: int = 100) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get()


@pytest.mark.parametrize("width", [60, 100, 200])
def test_addresses_and_messages_are_never_cut_off(width: int, tmp_path: Path) -> None:
    message = "research.training:workload raised KeyError: 'no such digit'"
    report = IngestReport(
        sources=(
            SourceReport(uri=LONG, status="unreadable", reason="no such file; it was not created"),
            SourceReport(
                uri=LONG, status="read", runs_new=3, skipped={"trained by greedylr": 2}, points=60, seconds=1.0
            ),
        )
    )
    plan = PlannedGroup(
        group="digits-sgd",
        status="failed",
        message=message,
        runs=58,
        workload="",
        own_workload=False,
        first_look=0,
        most=0,
    )
    assert columns(ingest_table(report), width)["source"] == 2 * LONG
    assert columns(plan_table([plan]), width)["remark"] == message.replace(" ", "")


def columns(table: Any, width: int) -> dict[str, str]:
    """What stands below each heading, folded lines put together again."""
    _, heading, *lines = printed(table, width=width).splitlines()
    starts = [match.start() for match in re.finditer(r"(?:^|(?<= {2}))\S", heading)]
    slices = [slice(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return {heading[part].strip(): "".join("".join(line[part].split()) for line in lines) for part in slices}


def test_the_outcome_of_a_refresh_fits_a_hundred_columns(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "greedylr.duckdb")
    for group in ("digits-nmf-sgd", "an-experiment-with-quite-a-long-name-adamw"):
        record_proof(warehouse, group)
    outcomes = [
        GroupOutcome(group="an-experiment-with-quite-a-long-name-adamw", status="proved"),
        GroupOutcome(group="digits-nmf-sgd", status="unchanged", message="nothing new since its preset was proved"),
        GroupOutcome(group="few-sgd", status="too few runs", message="3 usable runs, fewer than 6"),
    ]
    out = printed(*outcome_tables(warehouse, outcomes))
    assert max(map(len, out.splitlines())) <= 100
    lines = [line.rstrip() for line in out.splitlines()]
    assert "an-experiment-with-quite-a-long-name-adamw: non-inferior against cosine on the stand-in mnist-mlp," in lines
    assert "models:/greedylr-an-experiment-with-quite-a-long-name-adamw@candidate" in lines
    assert "cosine     +0.005 [-0.005, +0.015]  10     non-inferior  1 of 1         0 of 1    0.180" in lines
    assert any(line.endswith("the preset's is 0.123.") for line in lines)
    assert "incumbent  -0.100 [-0.150, -0.050]  5      better" in lines
    assert "digits-nmf-sgd  unchanged     nothing new since its preset was proved" in lines


def test_a_verdict_that_one_metric_chose_and_reported_says_so(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "greedylr.duckdb")
    record_proof(warehouse, "apart-sgd", selection="apart")
    record_proof(warehouse, "mine-sgd", selection="report")
    outcomes = [GroupOutcome(group=group, status="proved") for group in ("apart-sgd", "mine-sgd")]
    out = printed(*outcome_tables(warehouse, outcomes), width=200)
    assert "mine-sgd: non-inferior against cosine on the stand-in mnist-mlp, selection = report, models:/" in out
    assert out.count("selection = report") == 1
    assert out.count("name a report_metric to keep the two apart") == 1


def test_a_proof_says_what_it_took_and_what_its_race_threw_away(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "greedylr.duckdb")
    record_proof(warehouse, "digits-sgd")
    out = printed(*outcome_tables(warehouse, [GroupOutcome(group="digits-sgd", status="proved")]), width=500)
    assert (
        "The proof took 1,234 device-seconds; of the 16 trainings in which 2 candidates raced, 4 went into those that "
        "lost."
    ) in out


def record_proof(warehouse: Warehouse, group: str, *, selection: Selection = "apart") -> None:
    verdict = Verdict(
        selection=selection,
        verdict="non-inferior",
        difference=0.005,
        interval=Interval(lower=-0.005, upper=0.015, level=0.98),
        primary_control="cosine",
        workload="mnist-mlp",
        own_workload=False,
        seeds=10,
        attempt=1,
        device_seconds=1234.4,
    )
    preset = load_preset("robust").with_verdict(verdict)
    columns = ("control", "region", "starting_rate", "difference", "lower", "upper", "seeds", "verdict")
    cells = [
        ("cosine", "too low", 0.01, 0.005, -0.005, 0.015, 10, "non-inferior"),
        ("cosine", "too high", 1.0, 0.1, -0.1, 0.3, 10, "undecided"),
        ("cosine", "own rate", 0.1, 0.005, -0.005, 0.015, 10, "non-inferior"),
        ("incumbent", "own rate", 0.1, -0.1, -0.15, -0.05, 5, "better"),
    ]
    version = {
        "attempt": 1,
        "registered_name": f"greedylr-{group}",
        "version": 1,
        "alias": "candidate",
        "preset_hash": preset.content_hash,
        "preset": preset.to_json(),
        "verdict": "non-inferior",
        "created_at": "2026-01-01 00:00:00",
    }
    tables = {
        "cells": pl.DataFrame(cells, schema=columns, orient="row").with_columns(
            attempt=pl.lit(1), control_rate=pl.lit(0.1), level=pl.lit(0.98), failed=pl.lit(0)
        ),
        "race_standings": pl.DataFrame(
            {
                "attempt": [1, 1],
                "place": [1, 2],
                "name": ["first", "second"],
                "score": [0.1, 0.2],
                "rounds": [2, 1],
                "trainings": [12, 4],
                "survived": [True, False],
            }
        ),
        "mean_regrets": pl.DataFrame(
            {"attempt": [1, 1], "schedule_name": ["preset", "cosine"], "mean_regret": [0.123, 0.18]}
        ),
        "preset_versions": pl.DataFrame([version]),
    }
    warehouse.finish_stage(group, "prove", "key", tables)


def test_settings_without_a_file_are_the_defaults_below_the_current_folder(greedylr: Greedylr, tmp_path: Path) -> None:
    assert Settings().anchored(tmp_path).warehouse == tmp_path / "data" / "greedylr.duckdb"
    ended = greedylr(tmp_path, "runs")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"Error: there is no warehouse at {tmp_path}/data/greedylr.duckdb; ")
    assert not list(tmp_path.iterdir())


def test_options_of_an_ingest_come_before_the_settings(root: Path, greedylr: Greedylr) -> None:
    with (root / "greedylr.toml").open("a") as file:
        file.write('[ingest]\nexperiment = ["pilot"]\nmax_runs_per_group = 2\n')
    assert "2 new, 2 left out (outside the choice)" in " ".join(greedylr(root, "ingest").out.split())
    second = greedylr(root, "ingest", "--experiment", "dig*", "--experiment", "x", "--max-runs-per-group", "5")
    assert "5 new, 3 left out (outside the choice)" in " ".join(second.out.split())
    third = greedylr(root, "ingest", "--where", "params['optimizer'] = 'never'", "--experiment", "*")
    assert "12 left out (outside the choice)" in " ".join(third.out.split())


def test_a_dry_run_of_an_ingest_says_what_it_would_read_and_makes_no_warehouse(root: Path, greedylr: Greedylr) -> None:
    ended = greedylr(root, "ingest", "--dry-run")
    assert (ended.status, ended.err) == (0, "")
    assert re.search(r"mlflow\.db +12 new +about 222 +1 s \([\d,]+ points/s in a sample\)", ended.out)
    assert not (root / "data" / "greedylr.duckdb").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--where", "stauts = 1"), "where must be a boolean expression of DuckDB, got 'stauts = 1': Binder Error: "),
        (("--since", "lately"), "since must be an age such as 12h, 180d or 4w, or a date"),
        (("--max-runs-per-group", "0"), "max_runs_per_group must be a whole number >= 1, got 0"),
        (("--all-series", "--metrics", "l*"), "--metrics and --all-series must not be given both"),
    ],
)
def test_a_choice_with_a_mistake_is_refused_before_anything_is_read(
    root: Path, greedylr: Greedylr, arguments: tuple[str, ...], told: str
) -> None:
    for extra in ((), ("--dry-run",)):
        ended = greedylr(root, "ingest", *arguments, *extra)
        assert (ended.status, ended.out) == (2, "")
        assert ended.err.startswith(f"Error: {told}")
    assert not (root / "data" / "greedylr.duckdb").exists()
