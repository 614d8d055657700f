"""What the retraining needs to know of a training: the Protocol that a user's own factory returns.

A factory is `factory(seed: int, device: str) -> Workload`. A workload is functional: it holds no weights, it is handed
them, so that many replicas of it can be trained inside one program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from greedylr.rule import require_choice, require_count, require_number

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["selection", "reporting"]


@dataclass(frozen=True, kw_only=True)
class WorkloadDescriptors:
    """What is known of a workload before it is trained.

    Parameters
    ----------
    name, family
        The family is the data set and all that is made from it: the unit of every claim.
    task
        A few words for what is learned ("image classification"): what presets are suggested by. Empty where unsaid.
    optimizer, momentum
        "sgd" with its momentum, in [0, 1).
    total_steps
        Length of the training at its usual budget.
    batch_size
        Examples a step.
    usual_learning_rate
        > 0. A rate near which the training works; the grid is laid around the tuned one.
    """

    name: str
    family: str
    task: str = ""
    optimizer: Literal["sgd"] = "sgd"
    momentum: float = 0.9
    total_steps: int
    batch_size: int
    usual_learning_rate: float

    def __post_init__(self) -> None:
        require_choice("optimizer", self.optimizer, ("sgd",))
        require_count("total_steps", self.total_steps, minimum=1)
        require_count("batch_size", self.batch_size, minimum=1)
        require_number("momentum", self.momentum, minimum=0.0)
        if self.momentum >= 1:
            raise ValueError(
                f"momentum must lie in [0, 1), got {self.momentum!r}; with 1 the weights never come to rest"
            )
        require_number("usual_learning_rate", self.usual_learning_rate, minimum=0.0)
        if self.usual_learning_rate == 0:
            raise ValueError("usual_learning_rate must be > 0, got 0; the grid of rates is laid around it")


@runtime_checkable
class Workload(Protocol):
    """One training, fixed by its seed: initial weights, batches, losses.

    The seed fixes initial weights and order of the data, so that two schedules trained with one seed are a pair. The
    two evaluation splits never meet: the rate is chosen on "selection" and the result is read from "reporting".
    """

    descriptors: WorkloadDescriptors
    #: Whether losses may be taken of many replicas at once (`torch.vmap`); without it replicas run one by one.
    batched: bool

    def parameters(self) -> dict[str, Tensor]:
        """Return fresh initial weights, the same at each call."""

    def batch(self, step: int) -> Any:
        """Return the batch of a step: a tensor, or a tuple or dict of tensors."""

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Return the scalar loss of a batch; differentiable in `parameters`, without side effects."""

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        """Return the scalar loss on a whole split."""

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights projected onto what is allowed after a step; most workloads return them as they are."""
