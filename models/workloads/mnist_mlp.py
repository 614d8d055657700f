"""A small MLP that reads MNIST digits: 196 inputs, 32 hidden units, 10 classes, softmax cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from greedylr.workload import Split, WorkloadDescriptors
from models.workloads.digit_images import DATASET, PIXELS, pooled_digits
from models.workloads.reference_workload import ReferenceWorkload
from models.workloads.row_batches import RowBatches

HIDDEN = 32
CLASSES = 10
SELECTION_ROWS = 500
REPORTING_ROWS = 1000
SPLIT_SEED = 20  # one split for all seeds: a seed draws weights and batches, not the question

DESCRIPTORS = WorkloadDescriptors(
    name="mnist-mlp",
    family="mnist-digits",
    task="image classification",
    momentum=0.9,
    total_steps=300,
    batch_size=32,
    usual_learning_rate=0.15,
)


class MnistMLP:
    """One training of the MLP; `rows` says which digits each split holds.

    Parameters
    ----------
    seed
        Fixes initial weights and batches.
    device
        A torch device.
    data
        `images` (n, 784) in 0 .. 255 and `labels` (n,) in 0 .. 9.
    """

    batched = True

    def __init__(self, seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> None:
        self.descriptors = DESCRIPTORS
        self.seed = seed
        self.device = device
        self._images = torch.from_numpy(pooled_digits(data)).to(device)
        labels = torch.from_numpy(np.asarray(data["labels"], dtype=np.int64))
        self._labels = one_hot(labels, CLASSES).to(device, self._images.dtype)
        order = torch.from_numpy(np.random.default_rng(SPLIT_SEED).permutation(len(self._images))).to(device)
        held_out = SELECTION_ROWS + REPORTING_ROWS
        self.rows = {
            "selection": order[:SELECTION_ROWS],
            "reporting": order[SELECTION_ROWS:held_out],
            "training": order[held_out:],
        }
        n_training = len(order) - held_out
        self._batches = RowBatches(seed, n_rows=n_training, batch_size=DESCRIPTORS.batch_size, device=device)
        self._splits = {name: (self._images[rows], self._labels[rows]) for name, rows in self.rows.items()}

    def parameters(self) -> dict[str, Tensor]:
        """Return He-initialised weights and zero biases."""
        generator = torch.Generator().manual_seed(self.seed)
        hidden = torch.randn(PIXELS, HIDDEN, generator=generator) * math.sqrt(2 / PIXELS)
        output = torch.randn(HIDDEN, CLASSES, generator=generator) * math.sqrt(2 / HIDDEN)
        weights = {
            "hidden_weight": hidden,
            "hidden_bias": torch.zeros(HIDDEN),
            "output_weight": output,
            "output_bias": torch.zeros(CLASSES),
        }
        return {name: weight.to(self.device) for name, weight in weights.items()}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return images (32, 196) and labels (32, 10), one-hot."""
        images, labels = self._splits["training"]
        rows = self._batches.rows(step)
        return images[rows], labels[rows]

    def training_loss(self, parameters: Mapping[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        images, labels = batch
        return _cross_entropy(_logits(parameters, images), labels)

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        """Return the mean cross-entropy on a split."""
        images, labels = self._splits[split]
        return _cross_entropy(_logits(parameters, images), labels)

    def error(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        """Return the share of digits of a split that are misread."""
        images, labels = self._splits[split]
        return (_logits(parameters, images).argmax(-1) != labels.argmax(-1)).double().mean()

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights as they are."""
        return parameters


def _logits(parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    images = images.to(parameters["hidden_weight"].dtype)
    hidden = torch.relu(images @ parameters["hidden_weight"] + parameters["hidden_bias"])
    return hidden @ parameters["output_weight"] + parameters["output_bias"]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    # torch's own cross_entropy, batched over replicas, costs a quarter of the whole step more.
    return (logits.logsumexp(-1) - (logits * labels.to(logits.dtype)).sum(-1)).mean()


REFERENCES = (ReferenceWorkload(make=MnistMLP, dataset=DATASET, descriptors=DESCRIPTORS),)
