"""The sweep of a probe for many replicas at once: `greedylr.probe.next_sweep` on arrays, equal to it bit for bit."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np

from greedylr.probe import MEMORY, OF_SECOND_DIFFERENCES, SHORTEST_MEMORY, STANDARD_ERRORS, Probe, SweepState
from greedylr.schedules import ResolvedSchedule
from models.device_arrays import Array, device_array, namespace


class BatchedProbes(NamedTuple):
    """What n sweeps need of their probes, arrays (n,): how many losses are remembered, and what a turn is."""

    memory: Array
    turn: Array
    standard_errors: Array


class BatchedSweep(NamedTuple):
    """Where n sweeps stand, arrays (n,); the fields are those of `greedylr.probe.SweepState`."""

    evaluations: Array
    average: Array
    weight: Array
    last: Array
    change: Array
    roughness: Array
    noise: Array
    level: Array
    best: Array
    best_multiplier: Array
    turned_at: Array


def stack_probes(probes: Sequence[Probe], evaluations: Sequence[int], device: str = "cpu") -> BatchedProbes:
    """Return the probes of sweeps that may take so many evaluations each."""
    memories = [max(SHORTEST_MEMORY, MEMORY * count) for count in evaluations]
    return BatchedProbes(
        memory=device_array(memories, "float64", device),
        turn=device_array([probe.turn for probe in probes], "float64", device),
        standard_errors=device_array([math.sqrt(2.0 / (2.0 * memory - 1.0)) for memory in memories], "float64", device),
    )


def initial_sweep(probes: BatchedProbes) -> BatchedSweep:
    """Return the states before the first loss."""
    xp = namespace(probes.memory)
    return BatchedSweep._make([xp.full_like(probes.memory, value) for value in SweepState()])


@np.errstate(all="ignore")
def next_sweep(probes: BatchedProbes, state: BatchedSweep, loss: Array, multiplier: Array) -> BatchedSweep:
    """Return the states after one loss (n,), the smaller the better; the mathematics is `greedylr.probe.next_sweep`'s.

    `multiplier` (n,) is that of the rate which the loss speaks of.
    """
    xp = namespace(loss)
    where = xp.where
    finite = xp.isfinite(loss)
    seen = state.evaluations + 1.0
    average = state.average + (loss - state.average) / probes.memory
    weight = state.weight + (1.0 - state.weight) / probes.memory
    smoothed = average / weight
    change = where(state.evaluations > 0, loss - state.last, 0.0)
    roughness = state.roughness + where(seen > 2, abs(change - state.change), 0.0)
    full = finite & ~(seen < probes.memory)
    lowers = full & (smoothed < state.best)
    rise = smoothed - state.best
    by_chance = STANDARD_ERRORS * (state.noise * probes.standard_errors)
    turned = full & ~lowers & (rise > probes.turn * abs(state.best)) & (rise > by_chance)
    counted = BatchedSweep(
        evaluations=seen,
        average=average,
        weight=weight,
        last=loss,
        change=change,
        roughness=roughness,
        noise=where(lowers, OF_SECOND_DIFFERENCES * roughness / (seen - 2.0), state.noise),
        level=where(full & (state.level == math.inf), smoothed, state.level),
        best=where(lowers, smoothed, state.best),
        best_multiplier=where(lowers, multiplier, state.best_multiplier),
        turned_at=where(turned, multiplier, state.turned_at),
    )
    kept = state._replace(turned_at=multiplier)
    return BatchedSweep._make([where(finite, new, old) for new, old in zip(counted, kept, strict=True)])


class RunningSweeps:
    """The sweeps that are under way in a program of n replicas.

    Parameters
    ----------
    schedules
        One a replica; those with a probe sweep.
    device
        Where losses and multipliers live.

    Attributes
    ----------
    running
        (n,) bool: which replicas sweep.
    """

    def __init__(self, schedules: Sequence[ResolvedSchedule], device: str) -> None:
        self._device = device
        self._lengths = {index: each.sweep_evaluations for index, each in enumerate(schedules) if each.probe}
        probes = [each.probe for each in schedules if each.probe]
        self._probes = stack_probes(probes, list(self._lengths.values()), device)
        self._state = initial_sweep(self._probes)
        self._find_rows(len(schedules))

    def __bool__(self) -> bool:
        return bool(self._lengths)

    def take(self, losses: Array, multipliers: Array, evaluation: int) -> dict[int, SweepState]:
        """Take the losses (n,) of an evaluation, counted from 1, and return the sweeps that have ended, by replica.

        `multipliers` (n,) are those of the rates which the losses speak of. Waits for an accelerator.
        """
        self._state = next_sweep(self._probes, self._state, losses[self._rows], multipliers[self._rows])
        turned = (self._state.turned_at > 0).tolist()
        ended = {
            replica: _of_one(self._state, row)
            for row, (replica, length) in enumerate(self._lengths.items())
            if turned[row] or evaluation >= length
        }
        if ended:
            self._go_on_without(ended)
        return ended

    def _go_on_without(self, ended: Container[int]) -> None:
        left = [row for row, replica in enumerate(self._lengths) if replica not in ended]
        rows = device_array(left, "int64", self._device)
        self._lengths = {replica: length for replica, length in self._lengths.items() if replica not in ended}
        self._probes = BatchedProbes._make([field[rows] for field in self._probes])
        self._state = BatchedSweep._make([field[rows] for field in self._state])
        self._find_rows(len(self.running))

    def _find_rows(self, replicas: int) -> None:
        self._rows = device_array(list(self._lengths), "int64", self._device)
        self.running = device_array([index in self._lengths for index in range(replicas)], "bool", self._device)


def _of_one(state: BatchedSweep, row: int) -> SweepState:
    evaluations, *others = (float(field[row]) for field in state)
    return SweepState(int(evaluations), *others)
