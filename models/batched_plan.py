"""What is known in advance of the rates of many replicas: fixed multipliers, and after which steps they decide."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from greedylr.schedules import Envelope, ResolvedSchedule
from models.device_arrays import Array, device_array


class BatchedPlan:
    """The plan of n replicas, step by step; one that has a probe sweeps first, and is then given the rest of its run.

    Parameters
    ----------
    schedules
        One a replica, of one `total_steps` and with an evaluation at each step.
    device
        Where the arrays live.

    Attributes
    ----------
    multipliers
        (total_steps, n): what the rate of each step is multiplied by, whatever the losses.
    last_decision
        (n,): the last step after which there is a decision.
    """

    def __init__(self, schedules: Sequence[ResolvedSchedule], device: str) -> None:
        self._device = device
        self._envelope, self._decisions = cache(_envelope), cache(_decisions)
        total_steps = schedules[0].total_steps
        self.multipliers: Array = np.zeros((total_steps, len(schedules)))
        self._decides = np.zeros((total_steps + 1, len(schedules)), dtype=bool)
        self._increase_until = np.array([schedule.increase_until for schedule in schedules])
        for replica, schedule in enumerate(schedules):
            if schedule.probe is not None:
                self.multipliers[:, replica] = _sweep(schedule)
            else:
                self._write(replica, schedule, 0)
        self.multipliers = device_array(self.multipliers, "float64", device)
        self._settle()

    def decides(self, step_count: int) -> Array | None:
        """Return which replicas decide after so many steps, (n,); None where none does."""
        return self._decides_on_device[step_count] if step_count in self._deciding_steps else None

    def may_increase(self, step_count: int) -> Array | None:
        """Return whose rates may be raised after so many steps, (n,); None where all may."""
        return None if step_count <= self._all_increase_until else self._increase_on_device >= step_count

    def begin_rests(self, rests: dict[int, ResolvedSchedule], swept_steps: int) -> None:
        """Let some replicas follow the schedules of what a sweep of so many steps has left."""
        for replica, schedule in rests.items():
            self._write(replica, schedule, swept_steps)
        self._settle()

    def _write(self, replica: int, schedule: ResolvedSchedule, first_step: int) -> None:
        envelope = self._envelope(schedule.envelope, schedule.total_steps)
        self.multipliers[first_step:, replica] = device_array(envelope, "float64", self._device)
        if schedule.parameters is not None:
            decisions = self._decisions(schedule.interval, schedule.decide_until, schedule.total_steps)
            self._decides[first_step + 1 :, replica] = decisions
        self._increase_until[replica] = first_step + schedule.increase_until

    def _settle(self) -> None:
        """Work out what follows from who decides when."""
        steps = np.arange(len(self._decides))[:, None]
        self._deciding_steps = set(np.flatnonzero(self._decides.any(axis=1)).tolist())
        self._decides_on_device = device_array(self._decides, "bool", self._device)
        self._increase_on_device = device_array(self._increase_until, "int64", self._device)
        self._all_increase_until = int(self._increase_until.min())
        self.last_decision = device_array((steps * self._decides).max(axis=0), "int64", self._device)


def _envelope(envelope: Envelope, total_steps: int) -> NDArray[np.float64]:
    return np.array([envelope.multiplier(step, total_steps) for step in range(total_steps)])


def _decisions(interval: int, decide_until: int, total_steps: int) -> NDArray[np.bool_]:
    """Return whether there is a decision after 1 .. total_steps steps."""
    steps = np.arange(1, total_steps + 1)
    decides: NDArray[np.bool_] = (steps % interval == 0) & (steps <= decide_until)
    return decides


def _sweep(schedule: ResolvedSchedule) -> NDArray[np.float64]:
    """Return the multipliers of a sweep, and zeros for what it leaves."""
    assert schedule.probe is not None  # whoever calls has looked
    evaluations = schedule.sweep_evaluations
    swept = [schedule.probe.multiplier(evaluation, evaluations) for evaluation in range(evaluations)]
    return np.array(swept + [0.0] * (schedule.total_steps - evaluations))
