"""The reference workloads by name: what presets are proved on where a group has no workload of its own."""

from __future__ import annotations

import math

from models.workloads import digits_nmf, mnist_mlp
from models.workloads.reference_workload import ReferenceWorkload

REFERENCES: dict[str, ReferenceWorkload] = {
    reference.descriptors.name: reference for reference in (*mnist_mlp.REFERENCES, *digits_nmf.REFERENCES)
}


def nearest_reference(usual_steps: int | None) -> str:
    """Return the reference workload nearest to a group's in length, on a log scale; the first where that is unknown.

    Length is all that logs tell of every group; with more reference workloads this will compare more.
    """
    if not usual_steps:
        return next(iter(REFERENCES))
    return min(REFERENCES, key=lambda name: abs(math.log(REFERENCES[name].descriptors.total_steps / usual_steps)))
