from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_workloads import Bowl

from greedylr.schedules import Schedule
from greedylr.workload import Workload
from models.methods.line_search import LineSearch, Searches
from models.methods.method import Beginning, Step
from models.methods.method_training import MethodTrainer, step_of
from models.methods.single_line_search import SingleLineSearch
from models.retraining.replicas import Replicas, as_dtype
from models.workloads.reference import REFERENCES


def searching(workload: Workload, rates: list[float], settings: LineSearch | None = None) -> tuple[Searches, Replicas]:
    replicas = Replicas(workload, len(rates), torch.float64)
    beginning = Beginning(
        descriptors=workload.descriptors,
        learning_rates=torch.tensor(rates, dtype=torch.float64),
        total_steps=workload.descriptors.total_steps,
    )
    return (settings or LineSearch())(beginning), replicas


def test_rate_is_the_first_going_down_at_which_the_loss_falls_enough() -> None:
    # Of w²/2 at 1 a rate r is accepted where (1 - r)²/2 <= 1/2 - r/10, that is up to 1.8: 3 x 0.9^5 = 1.771.
    method, replicas = searching(Bowl(1.0), [3.0, 1.79, 0.1])
    new, rates = method.take(step_of(Bowl(1.0), replicas, replicas.weights["w"][0] * 0))
    assert rates.tolist() == pytest.approx([3 * 0.9**5, 1.79, 0.1])
    assert new["w"].flatten().tolist() == pytest.approx([1 - 3 * 0.9**5, -0.79, 0.9])
    # Who is satisfied stops.
    assert method.forward_passes.tolist() == [6, 1, 1]


def test_next_search_begins_at_the_accepted_rate_raised_and_at_most_at_the_largest() -> None:
    workload = Bowl(1.0, curvature=1e-6, total_steps=10)
    record = MethodTrainer(LineSearch())(workload, [Schedule().resolve(10)], [0.5])
    # An epoch is one step here, in which the rate may double; 10 starting rates are the most.
    np.testing.assert_allclose(record.rates[:, 0], [0.5, 1, 2, 4, 5, 5, 5, 5, 5, 5], rtol=1e-12)


def test_replica_that_accepts_no_rate_stays_and_searches_again_from_where_it_began() -> None:
    method, replicas = searching(Bowl(1.0), [0.5], LineSearch(most_trials=7))
    step = step_of(Bowl(1.0), replicas, torch.zeros(1, dtype=torch.float64))
    hopeless = Step(
        weights=step.weights,
        gradients=step.gradients,
        losses=step.losses,
        losses_at=lambda weights: torch.full((len(weights["w"]),), torch.nan),
        project=step.project,
    )
    new, rates = method.take(hopeless)
    assert (new["w"].tolist(), rates.tolist(), method.forward_passes.tolist()) == ([[1.0]], [0.0], [7])
    _, rates = method.take(step)
    assert rates.tolist() == pytest.approx([0.5])


def test_weight_decay_belongs_to_the_objective() -> None:
    # Of w²/2 + w²/2 at 1 a rate is accepted where (1 - 2r)² <= 1 - 0.1 x 4r, that is up to 0.9.
    workload = Bowl(1.0, weight_decay=1.0)
    record = MethodTrainer(LineSearch())(workload, [Schedule().resolve(1)] * 2, [0.89, 0.91])
    np.testing.assert_allclose(record.rates[0], [0.89, 0.91 * 0.9], rtol=1e-12)


@pytest.mark.parametrize("name", ["mnist-mlp", "digits-nmf"])
def test_no_step_is_accepted_that_violates_the_condition_of_armijo(
    name: str, reference_data: Callable[[str], Mapping[str, Any]]
) -> None:
    reference = REFERENCES[name]
    workload = reference.make(1, "cpu", reference_data(reference.dataset))
    usual = workload.descriptors.usual_learning_rate
    method, replicas = searching(workload, [usual / 9, usual, 30 * usual, 1000 * usual])
    accepted = 0
    for number in range(6):
        before = method.forward_passes.clone()
        step = step_of(workload, replicas, workload.batch(number))
        new, rates = method.take(step)
        for replica in range(4):
            moved = {key: weight[replica] for key, weight in new.items()}
            loss = float(workload.training_loss(moved, workload.batch(number)))
            fall = sum(
                float((step.gradients[key][replica] * (step.weights[key][replica] - moved[key])).sum()) for key in moved
            )
            assert loss <= float(step.losses[replica]) - 0.1 * fall + 1e-12
            assert all(bool((workload.project(moved)[key] == moved[key]).all()) for key in moved)
        accepted += int((rates > 0).sum())
        assert bool((method.forward_passes > before).all())
        replicas.freeze(replicas.advance(step.losses, new))
    assert accepted > 16


@pytest.mark.parametrize("name", ["mnist-mlp", "digits-nmf"])
def test_replicas_equal_a_plain_search_one_by_one(
    name: str, reference_data: Callable[[str], Mapping[str, Any]]
) -> None:
    reference = REFERENCES[name]
    workload = reference.make(2, "cpu", reference_data(reference.dataset))
    rates = [reference.descriptors.usual_learning_rate * multiple for multiple in (0.1, 1.0, 20.0)]
    record = MethodTrainer(LineSearch())(workload, [Schedule().resolve(20)] * 3, rates, dtype=torch.float64)
    for place, rate in enumerate(rates):
        losses, taken = search_one_by_one(workload, rate, 20)
        np.testing.assert_allclose(record.losses[:, place], losses, rtol=1e-9)
        np.testing.assert_allclose(record.rates[:, place], taken, rtol=1e-9)


def test_weight_decay_and_clipping_are_the_same_one_by_one() -> None:
    workload = Bowl(1.0, -2.0, weight_decay=0.3, max_gradient_norm=0.5)
    record = MethodTrainer(LineSearch())(workload, [Schedule().resolve(20)], [30.0])
    losses, taken = search_one_by_one(workload, 30.0, 20)
    np.testing.assert_allclose(record.losses[:, 0], losses, rtol=1e-9)
    np.testing.assert_allclose(record.rates[:, 0], taken, rtol=1e-9)
    assert 0 < taken[0] < 30


def search_one_by_one(workload: Workload, start: float, steps: int) -> tuple[list[float], list[float]]:
    weights = {name: weight.double().requires_grad_() for name, weight in workload.parameters().items()}
    search = SingleLineSearch(weights, workload, learning_rate=start, total_steps=steps)
    losses, taken = [], []
    for number in range(steps):
        loss, rate = search.step(as_dtype(workload.batch(number), torch.float64))
        losses.append(loss)
        taken.append(rate)
    return losses, taken


class WithDropout(Bowl):
    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return super().training_loss(parameters, batch) * torch.rand((), dtype=torch.float64)


def test_loss_that_draws_is_searched_along_with_the_same_draws() -> None:
    workload = WithDropout(1.0)
    _, replicas = searching(workload, [0.1, 0.1])
    torch.manual_seed(0)
    step = step_of(workload, replicas, torch.zeros(1, dtype=torch.float64))
    after = torch.rand(())
    assert step.losses_at(step.weights).tolist() == step.losses_at(step.weights).tolist() == step.losses.tolist()
    assert torch.rand(()) == after
