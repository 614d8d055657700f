"""The validations of one command, one after the other: shown, trained, written down, and pooled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.pooling import Pooled, pooled, told_pooled
from flows.validation import Expected, Validated, Validation, expected, validate
from flows.validation_files import attempt_folder, keep_cost, kept_cost, told, write_pooled, write_validated
from greedylr.strict_json import encode
from models.retraining.errors import WorkloadFailedError

logger = logging.getLogger(__name__)

Show = Callable[[Validation, Expected], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the validations of one command gave.

    Parameters
    ----------
    foreseen
        What was expected of each.
    validated
        Those that ended with a verdict.
    failed
        Why others did not, by workload.
    pooled
        Figures over several workloads; None for one.
    """

    foreseen: Sequence[tuple[Validation, Expected]]
    validated: Sequence[Validated]
    failed: Mapping[str, str]
    pooled: Pooled | None


def run_validations(wanted: Sequence[Validation], *, dry_run: bool, show: Show) -> Outcome:
    """Validate a preset on each workload; of several, one that fails does not stop the others.

    Parameters
    ----------
    wanted
        At least one, of one and the same preset.
    dry_run
        Show what is expected and train nothing but a look at the cost, where nothing is known of it.
    show
        Told of what is expected before anything is trained.

    Raises
    ------
    ValueError, WorkloadFailedError
        If the only workload cannot be trained.
    """
    foreseen: list[tuple[Validation, Expected]] = []
    validated: list[Validated] = []
    failed: dict[str, str] = {}
    for validation in wanted:
        try:
            folder = attempt_folder(validation.folder, validation.attempt)
            seen = expected(validation, kept_cost(folder))
            foreseen.append((validation, seen))
            show(validation, seen)
            if not dry_run:
                keep_cost(folder, seen.cost)
                validated.append(_validated(validation, seen))
        except (ValueError, WorkloadFailedError) as error:
            if len(wanted) == 1:
                raise
            logger.error("workload %s failed: %s", validation.workload.name, error)
            failed[validation.workload.name] = str(error)
    figures = _pooled(wanted, validated, failed) if len(wanted) > 1 and not dry_run else None
    return Outcome(foreseen=foreseen, validated=validated, failed=failed, pooled=figures)


def told_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain values."""
    return {
        "expected": [
            {"preset": validation.preset.name, "workload": validation.workload.name, **encode(seen)}
            for validation, seen in outcome.foreseen
        ],
        "validations": [told(each) for each in outcome.validated],
        "failed": dict(outcome.failed),
        "pooled": None if outcome.pooled is None else told_pooled(outcome.pooled, outcome.validated),
    }


def _validated(validation: Validation, seen: Expected) -> Validated:
    made = validate(validation, seen.cost.device_seconds)
    write_validated(made)
    return made


def _pooled(wanted: Sequence[Validation], validated: Sequence[Validated], failed: Mapping[str, str]) -> Pooled:
    """Return figures over all workloads; none where one failed, which must not make them look better."""
    if failed:
        return Pooled(reason=f"no figures over workloads, since {', '.join(failed)} failed")
    figures = pooled(validated)
    write_pooled(wanted[0].road.data, wanted[0].preset, told_pooled(figures, validated))
    return figures
