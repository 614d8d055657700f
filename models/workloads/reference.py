"""The reference workloads by name: what presets are proved on where a group has no workload of its own."""

from __future__ import annotations

import math

from models.workloads import (
    breast_cancer,
    character_bigram,
    character_gpt,
    character_mlp,
    diabetes,
    diamonds,
    digits_nmf,
    faces_nmf,
    friedman,
    mnist_autoencoder,
    mnist_cnn,
    mnist_mlp,
    noisy_quadratic,
    optical_digits,
    reuters_nmf,
    review_embedding_bag,
    review_logistic,
    review_transformer,
    wine,
)
from models.workloads.reference_workload import ReferenceWorkload

REFERENCES: dict[str, ReferenceWorkload] = {
    reference.descriptors.name: reference
    for module in (
        mnist_mlp,
        mnist_cnn,
        mnist_autoencoder,
        digits_nmf,
        reuters_nmf,
        faces_nmf,
        optical_digits,
        breast_cancer,
        wine,
        diamonds,
        diabetes,
        friedman,
        review_embedding_bag,
        review_logistic,
        review_transformer,
        character_bigram,
        character_mlp,
        character_gpt,
        noisy_quadratic,
    )
    for reference in module.REFERENCES
}


def nearest_reference(usual_steps: int | None, optimizer: str | None) -> str:
    """Return the reference workload nearest to a group's: first by its optimizer, then by its length.

    Only small ones are looked at that count in pooled figures. Where the optimizer is unknown, or none is trained with
    it, all of them are; where the length is, the first.

    Parameters
    ----------
    usual_steps
        Steps of the group's runs; lengths are compared on a log scale.
    optimizer
        Its name as the group's runs log it.
    """
    standing_in = [one.descriptors for one in REFERENCES.values() if one.size == "small" and one.pooled]
    alike = [one for one in standing_in if optimizer is not None and one.optimizer == optimizer.lower()]
    candidates = alike or standing_in
    if not usual_steps:
        return candidates[0].name
    return min(candidates, key=lambda one: abs(math.log(one.total_steps / usual_steps))).name
