"""The pipeline's commands of `greedylr`, which the command line of the library takes in where it stands in a checkout.

Heavy imports happen inside the commands: `greedylr --help` must be quick.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, RenderableType

from greedylr.command_line import console
from greedylr.registry import without_password

if TYPE_CHECKING:
    from flows.progress import Report
    from flows.refresh import GroupOutcome, PlannedGroup
    from flows.road import Road
    from pipeline.settings import Settings

# Neither MLflow nor Prefect shall call home from a user's training history.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

CONFIG = Annotated[Path, typer.Option("--config", help="The settings file.")]
WAREHOUSE = Annotated[Path | None, typer.Option("--warehouse", help="The warehouse; by default that of the settings.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DEFAULT_CONFIG = Path("greedylr.toml")
DEMO_FOLDER = Path("data/demo")


def register(app: typer.Typer) -> None:
    """Add the pipeline's commands to an application."""
    app.command(epilog="Example: greedylr demo --quick")(demo)
    app.command(epilog="Example: greedylr init")(init)
    app.command(epilog="Example: greedylr ingest sqlite:////srv/mlflow.db mlruns.db")(ingest)
    app.command(epilog="Example: greedylr runs --json")(runs)
    app.command(epilog="Example: greedylr inspect bold-crane-12")(inspect)
    app.command(epilog="Example: greedylr workloads --json")(workloads)
    app.command(epilog="Example: greedylr run --dry-run")(run)
    app.command(epilog="Example: greedylr validate robust --workload mnist-mlp --max-runs 10 --dry-run")(validate)
    app.command(epilog='Example: greedylr promote mnist-mlp-sgd 3 --reason "held on our nightly training"')(promote)
    app.command(epilog='Example: greedylr rollback mnist-mlp-sgd --reason "loss spikes on the large data set"')(
        rollback
    )


def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer runs and seeds: under 2.5 minutes.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the demo's store, warehouse and registry go.")] = DEMO_FOLDER,
) -> None:
    """Train a history for real, log it to an MLflow store, and walk the whole road on it."""
    from flows.demo import run_demo

    with _at_work() as report:
        outcomes, road = run_demo(folder, quick=quick, report=report)
    _print_outcomes(road, outcomes)
    _exit_where_failed(outcomes)


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = DEFAULT_CONFIG,
) -> None:
    """Write a commented settings file with all keys and their defaults."""
    from pipeline.settings import write_template

    write_template(path)
    typer.echo(f"wrote {path}; list your stores under `sources` in it, then: greedylr run --dry-run")


def ingest(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="MLflow stores: sqlite:////absolute/path.db or a path, a folder (mlruns), postgresql://..., "
            "http://... By default those of the settings."
        ),
    ] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only experiments whose name matches; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="AGE|DATE", help="Only runs that started since: 12h, 180d, 4w, 2026-01-31.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="SQL",
            help="Only runs for which this is true: a boolean expression of DuckDB over run_uuid, run_name, "
            "experiment_name, status, lifecycle_stage, start_time, end_time, params['...'], tags['...'].",
        ),
    ] = None,
    max_runs_per_group: Annotated[
        int | None, typer.Option(metavar="N", help="Only the newest N runs of an experiment.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Only series whose name matches; may be repeated. By default those named like a loss, a rate or an "
            "epoch.",
        ),
    ] = None,
    all_series: Annotated[bool, typer.Option("--all-series", help="Every series; system/* never.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Read every run in the choice again, also those that seem unchanged.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show runs, points and the expected time; write nothing.")
    ] = False,
    config: CONFIG = DEFAULT_CONFIG,
    warehouse: WAREHOUSE = None,
) -> None:
    """Copy what is new in MLflow stores into the warehouse; the stores are only ever read.

    An option comes before the same key in the table `ingest` of the settings. Runs and series
    that a choice leaves out stay in the warehouse as they are.

    greedylr ingest mlruns http://tracking:5000 --since 180d --dry-run

    greedylr ingest --experiment 'mnist-*' --where "params['optimizer'] = 'adamw' and status = 'FINISHED'"

    greedylr ingest sqlite:////srv/mlflow.db --max-runs-per-group 200 --metrics '*loss*' --metrics lr
    """
    from flows.road import Road

    settings = _settings(config, warehouse)
    if not sources and not settings.sources:
        raise ValueError(f"no source given: name one, or list some under `sources` in {config}")
    selection = settings.ingest.overridden(
        experiment=experiment,
        since=since,
        where=where,
        max_runs_per_group=max_runs_per_group,
        metrics=metrics,
        all_series=all_series,
    )
    settings = settings.model_copy(update={"ingest": selection})
    with _at_work() as report:
        road = Road(settings=settings, report=report)
        table = _would_ingest(road, sources or (), full) if dry_run else _ingest(road, sources or (), full)
    console().print(table)


def _ingest(road: Road, sources: Sequence[str], full: bool) -> RenderableType:
    from flows.refresh import require_readable
    from flows.road import ingest as ingest_sources
    from flows.tables import ingest_table

    outcome = ingest_sources(road, sources, full=full)
    require_readable(outcome)
    return ingest_table(outcome)


def _would_ingest(road: Road, sources: Sequence[str], full: bool) -> RenderableType:
    from flows.road import ingestion_plan
    from flows.tables import ingestion_plan_table

    return ingestion_plan_table(ingestion_plan(road, sources, full=full))


def runs(config: CONFIG = DEFAULT_CONFIG, warehouse: WAREHOUSE = None, as_json: AS_JSON = False) -> None:
    """Show what the warehouse holds: which runs are usable, which are not and why, and the groups they form."""
    from flows.tables import runs_overview, runs_tables

    road = _described(config, warehouse)
    overview = runs_overview(road.warehouse, road.settings.groups.min_runs)
    if as_json:
        typer.echo(json.dumps(overview, indent=2))
        return
    for table in runs_tables(overview):
        console().print(table)


def inspect(
    name: Annotated[
        str, typer.Argument(metavar="RUN|GROUP", help="A run's id or name, the beginning of one, or a group's name.")
    ],
    config: CONFIG = DEFAULT_CONFIG,
    warehouse: WAREHOUSE = None,
    as_json: AS_JSON = False,
) -> None:
    """Show a run as we see it: its series and their roles, its curve, its settings, what is wrong; or a group."""
    from flows.inspection import inspected_group, inspected_run, plain
    from flows.inspection_tables import group_tables, run_tables
    from flows.named_runs import found

    road = _described(config, warehouse)
    wanted = found(road, name)
    facts = inspected_run(road, wanted.name) if wanted.kind == "run" else inspected_group(road, wanted.name)
    if as_json:
        typer.echo(json.dumps(plain(facts), indent=2))
        return
    output = console()
    in_ascii = not output.encoding.lower().startswith("utf")
    for table in run_tables(facts, plain=in_ascii) if wanted.kind == "run" else group_tables(facts):
        output.print(table)


def workloads(as_json: AS_JSON = False) -> None:
    """List the reference workloads: what a preset is proved on where its group names no workload of its own."""
    from flows.workload_catalogue import workload_facts, workload_table

    if as_json:
        typer.echo(json.dumps(workload_facts(), indent=2))
        return
    console().print(workload_table())


def run(
    config: CONFIG = DEFAULT_CONFIG,
    warehouse: WAREHOUSE = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show groups, workloads and costs; retrain nothing.")
    ] = False,
) -> None:
    """Walk the road on your own stores: ingest, learn, prove by retraining, register."""
    from flows.refresh import planned, refresh
    from flows.road import Road
    from flows.tables import plan_table

    settings = _settings(config, warehouse, required=True)
    if not settings.sources:
        raise ValueError(f"{config} names no sources; list your MLflow stores under `sources`")
    with _at_work() as report:
        road = Road(settings=settings, root=config.absolute().parent, report=report)
        plan = planned(road) if dry_run else []
        outcomes = [] if dry_run else refresh(road)
    if dry_run:
        console().print(plan_table(plan))
    else:
        _print_outcomes(road, outcomes)
    _exit_where_failed([*plan, *outcomes])


def validate(
    address: Annotated[
        str,
        typer.Argument(metavar="PRESET", help="A bundled name, a file, models:/NAME@ALIAS or models:/NAME/VERSION."),
    ],
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE.py:FACTORY",
            help="What is retrained: a reference workload, or your own factory; may be repeated, and is pooled then.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="A group of the settings: its workload, its incumbent, the preset's rate."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CONTROLS",
            help="Names with commas, such as hypergradient,line_search; cosine always. By default the controls.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Device time of a workload, such as 90s, 30m or 2h: what decides most comes first."
        ),
    ] = None,
    max_runs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The same in runs, at least 10. By default the budget of the settings, for what is yours."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="5|10|20", help="Paired seeds at most. By default those of the settings.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=40, help="Steps of a training. By default the workload's own.")
    ] = None,
    budget_share: Annotated[
        bool,
        typer.Option(
            "--budget-share", help="Find the smallest share of the steps that does as well as cosine with all."
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="A torch device, such as cpu or cuda.")] = "cpu",
    again: Annotated[
        bool, typer.Option("--again", help="A further attempt with fresh test seeds; attempts are counted.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained and its cost; a short look may train.")
    ] = False,
    config: CONFIG = DEFAULT_CONFIG,
    as_json: AS_JSON = False,
) -> None:
    """Put a preset to the proof on a workload: controls tuned, then compared on fresh paired seeds.

    Results lie under data/validations; a validation that was interrupted goes on where it was.
    """
    from flows.budget_settings import budget_of
    from flows.road import Road
    from flows.validation import Means
    from flows.validation_request import Request, contenders_named, max_seeds_of, validations
    from flows.validation_run import run_validations, told_outcome
    from flows.validation_tables import expected_tables, outcome_tables
    from greedylr.lookup import load_preset

    settings = _settings(config, None)
    request = Request(
        preset=load_preset(address, registry_uri=settings.registry_uri if address.startswith("models:") else None),
        workloads=tuple(workload or ()),
        group=group,
        means=Means(
            contenders=contenders_named(against),
            max_seeds=max_seeds_of(seeds, settings),
            max_trainings=settings.budget.max_replicas,
            budget=budget_of(budget, max_runs),
            with_budget_share=budget_share,
        ),
        steps=steps,
        again=again,
    )
    # Where JSON is asked for, standard output is for it alone.
    shown = Console(stderr=True) if as_json else console()
    with _at_work() as report:
        road = Road(settings=settings, root=config.absolute().parent, report=report, device=device)
        outcome = run_validations(
            validations(road, request),
            dry_run=dry_run,
            show=lambda validation, expected: shown.print(*expected_tables(validation, expected), soft_wrap=True),
        )
    if as_json:
        typer.echo(json.dumps(told_outcome(outcome), indent=2))
    else:
        for table in outcome_tables(outcome):
            shown.print(table, soft_wrap=True)
    if outcome.failed:
        raise typer.Exit(1)


def promote(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group, as `greedylr runs` lists it.")],
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version of its preset.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded with your name.")],
    config: CONFIG = DEFAULT_CONFIG,
) -> None:
    """Make a version of a group's preset its champion; the reigning one becomes `previous`."""
    from flows.people import user_name
    from pipeline.preset_registry import promote as promote_version

    made = promote_version(_settings(config, None).registry_uri, group, version, reason=reason, who=user_name())
    console().print(f"{made.name} version {made.version} is champion: {made.address}")


def rollback(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group, as `greedylr runs` lists it.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded with your name.")] = "rolled back",
    config: CONFIG = DEFAULT_CONFIG,
) -> None:
    """Give the champion's place back to the version before it."""
    from flows.people import user_name
    from pipeline.preset_registry import rollback as roll_back

    made = roll_back(_settings(config, None).registry_uri, group, reason=reason, who=user_name())
    console().print(f"{made.name} version {made.version} is champion again: {made.address}")


@contextmanager
def _at_work() -> Iterator[Report]:
    """Show progress and warnings on standard error, and say at Ctrl-C what became of the work."""
    from flows.progress import progress_bars, warnings_shown

    errors = Console(stderr=True)
    try:
        with progress_bars(errors) as report, warnings_shown(errors):
            yield report
    except KeyboardInterrupt:
        typer.secho("interrupted: what was finished is kept, and the same command goes on from there", err=True)
        raise typer.Exit(1) from None


def _settings(config: Path, warehouse: Path | None, *, required: bool = False) -> Settings:
    from pipeline.settings import Settings, load_settings

    if config.exists() or required or config != DEFAULT_CONFIG:
        settings = load_settings(config)
    else:
        settings = Settings().anchored(Path.cwd())
    return settings if warehouse is None else settings.model_copy(update={"warehouse": warehouse.absolute()})


def _described(config: Path, warehouse: Path | None) -> Road:
    from flows.road import Road, describe

    road = Road(settings=_settings(config, warehouse))
    describe(road)
    return road


def _exit_where_failed(groups: Sequence[GroupOutcome | PlannedGroup]) -> None:
    if any(group.status == "failed" for group in groups):
        raise typer.Exit(1)


def _print_outcomes(road: Road, outcomes: Sequence[GroupOutcome]) -> None:
    from flows.tables import outcome_tables

    for table in outcome_tables(road.warehouse, outcomes):
        console().print(table)
    console().print(
        f"presets are in the registry {without_password(road.settings.registry_uri)}, "
        f"pictures in {road.data / 'pictures'}",
        soft_wrap=True,
    )
