"""A callback of Lightning that steps a preset on the training loss of each optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from greedylr.export_snippets import require_training_loss
from greedylr.preset import Preset
from greedylr.schedule_files import LoadedPreset, LoadedSchedule, as_loaded

if TYPE_CHECKING:
    from torch import Tensor

    from greedylr.scheduler import GreedyLR
    from greedylr.snapshots import SnapshotPlace


class GreedyLRCallback(Callback):
    """Train with a preset: `Trainer(callbacks=[GreedyLRCallback(preset)])`.

    `configure_optimizers` returns one optimizer and no scheduler; `training_step` returns the loss. With gradient
    accumulation a step's loss is the mean of its batches. Lightning's checkpoints hold the state, and
    `fit(..., ckpt_path=...)` goes on exactly.

    Parameters
    ----------
    preset
        It steps on the training loss; or what `greedylr.load_schedule` gives, a named control among it.
    total_steps
        Planned length of the run in optimizer steps; by default Lightning's own estimate.
    steps_per_evaluation
        Optimizer steps whose mean loss is handed to the scheduler.
    use_learning_rate
        Start from the preset's recommended rate instead of the optimizer's.
    on_scheduler
        Called with the scheduler once it is made, such as `greedylr.mlflow_logging.log_to_mlflow`.
    snapshots
        Where the copy of weights and optimizer state is kept that a preset with a probe or a rollback restores.
    """

    def __init__(
        self,
        preset: Preset | LoadedSchedule,
        *,
        total_steps: int | None = None,
        steps_per_evaluation: int = 1,
        use_learning_rate: bool = False,
        on_scheduler: Callable[[GreedyLR], None] | None = None,
        snapshots: SnapshotPlace = "device",
    ) -> None:
        self.schedule = as_loaded(preset)
        if isinstance(self.schedule, LoadedPreset):
            require_training_loss(self.schedule.preset, "greedylr.lightning.GreedyLRCallback")
        self.total_steps = total_steps
        self.steps_per_evaluation = steps_per_evaluation
        self.use_learning_rate = use_learning_rate
        self.on_scheduler = on_scheduler
        self.snapshots: SnapshotPlace = snapshots
        self.scheduler: GreedyLR | None = None
        self._state_to_load: dict[str, Any] = {}
        self._batch_losses: list[Tensor] = []
        self._step_losses: list[Tensor | float] = []
        self._global_step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the scheduler of an earlier fit, before a checkpoint is read."""
        if stage == "fit":
            self.scheduler = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the scheduler of this run, while the optimizer still has its starting rates."""
        if len(trainer.optimizers) != 1 or trainer.lr_scheduler_configs:
            raise ValueError(
                "configure_optimizers must return one optimizer and no scheduler where GreedyLRCallback sets the rate, "
                f"got {len(trainer.optimizers)} and {len(trainer.lr_scheduler_configs)}; leave the others out"
            )
        self.scheduler = self.schedule.attach(
            trainer.optimizers[0],
            self.total_steps or _planned_steps(trainer),
            steps_per_evaluation=self.steps_per_evaluation,
            use_learning_rate=self.use_learning_rate,
            model=pl_module,
            snapshots=self.snapshots,
        )
        self._batch_losses, self._step_losses = [], []
        if self.on_scheduler is not None:
            self.on_scheduler(self.scheduler)
        self._load()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up the count of optimizer steps, which a checkpoint has restored by now."""
        self._global_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch's loss, on its device; step where the optimizer has."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            # Lightning has divided it for the sum over the batches of a step, whose last one may have fewer.
            divisor = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
            self._batch_losses.append(loss.detach() * divisor)
        if trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        if not self._batch_losses:
            raise ValueError("training_step must return the loss where GreedyLRCallback sets the rate, got none")
        self._step_losses.append(_mean(self._batch_losses))
        self._batch_losses = []
        if len(self._step_losses) == self.steps_per_evaluation:
            assert self.scheduler is not None
            self.scheduler.step(_mean(self._step_losses))
            self._step_losses = []

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state and the losses of the evaluation that is under way, as plain builtins."""
        if self.scheduler is None:
            return {}
        return {"scheduler": self.scheduler.state_dict(), "losses": [float(loss) for loss in self._step_losses]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`; Lightning mostly restores callbacks before there is an optimizer."""
        if state_dict and set(state_dict) != {"scheduler", "losses"}:
            raise ValueError(f"a state of GreedyLRCallback has scheduler and losses, got {sorted(state_dict)}")
        self._state_to_load = dict(state_dict)
        if self.scheduler is not None:
            self._load()

    def _load(self) -> None:
        if self._state_to_load:
            assert self.scheduler is not None
            self.scheduler.load_state_dict(self._state_to_load["scheduler"])
            self._step_losses = list(self._state_to_load["losses"])
            self._state_to_load = {}


def _planned_steps(trainer: Trainer) -> int:
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps):
        raise ValueError(
            "total_steps must be given where Lightning cannot tell how long the run is; "
            "pass GreedyLRCallback(preset, total_steps=...) or give Trainer max_steps or max_epochs"
        )
    return int(steps)


def _mean(losses: list[Any]) -> Any:
    return losses[0] if len(losses) == 1 else sum(losses) / len(losses)
