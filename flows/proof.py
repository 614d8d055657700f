"""The proof of a group's preset: trained, judged, drawn, registered, and written down in one transaction."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

import greedylr
from flows.group_workload import GroupWorkload
from flows.promotion import alias_of
from flows.retraining import Retrainer
from flows.road import Learned, Road, group_candidates
from flows.stage_keys import stage_key
from greedylr.lookup import load_preset
from greedylr.preset import Candidate, Preset, Provenance
from greedylr.registry import database_file, registered_presets
from greedylr.strict_json import encode
from models.comparison import INCUMBENT, headline
from models.proving import CHAMPION, PRESET, TEST, Plan, Proof, Rival, prove
from pipeline.plots import group_picture
from pipeline.preset_registry import RegisteredPreset, register, registered_name

logger = logging.getLogger(__name__)

PROVE_VERSION = 1

# Drawn beside the champion: what people know.
DRAWN = ("cosine", "linear", "constant")


def proof_key(road: Road, learned: Learned, workload: GroupWorkload) -> str:
    """Return the key of a group's proof: what it was learned from, what is retrained, and with what means."""
    settings = road.settings.group(learned.group)
    return stage_key(
        "prove",
        PROVE_VERSION,
        learned=learned.key,
        workload=workload.address,
        own=workload.own,
        code=workload.code,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        max_seeds=road.settings.budget.max_seeds,
        max_replicas=road.settings.budget.max_replicas,
        promotion=road.settings.promotion.mode,
        registry=road.settings.registry_uri,
        device=road.device.partition(":")[0],
    )


def prove_group(road: Road, learned: Learned, workload: GroupWorkload) -> Preset:
    """Prove a preset for a group, register it, and write rows and key in one transaction.

    Raises
    ------
    ValueError, WorkloadFailedError, GreedyLRPipelineError, PresetNotFoundError, RegistryUnavailableError
        If the workload cannot be trained, or the registry refuses; nothing is written then, and jobs that were finished
        are not trained again.
    """
    # First, because a registry that does not answer must not be found out after hours of retraining.
    rivals = rivals_of(road, learned)
    train = Retrainer(road, learned.group, workload)
    usual_rate = _usual_rate(road, learned, workload, train)
    plan = _plan(road, learned, workload, usual_rate, rivals)
    candidates = group_candidates(learned, usual_rate)
    proof = prove(candidates, train, plan)
    preset = _preset(learned, workload, proof)
    picture = _draw(road, learned.group, train, proof)
    registered = _register(road, learned.group, preset, proof, picture)
    tables = _rows(road, learned.group, candidates=candidates, proof=proof, preset=preset, registered=registered)
    road.warehouse.finish_stage(learned.group, "prove", proof_key(road, learned, workload), tables)
    return preset


def rivals_of(road: Road, learned: Learned) -> dict[str, Rival]:
    """Return what a group's preset has to beat besides the controls: its incumbent and its reigning champion.

    Raises
    ------
    PresetNotFoundError, RegistryUnavailableError, ValueError
        If the registry is none or does not answer, or the champion's file is gone.
    """
    rivals = {}
    if (incumbent := learned.statistics.incumbent) is not None:
        rivals[INCUMBENT] = Rival(schedule=incumbent.schedule, learning_rate=incumbent.learning_rate)
    champion = _champion(road.settings.registry_uri, registered_name(learned.group))
    if champion is not None and champion.learning_rate is not None:
        rivals[CHAMPION] = Rival(schedule=champion.schedule, learning_rate=champion.learning_rate)
    return rivals


def _champion(registry_uri: str, name: str) -> Preset | None:
    file = database_file(registry_uri)
    if file is not None and not file.exists():
        return None
    rows = registered_presets(registry_uri)
    address = next((row.address for row in rows if row.name == name and CHAMPION in row.aliases), None)
    return None if address is None else load_preset(address, registry_uri=registry_uri, cache="never")


def _usual_rate(road: Road, learned: Learned, workload: GroupWorkload, train: Retrainer) -> float:
    statistics = learned.statistics
    known = (road.settings.group(learned.group).learning_rate, statistics.recommended_rate, statistics.usual_rate)
    own = [rate for rate in known if rate is not None] if workload.own else []
    return own[0] if own else train.usual_rate()


def _plan(
    road: Road, learned: Learned, workload: GroupWorkload, usual_rate: float, rivals: Mapping[str, Rival]
) -> Plan:
    budget = road.settings.budget
    return Plan(
        group=learned.group,
        workload=workload.name,
        own_workload=workload.own,
        attempt=_attempts(road, learned.group) + 1,
        usual_rate=usual_rate,
        rivals=rivals,
        max_seeds=budget.max_seeds,
        max_trainings=budget.max_replicas,
    )


def _attempts(road: Road, group: str) -> int:
    rows = road.warehouse.frame("select max(attempt) as last from preset_versions where group_name = ?", [group])
    return rows["last"][0] or 0


def _preset(learned: Learned, workload: GroupWorkload, proof: Proof) -> Preset:
    statistics = learned.statistics
    # A stand-in's rates say nothing of the group's own: what the logs recommend is all there is.
    from_logs = statistics.recommended_rate or statistics.usual_rate
    return Preset(
        name=f"{learned.group}-{proof.winner.name}",
        schedule=proof.winner.schedule,
        learning_rate=proof.winner.learning_rate if workload.own else from_logs,
        provenance=Provenance(
            group=learned.group,
            origin=proof.winner.origin,
            history_fingerprint=learned.fingerprint,
            runs=learned.runs,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            greedylr_version=greedylr.__version__,
        ),
        verdict=proof.verdict,
    )


def _draw(road: Road, group: str, train: Retrainer, proof: Proof) -> Path:
    path = road.data / "pictures" / f"{group}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    curves = {PRESET: train.curves(TEST, PRESET, proof.winner.learning_rate)}
    curves |= {name: train.curves(TEST, name, proof.control_rates[name]) for name in DRAWN}
    group_picture(path, f"{group}, each schedule at its own rate", curves)
    return path


def _register(road: Road, group: str, preset: Preset, proof: Proof, picture: Path) -> RegisteredPreset:
    against_champion = [cell.verdict for cell in proof.cells if cell.control == CHAMPION]
    alias, reason = alias_of(proof.verdict, against_champion, road.settings.promotion.mode)
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
            "race.json": json.dumps([encode(standing) for standing in proof.race.standings], indent=1),
        },
        reason=reason,
    )


def _rows(
    road: Road,
    group: str,
    *,
    candidates: Sequence[Candidate],
    proof: Proof,
    preset: Preset,
    registered: RegisteredPreset,
) -> Mapping[str, pl.DataFrame]:
    attempt = proof.verdict.attempt
    version = pl.DataFrame(
        {
            "group_name": [group],
            "attempt": [attempt],
            "registered_name": [registered.name],
            "version": [int(registered.version)],
            "alias": [registered.address.rpartition("@")[2]],
            "preset_hash": [preset.content_hash],
            "preset": [preset.to_json()],
            "verdict": [proof.verdict.verdict],
            "created_at": [datetime.now(UTC).replace(tzinfo=None)],
        }
    )
    earlier = road.warehouse.frame("select * from preset_versions where group_name = ?", [group])
    return {
        "candidates": pl.DataFrame(
            {
                "position": range(len(candidates)),
                "name": [candidate.name for candidate in candidates],
                "candidate": [json.dumps(encode(candidate)) for candidate in candidates],
            }
        ),
        "retrainings": _retrainings(proof),
        "cells": _cell_rows(proof),
        # Kept for ever: the number of attempts is part of every verdict.
        "preset_versions": pl.concat([earlier, version], how="vertical_relaxed") if len(earlier) else version,
    }


def _retrainings(proof: Proof) -> pl.DataFrame:
    parts = [
        pl.DataFrame(
            {
                "purpose": purpose,
                "schedule_name": results.schedule,
                "starting_rate": results.starting_rate,
                "seed": results.seed,
                "selection_loss": results.selection_loss,
                "reporting_loss": results.reporting_loss,
                "diverged": results.diverged,
            }
        )
        for purpose, results in proof.results.items()
    ]
    return pl.concat(parts).with_columns(attempt=pl.lit(proof.verdict.attempt))


def _cell_rows(proof: Proof) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "attempt": proof.verdict.attempt,
                "control": cell.control,
                "region": cell.region,
                "starting_rate": cell.starting_rate,
                "control_rate": cell.control_rate,
                "difference": cell.difference,
                "lower": cell.interval.lower,
                "upper": cell.interval.upper,
                "level": cell.interval.level,
                "seeds": cell.seeds,
                "verdict": cell.verdict,
            }
            for cell in proof.cells
        ]
    )
