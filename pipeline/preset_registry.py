"""Presets in an MLflow Model Registry: register with the verdict, promote, roll back.

A registered preset is a version of the model `greedylr-<group>`, backed by a run of ours that holds
`preset/preset.json`. Aliases: `champion` (proved on the group's own workload, or promoted by a person), `candidate`
(everything else), and `previous` (the champion before). `greedylr.registry` reads what this writes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from greedylr.lookup import PRESET_ARTIFACT
from greedylr.preset import Preset
from greedylr.registry import TAG_PREFIX, connect
from greedylr.suggestion import WEIGHTS
from greedylr.verdict import Verdict
from pipeline.champions import (
    RegisteredPreset,
    make_champion,
    promote,
    registered_name,
    registry_errors,
    require_said,
    rollback,
)
from pipeline.mlflow_database import create_database, experiment_id

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

__all__ = ["Alias", "RegisteredPreset", "promote", "register", "registered_name", "rollback"]

logger = logging.getLogger(__name__)

Alias = Literal["champion", "candidate"]
EXPERIMENT = "greedylr-presets"
AUTOMATIC = "greedylr, promotion mode auto"
PROVED = ("better", "non-inferior")


def register(
    registry_uri: str,
    preset: Preset,
    group: str,
    alias: Alias,
    *,
    artifact_folder: Path,
    pictures: Sequence[Path] = (),
    evidence: Mapping[str, str] | None = None,
    reason: str,
) -> RegisteredPreset:
    """Register a preset with its verdict, and move the alias to it.

    The same content and attempt again return the version that is there and leave the aliases as they are: a person may
    have moved them since. What was cut short goes on.

    Parameters
    ----------
    registry_uri
        The registry. A SQLite file that is not there yet is made.
    preset
        With its verdict.
    group
        The group of runs that it is for.
    alias
        "champion" only for a preset better or non-inferior on the group's own workload.
    artifact_folder
        Where the files go; a tracking server keeps them itself.
    pictures, evidence
        Further files of the version: pictures by path, texts by file name.
    reason
        Why it was registered so, for people.

    Raises
    ------
    ValueError
        If the preset has no verdict, may not be champion, or the file is no registry.
    RegistryError, RegistryUnreachableError
        If the registry refuses, or does not answer.
    """
    verdict = _require_registrable(preset, alias, pictures, reason)
    with registry_errors(registry_uri):
        create_database(registry_uri)
        client, _ = connect(registry_uri)
        name = registered_name(group)
        _ensure_model(client, name, group)
        tags = _tags(preset, verdict, group, reason)
        version = _known_version(client, name, tags)
        if version is None:
            run_id = _log_run(
                client,
                experiment_id(client, registry_uri, EXPERIMENT, artifact_folder),
                preset,
                tags,
                pictures,
                evidence,
            )
            # Source and run id both: a server refuses other sources, a local client does not notice.
            version = client.create_model_version(
                name,
                source=f"runs:/{run_id}/{Path(PRESET_ARTIFACT).parent}",
                run_id=run_id,
                tags=tags,
                description=_sentence(verdict),
            )
        done = version.tags.get(f"{TAG_PREFIX}registered_as")
        if done is None:
            _point(client, name, str(version.version), alias, reason)
    logger.info("registered %s version %s as %s", name, version.version, done or alias)
    return RegisteredPreset(name=name, version=str(version.version), address=f"models:/{name}@{done or alias}")


def _require_registrable(preset: Preset, alias: Alias, pictures: Sequence[Path], reason: str) -> Verdict:
    verdict = preset.verdict
    if verdict is None:
        raise ValueError(
            f"a registered preset must have a verdict, {preset.name!r} has none; put it to the proof first"
        )
    if alias not in ("champion", "candidate"):
        raise ValueError(f"alias must be 'champion' or 'candidate', got {alias!r}")
    if alias == "champion" and not (verdict.own_workload and verdict.verdict in PROVED):
        where = "its own workload" if verdict.own_workload else f"the reference {verdict.workload}"
        raise ValueError(
            f"a champion must be better or non-inferior on the group's own workload, got {verdict.verdict} on {where}; "
            "register it as candidate, a person may promote it"
        )
    if missing := [str(picture) for picture in pictures if not picture.is_file()]:
        raise ValueError(f"pictures must be files, got {', '.join(missing)}")
    require_said(reason)
    return verdict


def _tags(preset: Preset, verdict: Verdict, group: str, reason: str) -> dict[str, str]:
    facts = {
        "role": "registration",
        "group": group,
        "content_hash": preset.content_hash,
        "attempt": str(verdict.attempt),
        "verdict": verdict.verdict,
        "own_workload": str(verdict.own_workload).lower(),
        "workload": verdict.workload,
        "primary_control": verdict.primary_control,
        "selection": verdict.selection,
        "difference": f"{verdict.difference:.6g}",
        "interval": f"[{verdict.interval.lower:.6g}, {verdict.interval.upper:.6g}]",
        "seeds": str(verdict.seeds),
        "learning_rate": "" if preset.learning_rate is None else repr(preset.learning_rate),
        "reason": reason,
        "greedylr_version": preset.provenance.greedylr_version,
    }
    told = {name: getattr(preset.provenance, name) for name in WEIGHTS}
    facts |= {name: str(value) for name, value in told.items() if value}
    return {f"{TAG_PREFIX}{key}": value for key, value in facts.items()}


def _sentence(verdict: Verdict) -> str:
    where = "the group's own workload" if verdict.own_workload else "a reference workload"
    interval = verdict.interval
    return (
        f"{verdict.verdict} against {verdict.primary_control} on {verdict.workload} ({where}): regret difference "
        f"{verdict.difference:+.3f} [{interval.lower:+.3f}, {interval.upper:+.3f}] over {verdict.seeds} paired seeds, "
        f"attempt {verdict.attempt}"
    )


def _ensure_model(client: MlflowClient, name: str, group: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name, tags={f"{TAG_PREFIX}group": group}, description=f"GreedyLR presets for the runs of {group}"
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _known_version(client: MlflowClient, name: str, tags: Mapping[str, str]) -> ModelVersion | None:
    same = (f"{TAG_PREFIX}content_hash", f"{TAG_PREFIX}attempt")
    for version in client.search_model_versions(f"name = '{name}'"):
        if all(version.tags.get(key) == tags[key] for key in same):
            return version
    return None


def _log_run(
    client: MlflowClient,
    experiment: str,
    preset: Preset,
    tags: Mapping[str, str],
    pictures: Sequence[Path],
    evidence: Mapping[str, str] | None,
) -> str:
    run_id = str(client.create_run(experiment, tags=dict(tags), run_name=preset.name).info.run_id)
    status = "FAILED"
    try:
        client.log_text(run_id, preset.to_json(), PRESET_ARTIFACT)
        for picture in pictures:
            client.log_artifact(run_id, str(picture), "pictures")
        for name, text in (evidence or {}).items():
            client.log_text(run_id, text, f"evidence/{name}")
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status=status)
    return run_id


def _point(client: MlflowClient, name: str, version: str, alias: Alias, reason: str) -> None:
    if alias == "champion":
        make_champion(client, name, version, reason=reason, who=AUTOMATIC)
    else:
        client.set_registered_model_alias(name, alias, version)
    # Last, so that a registration cut short is told from one whose aliases a person has moved since.
    client.set_model_version_tag(name, version, f"{TAG_PREFIX}registered_as", alias)
