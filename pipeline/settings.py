"""greedylr.toml: its keys, their defaults and rules, and the commented file that `greedylr init` writes.

A field's `description` is its comment in that file, its `rule` and `remedy` are what an error says.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from greedylr.registry import DEFAULT_REGISTRY, SQLITE_ADDRESS, anchored
from pipeline.since import since_ms
from pipeline.sources.opening import shown
from pipeline.training_command import names_steps, split_command

SETTINGS_FILE = "greedylr.toml"
T = TypeVar("T", tuple[str, ...], Path)

GROUP_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
GROUP_KEY = re.compile(r"experiment|optimizer|(param|tag):.+")
REGISTRY_ADDRESS = re.compile(r"(https?|postgresql(\+\w+)?|mysql(\+\w+)?|mssql(\+\w+)?)://[^/].*")
ADDRESS = re.compile(r"\w+(\+\w+)?://|file:")
WORKLOAD = re.compile(r"(?P<place>reference|.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[\w-]+)")


# Where the tables [groups.NAME] and the metrics of [roles] are gathered while they are read: no key of a file can be
# called so by chance.
NAMED = "[groups.NAME]"

RoleOrIgnored = Literal["training_loss", "validation_loss", "learning_rate", "epoch", "ignored"]


def _matching(pattern: re.Pattern[str]) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError
        return value

    return AfterValidator(check)


def _registry_address(value: str) -> str:
    if not (SQLITE_ADDRESS.fullmatch(value) or REGISTRY_ADDRESS.fullmatch(value)):
        raise ValueError
    return value


def _not_empty(value: T) -> T:
    if value in ((), Path()):
        raise ValueError
    return value


def _command(value: str) -> str:
    split_command(value)
    return value


def _since(value: str) -> str:
    since_ms(value, datetime.now(UTC))
    return value


Address = Annotated[str, Field(min_length=1)]
Glob = Annotated[str, Field(min_length=1)]


def _key(description: str, rule: str, remedy: str = "", *, default: Any, example: str = "", **constraints: Any) -> Any:
    extra: JsonDict = {"rule": rule, "remedy": remedy, "example": example}
    return Field(default=default, description=description, json_schema_extra=extra, **constraints)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class GroupSettings(_Table):
    """[groups.NAME]: what is known of one group beyond its runs."""

    workload: Annotated[str, _matching(WORKLOAD)] | None = _key(
        'What is retrained: "module:factory" or "path/file.py:factory", your own factory(seed, device) -> Workload;\n'
        'or "reference:NAME". Without one the nearest reference workload stands in, and the preset stays a candidate.',
        '"module:factory", "path/file.py:factory" or "reference:NAME"',
        default=None,
        example='"training.py:workload"',
    )
    command: Annotated[str, AfterValidator(_command)] | None = _key(
        "Instead of a workload, your own training command, in any framework: started without a shell in the folder of\n"
        "this file, it takes its schedule by greedylr.load_schedule(path) and logs to the MLflow run of MLFLOW_RUN_ID.",
        "a command with {seed} and {schedule} in it, and {learning_rate} and {steps} where it takes them",
        "its quotes must close, and other braces stand twice",
        default=None,
        example='"python train.py --seed {seed} --lr {learning_rate} --schedule {schedule}"',
    )
    metric: Annotated[str, Field(min_length=1)] | None = _key(
        "The series of a command's run by whose last value rates and candidates are chosen.",
        "the name of a metric in quotes",
        default=None,
        example='"val_loss"',
    )
    report_metric: Annotated[str, Field(min_length=1)] | None = _key(
        "The series whose last value is reported, of other data than `metric`. Without one, the verdict says that it\n"
        "rests on the data by which the rates were chosen.",
        "the name of a metric in quotes",
        default=None,
        example='"test_loss"',
    )
    mode: Literal["min", "max"] = _key(
        'Whether the lower or the higher value of both series is better, "min" or "max".',
        '"min" or "max"',
        default="min",
    )
    parallel: int = _key(
        "Runs of a command at a time.",
        "a whole number >= 1",
        default=1,
        ge=1,
    )
    steps: int | None = _key(
        "Optimizer steps of one retraining; by default the workload's own, or what a command does without {steps}.",
        "a whole number >= 40",
        "with fewer steps the rate could not move",
        default=None,
        example="2000",
        ge=40,
    )
    timeout_minutes: float = _key(
        "A retraining of this group is given up after so long.", "a number > 0", default=30.0, gt=0
    )
    learning_rate: float | None = _key(
        "Centre of the search for the rate on the workload named above; by default the rate that its runs recommend.",
        "a number > 0",
        "with a rate of 0 nothing is ever learned",
        default=None,
        example="0.1",
        gt=0,
    )


class IngestSettings(_Table):
    """[ingest]: what of the sources is read; an option of `greedylr ingest` comes before a key."""

    experiment: tuple[Glob, ...] = _key(
        "Experiments whose name matches one of these globs; none: all.",
        'a list of globs in quotes, such as ["mnist-*"]',
        default=(),
        strict=False,
    )
    since: Annotated[str, AfterValidator(_since)] | None = _key(
        "Runs that started since: an age (12h, 180d, 4w) or a date.",
        'an age such as "12h", "180d" or "4w", or a date such as "2026-01-31"',
        default=None,
        example='"180d"',
    )
    where: str | None = _key(
        "Runs for which a boolean expression of DuckDB is true, over run_uuid, run_name, experiment_name, status,\n"
        "lifecycle_stage, start_time, end_time (timestamps, UTC), params['...'] and tags['...'] (texts).",
        "a boolean expression in quotes",
        default=None,
        example="\"status = 'FINISHED' and params['optimizer'] = 'adamw'\"",
    )
    max_runs_per_group: int | None = _key(
        "The newest so many runs of an experiment, which stands for the group: groups are known only after reading.",
        "a whole number >= 1",
        default=None,
        example="200",
        ge=1,
    )
    metrics: tuple[Glob, ...] = _key(
        "Series whose name matches one of these globs, and no others. None: those named like a loss, a rate, an epoch.",
        'a list of globs in quotes, such as ["*loss*", "lr"]',
        default=(),
        strict=False,
    )
    all_series: bool = _key(
        "Copy every series (system/* never).",
        "true or false",
        default=False,
    )

    def overridden(
        self,
        *,
        experiment: Sequence[str] | None,
        since: str | None,
        where: str | None,
        max_runs_per_group: int | None,
        metrics: Sequence[str] | None,
        all_series: bool,
    ) -> IngestSettings:
        """Return these settings with what the options of a command say instead; an option not given says nothing.

        Raises
        ------
        ValueError
            `metrics` and `all_series` are both given as options.
        """
        if metrics and all_series:
            raise ValueError("--metrics and --all-series must not be given both; with --all-series all are copied")
        given = {
            "experiment": tuple(experiment) if experiment else None,
            "since": since,
            "where": where,
            "max_runs_per_group": max_runs_per_group,
            "metrics": () if all_series else tuple(metrics) if metrics else None,
            "all_series": True if all_series else False if metrics else None,
        }
        return self.model_copy(update={key: value for key, value in given.items() if value is not None})


class GroupsSettings(_Table):
    """[groups]: how runs become groups, and the tables of single groups."""

    by: Annotated[tuple[Annotated[str, _matching(GROUP_KEY)], ...], AfterValidator(_not_empty)] = _key(
        'Runs alike in all of these form a group: "experiment", "optimizer", "param:NAME", "tag:NAME".',
        'a list of "experiment", "optimizer", "param:NAME" and "tag:NAME"',
        default=("experiment", "optimizer"),
        strict=False,
    )
    min_runs: int = _key(
        "A group with fewer usable runs is given the bundled presets.", "a whole number >= 1", default=6, ge=1
    )
    named: Mapping[str, GroupSettings] = Field(default_factory=dict, validation_alias=NAMED)

    @model_validator(mode="before")
    @classmethod
    def _gather_named(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        named = {key: value for key, value in table.items() if isinstance(value, dict)}
        return {**{key: value for key, value in table.items() if key not in named}, NAMED: named}


class RolesSettings(_Table):
    """[roles]: what a metric is, where its name misleads; every key is the name of a metric."""

    said: Mapping[str, RoleOrIgnored] = Field(
        default_factory=dict,
        validation_alias=NAMED,
        description="What a metric is where its name misleads: its exact name, or a glob with * ? [], and its role.\n"
        "Exact names come first, then globs in their order. Metrics said to be one loss are summed step by step.\n"
        "`greedylr inspect RUN` shows the roles of a run and the reasons.",
        json_schema_extra={
            "rule": '"training_loss", "validation_loss", "learning_rate", "epoch" or "ignored"',
            "remedy": "a metric with dots, slashes or globs in its name goes in quotes",
            "example": '"energy/total" = "training_loss"\n"*/sanity_loss" = "ignored"',
        },
    )

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, table: Any) -> Any:
        return {NAMED: table} if isinstance(table, dict) else table


class BudgetSettings(_Table):
    """[budget]: what a refresh may cost."""

    max_seeds: Literal[5, 10, 20] = _key(
        "Paired seeds of a comparison: it looks at 5, 10 and 20 and stops where the verdict is clear.",
        "5, 10 or 20",
        default=20,
    )
    max_replicas: int = _key(
        "Trainings of one group in one refresh, race and comparison together.",
        "a whole number >= 1",
        default=4000,
        ge=1,
    )
    nightly_device_hours: float = _key(
        "What the nightly deployment may spend on retraining workloads of yours; 0 retrains none of them.",
        "a number >= 0",
        default=0.0,
        ge=0,
    )


class PromotionSettings(_Table):
    """[promotion]: who makes a champion."""

    mode: Literal["manual", "auto"] = _key(
        '"manual": a proved preset is a candidate until `greedylr promote`. "auto": one proved on your own workload\n'
        "becomes champion by itself. It counts for what is registered from then on.",
        '"manual" or "auto"',
        default="manual",
    )


class Settings(_Table):
    """greedylr.toml as it was read, its relative paths resolved against its folder."""

    warehouse: Annotated[Path, AfterValidator(_not_empty)] = _key(
        "Where what was read is kept (DuckDB).",
        "a path in quotes",
        default=Path("data/greedylr.duckdb"),
        strict=False,
    )
    sources: tuple[Address, ...] = _key(
        'MLflow stores with your runs, only ever read: "sqlite:////absolute/mlflow.db" or the path of such a file; a\n'
        'folder such as "mlruns", or "file:///absolute/mlruns"; "postgresql://user@host:5432/database"; "http://host:5000".'
        "\nWhat was ever read into the warehouse is learned from, also stores that are listed no more, or that were"
        "\nonly given to `greedylr ingest`. Another warehouse begins anew.",
        "a list of addresses in quotes",
        default=(),
        strict=False,
    )
    registry_uri: Annotated[str, AfterValidator(_registry_address)] = _key(
        "The MLflow registry that presets go to: a database of our own, or a server (http://...).",
        'an address such as "sqlite:///data/registry.db" or "http://host:5000"',
        default=DEFAULT_REGISTRY,
    )
    command_store: Annotated[str, AfterValidator(_registry_address)] = _key(
        "The MLflow store that runs of your commands log to: a database of our own, or a server (http://...).",
        'an address such as "sqlite:///data/command_runs.db" or "http://host:5000"',
        default="sqlite:///data/command_runs.db",
    )
    allow_registry_as_source: bool = _key(
        "Whether the registry may be one of the sources too, for teams with a single store.",
        "true or false",
        default=False,
    )
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    groups: GroupsSettings = Field(default_factory=GroupsSettings)
    roles: RolesSettings = Field(default_factory=RolesSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    promotion: PromotionSettings = Field(default_factory=PromotionSettings)

    @model_validator(mode="after")
    def _check_series(self) -> Self:
        if self.ingest.metrics and self.ingest.all_series:
            raise ValueError(
                "ingest.metrics and ingest.all_series must not be given both; with all_series every series is copied"
            )
        return self

    @model_validator(mode="after")
    def _check_group_names(self) -> Self:
        for name in self.groups.named:
            if not GROUP_NAME.fullmatch(name):
                raise ValueError(
                    f"groups.{name} must be a group's name in small letters, digits and hyphens; "
                    "`greedylr runs` lists the groups"
                )
        return self

    @model_validator(mode="after")
    def _check_commands(self) -> Self:
        for name, group in self.groups.named.items():
            if fault := _command_fault(group):
                raise ValueError(f"groups.{name}{fault}")
        return self

    def group(self, name: str) -> GroupSettings:
        """Return the settings of a group; the defaults for one that the file does not name."""
        return self.groups.named.get(name, GroupSettings())

    def anchored(self, folder: Path) -> Settings:
        """Return the settings with relative paths resolved against a folder."""
        named = {name: _anchored_group(group, folder) for name, group in self.groups.named.items()}
        return self.model_copy(
            update={
                "warehouse": (folder / self.warehouse.expanduser()).resolve(),
                "sources": tuple(_anchored_source(source, folder) for source in self.sources),
                "registry_uri": anchored(self.registry_uri, folder),
                "command_store": anchored(self.command_store, folder),
                "groups": self.groups.model_copy(update={"named": named}),
            }
        )


def _command_fault(group: GroupSettings) -> str:
    """Say how the keys of a group contradict one another about its command; "" where they do not."""
    if group.command is None:
        stray = sorted(group.model_fields_set & {"metric", "report_metric", "mode", "parallel"})
        return f".{stray[0]} is of a command, and there is none; name one, or leave {stray[0]} out" if stray else ""
    if group.workload is not None:
        return " must have a workload or a command, got both; leave one out"
    if group.metric is None:
        return ".metric must name the series that the command logs its result to, got none"
    if group.report_metric == group.metric:
        return f".report_metric must be of other data than metric, got {group.metric!r} twice; leave it out"
    if names_steps(group.command) != (group.steps is not None):
        return ".command must have {steps} where steps is given, and only there, got " + repr(group.command)
    return ""


def load_settings(path: Path) -> Settings:
    """Return the settings of a greedylr.toml, relative paths resolved against its folder.

    Raises
    ------
    ValueError
        For a file that is missing or no TOML, an unknown key, a wrong type or value; all faults of the file in one
        message, each with the key's full path.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"there is no {path}; `greedylr init` writes one") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}") from error
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {_message(fault)}" for fault in error.errors())) from error
    return settings.anchored(path.absolute().parent)


def _anchored_source(source: str, folder: Path) -> str:
    if SQLITE_ADDRESS.fullmatch(source):
        return anchored(source, folder)
    return source if ADDRESS.match(source) else str((folder / Path(source).expanduser()).resolve())


def _anchored_group(group: GroupSettings, folder: Path) -> GroupSettings:
    if group.workload is None:
        return group
    place, _, factory = group.workload.rpartition(":")
    if not place.endswith(".py"):
        return group
    return group.model_copy(update={"workload": f"{(folder / Path(place).expanduser()).resolve()}:{factory}"})


def _message(fault: ErrorDetails) -> str:
    path = [str(part) for part in fault["loc"] if part != NAMED]
    model, field = _field_at(fault["loc"])
    if fault["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(path[-1], _keys(model), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"keys here are {', '.join(_keys(model))}"
        return f"{'.'.join(path)} is no known key; {hint}"
    if not path:
        return str(fault["msg"]).removeprefix("Value error, ")
    received = shown(repr(fault["input"]))
    if field is None or not isinstance(field.json_schema_extra, dict):
        return f"{'.'.join(path)} must be a table, got {received}; write [{'.'.join(path)}] above its keys"
    extra = field.json_schema_extra
    key = ".".join(part for part in path if not part.isdigit())
    return f"{key} must be {extra['rule']}, got {received}" + (f"; {extra['remedy']}" if extra["remedy"] else "")


def _field_at(location: tuple[int | str, ...]) -> tuple[type[_Table], FieldInfo | None]:
    """Return the table that a fault lies in and its field, None where the table itself is at fault or lacks the key."""
    model: type[_Table] = Settings
    parts = iter(location)
    for part in parts:
        if model is RolesSettings and part == NAMED:
            return model, model.model_fields["said"]
        if model is GroupsSettings and part == NAMED:
            next(parts, None)
            model = GroupSettings
            continue
        field = model.model_fields.get(str(part))
        table = _table_of(field)
        if table is None:
            return model, field
        model = table
    return model, None


def _table_of(field: FieldInfo | None) -> type[_Table] | None:
    annotation = None if field is None else field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, _Table) else None


def _keys(model: type[_Table]) -> list[str]:
    return [key for key in model.model_fields if key != "named"]


def template() -> str:
    """Return the commented greedylr.toml: every key with its default, keys without one commented out."""
    tables: dict[str, type[_Table]] = {
        "ingest": IngestSettings,
        "groups": GroupsSettings,
        'groups."NAME"': GroupSettings,
        "roles": RolesSettings,
        "budget": BudgetSettings,
        "promotion": PromotionSettings,
    }
    lines = ["# Settings of greedylr. Relative paths are relative to this file.", "", *_template_lines(Settings)]
    for name, model in tables.items():
        optional = model is GroupSettings
        if optional:
            lines += ["# One table for each group that you know more of; `greedylr runs` lists the names.", ""]
        lines += [f"{'# ' if optional else ''}[{name}]", *_template_lines(model, commented=optional)]
    return "\n".join(lines).rstrip() + "\n"


def write_template(path: Path) -> None:
    """Write the commented file; ValueError if there is one already."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError as error:
        raise ValueError(f"{path} exists already; edit it, or remove it first") from error


def _template_lines(model: type[_Table], *, commented: bool = False) -> Iterator[str]:
    for key, field in model.model_fields.items():
        if not isinstance(field.json_schema_extra, dict):
            continue
        yield from (f"# {line}" for line in str(field.description).splitlines())
        if field.validation_alias == NAMED:
            yield from (f"# {line}" for line in str(field.json_schema_extra["example"]).splitlines())
            yield ""
            continue
        value = field.json_schema_extra["example"] if field.default is None else _toml(field.default)
        yield f"{'# ' if commented or field.default is None else ''}{key} = {value}"
        yield ""


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | Path():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(_toml(item) for item in value)}]"
        case _:
            return str(value)
