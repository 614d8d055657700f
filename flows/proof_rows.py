"""What a proof leaves behind as rows: its trainings, cells, race and preset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import polars as pl

from flows.registration import place_of
from flows.road import Road
from greedylr.preset import Candidate, Preset
from greedylr.strict_json import encode
from models.proving import Proof
from pipeline.preset_registry import RegisteredPreset


def proof_rows(
    road: Road,
    group: str,
    *,
    candidates: Sequence[Candidate],
    proof: Proof,
    preset: Preset,
    registered: RegisteredPreset,
) -> Mapping[str, pl.DataFrame]:
    """Return what a proof leaves in the warehouse, by table."""
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
        "retrainings": retraining_rows(proof),
        "cells": cell_rows(proof),
        "mean_regrets": pl.DataFrame(
            {"schedule_name": list(proof.mean_regrets), "mean_regret": list(proof.mean_regrets.values())},
            schema={"schedule_name": pl.String, "mean_regret": pl.Float64},
        ).with_columns(attempt=pl.lit(attempt)),
        "race_standings": _standings(proof),
        # Kept for ever: the number of attempts is part of every verdict.
        "preset_versions": pl.concat([earlier, version], how="vertical_relaxed") if len(earlier) else version,
    }


def retraining_rows(proof: Proof) -> pl.DataFrame:
    """Return one row a training."""
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
                "failed": results.failed,
            }
        )
        for purpose, results in proof.results.items()
    ]
    return pl.concat(parts).with_columns(attempt=pl.lit(proof.verdict.attempt))


def cell_rows(proof: Proof) -> pl.DataFrame:
    """Return one row a cell."""
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
                "failed": cell.failed,
            }
            for cell in proof.cells
        ]
    )


def _standings(proof: Proof) -> pl.DataFrame:
    """Return one row a candidate of the race, best first: what went into those that did not survive is its price."""
    race = proof.race
    survivors = set() if race is None else {candidate.name for candidate in race.survivors}
    return pl.DataFrame(
        [
            {
                "attempt": proof.verdict.attempt,
                "place": place,
                "name": standing.name,
                "score": standing.score,
                "rounds": standing.rounds,
                "trainings": standing.trainings,
                "survived": standing.name in survivors,
            }
            for place, standing in enumerate(() if race is None else race.standings, start=1)
        ],
        schema={
            "attempt": pl.Int32,
            "place": pl.Int32,
            "name": pl.String,
            "score": pl.Float64,
            "rounds": pl.Int32,
            "trainings": pl.Int32,
            "survived": pl.Boolean,
        },
    )
