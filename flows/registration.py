"""The registration of a proved preset: after its proof, and again where only the registry is another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from flows.promotion import alias_of
from flows.road import Road
from flows.stage_keys import stage_key
from greedylr.preset import Candidate, Preset
from greedylr.registry import PresetRow, database_file, registered_presets
from greedylr.strict_json import encode
from greedylr.verdict import CellVerdict
from models.comparison import headline
from models.proving import CHAMPION, Proof
from models.racing import Race
from pipeline.preset_registry import RegisteredPreset, register, registered_name

REGISTER_VERSION = 1


def register_key(road: Road, proof: str) -> str:
    """Return the key of a group's registration: the key of its proof, and the registry.

    The mode of promotion is no part of it: it counts for what is registered from then on.
    """
    return stage_key("register", REGISTER_VERSION, proof=proof, registry=road.settings.registry_uri)


def registered_versions(road: Road, group: str) -> list[PresetRow]:
    """Return the versions of a group's preset in the registry, newest first; none where its file is not there yet.

    Raises
    ------
    PresetNotFoundError, RegistryUnavailableError, ValueError
        If the registry is none or does not answer.
    """
    file = database_file(road.settings.registry_uri)
    if file is not None and not file.exists():
        return []
    name = registered_name(group)
    return [row for row in registered_presets(road.settings.registry_uri) if row.name == name]


def champion_of(versions: Sequence[PresetRow]) -> PresetRow | None:
    """Return the reigning champion among a group's versions."""
    return next((row for row in versions if CHAMPION in row.aliases), None)


def register_proof(road: Road, group: str, preset: Preset, proof: Proof, picture: Path) -> RegisteredPreset:
    """Register a preset with all the evidence of its proof; errors as `register`."""
    alias, reason = alias_of(proof.verdict, _against_champion(proof), road.settings.promotion.mode)
    shares = headline(proof.cells)
    return register(
        road.settings.registry_uri,
        preset,
        group,
        alias,
        artifact_folder=road.data / "artifacts",
        pictures=(picture,),
        evidence={
            "cells.json": json.dumps([encode(cell) for cell in proof.cells], indent=1),
            "headline.json": json.dumps([{**encode(row), "share": row.share} for row in shares], indent=1),
            "control_rates.json": json.dumps(dict(proof.control_rates), indent=1),
            **({} if proof.race is None else {"race.json": _race(proof.race)}),
            **({} if proof.spending is None else {"spending.json": json.dumps(encode(proof.spending), indent=1)}),
        },
        reason=reason,
    )


def _against_champion(proof: Proof) -> list[CellVerdict]:
    """Return the verdict against the reigning champion; undecided where a budget left it out, none without one."""
    met = [cell.verdict for cell in proof.cells if cell.control == CHAMPION]
    left_out = () if proof.spending is None else proof.spending.left_out
    if not met and any(step.pair is not None and step.pair.control == CHAMPION for step in left_out):
        return ["undecided"]
    return met


def _race(race: Race[Candidate]) -> str:
    account = {"trainings": race.trainings, "trainings_thrown_away": race.trainings_thrown_away}
    return json.dumps({**account, "standings": [encode(standing) for standing in race.standings]}, indent=1)


def register_again(road: Road, group: str, key: str) -> None:
    """Register a group's newest preset as the warehouse holds it, with the verdict that it has; nothing is retrained.

    Raises
    ------
    ValueError, GreedyLRPipelineError, PresetNotFoundError, RegistryUnavailableError
        If the registry refuses or does not answer; nothing is written then.
    """
    versions = road.warehouse.frame("select * from preset_versions where group_name = ? order by attempt", [group])
    preset = Preset.from_json(versions["preset"][-1])
    assert preset.verdict is not None  # every proved preset has one
    cells = road.warehouse.frame("select * exclude (group_name, attempt) from cells where group_name = ?", [group])
    met = cells.filter(pl.col("control") == CHAMPION)["verdict"].to_list()
    alias, reason = alias_of(preset.verdict, met, road.settings.promotion.mode)
    reigning = champion_of(registered_versions(road, group))
    if alias == CHAMPION and reigning is not None and reigning.content_hash != preset.content_hash:
        alias, reason = "candidate", f"{reason}; proved before, and not against the champion of this registry"
    picture = road.data / "pictures" / f"{group}.png"
    registered = register(
        road.settings.registry_uri,
        preset,
        group,
        alias,
        artifact_folder=road.data / "artifacts",
        pictures=(picture,) if picture.is_file() else (),
        evidence={"cells.json": json.dumps(cells.to_dicts(), indent=1)},
        reason=reason,
    )
    place = {name: pl.lit(value, versions.schema[name]) for name, value in place_of(registered).items()}
    newest = versions[-1:].with_columns(**place)
    road.warehouse.finish_stage(group, "register", key, {"preset_versions": pl.concat([versions[:-1], newest])})


def place_of(registered: RegisteredPreset) -> Mapping[str, str | int]:
    """Return where a preset was registered, as the warehouse's columns name it."""
    return {
        "registered_name": registered.name,
        "version": int(registered.version),
        "alias": registered.address.rpartition("@")[2],
    }
