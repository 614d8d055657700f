import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr.probe import Probe, SweepState, next_sweep
from greedylr.schedules import Schedule
from models.batched_probe import BatchedProbes, BatchedSweep, RunningSweeps, initial_sweep, stack_probes
from models.batched_probe import next_sweep as next_sweeps

PROBES = st.builds(Probe, turn=st.sampled_from([0.1, 0.5, 3.0]), back_off=st.just(0.2))
LOSSES = st.lists(st.one_of(st.floats(-10, 10), st.floats(allow_nan=True)), min_size=1, max_size=30)
SWEEPS = st.lists(st.tuples(PROBES, st.sampled_from([10, 40, 300]), LOSSES), min_size=1, max_size=8)


def rows(state: BatchedSweep) -> list[SweepState]:
    return [SweepState(int(row[0]), *row[1:]) for row in zip(*(field.tolist() for field in state), strict=True)]


@pytest.mark.parametrize("kind", ["arrays", "tensors"])
@settings(deadline=None, max_examples=60)
@given(sweeps=SWEEPS)
def test_batched_sweeps_equal_scalar_ones(kind: str, sweeps: list[tuple[Probe, int, list[float]]]) -> None:
    probes, evaluations, losses = zip(*sweeps, strict=True)
    scalars = [SweepState() for _ in probes]
    as_kind: Any = (lambda array: array) if kind == "arrays" else torch.from_numpy
    stacked = BatchedProbes._make(map(as_kind, stack_probes(probes, evaluations)))
    batched = initial_sweep(stacked)
    for place in range(max(map(len, losses))):
        now = [series[place % len(series)] for series in losses]
        multipliers = [
            probe.multiplier(max(place - 1, 0), count) for probe, count in zip(probes, evaluations, strict=True)
        ]
        # A sweep that has turned is over.
        scalars = [
            state if state.turned_at else next_sweep(probe, count, state, loss, place=place)
            for probe, count, state, loss in zip(probes, evaluations, scalars, now, strict=True)
        ]
        after = next_sweeps(stacked, batched, as_kind(np.array(now)), as_kind(np.array(multipliers)))
        over = batched.turned_at > 0
        batched = BatchedSweep._make([as_kind(np.where(over, *pair)) for pair in zip(batched, after, strict=True)])
        for expected, actual in zip(scalars, rows(batched), strict=True):
            np.testing.assert_array_equal(expected, actual)


def test_sweeps_of_different_length_end_each_in_its_time() -> None:
    short, long = (Schedule(probe=Probe(share=share)).resolve(100) for share in (0.1, 0.2))
    sweeps = RunningSweeps([long, Schedule().resolve(100), short, long], "cpu")
    assert sweeps.running.tolist() == [True, False, True, True]
    ended = {}
    for evaluation in range(1, 21):
        losses = np.array([1.0, 1.0, 1.0, math.nan if evaluation == 4 else 1.0])
        ended[evaluation] = list(sweeps.take(losses, np.ones(4), evaluation))
    assert {evaluation: replicas for evaluation, replicas in ended.items() if replicas} == {4: [3], 10: [2], 20: [0]}
    assert not sweeps
    assert sweeps.running.tolist() == [False] * 4
