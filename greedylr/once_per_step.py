"""A scheduler that decides once an optimizer step, however often its loop calls `step(loss)`.

Loops with gradient accumulation call it once a micro-batch; Accelerate's `prepare_scheduler` calls it once a process,
one call after the other with the same loss; a mixed-precision scaler skips optimizer steps whose gradients overflowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from greedylr.scheduler import GreedyLR


class OncePerStep:
    """Hand to a scheduler one loss an optimizer step: the mean of those since the last one.

    Call `step(loss)` after `optimizer.step()`, with a loss tensor of its own each time. For Accelerate: leave it out of
    `accelerator.prepare`, or pass it to `prepare_scheduler`; both decide at the same steps. Save it with
    `accelerator.register_for_checkpointing`.

    Parameters
    ----------
    scheduler
        `preset.scheduler(optimizer, total_steps)`.
    optimizer
        The torch optimizer, or Accelerate's around it. Steps are counted by a hook on it.
    """

    def __init__(self, scheduler: GreedyLR, optimizer: Optimizer) -> None:
        self.scheduler = scheduler
        self._stepped = False
        self._last: Tensor | float | None = None
        self._losses: list[Tensor | float] = []
        # Accelerate's wrapper steps or does not; the optimizer inside knows.
        inner: Optimizer = getattr(optimizer, "optimizer", optimizer)
        inner.register_step_post_hook(self._after_optimizer_step)

    def _after_optimizer_step(self, *_: object) -> None:
        self._stepped, self._last = True, None

    def step(self, loss: Tensor | float) -> None:
        """Take a loss; the scheduler is stepped if the optimizer has been since the last time."""
        if loss is self._last:
            return  # the same call again, for another process
        self._last = loss
        self._losses.append(loss if isinstance(loss, int | float) else loss.detach())
        if not self._stepped:
            return
        mean = sum(self._losses) / len(self._losses)
        self._stepped, self._losses = False, []
        self.scheduler.step(mean)

    def get_last_lr(self) -> list[float]:
        """Return the rates of the groups as they stand."""
        return self.scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state; save between optimizer steps, losses of half a step are not kept."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        self.scheduler.load_state_dict(state)
        self._stepped, self._last, self._losses = False, None, []
