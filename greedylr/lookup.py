"""Presets by address: a bundled name, a file, or the MLflow Model Registry."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import warnings
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greedylr.preset import Preset
from greedylr.registry import PresetNotFoundError, RegistryUnavailableError, answering, connect, without_password

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["PRESET_ARTIFACT", "PresetNotFoundError", "RegistryUnavailableError", "bundled_presets", "load_preset"]

logger = logging.getLogger(__name__)

ADDRESS_FORMS = "models:/NAME@ALIAS or models:/NAME/VERSION"
REGISTRY_ADDRESS = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>\d+))")
PRESET_ARTIFACT = "preset/preset.json"
MAX_SHOWN = 200


def load_preset(address: str | os.PathLike[str], *, registry_uri: str | None = None) -> Preset:
    """Return the preset at an address.

    Parameters
    ----------
    address
        A bundled name (`bundled_presets()` lists them), a path of a JSON file, `models:/NAME@ALIAS` or
        `models:/NAME/VERSION`. A bundled name is taken before a file of that name; `./NAME` is the file.
    registry_uri
        The MLflow registry; by default MLflow's own settings (`MLFLOW_REGISTRY_URI`, `MLFLOW_TRACKING_URI`).

    Raises
    ------
    ValueError
        If the address has none of these forms, or what stands there is no preset.
    PresetNotFoundError
        If nothing stands there, or MLflow is needed and not installed.
    RegistryUnavailableError
        If the registry does not answer.
    """
    address = os.fspath(address)
    if address.startswith("models:"):
        return _from_registry(address, registry_uri)
    if address in bundled_presets():
        return Preset.from_json((resources.files("greedylr") / "presets" / f"{address}.json").read_text("utf-8"))
    path = Path(address)
    # Not Path.is_file: it raises for a name that is too long.
    if os.path.isfile(path):  # noqa: PTH113
        return Preset.from_file(path)
    raise PresetNotFoundError(
        f"no preset at {address[:MAX_SHOWN]!r}: it is no file and none of the bundled names "
        f"{', '.join(bundled_presets())}; a registered preset's address is {ADDRESS_FORMS}"
    )


def bundled_presets() -> tuple[str, ...]:
    """Return the names of the presets that travel with the library, sorted."""
    folder = resources.files("greedylr") / "presets"
    return tuple(sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")))


def _from_registry(address: str, registry_uri: str | None) -> Preset:
    match = REGISTRY_ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"a registry address is {ADDRESS_FORMS}, got {address!r}")
    client, registry = connect(registry_uri)
    try:
        with answering(registry):
            if match["alias"]:
                version = client.get_model_version_by_alias(match["name"], match["alias"])
            else:
                version = client.get_model_version(match["name"], match["version"])
    except PresetNotFoundError as error:
        raise PresetNotFoundError(
            f"no preset at {address}: {error}; `greedylr presets list --registry {without_password(registry)}` shows "
            "what it holds"
        ) from error
    preset = _download(client, registry, version, address)
    if match["alias"] == "candidate":
        warnings.warn(_candidate_warning(preset, address), stacklevel=3)
    logger.info("loaded %s: version %s, content %s", address, version.version, preset.content_hash)
    return preset


def _download(client: MlflowClient, registry: str, version: Any, address: str) -> Preset:
    if not version.run_id:
        raise ValueError(f"{address} names no run that holds a preset; greedylr did not register this version")
    try:
        with tempfile.TemporaryDirectory(prefix="greedylr-") as folder, answering(registry):
            text = Path(client.download_artifacts(version.run_id, PRESET_ARTIFACT, folder)).read_text("utf-8")
    except (PresetNotFoundError, RegistryUnavailableError) as error:
        raise PresetNotFoundError(
            f"{address} is registered, but its file {PRESET_ARTIFACT} cannot be fetched from run {version.run_id}; "
            f"were the registry's artifacts moved or deleted? {error}"
        ) from error
    try:
        return Preset.from_json(text)
    except ValueError as error:
        raise ValueError(f"{address} cannot be read as a preset: {error}") from error


def _candidate_warning(preset: Preset, address: str) -> str:
    verdict = preset.verdict
    if verdict is None:
        return f"{address} is a candidate: it has not been retrained, nothing is proved of it"
    where = "your own workload" if verdict.own_workload else f"{verdict.workload}, which is not your own workload"
    return f"{address} is a candidate: {verdict.verdict} against {verdict.primary_control} on {where}"
