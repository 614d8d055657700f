"""Figures over the workloads that a preset was validated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.validation import Validated
from greedylr.strict_json import encode
from models.pooled import CONFIRMATORY, Contrast, PooledFigure, contrasts, pooled_difference, pooled_shares


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Figures over workloads.

    Parameters
    ----------
    shares
        Of better or non-inferior cells, by group of starting rates.
    differences
        In regret at own rates, by control that all workloads have.
    contrasts
        The confirmatory ones, where all workloads have their controls from all starting rates.
    reason
        Why there are no figures; empty where there are.
    """

    shares: Mapping[str, PooledFigure] = field(default_factory=dict)
    differences: Mapping[str, PooledFigure] = field(default_factory=dict)
    contrasts: Sequence[Contrast] = ()
    reason: str = ""


def pooled(validated: Sequence[Validated]) -> Pooled:
    """Return figures over some workloads, or why there are none: one family only, or a model among them."""
    workloads = [each.cells for each in validated]
    try:
        shares = pooled_shares(workloads)
    except ValueError as error:
        return Pooled(reason=str(error))
    own = [{cell.control for cell in each.cells if cell.region == "own rate"} for each in workloads]
    started = [{cell.control for cell in each.cells if cell.region != "own rate"} for each in workloads]
    confirmed = [control for control in CONFIRMATORY if all(control in controls for controls in started)]
    return Pooled(
        shares={str(group): figure for group, figure in shares.items()},
        differences={
            control: pooled_difference(workloads, control, "own rate")
            for control in validated[0].proof.control_rates
            if all(control in controls for controls in own)
        },
        contrasts=contrasts(workloads, confirmed) if confirmed else (),
    )


def told_pooled(figures: Pooled, validated: Sequence[Validated]) -> dict[str, Any]:
    """Return the figures as plain values."""
    return {
        "workloads": [each.validation.workload.name for each in validated],
        "families": sorted({each.family for each in validated}),
        **encode(figures),
    }
