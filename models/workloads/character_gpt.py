"""Language models of characters: a small GPT, on movie reviews and on Python's own source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import WorkloadDescriptors
from models.workloads.character_windows import character_windows
from models.workloads.cross_entropy import class_cross_entropy
from models.workloads.reference_workload import ReferenceWorkload, Size
from models.workloads.row_workload import RowWorkload
from models.workloads.transformer import TransformerSize, causal_mask, transformed, transformer_weights


def gpt_loss(weights: Mapping[str, Tensor], windows: Tensor, *, network: TransformerSize) -> Tensor:
    """Return the mean cross-entropy of each character of windows (n, context + 1) but the first, given those before."""
    characters = windows.long()
    mask = causal_mask(characters.shape[1] - 1, like=weights["output"])
    features = transformed(weights, network, characters[:, :-1], mask)
    return class_cross_entropy(features @ weights["output"], characters[:, 1:])


@dataclass(frozen=True, kw_only=True)
class CharacterGPT:
    """How a GPT is trained on characters; called with seed, device and data it makes the workload.

    Parameters
    ----------
    descriptors
        Of the workload.
    network
        What is trained.
    context
        Characters that a row is predicted from; one more is in it.
    evaluation_windows
        Rows in each of the two evaluation splits.
    """

    descriptors: WorkloadDescriptors
    network: TransformerSize
    context: int
    evaluation_windows: int

    def __call__(self, seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> RowWorkload:
        """Return one training."""
        windows = character_windows(data, length=self.context + 1, evaluation_windows=self.evaluation_windows)
        letters = len(data["alphabet"])
        return RowWorkload(
            self.descriptors,
            seed,
            device,
            windows,
            initial=partial(
                transformer_weights, self.network, n_tokens=letters, context=self.context, n_outputs=letters
            ),
            loss=partial(gpt_loss, network=self.network),
        )

    def reference(self, *, dataset: str, parameters: int, size: Size = "small") -> ReferenceWorkload:
        """Return it as a reference workload; the arguments are that one's."""
        return ReferenceWorkload(
            make=self, dataset=dataset, descriptors=self.descriptors, parameters=parameters, size=size
        )


SMALL_NETWORK = TransformerSize(width=32, hidden=64, layers=1, heads=2)
LARGE_NETWORK = TransformerSize(width=256, hidden=1024, layers=4, heads=8)

REVIEWS_GPT = CharacterGPT(
    descriptors=WorkloadDescriptors(
        name="reviews-gpt",
        family="imdb-reviews",
        task="language modelling",
        optimizer="adamw",
        weight_decay=0.01,
        max_gradient_norm=1.0,
        total_steps=300,
        batch_size=8,
        usual_learning_rate=0.01,
    ),
    network=SMALL_NETWORK,
    context=32,
    evaluation_windows=128,
)

# Unlike most GPTs with momentum: what clips and what adapts are then not the same.
PYTHON_GPT = CharacterGPT(
    descriptors=WorkloadDescriptors(
        name="python-gpt",
        family="python-source",
        task="language modelling",
        momentum=0.9,
        max_gradient_norm=1.0,
        total_steps=300,
        batch_size=8,
        usual_learning_rate=0.1,
    ),
    network=SMALL_NETWORK,
    context=32,
    evaluation_windows=128,
)

LARGE_REVIEWS_GPT = CharacterGPT(
    descriptors=WorkloadDescriptors(
        name="reviews-gpt-large",
        family="imdb-reviews",
        task="language modelling",
        optimizer="adamw",
        beta2=0.99,
        weight_decay=0.1,
        max_gradient_norm=1.0,
        total_steps=1500,
        batch_size=16,
        usual_learning_rate=1e-3,
    ),
    network=LARGE_NETWORK,
    context=256,
    evaluation_windows=32,
)

LARGE_PYTHON_GPT = replace(
    LARGE_REVIEWS_GPT,
    descriptors=replace(LARGE_REVIEWS_GPT.descriptors, name="python-gpt-large", family="python-source"),
)

REFERENCES = (
    REVIEWS_GPT.reference(dataset="imdb_characters", parameters=12_640),
    LARGE_REVIEWS_GPT.reference(dataset="imdb_characters", parameters=3_240_192, size="large"),
    PYTHON_GPT.reference(dataset="python_characters", parameters=15_456),
    LARGE_PYTHON_GPT.reference(dataset="python_characters", parameters=3_262_720, size="large"),
)
