"""What the retraining needs to know of a training: the Protocol that a user's own factory returns.

A factory is `factory(seed: int, device: str) -> Workload`. A workload is functional: it holds no weights, it is handed
them, so that many replicas of it can be trained inside one program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

from greedylr.rule import require_choice, require_count, require_number

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["selection", "reporting"]
OptimizerName = Literal["sgd", "adam", "adamw"]


@dataclass(frozen=True, kw_only=True)
class WorkloadDescriptors:
    """What is known of a workload before it is trained.

    Parameters
    ----------
    name, family
        The family is the data set and all that is made from it: the unit of every claim.
    task
        A few words for what is learned ("image classification"): what presets are suggested by. Empty where unsaid.
    optimizer
        "sgd", "adam" or "adamw", as in `torch.optim`.
    momentum, nesterov
        Of "sgd": the momentum in [0, 1), and whether it is Nesterov's.
    beta1, beta2, epsilon
        Of "adam" and "adamw": the betas in [0, 1), epsilon > 0.
    weight_decay
        >= 0.
    max_gradient_norm
        > 0: gradients are clipped by the norm of all of them together; None does not clip.
    total_steps
        Length of the training at its usual budget.
    batch_size
        Examples a step.
    usual_learning_rate
        > 0. A rate near which the training works; the grid is laid around the tuned one.
    largest_stable_learning_rate
        > 0. The largest rate at which the training is known to be stable: no candidate is made that raises its rate
        above it. None where it is not known.
    """

    name: str
    family: str
    task: str = ""
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    max_gradient_norm: float | None = None
    total_steps: int
    batch_size: int
    usual_learning_rate: float
    largest_stable_learning_rate: float | None = None

    def __post_init__(self) -> None:
        require_choice("optimizer", self.optimizer, get_args(OptimizerName))
        require_count("total_steps", self.total_steps, minimum=1)
        require_count("batch_size", self.batch_size, minimum=1)
        self._check_optimizer()
        _require_positive("usual_learning_rate", self.usual_learning_rate, "the grid of rates is laid around it")
        if self.largest_stable_learning_rate is not None:
            _require_positive("largest_stable_learning_rate", self.largest_stable_learning_rate, "None is unknown")

    def _check_optimizer(self) -> None:
        for name in ("momentum", "beta1", "beta2"):
            _require_below_one(name, getattr(self, name))
        require_number("weight_decay", self.weight_decay, minimum=0.0)
        _require_positive("epsilon", self.epsilon, "Adam divides by it where gradients are 0")
        if self.max_gradient_norm is not None:
            _require_positive("max_gradient_norm", self.max_gradient_norm, "None does not clip")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError(
                f"nesterov=True needs sgd with a momentum, got {self.optimizer!r} with momentum {self.momentum!r}; "
                "set a momentum, or leave nesterov out"
            )


def _require_below_one(name: str, value: float) -> None:
    require_number(name, value, minimum=0.0)
    if value >= 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value!r}; with 1 nothing old is ever forgotten")


def _require_positive(name: str, value: float, reason: str) -> None:
    require_number(name, value, minimum=0.0)
    if value == 0:
        raise ValueError(f"{name} must be > 0, got 0; {reason}")


@runtime_checkable
class Workload(Protocol):
    """One training, fixed by its seed: initial weights, batches, losses.

    The seed fixes initial weights and order of the data, so that two schedules trained with one seed are a pair. The
    two evaluation splits never meet: the rate is chosen on "selection" and the result is read from "reporting". Where a
    workload shows its splits, as a mapping from their names (`rows`, indices; or `entries`, masks), that is checked.
    """

    descriptors: WorkloadDescriptors
    #: Whether losses may be taken of many replicas at once (`torch.vmap`). Without it replicas run one by one, each on
    #: a workload that the factory makes for it, so that this may keep what is no weight (batch norm's statistics).
    batched: bool

    def parameters(self) -> dict[str, Tensor]:
        """Return fresh initial weights, the same at each call."""

    def batch(self, step: int) -> Any:
        """Return the batch of a step: a tensor, or a tuple or dict of tensors."""

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Return the scalar loss of a batch; differentiable in `parameters`, and where batched without side effects."""

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        """Return the scalar loss on a whole split."""

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights projected onto what is allowed after a step; most workloads return them as they are."""
