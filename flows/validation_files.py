"""What a validation leaves under data/validations, one folder for a preset and a workload, one in it an attempt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.proof_rows import retraining_rows
from flows.training_cost import TrainingCost
from flows.validation import Validated
from greedylr.preset import Preset
from greedylr.strict_json import decode, encode, parse
from models.comparison import headline

VERDICT_FILE, CELLS_FILE, RESULTS_FILE, COST_FILE = "verdict.json", "cells.json", "results.csv", "cost.json"
DIGITS_OF_HASH = 8


def validation_folder(data: Path, preset: Preset, workload: str, steps: int | None = None) -> Path:
    """Return the folder of a preset on a workload: another preset of the same name has one of its own."""
    length = "" if steps is None else f"-{steps}-steps"
    return (
        data
        / "validations"
        / (f"{slug(preset.name)}-{preset.content_hash[:DIGITS_OF_HASH]}-on-{slug(workload)}{length}")
    )


def slug(name: str) -> str:
    """Return a name in small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def attempt_of(folder: Path, preset: Preset, *, again: bool) -> int:
    """Return the number of the attempt: the last one, or the next where that is finished and another is asked for.

    The attempts in a preset's own verdict count: their test seeds were looked at.
    """
    proved = 0 if preset.verdict is None else preset.verdict.attempt
    numbers = [int(path.name.removeprefix("attempt-")) for path in folder.glob("attempt-*")]
    last = max(numbers, default=proved + 1)
    finished = (attempt_folder(folder, last) / VERDICT_FILE).is_file()
    return last + 1 if again and finished else last


def attempt_folder(folder: Path, attempt: int) -> Path:
    """Return the folder of an attempt."""
    return folder / f"attempt-{attempt}"


def kept_cost(folder: Path) -> TrainingCost | None:
    """Return the cost that an attempt under way began with: what it can afford must not change when it is resumed.

    Once it is finished its trainings tell the cost better than what it began with.
    """
    path = folder / COST_FILE
    if (folder / VERDICT_FILE).is_file() or not path.is_file():
        return None
    return decode(TrainingCost, parse(path.read_text(encoding="utf-8")), COST_FILE)


def keep_cost(folder: Path, cost: TrainingCost) -> None:
    """Write down the cost that an attempt begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / COST_FILE, encode(cost))


def write_validated(validated: Validated) -> None:
    """Write verdict, cells and trainings of an attempt; the verdict comes last, so where it stands all is there."""
    folder = attempt_folder(validated.validation.folder, validated.validation.attempt)
    folder.mkdir(parents=True, exist_ok=True)
    retraining_rows(validated.proof).write_csv(folder / RESULTS_FILE)
    _write(folder / CELLS_FILE, [encode(cell) for cell in validated.proof.cells])
    _write(folder / VERDICT_FILE, told(validated))


def told(validated: Validated) -> dict[str, Any]:
    """Return what a validation gave as plain values: the content of verdict.json, and what `--json` prints."""
    validation, proof = validated.validation, validated.proof
    spending, share = proof.spending, validated.share
    return {
        "preset": {
            "name": validation.preset.name,
            "content_hash": validation.preset.content_hash,
            "learning_rate": proof.winner.learning_rate,
            "rate": "its own" if validation.keeps_rate else _rate_source(validated),
        },
        "workload": validation.workload.name,
        "family": validated.family,
        "device": validation.road.device,
        "steps": validation.road.settings.group(validation.group).steps,
        "verdict": encode(proof.verdict),
        "remark": validated.remark,
        "headline": [{**encode(row), "share": row.share} for row in headline(proof.cells)],
        "base_rate": proof.base_rate,
        "control_rates": dict(proof.control_rates),
        "mean_regrets": dict(proof.mean_regrets),
        "scale": encode(proof.scale),
        "trainings": proof.trainings + (share.trainings if share else 0),
        "device_seconds": proof.device_seconds + (share.device_seconds if share else 0.0),
        "spending": None if spending is None else encode(spending),
        "budget_share": None
        if share is None
        else {
            "smallest": share.smallest,
            "shares": [{"share": part, **encode(cell)} for part, cell in share.cells.items()],
            "trainings": share.trainings,
            "device_seconds": share.device_seconds,
        },
    }


def write_pooled(data: Path, preset: Preset, pooled: Mapping[str, Any]) -> Path:
    """Write figures over workloads beside the validations that they come from."""
    path = data / "validations" / f"{slug(preset.name)}-{preset.content_hash[:DIGITS_OF_HASH]}-pooled.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, pooled)
    return path


def _rate_source(validated: Validated) -> str:
    spending = validated.proof.spending
    return "tuned" if spending is None or spending.preset_tuned else "usual"


def _write(path: Path, content: Any) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
    partial.replace(path)
