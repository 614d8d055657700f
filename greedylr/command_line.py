"""The command `greedylr`: presets for everyone, the pipeline's commands in a checkout.

Exit status: 0 done, 1 failed, 2 the user's mistake.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import greedylr
from greedylr.exports import ExportFormat, exported
from greedylr.lookup import LocatedPreset, PresetNotFoundError, bundled_presets, locate_preset
from greedylr.preset_facts import facts
from greedylr.registry import DEFAULT_REGISTRY, anchored, database_file, registered_presets
from greedylr.strict_json import encode
from greedylr.suggestion import bundled_row, ranked_presets

PIPELINE_COMMANDS = ("demo", "init", "ingest", "runs", "inspect", "workloads", "run", "promote", "rollback")
COMMAND_GROUP = "greedylr.commands"
SETTINGS_FILE = "greedylr.toml"
WIDTH_OF_A_FILE = 200
MAX_SUGGESTED = 5

NO_CHECKOUT = (
    "`greedylr {name}` is part of the pipeline, which is not in the installed package: "
    "get a checkout of greedylr and run `make install` there"
)
NOT_INSTALLED = (
    "`greedylr {name}` is part of the pipeline, which is not ready in {root}: {why}; run `make install` there"
)

RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URI",
        help="MLflow registry. By default MLFLOW_REGISTRY_URI, else the registry_uri of a greedylr.toml here, else "
        "MLFLOW_TRACKING_URI.",
        show_default=False,
    ),
]
AddressArgument = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="A bundled name, a file, models:/NAME@ALIAS or models:/NAME/VERSION.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on `arguments` (default: those of the process) and exit with its status."""
    # MLflow's own setting is minutes of silence before a server counts as unreachable, and a progress bar for one file.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        with _warnings_on_stderr():
            application()(args=None if arguments is None else list(arguments), prog_name="greedylr")
    except Exception as error:
        status = exit_status(error)
        if status is None:
            raise
        typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(status)


def exit_status(error: Exception) -> int | None:
    """Return the exit status of an error that is told in one message; None for a fault of ours, shown whole."""
    if isinstance(error, ValueError | PresetNotFoundError):
        return 2
    # Every error of ours that is not the user's mistake says whether a retry can help.
    return 1 if hasattr(error, "retryable") or isinstance(error, OSError) else None


def application() -> typer.Typer:
    """Return the commands: those of presets, and the pipeline's or what says how to get them."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_greedylr)
    presets = typer.Typer(no_args_is_help=True, help="The presets at hand: bundled, in files, registered.")
    presets.command("list", epilog="Example: greedylr presets list --registry sqlite:///data/registry.db")(list_presets)
    presets.command("show", epilog="Example: greedylr presets show models:/greedylr-mnist-mlp-sgd@champion")(
        show_preset
    )
    presets.command("export", epilog="Example: greedylr presets export robust --output preset.json")(export_preset)
    presets.command("suggest", epilog="Example: greedylr presets suggest --optimizer adamw --batch-size 64")(
        suggest_presets
    )
    app.add_typer(presets, name="presets", epilog="Example: greedylr presets list")
    _add_pipeline(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"greedylr {greedylr.__version__}")
        raise typer.Exit


def _greedylr(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Learning-rate schedules learned from past training runs: proven presets of GreedyLR."""


def list_presets(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List the bundled presets and those of the registry."""
    rows = [bundled_row(name) for name in bundled_presets()]
    uri = registry or _default_registry()
    if uri is not None:
        rows += registered_presets(uri)
    if as_json:
        typer.echo(json.dumps([{**asdict(row), "version": row.version or None} for row in rows], indent=2))
        return
    table = _table("address", "aliases", "verdict", "rate", "created")
    for row in rows:
        verdict = row.verdict + (" (reference)" if row.own_workload is False else "")
        created = row.created[:16].replace("T", " ")
        table.add_row(row.address, ", ".join(row.aliases), verdict, _rate(row.learning_rate), created)
    console().print(table)


def show_preset(address: AddressArgument, registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """Show what a preset does, where it comes from and what its proof said."""
    located = _locate(address, registry)
    preset = located.preset
    if as_json:
        content = {
            "address": address,
            "version": located.version or None,
            "content_hash": preset.content_hash,
            "preset": encode(preset),
        }
        typer.echo(json.dumps(content, indent=2))
        return
    table = _table("", "", title=preset.name)
    if located.version:
        table.add_row("registered", f"{located.name}, version {located.version}")
    for name, value in facts(preset).items():
        table.add_row(name, value)
    console().print(table)


def export_preset(
    address: AddressArgument,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is standard output.")],
    registry: RegistryOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    export_format: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="json: the preset, which load_preset reads without MLflow. For one run: python and lightning are "
            "programs, transformers is a JSON object of keyword arguments for TrainingArguments.",
        ),
    ] = "json",
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Starting rate of the run. By default the recommended one.", show_default=False),
    ] = None,
    total_steps: Annotated[int | None, typer.Option(help="Optimizer steps of the run.", show_default=False)] = None,
    steps_per_evaluation: Annotated[
        int | None, typer.Option(help="Optimizer steps between two losses. By default 1.", show_default=False)
    ] = None,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="The nearest preset that transformers can express.")
    ] = False,
) -> None:
    """Write a preset to a file, as JSON or for a training program."""
    text = exported(
        _locate(address, registry).preset,
        export_format,
        learning_rate=learning_rate,
        total_steps=total_steps,
        steps_per_evaluation=steps_per_evaluation,
        nearest=nearest,
    )
    if output == "-":
        typer.echo(text, nl=False)
        return
    path = Path(output)
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--output must lie in a folder that exists, got {output!r}; make it first")
    if path.is_dir():
        raise ValueError(f"--output must be a file, got the folder {output!r}")
    if path.exists() and not force:
        raise ValueError(f"--output must not exist yet, got {output!r}; --force overwrites it")
    path.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {path}", err=True)


def suggest_presets(
    optimizer: Annotated[str | None, typer.Option(help="Such as sgd or adamw.")] = None,
    task: Annotated[str | None, typer.Option(help='A few words, such as "mnist mlp".')] = None,
    parameters: Annotated[int | None, typer.Option(help="Weights of the model.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a step.", min=1)] = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Suggest the presets nearest to a training, by what is known of both, the nearest first.

    The distance, from 0 to 1, says how alike the trainings look, not how well the preset will do.
    """
    found = ranked_presets(
        optimizer=optimizer,
        task=task,
        parameters=parameters,
        batch_size=batch_size,
        registry_uri=registry or _default_registry(),
    )[:MAX_SUGGESTED]
    if as_json:
        typer.echo(json.dumps([asdict(suggestion) for suggestion in found], indent=2))
        return
    table = _table("address", "distance", "sure", "rate", "why")
    for suggestion in found:
        distance, rate = f"{suggestion.distance:.2f}", _rate(suggestion.row.learning_rate)
        table.add_row(suggestion.address, distance, suggestion.confidence, rate, suggestion.reason)
    console().print(table)


def console() -> Console:
    """Return the console: colours and the width of the window on a terminal, wide plain text elsewhere."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        show_header=title is None,
        title=title,
        title_style="bold",
        title_justify="left",
    )
    for column in columns:
        # An address is there to be copied: the other columns make room for it.
        table.add_column(column, overflow="fold", no_wrap=column == "address")
    return table


def _rate(learning_rate: float | None) -> str:
    return "" if learning_rate is None else f"{learning_rate:.4g}"


def _locate(address: str, registry: str | None) -> LocatedPreset:
    return locate_preset(
        address, registry_uri=registry or (_default_registry() if address.startswith("models:") else None)
    )


def _default_registry() -> str | None:
    """Return the registry that the surroundings name, None where they name none or it has not been made yet."""
    if uri := os.environ.get("MLFLOW_REGISTRY_URI"):
        return uri
    settings = Path(SETTINGS_FILE)
    if settings.is_file():
        try:
            uri = tomllib.loads(settings.read_text(encoding="utf-8")).get("registry_uri", DEFAULT_REGISTRY)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{settings} cannot be read as TOML: {error}") from error
        if not isinstance(uri, str):
            raise ValueError(f"registry_uri in {settings} must be an address in quotes, got {uri!r}")
        uri = anchored(uri, Path.cwd())
        file = database_file(uri)
        return uri if file is None or file.exists() else None
    return os.environ.get("MLFLOW_TRACKING_URI")


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Print warnings of ours as a person reads them, without file and line."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        typer.secho(f"Warning: {message}", fg=typer.colors.YELLOW, err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


def _add_pipeline(app: typer.Typer) -> None:
    root = checkout_root()
    if root is None:
        _add_stubs(app, NO_CHECKOUT)
    elif why := _register_pipeline(app, root):
        _add_stubs(app, NOT_INSTALLED.replace("{root}", str(root)).replace("{why}", why))


def checkout_root() -> Path | None:
    """Return the checkout that this package lies in, None for an installed package.

    A package of the user's called `flows` may lie beside an installed greedylr: only our own pyproject.toml makes a
    checkout.
    """
    root = Path(__file__).resolve().parent.parent
    project = root / "pyproject.toml"
    if not (root / "flows" / "cli.py").is_file() or not project.is_file():
        return None
    named = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {}).get("name")
    return root if named == "greedylr" else None


def _register_pipeline(app: typer.Typer, root: Path) -> str:
    """Let the checkout's `flows` add its commands; return why not, empty if it did."""
    entry = next((entry for entry in entry_points(group=COMMAND_GROUP) if entry.module == "flows.cli"), None)
    if entry is None:
        return "the checkout is not installed"
    if sys.path[0] != str(root):
        sys.path.insert(0, str(root))
    spec = importlib.util.find_spec("flows")
    if spec is None or [*(spec.submodule_search_locations or [])][:1] != [str(root / "flows")]:
        return "another package called flows is in its place"
    try:
        register = entry.load()
    except ModuleNotFoundError as error:
        if (root / str(error.name).partition(".")[0]).exists():
            raise
        return f"{error.name} is not installed"
    register(app)
    return ""


def _add_stubs(app: typer.Typer, message: str) -> None:
    for name in PIPELINE_COMMANDS:
        _add_stub(app, name, message.replace("{name}", name))


def _add_stub(app: typer.Typer, name: str, message: str) -> None:
    def stub() -> None:
        raise ValueError(message)

    stub.__doc__ = "Part of the pipeline: needs a checkout of greedylr."
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(name, epilog=f"Example, in a checkout: greedylr {name}", context_settings=settings)(stub)


if __name__ == "__main__":
    main()
