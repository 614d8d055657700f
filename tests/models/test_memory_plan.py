import numpy as np
import pytest
import torch

from models.retraining.memory_plan import MemoryPlan, is_out_of_memory, replicas_that_fit

MIB = 2**20
FAR_TOO_MUCH = 2**50


@pytest.mark.parametrize(("usable", "replicas"), [(70, 10), (69, 9), (30, 2), (29, 1), (1, 1)])
def test_as_many_replicas_as_fit_beside_what_they_share(usable: int, replicas: int) -> None:
    # 20 MiB are shared, and a replica takes 5.
    assert replicas_that_fit(usable * MIB, one=25 * MIB, two=30 * MIB) == replicas


def test_torch_and_numpy_out_of_memory_are_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(FAR_TOO_MUCH)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(FAR_TOO_MUCH)
    with pytest.raises(RuntimeError) as other:
        torch.ones(2) @ torch.ones(3)
    assert is_out_of_memory(of_torch.value)
    assert is_out_of_memory(of_numpy.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_out_of_memory(other.value)


def test_number_is_measured_once_and_halved_once_for_all_that_failed_with_it() -> None:
    kept: list[dict[str, int]] = []
    plan = MemoryPlan({}, lambda planned: kept.append(dict(planned)))
    assert plan.replicas_at_once("schedule", lambda: 96) == 96
    assert plan.replicas_at_once("schedule", lambda: 7) == 96
    plan.halve("schedule", 96)
    plan.halve("schedule", 96)
    assert plan.replicas_at_once("schedule", lambda: 7) == 48
    assert kept == [{"schedule": 96}, {"schedule": 48}]


def test_plan_of_an_earlier_attempt_is_not_measured_again() -> None:
    assert MemoryPlan({"schedule": 12}, lambda _: None).replicas_at_once("schedule", lambda: 96) == 12
