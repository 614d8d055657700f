"""The rates of many replicas, step by step: the batched twin of `greedylr.rate_controller.RateController`.

Replicas may differ in schedule and in starting rate; they share the step, and each step is an evaluation of every one.
Nothing is waited for on an accelerator, except while a replica sweeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from greedylr.probe import chosen_multiplier
from greedylr.rule import GreedyLRParameters
from greedylr.schedules import ResolvedSchedule
from models import batched_rollback, batched_rule
from models.batched_plan import BatchedPlan
from models.batched_probe import RunningSweeps
from models.batched_rollback import BatchedRollbackState, RollbackEvents
from models.batched_smoothing import BatchedTrailingMeans
from models.device_arrays import Array, device_array, namespace, shared_array, shared_tensor, surely_none

# Stands in for the rule of a schedule that has none, which never decides.
NO_RULE = GreedyLRParameters()


class Restoration(NamedTuple):
    """What is to be done about weights and optimizer states of n replicas, bool tensors (n,).

    Those to be kept are kept as they are now, unless a step has just ruined them; those to be restored go back to what
    was kept of them, at first what they began with.
    """

    keep: Tensor
    restore: Tensor


class BatchedRateController:
    """The rates of n replicas.

    A non-finite loss is to a replica what it is to one alone: it turns a sweep, is a rollback where there is one, and
    else makes a decision a bad one. Whether the replica lives on is for the training to say, which `may_restore` helps.

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
        If the schedules are of different lengths, or evaluate more rarely than at each step.
    """

    def __init__(
        self, schedules: Sequence[ResolvedSchedule], learning_rates: Sequence[float], device: str = "cpu"
    ) -> None:
        _require_alike(schedules, learning_rates)
        self.total_steps, self.step_count = schedules[0].total_steps, 0
        self._device, self._planned = device, tuple(schedules)
        self._plan = BatchedPlan(schedules, device)
        self._sweeps = RunningSweeps(schedules, device)
        rules = [schedule.parameters or NO_RULE for schedule in schedules]
        absolute = [rule.bounds == "absolute" for rule in rules]
        # A rate is envelope x multiplier x unit, in this order, as the scalar controller rounds it.
        starts = [float(rate) if own else 1.0 for own, rate in zip(absolute, learning_rates, strict=True)]
        self._units = [1.0 if own else float(rate) for own, rate in zip(absolute, learning_rates, strict=True)]
        self._means = BatchedTrailingMeans(_windows(rules), _keep_errors(rules), most=self.total_steps, device=device)
        self._smooths = any(rule.smooth for rule in rules)
        self._follow(rules)
        self._state = batched_rule.initial_state(self._parameters, device_array(starts, "float64", device))
        self._rolls_back = any(schedule.rollback for schedule in schedules)
        self._rollbacks = batched_rollback.stack_rollbacks([schedule.rollback for schedule in schedules], device)
        self._rollback_state = batched_rollback.initial_rollback(self._rollbacks)
        # Who has had a loss that is not finite since its last decision.
        self._spoilt = ~self._rollback_state.given_up & False
        # Losses are copied here, since a view of a tensor as an array costs as much as several operations of the rule.
        self._losses = torch.empty(len(schedules), dtype=torch.float64, device=device)
        self._loss_values = shared_array(self._losses)

    def _follow(self, rules: list[GreedyLRParameters]) -> None:
        """Take the rules of all replicas."""
        self._rules = rules
        self._parameters = batched_rule.stack_parameters(rules, self._device)
        self._smooth = device_array([rule.smooth for rule in rules], "bool", self._device)
        self._start_units = device_array(self._units, "float64", self._device)
        self._means.set_windows(_windows(rules))

    @property
    def learning_rates(self) -> Tensor:
        """Rates of the next step, (n,) float64."""
        multipliers = self._plan.multipliers[min(self.step_count, self.total_steps - 1)]
        return shared_tensor(multipliers * self._state.learning_rate * self._start_units)

    @property
    def may_restore(self) -> Tensor:
        """Which replicas may yet be brought back from a loss that is not finite, (n,) bool.

        Those that sweep, and those that roll back, have not given up, and decide once more at least.
        """
        restorable = self._sweeps.running
        if self._rolls_back:
            decides_again = self._plan.last_decision > self.step_count
            restorable = restorable | (decides_again & ~self._rollback_state.given_up)
        return shared_tensor(restorable)

    @np.errstate(all="ignore")
    def observe(self, losses: Tensor) -> Restoration | None:
        """Take the losses (n,) of one step; None says that nothing is to be kept or restored."""
        self.step_count += 1
        self._losses.copy_(losses.detach())
        values = self._loss_values
        usable = None
        if self._rolls_back:
            usable = batched_rule.usable(self._parameters, values)
            self._spoilt = self._spoilt | ~usable
        if self._smooths:
            self._means.push(values, usable)
        decides = self._plan.decides(self.step_count)
        events = None if decides is None else self._decide(values, decides)
        swept = self._take_in_sweeps(values) if self._sweeps else None
        return _restoration(events, swept)

    def _decide(self, losses: Array, decides: Array) -> RollbackEvents | None:
        """Let those that decide do so on the losses (n,)."""
        where = namespace(losses).where
        if self._smooths:
            losses = where(self._smooth, self._means.means(), losses)
        may_increase = self._plan.may_increase(self.step_count)
        old, events = self._state, None
        if self._rolls_back:
            losses = where(self._spoilt, math.nan, losses)
            self._spoilt = self._spoilt & ~decides
        new = batched_rule.next_state(self._parameters, old, losses, may_increase, decides)
        if self._rolls_back:
            events = self._roll_back(losses, decides)
            new = batched_rule.chosen(events.rollback, batched_rollback.rolled_back(self._parameters, old), new)
        self._state = new
        if new.resets is not old.resets:
            self._means.clear(self._state.resets > old.resets)
        return events

    def _roll_back(self, losses: Array, decides: Array) -> RollbackEvents:
        """Let the rollbacks of those that decide look at the losses (n,)."""
        settled = ~self._smooth | self._means.full()
        signed = batched_rule.signed(self._parameters, losses)
        old = self._rollback_state
        new, events = batched_rollback.next_rollback(self._rollbacks, old, signed, settled)
        where = namespace(losses).where
        self._rollback_state = BatchedRollbackState._make(
            [where(decides, *pair) for pair in zip(new, old, strict=True)]
        )
        events = RollbackEvents._make([event & decides for event in events])
        self._means.clear(events.rollback)
        return events

    def _take_in_sweeps(self, losses: Array) -> Array | None:
        """Take the losses (n,) of those that sweep, and return whose sweeps have ended, (n,); None for nobody's.

        What a sweep leaves is a run of its own, from the start that it found.
        """
        # The loss of a step is that of the weights before it, so it speaks of the rate before.
        multipliers = self._plan.multipliers[max(self.step_count - 2, 0)]
        ended = self._sweeps.take(batched_rule.signed(self._parameters, losses), multipliers, self.step_count)
        if not ended:
            return None
        rests = {replica: self._planned[replica].after_sweep(self.step_count) for replica in ended}
        for replica, sweep in ended.items():
            planned = self._planned[replica]
            assert planned.probe is not None  # it has swept
            self._units[replica] *= chosen_multiplier(planned.probe, planned.sweep_evaluations, sweep)
        self._plan.begin_rests(rests, self.step_count)
        self._follow(
            [rests[index].parameters or NO_RULE if index in rests else rule for index, rule in enumerate(self._rules)]
        )
        which = device_array([index in ended for index in range(len(self._rules))], "bool", self._device)
        self._means.clear(which)
        self._spoilt = self._spoilt & ~which
        return which


def _require_alike(schedules: Sequence[ResolvedSchedule], learning_rates: Sequence[float]) -> None:
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


def _windows(rules: Sequence[GreedyLRParameters]) -> list[int]:
    return [rule.window_size if rule.smooth else 1 for rule in rules]


def _keep_errors(rules: Sequence[GreedyLRParameters]) -> list[bool]:
    return [rule.non_finite == "compare" for rule in rules]


def _restoration(events: RollbackEvents | None, swept: Array | None) -> Restoration | None:
    if events is None:
        return None if swept is None else Restoration(shared_tensor(swept & False), shared_tensor(swept))
    restore = events.rollback if swept is None else events.rollback | swept
    if surely_none(events.new_best | restore):
        return None
    return Restoration(shared_tensor(events.new_best), shared_tensor(restore))
