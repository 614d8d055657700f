"""Training of a network on inputs and targets: what most reference workloads are, but for their data and network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import WorkloadDescriptors
from models.workloads.batch_noise import Noise
from models.workloads.reference_workload import ReferenceWorkload, Size
from models.workloads.row_workload import RowWorkload, SplitRows

Arrays = Mapping[str, NDArray[Any]]


class Network(Protocol):
    """A network as a function of its weights."""

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return initial weights."""

    def outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the outputs (n, ...) of inputs (n, ...)."""


@dataclass(frozen=True, kw_only=True)
class TableTraining:
    """How a network is trained on a table; called with seed, device and data it makes the workload.

    Parameters
    ----------
    descriptors
        Of the workload.
    table
        Makes a table of two columns, inputs and targets, from a prepared data set.
    network
        What is trained.
    loss
        (outputs, targets) -> the mean loss of the rows of a batch.
    noise, replacement, evaluated_at_once
        As of `RowWorkload`.
    """

    descriptors: WorkloadDescriptors
    table: Callable[[Arrays], SplitRows]
    network: Network
    loss: Callable[[Tensor, Tensor], Tensor]
    noise: Noise | None = None
    replacement: bool = False
    evaluated_at_once: int | None = 2048

    def __call__(self, seed: int, device: str, data: Arrays) -> RowWorkload:
        """Return one training."""
        return RowWorkload(
            self.descriptors,
            seed,
            device,
            self.table(data),
            initial=self.network.initial,
            loss=self._loss,
            noise=self.noise,
            replacement=self.replacement,
            evaluated_at_once=self.evaluated_at_once,
        )

    def reference(self, *, dataset: str, parameters: int, size: Size = "small") -> ReferenceWorkload:
        """Return it as a reference workload; the arguments are that one's."""
        return ReferenceWorkload(
            make=self, dataset=dataset, descriptors=self.descriptors, parameters=parameters, size=size
        )

    def _loss(self, parameters: Mapping[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        dtype = next(iter(parameters.values())).dtype
        return self.loss(self.network.outputs(parameters, inputs.to(dtype)), targets.to(dtype))
