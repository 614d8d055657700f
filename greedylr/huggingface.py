"""Trainer of transformers with a preset that steps on the training loss of each optimizer step.

transformers' own GreedyLR steps on the loss of `evaluate()` only; `greedylr.transformers_export` says what that loses.
For loops written with Accelerate there is `OncePerStep`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from transformers import Trainer

from greedylr.export_snippets import require_training_loss
from greedylr.once_per_step import OncePerStep
from greedylr.preset import Preset
from greedylr.schedule_files import LoadedPreset, LoadedSchedule, as_loaded

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from greedylr.scheduler import GreedyLR
    from greedylr.snapshots import SnapshotPlace

__all__ = ["GreedyLRTrainer", "OncePerStep", "StepOnTrainingLoss", "TrainingLossScheduler"]


class TrainingLossScheduler:
    """What Trainer takes for its scheduler: `step()` comes without a loss, the losses of micro-batches before it."""

    def __init__(self, scheduler: GreedyLR) -> None:
        self.scheduler = scheduler
        self._loss: Tensor | None = None
        self._complete = True

    def add(self, loss: Tensor, *, completes_step: bool) -> None:
        """Take a micro-batch's share of the loss of an optimizer step; it stays on its device.

        Trainer divides before it returns them, so the loss of a step is their sum. Shares of a step that was skipped
        because gradients overflowed are forgotten.
        """
        self._loss = loss.detach() if self._complete or self._loss is None else self._loss + loss.detach()
        self._complete = completes_step

    def step(self) -> None:
        """Step on the loss of the optimizer step that has just been made."""
        self.scheduler.step(self._loss)
        self._loss = None

    def get_last_lr(self) -> list[float]:
        """Return the rates of the groups as they stand."""
        return self.scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state; Trainer saves between optimizer steps."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`, exactly."""
        self.scheduler.load_state_dict(state)


class StepOnTrainingLoss:
    """Mixin for Trainer or a subclass of it: `class MyTrainer(StepOnTrainingLoss, SFTTrainer)`.

    The run's length is Trainer's own count of optimizer steps; `lr_scheduler_type` and the warmup arguments have no
    effect. Checkpoints hold the scheduler as Trainer saves it, and `train(resume_from_checkpoint=...)` goes on exactly.

    Parameters
    ----------
    preset
        It steps on the training loss; or what `greedylr.load_schedule` gives, a named control among it.
    use_learning_rate
        Start from the preset's recommended rate instead of `TrainingArguments.learning_rate`.
    on_scheduler
        Called with the scheduler once it is made, such as `greedylr.mlflow_logging.log_to_mlflow`.
    snapshots
        Where the copy of weights and optimizer state is kept that a preset with a probe or a rollback restores.
    """

    model: Any
    lr_scheduler: Any
    optimizer: Any
    accelerator: Any

    def __init__(
        self,
        *args: Any,
        preset: Preset | LoadedSchedule,
        use_learning_rate: bool = False,
        on_scheduler: Callable[[GreedyLR], None] | None = None,
        snapshots: SnapshotPlace = "device",
        **kwargs: Any,
    ) -> None:
        self._schedule = as_loaded(preset)
        if isinstance(self._schedule, LoadedPreset):
            require_training_loss(self._schedule.preset, "greedylr.huggingface")
        if kwargs.get("optimizers", (None, None))[1] is not None:
            raise ValueError("optimizers must hold no scheduler where a preset is given; pass (optimizer, None)")
        self._use_learning_rate = use_learning_rate
        self._on_scheduler = on_scheduler
        self._snapshots: SnapshotPlace = snapshots
        super().__init__(*args, **kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """Return the preset's scheduler, made once a training."""
        if self.lr_scheduler is None:
            scheduler = self._schedule.attach(
                self.optimizer if optimizer is None else optimizer,
                num_training_steps,
                use_learning_rate=self._use_learning_rate,
                model=self.model,
                snapshots=self._snapshots,
            )
            if self._on_scheduler is not None:
                self._on_scheduler(scheduler)
            self.lr_scheduler = TrainingLossScheduler(scheduler)
            self._created_lr_scheduler = True  # Trainer makes such a one anew at each training
        return self.lr_scheduler

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss of a micro-batch as Trainer does, and keep it for the scheduler."""
        loss: Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        self.lr_scheduler.add(loss, completes_step=self.accelerator.sync_gradients)
        return loss


class GreedyLRTrainer(StepOnTrainingLoss, Trainer):
    """Trainer that trains with a preset: `GreedyLRTrainer(..., preset=load_preset(address))`."""
