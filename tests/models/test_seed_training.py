from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from greedylr.rollback import Rollback
from greedylr.schedules import CONTROLS, RelativeRule, Schedule
from models.retraining.seed_training import ACCELERATOR_FACTOR, even_share, replicas_for_speed, snapshot_bytes
from models.workloads.reference import REFERENCES


def shares(waiting: int, at_once: int) -> list[int]:
    parts = []
    while waiting:
        parts.append(even_share(waiting, at_once))
        waiting -= parts[-1]
    return parts


def test_replicas_go_in_the_fewest_parts_of_nearly_one_size() -> None:
    assert shares(97, 96) == [49, 48]
    assert shares(200, 96) == [67, 67, 66]
    assert shares(5, 2) == [2, 2, 1]
    assert shares(3, 1) == [1, 1, 1]


@given(st.integers(1, 500), st.integers(1, 120))
def test_no_part_is_larger_than_allowed_and_none_is_needless(waiting: int, at_once: int) -> None:
    parts = shares(waiting, at_once)
    assert sum(parts) == waiting
    assert max(parts) <= at_once
    assert len(parts) == int(np.ceil(waiting / at_once))
    assert max(parts) - min(parts) <= 1


def test_heavy_weights_leave_the_cache_and_an_accelerator_takes_more(digits: Mapping[str, NDArray[Any]]) -> None:
    workload = REFERENCES["mnist-mlp"].make(1, "cpu", digits)
    assert replicas_for_speed(workload, "cpu") == 96
    assert replicas_for_speed(workload, "cuda") == 96 * ACCELERATOR_FACTOR


def test_replica_that_may_go_back_holds_a_copy_of_weights_and_momentum(digits: Mapping[str, NDArray[Any]]) -> None:
    workload = REFERENCES["mnist-mlp"].make(1, "cpu", digits)
    weights = 4 * (196 * 32 + 32 + 32 * 10 + 10)
    plain = CONTROLS["cosine"].resolve(100)
    restoring = Schedule(rule=RelativeRule(factor=0.7), rollback=Rollback()).resolve(100)
    assert snapshot_bytes(workload, [plain, plain]) == 0
    assert snapshot_bytes(workload, [plain, restoring]) == 2 * weights
