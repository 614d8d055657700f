"""The champion of a group: which version it is, who made it so, and the way back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from greedylr.registry import (
    NAME_PREFIX,
    TAG_PREFIX,
    PresetNotFoundError,
    RegistryUnavailableError,
    answering,
    connect,
)
from pipeline.errors import RegistryError, RegistryUnreachableError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PREVIOUS = "previous"
MAX_SLUG = 100
MAX_REASON = 2000


@dataclass(frozen=True, kw_only=True)
class RegisteredPreset:
    """A version in the registry; `address` is what `load_preset` takes."""

    name: str
    version: str
    address: str


def registered_name(group: str) -> str:
    """Return the registered model's name of a group: MLflow refuses "/" and ":", other letters serve nobody in a URL.

    A group that is not a slug already gets a hash of itself, so that no two groups share a name.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", group.lower()).strip("-")[:MAX_SLUG].strip("-")
    if slug != group:
        slug = f"{slug}-{hashlib.sha256(group.encode()).hexdigest()[:8]}".strip("-")
    return f"{NAME_PREFIX}{slug}"


def promote(registry_uri: str, group: str, version: str | int, *, reason: str, who: str) -> RegisteredPreset:
    """Make a version champion on a person's word, whatever its verdict; the old champion becomes `previous`.

    Raises
    ------
    ValueError
        If there is no such group or version, it is champion already, or reason or name are missing.
    RegistryError, RegistryUnreachableError
        If the registry refuses, or does not answer.
    """
    require_said(reason, who)
    with registry_errors(registry_uri):
        client, _ = connect(registry_uri)
        name, aliases = _existing(client, group)
        known = {str(found.version) for found in client.search_model_versions(f"name = '{name}'")}
        if str(version) not in known:
            raise ValueError(f"{name} must have the version to promote, got {version!r}; it has {_listed(known)}")
        if aliases.get("champion") == str(version):
            raise ValueError(f"version {version} of {name} is the champion already; there is nothing to promote")
        make_champion(client, name, str(version), reason=reason, who=who)
    return RegisteredPreset(name=name, version=str(version), address=f"models:/{name}@champion")


def rollback(registry_uri: str, group: str, *, reason: str, who: str) -> RegisteredPreset:
    """Make the previous champion champion again, and record on both versions who and why; errors as `promote`."""
    require_said(reason, who)
    with registry_errors(registry_uri):
        client, _ = connect(registry_uri)
        name, aliases = _existing(client, group)
        champion, previous = aliases.get("champion"), aliases.get(PREVIOUS)
        if champion is None or previous is None or champion == previous:
            raise ValueError(
                f"{name} must have had a champion before this one to go back to, got none; promote another"
            )
        _record(client, name, champion, "rolled_back", reason=reason, who=who)
        _record(client, name, previous, "promoted", reason=f"rollback of version {champion}: {reason}", who=who)
        client.set_registered_model_alias(name, "champion", previous)
        before = client.get_model_version(name, previous).tags.get(f"{TAG_PREFIX}previous_version")
        if before is None:
            client.delete_registered_model_alias(name, PREVIOUS)
        else:
            client.set_registered_model_alias(name, PREVIOUS, before)
    return RegisteredPreset(name=name, version=previous, address=f"models:/{name}@champion")


def make_champion(client: MlflowClient, name: str, version: str, *, reason: str, who: str) -> None:
    """Move the alias `champion` and what goes with it, the record first: cut short, it can be done again."""
    aliases = _aliases(client, name)
    old = aliases.get("champion")
    _record(client, name, version, "promoted", reason=reason, who=who)
    if old is not None and old != version:
        client.set_model_version_tag(name, version, f"{TAG_PREFIX}previous_version", old)
        client.set_registered_model_alias(name, PREVIOUS, old)
    client.set_registered_model_alias(name, "champion", version)
    if aliases.get("candidate") == version:
        client.delete_registered_model_alias(name, "candidate")


def _record(client: MlflowClient, name: str, version: str, change: str, *, reason: str, who: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for key, value in (("by", who), ("at", now), ("reason", reason)):
        client.set_model_version_tag(name, version, f"{TAG_PREFIX}{change}_{key}", value)


def _existing(client: MlflowClient, group: str) -> tuple[str, dict[str, str]]:
    """Return name and aliases of a group's registered model; the registered name itself is understood too."""
    names = {model.name for model in client.search_registered_models(f"name LIKE '{NAME_PREFIX}%'", max_results=1000)}
    for name in (registered_name(group), group):
        if name in names:
            return name, _aliases(client, name)
    raise ValueError(f"the registry must hold a preset of the group, got {group!r}; it holds {_listed(names)}")


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    aliases: Mapping[str, Any] = client.get_registered_model(name).aliases
    return {alias: str(version) for alias, version in aliases.items()}


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def require_said(reason: str, who: str = "nobody") -> None:
    """Raise ValueError unless reason and name are said, and fit into a tag."""
    for name, text in (("reason", reason), ("who", who)):
        if not 0 < len(text.strip()) <= MAX_REASON:
            raise ValueError(f"{name} must be said in 1 to {MAX_REASON} characters, got {len(text.strip())}")


@contextmanager
def registry_errors(registry_uri: str) -> Iterator[None]:
    """Turn what MLflow raises inside into this folder's errors."""
    try:
        with answering(registry_uri):
            yield
    except RegistryUnavailableError as error:
        raise RegistryUnreachableError(str(error)) from error
    except PresetNotFoundError as error:
        raise RegistryError(str(error)) from error
