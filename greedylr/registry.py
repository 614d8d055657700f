"""The MLflow Model Registry as presets see it: its address, a client that creates nothing, the registered versions."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DEFAULT_REGISTRY = "sqlite:///data/registry.db"
NAME_PREFIX = "greedylr-"
TAG_PREFIX = "greedylr."
PAGE = 100

# Optimizers by what they do to a gradient: as it is, or scaled by its own history.
PLAIN_OPTIMIZERS = frozenset({"sgd", "momentum", "nesterov", "asgd"})
SCALING_OPTIMIZERS = frozenset(
    {
        *("adam", "adamw", "adam8bit", "adamw8bit", "adamax", "nadam", "radam", "adagrad", "adadelta", "adafactor"),
        *("rmsprop", "lamb", "lion", "novograd", "shampoo", "sophia"),
    }
)
OPTIMIZERS = PLAIN_OPTIMIZERS | SCALING_OPTIMIZERS

SQLITE_ADDRESS = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>[^?]+)(?P<query>\?.*)?")
PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]*@")
# What MLflow answers for a name, a version, a run (the first) and an alias (the second) that it does not have.
NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class PresetNotFoundError(LookupError):
    """No preset stands at the address."""


class PackageMissingError(PresetNotFoundError):
    """A package is needed that is not installed; the message names it and what needs it."""


class RegistryMissingError(PresetNotFoundError):
    """There is no registry at this address: a database file that is not there."""


class RegistryUnavailableError(Exception):
    """The registry did not answer; the same call may succeed later."""

    retryable: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class PresetRow:
    """A preset as a listing shows it; empty strings, and None, where the registry holds no such tag.

    `optimizer` and `task` are those of its tags, else those that the name of its group speaks of.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    verdict: str
    own_workload: bool | None
    learning_rate: float | None
    created: str
    content_hash: str
    address: str
    optimizer: str = ""
    task: str = ""
    parameters: int | None = None
    batch_size: int | None = None
    attempt: int | None = None


def anchored(address: str, folder: Path) -> str:
    """Return the address with a relative SQLite path resolved against a folder; other addresses as they are."""
    match = SQLITE_ADDRESS.fullmatch(address)
    if match is None:
        return address
    path = (folder / match["path"]).resolve()
    return f"{match['scheme']}{path}{match['query'] or ''}"


def database_file(address: str) -> Path | None:
    """Return the file of a SQLite address, absolute; None for any other address."""
    match = SQLITE_ADDRESS.fullmatch(address)
    return None if match is None else Path(match["path"]).absolute()


def without_password(text: str) -> str:
    """Return the text with passwords in addresses left out, fit to be shown."""
    return PASSWORD.sub(r"\1:***@", text)


def connect(address: str | None = None) -> tuple[MlflowClient, str]:
    """Return a client of the registry and its address, by default MLflow's own settings.

    A database file is neither created nor migrated: MLflow would do both without a word.

    Raises
    ------
    ValueError
        If the file is no MLflow database, or one of another schema than the installed MLflow's.
    PresetNotFoundError
        If there is no such file, or MLflow is not installed.
    """
    with answering(address or "the registry"):
        import mlflow
        from mlflow.tracking import MlflowClient

        address = address or mlflow.get_registry_uri()
        file = database_file(address)
        if file is not None:
            require_registry_database(file, address)
        # Presets are artifacts of runs, and those stand in the store of the registry, whatever store the job logs to.
        return MlflowClient(tracking_uri=address, registry_uri=address), address


def require_registry_database(file: Path, address: str) -> None:
    """Raise unless the file is an MLflow database of the installed MLflow's schema; reads only. Errors as `connect`."""
    if not file.is_file():
        raise RegistryMissingError(
            f"there is no registry at {address}; the first `greedylr run` makes it, or name another one "
            "(MLFLOW_REGISTRY_URI, --registry)"
        )
    import sqlite3

    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            stamped = {"alembic_version", "registered_models"} <= tables
            found = database.execute("select version_num from alembic_version").fetchone() if stamped else None
    except sqlite3.OperationalError as error:
        raise RegistryUnavailableError(f"the registry {address} cannot be read: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"a registry must be an MLflow database, got {file}: {error}") from error
    if found is None:
        raise ValueError(
            f"a registry must be an MLflow database, got {file}, which holds none of MLflow's registry; "
            "name another file, or remove this one and it is made anew"
        )
    if found[0] != (expected := _installed_schema()):
        raise ValueError(
            f"the registry must have the installed MLflow's schema {expected}, got {found[0]} in {file}; back it up "
            f"and run `mlflow db upgrade {address}`, or install the MLflow that wrote it"
        )


def _installed_schema() -> str | None:
    import mlflow
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations")).get_current_head()


def needs(module: str) -> str:
    """Return the message for a module that the registry needs and that is not installed."""
    return (
        f"the registry needs {module}, which is not installed: pip install mlflow-skinny for a server over HTTP; for a "
        "database also sqlalchemy alembic, and psycopg2-binary for PostgreSQL; for artifacts on S3 also boto3, on "
        "Google Cloud google-cloud-storage, on Azure azure-storage-blob azure-identity, unless the server proxies them"
    )


def registry_key(address: str | None = None) -> str:
    """Return the address of a registry as copies are filed under: absolute, without password; MLflow's own by default.

    Needs no MLflow where the address is given or the environment names it.

    Raises
    ------
    ValueError
        If nothing names a registry and MLflow is not installed.
    """
    if not address:
        loaded = sys.modules.get("mlflow")
        address = loaded.get_registry_uri() if loaded is not None else _named_by_environment()
    return without_password(anchored(address.rstrip("/"), Path.cwd()))


def _named_by_environment() -> str:
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        if address := os.environ.get(name):
            return address
    try:
        import mlflow
    except ImportError as error:
        raise ValueError(
            "a registry must be named where MLflow is not installed, got none; set MLFLOW_REGISTRY_URI or registry_uri"
        ) from error
    return str(mlflow.get_registry_uri())


@contextmanager
def answering(address: str) -> Iterator[None]:
    """Turn what MLflow raises inside into the two errors of this module, with a message that fits one line.

    Raises
    ------
    PresetNotFoundError
        If MLflow has no such name, version, alias or run; `PackageMissingError` where a package is not installed.
    RegistryUnavailableError
        For everything else that MLflow, its database or the network raise.
    """
    try:
        yield
    except ImportError as error:
        raise PackageMissingError(needs((error.name or str(error)).partition(".")[0])) from error
    except _registry_errors() as error:
        message = one_line(error)
        if getattr(error, "error_code", None) in NOT_FOUND:
            raise PresetNotFoundError(f"the registry {without_password(address)} answers: {message}") from error
        raise RegistryUnavailableError(
            f"the registry {without_password(address)} is not to be had: {message}"
        ) from error


def one_line(error: BaseException, limit: int = 250) -> str:
    """Return the error's message on one line, without passwords; of a long one the error at its root, or a part."""
    text = " ".join(str(error).split()).rstrip(".")
    while len(text) > limit and (error := error.__cause__ or error.__context__):  # type: ignore[assignment]
        text = " ".join(str(error).split()) or text
    text = without_password(text)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _registry_errors() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException

    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        return (MlflowException, OSError)
    return (MlflowException, SQLAlchemyError, OSError)


def registered_presets(address: str | None = None) -> list[PresetRow]:
    """Return the preset versions that we registered, by name and newest first; errors as `connect` and `answering`."""
    client, address = connect(address)
    with answering(address):
        models = _all_pages(client.search_registered_models)
        versions = _all_pages(client.search_model_versions)
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for alias, version in model.aliases.items():
            aliases.setdefault((model.name, str(version)), []).append(alias)
    rows = [_row(version, aliases.get((version.name, str(version.version)), [])) for version in versions]
    return sorted(rows, key=lambda row: (row.name, -int(row.version)))


def _all_pages(search: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(filter_string=f"name LIKE '{NAME_PREFIX}%'", max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _row(version: Any, aliases: list[str]) -> PresetRow:
    tags = {key.removeprefix(TAG_PREFIX): value for key, value in version.tags.items()}
    rate, own = tags.get("learning_rate", ""), tags.get("own_workload", "")
    task, optimizer = _in_group_name(tags.get("group", ""))
    return PresetRow(
        name=version.name,
        version=str(version.version),
        aliases=tuple(sorted(aliases)),
        verdict=tags.get("verdict", ""),
        own_workload=own == "true" if own else None,
        learning_rate=float(rate) if rate else None,
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        content_hash=tags.get("content_hash", ""),
        address=f"models:/{version.name}/{version.version}",
        optimizer=tags.get("optimizer", "") or optimizer,
        task=tags.get("task", "") or task,
        parameters=_count(tags.get("parameters", "")),
        batch_size=_count(tags.get("batch_size", "")),
        attempt=_count(tags.get("attempt", "")),
    )


def _in_group_name(group: str) -> tuple[str, str]:
    """Return the task and the optimizer that the name of a group speaks of: by default it is experiment-optimizer."""
    task, _, optimizer = group.rpartition("-")
    return (task, optimizer) if optimizer in OPTIMIZERS else (group, "")


def _count(text: str) -> int | None:
    # A tag is anyone's to write: what is no count is no descriptor.
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 and int(text) > 0 else None
