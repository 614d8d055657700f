"""The proof of a group's preset: trained, judged, drawn, registered, and written down."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TypedDict

import polars as pl

import greedylr
from flows.group_workload import GroupWorkload
from flows.registration import champion_of, place_of, register_key, register_proof, registered_versions
from flows.retraining import TRAINING_VERSION, Retrainer
from flows.road import PORTFOLIO, Learned, Road, group_candidates
from flows.stage_keys import stage_key
from greedylr.lookup import bundled_presets, load_preset
from greedylr.preset import Candidate, Preset, Provenance
from greedylr.strict_json import encode
from models.comparison import INCUMBENT
from models.proving import CHAMPION, PRESET, TEST, Plan, Proof, Rival, prove
from pipeline.plots import group_picture
from pipeline.preset_registry import RegisteredPreset

logger = logging.getLogger(__name__)

PROVE_VERSION = 2


class _Described(TypedDict, total=False):
    optimizer: str
    task: str
    parameters: int
    batch_size: int


# Drawn beside the champion: what people know.
DRAWN = ("cosine", "linear", "constant")


def proof_key(road: Road, learned: Learned, workload: GroupWorkload) -> str:
    """Return the key of a group's proof: what it was learned from, what is retrained, and with what means.

    Where the result goes is no part of it, nor in which folder the repository stands: another place is no reason for a
    second draw.
    """
    settings, command = road.settings.group(learned.group), workload.command
    return stage_key(
        "prove",
        PROVE_VERSION,
        learned=learned.key,
        workload=workload.address.removeprefix(f"{road.root.resolve()}/"),
        read_from=[] if command is None else [command.metric, command.reported, command.mode],
        own=workload.own,
        code=workload.code,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        max_seeds=road.settings.budget.max_seeds,
        max_replicas=road.settings.budget.max_replicas,
        training=TRAINING_VERSION,
        torch=metadata.version("torch"),
        portfolio={name: load_preset(name).content_hash for name in PORTFOLIO if name in bundled_presets()},
        device=road.device.partition(":")[0],
    )


def prove_group(road: Road, learned: Learned, workload: GroupWorkload) -> Preset:
    """Prove a preset for a group, register it, write rows and key in one transaction, and then the registration's key.

    Raises
    ------
    ValueError, WorkloadFailedError, GreedyLRPipelineError, PresetNotFoundError, RegistryUnavailableError
        If the workload cannot be trained, or the registry refuses; nothing is written then, and jobs that were finished
        are not trained again.
    """
    # First, because a registry that does not answer must not be found out after hours of retraining.
    rivals = rivals_of(road, learned)
    key = proof_key(road, learned, workload)
    attempt = _attempt(road, learned.group, key)
    train = Retrainer(road, learned.group, workload)
    usual_rate = _usual_rate(road, learned, workload, train)
    # A stand-in's rates say nothing of the group's own.
    largest_stable_rate = train.largest_stable_rate if workload.own else None
    plan = _plan(road, learned, workload, usual_rate, rivals, attempt, largest_stable_rate)
    candidates = group_candidates(learned, usual_rate, largest_stable_rate)
    proof = prove(candidates, train, plan)
    proof = replace(proof, verdict=replace(proof.verdict, selection=workload.selection))
    preset = _preset(road, learned, workload, proof, train)
    picture = _draw(road, learned.group, train, proof)
    registered = register_proof(road, learned.group, preset, proof, picture)
    tables = _rows(road, learned.group, candidates=candidates, proof=proof, preset=preset, registered=registered)
    road.warehouse.finish_stage(learned.group, "prove", key, tables)
    road.warehouse.finish_stage(learned.group, "register", register_key(road, key), {})
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
    champion = _champion(road, learned.group)
    if champion is not None and champion.learning_rate is not None:
        rivals[CHAMPION] = Rival(schedule=champion.schedule, learning_rate=champion.learning_rate)
    return rivals


def _champion(road: Road, group: str) -> Preset | None:
    row = champion_of(registered_versions(road, group))
    if row is None:
        return None
    return load_preset(row.address, registry_uri=road.settings.registry_uri, cache="never")


def _usual_rate(road: Road, learned: Learned, workload: GroupWorkload, train: Retrainer) -> float:
    statistics = learned.statistics
    known = (road.settings.group(learned.group).learning_rate, statistics.recommended_rate, statistics.usual_rate)
    own = [rate for rate in known if rate is not None] if workload.own else []
    return own[0] if own else train.usual_rate()


def _plan(
    road: Road,
    learned: Learned,
    workload: GroupWorkload,
    usual_rate: float,
    rivals: Mapping[str, Rival],
    attempt: int,
    largest_stable_rate: float | None,
) -> Plan:
    budget = road.settings.budget
    return Plan(
        group=learned.group,
        workload=workload.name,
        own_workload=workload.own,
        attempt=attempt,
        usual_rate=usual_rate,
        largest_stable_rate=largest_stable_rate,
        rivals=rivals,
        max_seeds=budget.max_seeds,
        max_trainings=budget.max_replicas,
    )


def _attempt(road: Road, group: str, key: str) -> int:
    """Return the number of a proof: that of the same proof where it was begun before, else the next.

    A warehouse can be lost or begun anew; the registry knows of its attempts too.
    """
    begun, _, of_proof = (road.warehouse.stage_key(group, "attempt") or "").partition(" ")
    if of_proof == key:
        return int(begun)
    rows = road.warehouse.frame("select max(attempt) as last from preset_versions where group_name = ?", [group])
    registered = [row.attempt or 0 for row in registered_versions(road, group)]
    attempt = max(rows["last"][0] or 0, *registered, 0) + 1
    road.warehouse.finish_stage(group, "attempt", f"{attempt} {key}", {})
    return attempt


def _preset(road: Road, learned: Learned, workload: GroupWorkload, proof: Proof, train: Retrainer) -> Preset:
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
            learning_rate_source=_rate_source(from_logs, tuned=workload.own),
            history_fingerprint=learned.fingerprint,
            runs=learned.runs,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            greedylr_version=greedylr.__version__,
            **_training(road, learned.group, workload, train),
        ),
        verdict=proof.verdict,
    )


def _training(road: Road, group: str, workload: GroupWorkload, train: Retrainer) -> _Described:
    """Return what is known of the training that a preset is for; of a command, and beside a stand-in, by its runs."""
    if workload.kind == "command" or not workload.own:
        return {"optimizer": _usual_optimizer(road, group)}
    seen = train.look()
    told = seen.descriptors
    return {
        "optimizer": told.optimizer,
        "task": told.task or told.family,
        "parameters": seen.parameters,
        "batch_size": told.batch_size,
    }


def _usual_optimizer(road: Road, group: str) -> str:
    """Return the optimizer that most runs of a group declare: all that is known of them where another was retrained."""
    usual = road.warehouse.frame(
        "select coalesce(mode(optimizer), '') as optimizer from usable_runs join run_groups using (run_id) "
        "where group_name = ?",
        [group],
    )
    return str(usual["optimizer"][0])


def _rate_source(from_logs: float | None, *, tuned: bool) -> str:
    logs = "nothing" if from_logs is None else f"{from_logs:.3g}"
    if tuned:
        return f"tuned live on search seeds, as the controls' rates; the logs recommend {logs}"
    return "" if from_logs is None else "recommended by the logs, not tried: another workload was retrained"


def _draw(road: Road, group: str, train: Retrainer, proof: Proof) -> Path:
    path = road.data / "pictures" / f"{group}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    curves = {PRESET: train.curves(TEST, PRESET, proof.winner.learning_rate)}
    curves |= {name: train.curves(TEST, name, proof.control_rates[name]) for name in DRAWN}
    group_picture(path, f"{group}, each schedule at its own rate", curves)
    return path


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
            **{name: [value] for name, value in place_of(registered).items()},
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
        "mean_regrets": pl.DataFrame(
            {"schedule_name": list(proof.mean_regrets), "mean_regret": list(proof.mean_regrets.values())}
        ).with_columns(attempt=pl.lit(attempt)),
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
