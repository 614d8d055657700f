import pytest
import torch

from greedylr import GreedyLR, GreedyLRParameters
from greedylr.once_per_step import OncePerStep

AT_ONCE = GreedyLRParameters(patience=0, factor=0.5)


def made() -> tuple[torch.optim.SGD, GreedyLR, OncePerStep]:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scheduler = GreedyLR(optimizer, AT_ONCE)
    return optimizer, scheduler, OncePerStep(scheduler, optimizer)


def test_micro_batches_make_one_decision_on_their_mean() -> None:
    optimizer, _, once = made()
    rates = []
    for losses in ([3.0, 5.0], [4.0, 2.0], [1.0, 5.5]):  # means 4, 3, 3.25
        once.step(torch.tensor(losses[0], requires_grad=True))
        optimizer.step()
        once.step(torch.tensor(losses[1], requires_grad=True))
        rates += once.get_last_lr()
    assert rates == [0.1, 0.2, 0.1]


def test_one_call_repeated_for_each_process_counts_once() -> None:
    optimizer, scheduler, once = made()
    rates = []
    for value in (3.0, 2.0, 1.0):
        optimizer.step()
        loss = torch.tensor(value)
        for _ in range(4):
            once.step(loss)
        rates += once.get_last_lr()
    assert rates == [0.1, 0.2, 0.4]
    assert scheduler.controller.step_count == 3


def test_skipped_optimizer_step_is_no_step_of_the_schedule() -> None:
    optimizer, scheduler, once = made()
    optimizer.step()
    once.step(torch.tensor(3.0))
    once.step(torch.tensor(2.0))  # the scaler skipped this one
    assert scheduler.controller.step_count == 1
    optimizer.step()
    once.step(torch.tensor(1.0))
    assert (scheduler.controller.step_count, once.get_last_lr()) == (2, [0.2])


def test_state_is_that_of_the_scheduler() -> None:
    optimizer, scheduler, once = made()
    for value in (3.0, 2.0):
        optimizer.step()
        once.step(value)
    assert once.state_dict() == scheduler.state_dict()
    other_optimizer, other, again = made()
    again.load_state_dict(once.state_dict())
    assert other_optimizer.param_groups[0]["lr"] == pytest.approx(0.2)
    assert other.state_dict() == scheduler.state_dict()
