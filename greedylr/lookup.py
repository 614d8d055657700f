"""Presets by address: a bundled name, a file, or the MLflow Model Registry."""

from __future__ import annotations

import logging
import os
import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from greedylr.preset import Preset
from greedylr.preset_cache import CachedPreset, DamagedCopyError, copy_path, read_copy, write_copy
from greedylr.registry import (
    PackageMissingError,
    PresetNotFoundError,
    RegistryMissingError,
    RegistryUnavailableError,
    connect,
    registry_key,
)
from greedylr.registry_fetch import (
    ADDRESS_FORMS,
    PRESET_ARTIFACT,
    REGISTRY_ADDRESS,
    fetched_preset,
    mlflow_settings,
    registered_version,
    require_registered_content,
)
from greedylr.rule import require_choice, require_kind

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = [
    "PRESET_ARTIFACT",
    "CacheMode",
    "LocatedPreset",
    "PresetNotFoundError",
    "RegistryUnavailableError",
    "bundled_presets",
    "load_preset",
    "locate_preset",
]

logger = logging.getLogger(__name__)

CacheMode = Literal["fallback", "never", "only"]

MAX_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class LocatedPreset:
    """A preset with what its address stood for when it was loaded.

    Parameters
    ----------
    preset
        The preset.
    address
        What was asked for.
    name, version
        The registered name and its version; empty for a bundled preset or a file.
    content_hash
        Hash of what the preset does.
    cached_at
        Where a copy stands in for the registry: the ISO 8601 time at which it was fetched; else None.
    """

    preset: Preset
    address: str
    name: str = ""
    version: str = ""
    content_hash: str
    cached_at: str | None = None


def load_preset(
    address: str | os.PathLike[str], *, registry_uri: str | None = None, cache: CacheMode = "fallback"
) -> Preset:
    """Return the preset at an address.

    A bundled name and a file need nothing but this library. A registered preset needs

    - on an HTTP(S) tracking server: `pip install mlflow-skinny`;
    - in a database (`sqlite:`, `postgresql:`, ...): also `sqlalchemy alembic`, and the database's driver, such as
      `psycopg2-binary`;
    - with its artifacts on S3, Google Cloud Storage or Azure: also `boto3`, `google-cloud-storage` or
      `azure-storage-blob azure-identity`, unless the server proxies them, as `mlflow server` does by default.

    Each one fetched leaves a copy on this machine (`$GREEDYLR_CACHE`, else `$XDG_CACHE_HOME/greedylr`, else
    `~/.cache/greedylr`).

    Parameters
    ----------
    address
        A bundled name (`bundled_presets()` lists them), a path of a JSON file, `models:/NAME@ALIAS` or
        `models:/NAME/VERSION`. A bundled name is taken before a file of that name; `./NAME` is the file.
    registry_uri
        The MLflow registry; by default MLflow's own settings (`MLFLOW_REGISTRY_URI`, `MLFLOW_TRACKING_URI`).
    cache
        "fallback": a registry that cannot be reached is replaced by the copy of the same address, with a warning that
        names its age. "never": no copy is read or written. "only": nothing but the copy is asked, which needs neither
        network nor MLflow.

    Raises
    ------
    ValueError
        If the address has none of these forms, or what stands there is no preset, or not the one that was registered.
    PresetNotFoundError
        If nothing stands there, or a package is needed that is not installed, which it names.
    RegistryUnavailableError
        If the registry does not answer, and no copy may stand in for it.
    """
    return _locate(address, registry_uri, cache).preset


def locate_preset(
    address: str | os.PathLike[str], *, registry_uri: str | None = None, cache: CacheMode = "fallback"
) -> LocatedPreset:
    """Return the preset at an address with its name, version and hash; arguments and errors as `load_preset`.

    An alias may move at any time: a job that logs what it trained with takes it from here, where it is resolved once.
    """
    return _locate(address, registry_uri, cache)


def bundled_presets() -> tuple[str, ...]:
    """Return the names of the presets that travel with the library, sorted."""
    entries = (entry.name for entry in _bundled_folder().iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in entries if name.endswith(".json")))


def _bundled_folder() -> Traversable:
    from importlib import resources  # not above: it takes a tenth of the library's import time

    return resources.files("greedylr") / "presets"


def _locate(address: str | os.PathLike[str], registry_uri: str | None, cache: CacheMode) -> LocatedPreset:
    require_choice("cache", cache, get_args(CacheMode))
    require_kind("address", address, (str, os.PathLike), f"name a bundled preset, a file or {ADDRESS_FORMS}")
    require_kind("registry_uri", registry_uri, (str, type(None)), "leave it out to take MLflow's settings")
    address = os.fspath(address)
    if address.startswith("models:"):
        match = REGISTRY_ADDRESS.fullmatch(address)
        if match is None:
            raise ValueError(f"a registry address is {ADDRESS_FORMS}, got {address!r}")
        located = _from_cache(address, registry_uri) if cache == "only" else _with_cache(match, registry_uri, cache)
        if match["alias"] == "candidate":
            warnings.warn(_candidate_warning(located.preset, address), stacklevel=3)
        return located
    preset = _local(address)
    return LocatedPreset(preset=preset, address=address, content_hash=preset.content_hash)


def _local(address: str) -> Preset:
    if address in bundled_presets():
        return Preset.from_json((_bundled_folder() / f"{address}.json").read_text("utf-8"))
    path = Path(address)
    # Not Path.is_file: it raises for a name that is too long.
    if os.path.isfile(path):  # noqa: PTH113
        return Preset.from_file(path)
    raise PresetNotFoundError(
        f"no preset at {address[:MAX_SHOWN]!r}: it is no file and none of the bundled names "
        f"{', '.join(bundled_presets())}; a registered preset's address is {ADDRESS_FORMS}"
    )


def _with_cache(match: re.Match[str], registry_uri: str | None, cache: CacheMode) -> LocatedPreset:
    """Return the preset of the registry, of its copy where the registry cannot be reached and the copy may be taken."""
    address = match[0]
    try:
        with mlflow_settings():
            copy, cached = _from_registry(match, registry_uri, cache)
    except (RegistryUnavailableError, RegistryMissingError) as error:
        if cache == "never":
            raise
        return _instead(address, registry_key(registry_uri), error)
    except PackageMissingError as error:
        if cache == "fallback" and copy_path(address, registry_key(registry_uri)).exists():
            raise PackageMissingError(f'{error}; there is a copy on this machine: cache="only" takes it') from error
        raise
    if cache == "fallback" and not cached:
        _keep(copy)
    logger.info("loaded %s: version %s, content %s", address, copy.version, copy.preset.content_hash)
    return _located(copy, cached=cached)


def _instead(address: str, registry: str, error: RegistryUnavailableError | RegistryMissingError) -> LocatedPreset:
    try:
        copy = read_copy(address, registry)
    except DamagedCopyError as damage:
        raise type(error)(f"{error}; {damage}") from error
    if copy is None:
        raise error
    warnings.warn(
        f"{address}: {error}; taking the copy of {copy.age()} ago, version {copy.version}, "
        f"content {copy.preset.content_hash}",
        stacklevel=5,
    )
    return _located(copy, cached=True)


def _from_cache(address: str, registry_uri: str | None) -> LocatedPreset:
    registry = registry_key(registry_uri)
    copy = read_copy(address, registry)
    if copy is None:
        raise PresetNotFoundError(
            f"there is no copy of {address} in {registry} on this machine ({copy_path(address, registry).parent}); "
            'load it once with cache="fallback" where the registry can be reached'
        )
    return _located(copy, cached=True)


def _located(copy: CachedPreset, *, cached: bool) -> LocatedPreset:
    preset = copy.preset
    return LocatedPreset(
        preset=preset,
        address=copy.address,
        name=copy.name,
        version=copy.version,
        content_hash=preset.content_hash,
        cached_at=copy.fetched_at if cached else None,
    )


def _keep(copy: CachedPreset) -> None:
    try:
        write_copy(copy)
    except OSError as error:
        # The preset is at hand; only the next job, with no registry, will miss the copy.
        logger.warning("no copy of %s is kept on this machine: %s", copy.address, error)


def _from_registry(match: re.Match[str], registry_uri: str | None, cache: CacheMode) -> tuple[CachedPreset, bool]:
    """Return the preset of the registry and whether its file had to come from the copy of the very same version."""
    address = match[0]
    client, registry = connect(registry_uri)
    version = registered_version(client, registry, match)
    try:
        text, preset = fetched_preset(client, registry, version, address)
    except PresetNotFoundError as error:
        copy = _same_version(address, registry, str(version.run_id)) if cache == "fallback" else None
        if copy is None:
            raise
        warnings.warn(f"{error}; taking the copy of the same version of {copy.age()} ago", stacklevel=5)
        return copy, True
    require_registered_content(address, version, preset)
    copy = CachedPreset(
        address=address,
        registry=registry_key(registry),
        name=str(version.name),
        version=str(version.version),
        run_id=str(version.run_id),
        fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
        preset_json=text,
    )
    return copy, False


def _same_version(address: str, registry: str, run_id: str) -> CachedPreset | None:
    try:
        copy = read_copy(address, registry_key(registry))
    except DamagedCopyError as damage:
        logger.warning("%s", damage)
        return None
    return copy if copy is not None and copy.run_id == run_id else None


def _candidate_warning(preset: Preset, address: str) -> str:
    verdict = preset.verdict
    if verdict is None:
        return f"{address} is a candidate: it has not been retrained, nothing is proved of it"
    where = "your own workload" if verdict.own_workload else f"{verdict.workload}, which is not your own workload"
    return f"{address} is a candidate: {verdict.verdict} against {verdict.primary_control} on {where}"
