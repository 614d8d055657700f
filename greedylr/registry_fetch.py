"""A registered preset fetched from its registry: what the address stands for, then the file, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from greedylr.preset import Preset
from greedylr.registry import (
    TAG_PREFIX,
    PackageMissingError,
    PresetNotFoundError,
    RegistryUnavailableError,
    answering,
    without_password,
)

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ADDRESS_FORMS = "models:/NAME@ALIAS or models:/NAME/VERSION"
REGISTRY_ADDRESS = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>\d+))")
PRESET_ARTIFACT = "preset/preset.json"

# While a preset is fetched, unless the environment says otherwise: no progress bar for one small file, and a server
# that does not answer counts as unreachable after seconds (MLflow alone waits minutes).
MLFLOW_SETTINGS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_settings_lock = Lock()


@contextmanager
def mlflow_settings() -> Iterator[None]:
    """Set `MLFLOW_SETTINGS` while a preset is fetched, where the environment says nothing of them; one at a time."""
    with _settings_lock:
        missing = {name: value for name, value in MLFLOW_SETTINGS.items() if name not in os.environ}
        os.environ.update(missing)
        try:
            yield
        finally:
            for name in missing:
                os.environ.pop(name, None)


def registered_version(client: MlflowClient, registry: str, match: re.Match[str]) -> Any:
    """Return MLflow's model version at an address that `REGISTRY_ADDRESS` matched; an alias is resolved here, once.

    Raises
    ------
    PresetNotFoundError, RegistryUnavailableError
        If the registry does not hold it, or does not answer.
    """
    try:
        with answering(registry):
            if match["alias"]:
                return client.get_model_version_by_alias(match["name"], match["alias"])
            return client.get_model_version(match["name"], match["version"])
    except PackageMissingError:
        raise
    except PresetNotFoundError as error:
        raise PresetNotFoundError(
            f"no preset at {match[0]}: {error}; `greedylr presets list --registry {without_password(registry)}` shows "
            "what it holds"
        ) from error


def require_registered_content(address: str, version: Any, preset: Preset) -> None:
    """Raise ValueError if the preset is not the one that was registered as this version."""
    registered = version.tags.get(f"{TAG_PREFIX}content_hash")
    if registered not in (None, preset.content_hash):
        raise ValueError(
            f"{address} must hold the preset that was registered as version {version.version} with content "
            f"{registered}, got {preset.content_hash}; its file was changed since: register it anew"
        )


def fetched_preset(client: MlflowClient, registry: str, version: Any, address: str) -> tuple[str, Preset]:
    """Return the file of a version and the preset in it.

    Raises
    ------
    ValueError
        If greedylr did not register the version, or its file is no preset.
    PresetNotFoundError
        If the file cannot be fetched; `PackageMissingError` where a package is not installed.
    """
    import tempfile

    if not version.run_id:
        raise ValueError(f"{address} names no run that holds a preset; greedylr did not register this version")
    try:
        with tempfile.TemporaryDirectory(prefix="greedylr-") as folder, answering(registry):
            content = _fetch(client, registry, version.run_id, Path(folder))
    except PackageMissingError as error:
        raise PackageMissingError(f"{address} is registered, but its file cannot be fetched: {error}") from error
    except (PresetNotFoundError, RegistryUnavailableError) as error:
        raise PresetNotFoundError(
            f"{address} is registered, but its file {PRESET_ARTIFACT} cannot be fetched from run {version.run_id}; "
            f"were the registry's artifacts moved or deleted? {error}"
        ) from error
    try:
        text = content.decode("utf-8")
        return text, Preset.from_json(text)
    except ValueError as error:
        raise ValueError(f"{address} cannot be read as a preset: {error}") from error


def _fetch(client: MlflowClient, registry: str, run_id: str, folder: Path) -> bytes:
    from mlflow import artifacts

    # By the address where the run's files lie: by its id, MLflow hides what was wrong, such as a client of S3 missing.
    address = f"{client.get_run(run_id).info.artifact_uri.rstrip('/')}/{PRESET_ARTIFACT}"
    return Path(artifacts.download_artifacts(address, dst_path=str(folder), tracking_uri=registry)).read_bytes()
