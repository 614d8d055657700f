import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr import GreedyLR, GreedyLRParameters, RelativeRule, Schedule
from greedylr.device_losses import DeviceLosses


def sgd(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


class Elsewhere(torch.Tensor):
    """A loss on the CPU that says it lies on another device, and counts how often it is waited for."""

    reads = 0

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def item(self) -> float:
        Elsewhere.reads += 1
        return super().item()

    def tolist(self) -> list[float]:
        Elsewhere.reads += 1
        return super().tolist()


def elsewhere(loss: float) -> torch.Tensor:
    return torch.tensor(loss, dtype=torch.float64).as_subclass(Elsewhere)


def test_losses_come_back_in_order_and_exactly_though_their_tensor_is_written_again() -> None:
    losses, static = DeviceLosses(), torch.zeros((), dtype=torch.bfloat16)
    for value in (0.5, 0.25, 0.125):
        static.fill_(value)
        losses.push(static, capacity=2)
    assert len(losses) == 3
    assert losses.read() == [0.5, 0.25, 0.125]
    assert (len(losses), losses.read()) == (0, [])


def test_loss_of_another_type_does_not_fit() -> None:
    losses = DeviceLosses()
    losses.push(torch.tensor(1.0), capacity=4)
    assert losses.fits(torch.tensor(1.0))
    assert not losses.fits(torch.tensor(1.0, dtype=torch.float64))
    losses.read()
    losses.push(torch.tensor(2.0, dtype=torch.float64), capacity=4)
    assert losses.read() == [2.0]


def test_losses_on_a_device_are_waited_for_once_an_interval() -> None:
    Elsewhere.reads = 0
    schedule = Schedule(rule=RelativeRule(factor=0.5, interval=0.1, window=0.2)).resolve(100)
    scheduler, plain = GreedyLR(sgd(0.1), schedule), GreedyLR(sgd(0.1), schedule)
    for step in range(100):
        scheduler.step(elsewhere(3.0 - step / 50))
        plain.step(3.0 - step / 50)
        assert scheduler.get_last_lr() == plain.get_last_lr()
    assert Elsewhere.reads == 10
    assert scheduler.get_last_lr()[0] > 0.1


@settings(deadline=None, max_examples=50)
@given(
    losses=st.lists(
        st.tuples(
            st.sampled_from(["device", "device", "device", "float", "none"]), st.floats(-3, 3) | st.just(math.nan)
        ),
        max_size=60,
    ),
    non_finite=st.sampled_from(["bad", "cut", "ignore"]),
    interval=st.sampled_from([0.0, 0.05, 0.1]),
)
@pytest.mark.filterwarnings("ignore:GreedyLR.step.. without a loss")
def test_waiting_changes_no_rate_and_no_state(
    losses: list[tuple[str, float]], non_finite: str, interval: float
) -> None:
    rule = RelativeRule(factor=0.5, interval=interval, window=0.1, non_finite=non_finite)  # type: ignore[arg-type]
    schedule = Schedule(rule=rule).resolve(60)
    scheduler, plain = GreedyLR(sgd(0.1), schedule), GreedyLR(sgd(0.1), schedule)
    for where, loss in losses:
        plain.step(None if where == "none" else loss)
        scheduler.step({"device": elsewhere(loss), "float": loss, "none": None}[where])
        assert scheduler.get_last_lr() == plain.get_last_lr()
    assert repr(scheduler.state_dict()) == repr(plain.state_dict())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_step_on_a_gpu_loss_waits_for_the_gpu_at_decisions_only() -> None:
    schedule = Schedule(rule=RelativeRule(factor=0.5, interval=0.1, window=0.2)).resolve(100)
    scheduler = GreedyLR(sgd(0.1), schedule)
    loss = torch.tensor(2.0, device="cuda")
    scheduler.step(loss)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(8):
            scheduler.step(loss)
        with pytest.raises(RuntimeError, match="synchroniz"):
            scheduler.step(loss)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_unused_rule_of_scores_takes_losses_too() -> None:
    scheduler = GreedyLR(sgd(0.1), GreedyLRParameters(mode="max", patience=0, factor=0.5))
    for score in (0.1, 0.2):
        scheduler.step(elsewhere(score))
    assert scheduler.get_last_lr() == [0.2]
