"""The proof of a group's preset: trained, judged, drawn, registered, and written down."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TypedDict

import greedylr
from flows.budget_settings import budget_of_users
from flows.group_workload import GroupWorkload
from flows.past_use import used_controls
from flows.proof_rows import proof_rows
from flows.registration import champion_of, register_key, register_proof, registered_versions
from flows.retraining import TRAINING_VERSION, Retrainer
from flows.road import PORTFOLIO, Learned, Road, group_candidates
from flows.stage_keys import Part, stage_key
from flows.training_cost import training_cost
from greedylr.lookup import bundled_presets, load_preset
from greedylr.preset import Candidate, Preset, Provenance
from models.budgeted_proof import prove_within_budget
from models.comparison import INCUMBENT
from models.fresh_comparison import PRESET, TEST, Rival
from models.proving import CHAMPION, Plan, Proof, prove
from pipeline.plots import group_picture

logger = logging.getLogger(__name__)

PROVE_VERSION = 2


class _Described(TypedDict, total=False):
    optimizer: str
    task: str
    parameters: int
    batch_size: int


# Drawn beside the preset: what people know. A proof on a budget has not all of them, but its incumbent.
DRAWN = ("cosine", "linear", "constant", INCUMBENT)


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
        **_budget_parts(road, workload),
        training=TRAINING_VERSION,
        torch=metadata.version("torch"),
        portfolio={name: load_preset(name).content_hash for name in PORTFOLIO if name in bundled_presets()},
        device=road.device.partition(":")[0],
    )


def _budget_parts(road: Road, workload: GroupWorkload) -> dict[str, Part]:
    """Return what a budget adds to the key: nothing where there is none."""
    budget = road.settings.budget
    parts: dict[str, Part] = {"max_runs": budget.max_runs, "device_time": budget.device_time}
    return parts if workload.users and budget_of_users(road.settings) is not None else {}


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
    proof = _proved(road, learned, workload, candidates, train, plan)
    proof = replace(proof, verdict=replace(proof.verdict, selection=workload.selection))
    preset = _preset(road, learned, workload, proof, train)
    picture = _draw(road, learned.group, train, proof)
    registered = register_proof(road, learned.group, preset, proof, picture)
    tables = proof_rows(road, learned.group, candidates=candidates, proof=proof, preset=preset, registered=registered)
    road.warehouse.finish_stage(learned.group, "prove", key, tables)
    road.warehouse.finish_stage(learned.group, "register", register_key(road, key), {})
    return preset


def _proved(
    road: Road,
    learned: Learned,
    workload: GroupWorkload,
    candidates: Sequence[Candidate],
    train: Retrainer,
    plan: Plan,
) -> Proof:
    """Return the proof: in full, or where the settings give a user's workload a budget, of one candidate within it."""
    budget = budget_of_users(road.settings) if workload.users else None
    if budget is None:
        return prove(candidates, train, plan)
    cost = training_cost(road, learned.group, workload, plan.usual_rate)
    # The first candidate is the best one known; there is no budget to race it, and its rate is what the logs say.
    statistics = learned.statistics
    from_logs = statistics.recommended_rate is not None or statistics.usual_rate is not None
    return prove_within_budget(
        candidates[0],
        train,
        plan,
        budget,
        seconds_each=cost.device_seconds,
        keep_rate=from_logs,
        used=used_controls(road, learned.group),
    )


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
            learning_rate_source=_rate_source(from_logs, proof, own=workload.own),
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


def _rate_source(from_logs: float | None, proof: Proof, *, own: bool) -> str:
    if not own:
        return "" if from_logs is None else "recommended by the logs, not tried: another workload was retrained"
    logs = "nothing" if from_logs is None else f"{from_logs:.3g}"
    if proof.spending is None or proof.spending.preset_tuned:
        return f"tuned live on search seeds, as the controls' rates; the logs recommend {logs}"
    return f"tried live and not tuned, for want of budget; the logs recommend {logs}"


def _draw(road: Road, group: str, train: Retrainer, proof: Proof) -> Path:
    path = road.data / "pictures" / f"{group}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    curves = {PRESET: train.curves(TEST, PRESET, proof.winner.learning_rate)}
    curves |= {
        name: train.curves(TEST, name, proof.control_rates[name]) for name in DRAWN if name in proof.control_rates
    }
    group_picture(path, f"{group}, each schedule at its own rate", curves)
    return path
