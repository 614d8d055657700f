import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr.rollback import Rollback, RollbackState, next_rollback, rolled_back
from greedylr.rule import GreedyLRParameters, initial_state
from models import batched_rollback, batched_rule
from models.batched_rollback import BatchedRollbacks, initial_rollback, stack_rollbacks

ROLLBACKS = st.builds(Rollback, guard=st.sampled_from([0.0, 0.3, 5.0]), limit=st.integers(1, 3))
LOSSES = st.lists(
    st.tuples(st.one_of(st.floats(-10, 10), st.floats(allow_nan=True)), st.booleans()), min_size=1, max_size=20
)


@pytest.mark.parametrize("kind", ["arrays", "tensors"])
@settings(deadline=None, max_examples=100)
@given(replicas=st.lists(st.tuples(ROLLBACKS, LOSSES), min_size=1, max_size=8))
def test_batched_rollbacks_equal_scalar_ones(kind: str, replicas: list[tuple[Rollback, Any]]) -> None:
    rollbacks, losses = zip(*replicas, strict=True)
    as_kind: Any = (lambda array: array) if kind == "arrays" else torch.from_numpy
    stacked = BatchedRollbacks._make(map(as_kind, stack_rollbacks(rollbacks)))
    state = initial_rollback(stacked)
    scalars = [RollbackState() for _ in rollbacks]
    for place in range(max(map(len, losses))):
        now, settled = zip(*(series[place % len(series)] for series in losses), strict=True)
        told = [
            next_rollback(rollback, scalar, loss, settled=flag)
            for rollback, scalar, loss, flag in zip(rollbacks, scalars, now, settled, strict=True)
        ]
        scalars = [scalar for scalar, _ in told]
        state, events = batched_rollback.next_rollback(
            stacked, state, as_kind(np.array(now)), as_kind(np.array(settled))
        )
        assert [RollbackState(*row) for row in zip(*(field.tolist() for field in state), strict=True)] == scalars
        for name, flags in zip(("new_best", "rollback", "give_up"), events, strict=True):
            assert flags.tolist() == [event == name for _, event in told]


def test_replica_without_a_rollback_never_goes_back() -> None:
    rollbacks = stack_rollbacks([None, Rollback()])
    state, settled = initial_rollback(rollbacks), np.array([True, True])
    for loss in (1.0, 100.0, math.nan):
        state, events = batched_rollback.next_rollback(rollbacks, state, np.array([loss] * 2), settled)
        assert not any(flags[0] for flags in events)
    assert state.rollbacks.tolist() == [0, 2]


def test_rule_after_a_rollback_is_the_scalar_one() -> None:
    rule = GreedyLRParameters(factor=0.5, min_lr=0.25)
    states = [
        initial_state(rule)._replace(learning_rate=rate, best=2.0, num_good=2, num_bad=3, cooldown_counter=1)
        for rate in (4.0, 0.3)
    ]
    batched = batched_rule.BatchedState._make(map(np.array, zip(*states, strict=True)))
    after = batched_rollback.rolled_back(batched_rule.stack_parameters([rule, rule]), batched)
    assert list(zip(*after, strict=True)) == [rolled_back(rule, state) for state in states]
