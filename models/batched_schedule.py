"""The rates of many replicas, step by step: the batched twin of `greedylr.scheduler.RateController`.

Replicas may differ in schedule and in starting rate; they share the step, and each step is an evaluation of every one.
A replica has diverged with its first loss that is not finite: from there on its rates mean nothing, to it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from greedylr.rule import GreedyLRParameters
from greedylr.schedules import Envelope, ResolvedSchedule
from greedylr.smoothing import DWARFS
from models import batched_rule
from models.batched_rule import BatchedState


class BatchedRateController:
    """The rates of n replicas; on a step on which none of them decides only the trailing means move.

    Parameters
    ----------
    schedules
        One a replica, all of the same `total_steps` and with an evaluation at each step.
    learning_rates
        Starting rates, > 0.
    device
        Where losses and rates live.

    Raises
    ------
    ValueError
        If the schedules are of different lengths, evaluate more rarely than at each step, or restore weights.
    """

    def __init__(
        self, schedules: Sequence[ResolvedSchedule], learning_rates: Sequence[float], device: str = "cpu"
    ) -> None:
        require_nothing_to_restore(schedules)
        lengths = {schedule.total_steps for schedule in schedules}
        if len(lengths) != 1 or len(schedules) != len(learning_rates):
            raise ValueError(
                "schedules must be of one total_steps and as many as learning_rates, "
                f"got total_steps {sorted(lengths)}, {len(schedules)} schedules and {len(learning_rates)} rates"
            )
        if rare := [schedule for schedule in schedules if schedule.steps_per_evaluation != 1]:
            raise ValueError(
                f"steps_per_evaluation must be 1, got {rare[0].steps_per_evaluation}; every step gives a training loss"
            )
        self.total_steps = lengths.pop()
        self._envelope = _envelope_table([schedule.envelope for schedule in schedules], self.total_steps, device)
        rates = torch.tensor(learning_rates, dtype=torch.float64, device=device)
        ruled = [index for index, schedule in enumerate(schedules) if schedule.parameters is not None]
        rules = [schedule.parameters for schedule in schedules if schedule.parameters is not None]
        self._ruled = torch.tensor(ruled, dtype=torch.int64, device=device)
        self._parameters = batched_rule.stack_parameters(rules, device)
        absolute = torch.tensor([rule.bounds == "absolute" for rule in rules], dtype=torch.bool, device=device)
        # A rate is envelope x multiplier x unit, in this order, as the scalar controller rounds it.
        self._starts = torch.where(absolute, rates[self._ruled], torch.ones_like(rates[self._ruled]))
        self._units = rates.index_copy(0, self._ruled, torch.where(absolute, 1.0, rates[self._ruled]))
        self._may_reset = any(rule.reset_start is not None for rule in rules)
        self._smooth = torch.tensor([rule.smooth for rule in rules], dtype=torch.bool, device=device)
        self._means = _TrailingMeans(rules, total_steps=self.total_steps, device=device)
        ruled_schedules = [schedules[index] for index in ruled]
        self._increase_until = torch.tensor(
            [schedule.increase_until for schedule in ruled_schedules], dtype=torch.int64, device=device
        )
        self._deciders = _deciders(ruled_schedules, self.total_steps, device)
        self.restart()

    def restart(self) -> None:
        """Go back to the first step."""
        self.step_count = 0
        self._state = batched_rule.initial_state(self._parameters, self._starts)
        self._multipliers = torch.ones_like(self._units).index_copy(0, self._ruled, self._starts)
        self._means.clear()

    @property
    def learning_rates(self) -> Tensor:
        """Rates of the next step, (n,) float64."""
        return self._envelope[min(self.step_count, self.total_steps - 1)] * self._multipliers * self._units

    def observe(self, losses: Tensor) -> None:
        """Take the losses (n,) of one step."""
        self.step_count += 1
        if not len(self._ruled):
            return
        losses = losses.to(torch.float64).index_select(0, self._ruled)
        self._means.push(losses)
        decides = self._deciders.get(self.step_count)
        if decides is not None:
            self._decide(torch.where(self._smooth, self._means.means(), losses), decides)

    def _decide(self, losses: Tensor, decides: Tensor) -> None:
        old = self._state
        may_increase = self._increase_until >= self.step_count
        new = batched_rule.next_state(self._parameters, old, losses, may_increase)
        self._state = BatchedState._make(torch.where(decides, *pair) for pair in zip(new, old, strict=True))
        self._multipliers = self._multipliers.index_copy(0, self._ruled, self._state.learning_rate)
        if self._may_reset:
            self._means.clear(self._state.resets > old.resets)


def require_nothing_to_restore(schedules: Sequence[ResolvedSchedule]) -> None:
    """Raise ValueError where a schedule has a probe or a rollback, which retraining does not follow yet."""
    for schedule in schedules:
        if schedule.restores:
            named = " and a ".join(schedule.restores)
            raise ValueError(
                f"a schedule that is retrained must restore no weights, got one with a {named}; train with it by "
                "Preset.scheduler(..., model=...), or retrain the schedule without"
            )


class _TrailingMeans:
    """Many `greedylr.smoothing.TrailingMean`s, each with its own window; they round in the same order.

    Only a sum that is taken afresh, after a value that dwarfed it, may differ in its last digit.
    """

    def __init__(self, rules: Sequence[GreedyLRParameters], *, total_steps: int, device: str) -> None:
        windows = [rule.window_size if rule.smooth else 1 for rule in rules]
        longest = min(max(windows, default=1), total_steps)
        self._window = torch.tensor(windows, dtype=torch.int64, device=device)
        keeps_errors = [rule.non_finite == "compare" for rule in rules]
        self._keeps_errors = torch.tensor(keeps_errors, dtype=torch.bool, device=device)
        self._ring = torch.zeros(len(rules), longest, dtype=torch.float64, device=device)
        self._total = torch.zeros(len(rules), dtype=torch.float64, device=device)
        self._pushed = torch.zeros(len(rules), dtype=torch.int64, device=device)

    def push(self, values: Tensor) -> None:
        """Add one value to each."""
        place = (self._pushed % self._window).unsqueeze(1)
        # Places not yet filled hold 0, and taking 0 off changes nothing.
        oldest = self._ring.gather(1, place).squeeze(1)
        self._ring.scatter_(1, place, values.unsqueeze(1))
        total = (self._total + values) - oldest
        trusted = (oldest.abs() <= DWARFS * total.abs()) | self._keeps_errors
        self._total = torch.where(trusted, total, self._ring.sum(1))
        self._pushed = self._pushed + 1

    def means(self) -> Tensor:
        """Return the means, NaN where nothing was added yet."""
        return self._total / torch.minimum(self._pushed, self._window)

    def clear(self, which: Tensor | None = None) -> None:
        """Forget all values of those marked, or of all."""
        if which is None:
            which = torch.ones_like(self._pushed, dtype=torch.bool)
        self._ring.masked_fill_(which.unsqueeze(1), 0.0)
        self._total = self._total.masked_fill(which, 0.0)
        self._pushed = self._pushed.masked_fill(which, 0)


def _envelope_table(envelopes: Sequence[Envelope], total_steps: int, device: str) -> Tensor:
    """Return the multipliers, (total_steps, n_replicas)."""

    @cache
    def column(envelope: Envelope) -> Tensor:
        return torch.tensor(
            [envelope.multiplier(step, total_steps) for step in range(total_steps)], dtype=torch.float64, device=device
        )

    return torch.stack([column(envelope) for envelope in envelopes], dim=1)


def _deciders(schedules: Sequence[ResolvedSchedule], total_steps: int, device: str) -> dict[int, Tensor]:
    """Return, for each step count at which any replica decides, which ones do, (n_ruled,) bool."""

    @cache
    def mask(flags: tuple[bool, ...]) -> Tensor:
        return torch.tensor(flags, dtype=torch.bool, device=device)

    deciders = {}
    for step in range(1, total_steps + 1):
        flags = tuple(step % schedule.interval == 0 and step <= schedule.decide_until for schedule in schedules)
        if any(flags):
            deciders[step] = mask(flags)
    return deciders
