"""A real Lightning fit with a preset on its training loss."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from greedylr import Envelope, GreedyLR, Preset, Probe, Provenance, RateController, RelativeRule, Rollback, Schedule
from greedylr.lightning import GreedyLRCallback

pytestmark = [
    pytest.mark.integration,
    # Lightning's own, about torch.
    pytest.mark.filterwarnings("ignore:.*treespec.*"),
]

PRESET = Preset(
    name="lively",
    schedule=Schedule(
        envelope=Envelope(shape="wsd", ramp=0.1),
        rule=RelativeRule(factor=0.7, increase_factor=0.8, interval=0.0, window=0.1, guard=0.5),
    ),
    learning_rate=0.02,
    provenance=Provenance(origin="test", greedylr_version="0.1.0"),
)
EPOCHS, BATCHES = 8, 5


class Regression(LightningModule):
    """Keeps the loss of each batch and the rate of each optimizer step."""

    def __init__(self, schedulers: Sequence[Any] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 1)
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.schedulers = schedulers

    def training_step(self, batch: list[torch.Tensor], batch_index: int) -> torch.Tensor:
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.linear(inputs), targets)
        self.losses.append(loss.item())
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ConstantLR(optimizer) for _ in self.schedulers]


def batches() -> torch.utils.data.DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCHES * 8, 4, generator=generator)
    targets = inputs.sum(1, keepdim=True) + torch.randn(BATCHES * 8, 1, generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=8)


def fitted(
    module: Regression, callback: GreedyLRCallback, *more: Callback, resume: Path | None = None, **settings: Any
) -> Trainer:
    trainer = Trainer(
        **{"max_epochs": EPOCHS, "accelerator": "cpu", "devices": 1, "logger": False, **settings},
        callbacks=[callback, *more],
        enable_checkpointing=bool(more),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches(), ckpt_path=resume, weights_only=True)
    return trainer


def mean(losses: Sequence[float]) -> float:
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("accumulation", "sizes"), [(1, [1] * 5), (2, [2, 2, 1])])
def test_callback_steps_on_the_training_loss_of_each_optimizer_step(accumulation: int, sizes: list[int]) -> None:
    module, callback = Regression(), GreedyLRCallback(PRESET)
    trainer = fitted(module, callback, accumulate_grad_batches=accumulation)
    total_steps = EPOCHS * len(sizes)
    assert trainer.global_step == total_steps == len(module.rates)

    controller = RateController(PRESET.schedule.resolve(total_steps), [0.05])
    losses, expected = iter(module.losses), []
    for size in sizes * EPOCHS:
        expected.append(controller.learning_rates[0])
        controller.observe(mean([next(losses) for _ in range(size)]))
    assert module.rates == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 8


def test_callback_hands_over_the_mean_of_the_steps_between_evaluations() -> None:
    module = Regression()
    fitted(module, GreedyLRCallback(PRESET, steps_per_evaluation=4, total_steps=40))
    controller = RateController(PRESET.schedule.resolve(40, steps_per_evaluation=4), [0.05])
    expected = []
    for start in range(0, 40, 4):
        expected += [controller.learning_rates[0]] * 4
        controller.observe(mean(module.losses[start : start + 4]))
    assert module.rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("steps_per_evaluation", [1, 3])
def test_fit_goes_on_exactly_from_a_checkpoint(tmp_path: Path, steps_per_evaluation: int) -> None:
    whole, first = Regression(), GreedyLRCallback(PRESET, steps_per_evaluation=steps_per_evaluation)
    saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, every_n_epochs=1)
    fitted(whole, first, saving)
    rest, again = Regression(), GreedyLRCallback(PRESET, steps_per_evaluation=steps_per_evaluation)
    # Saved after 20 steps: with 3 an evaluation two losses wait for the third.
    fitted(rest, again, resume=tmp_path / "epoch=3.ckpt")
    assert rest.losses == whole.losses[20:]
    assert rest.rates == whole.rates[20:]
    assert again.state_dict() == first.state_dict()


class Normalised(Regression):
    """With running statistics, from a start that is far too low, and with an epoch of spoilt targets in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))

    def training_step(self, batch: list[torch.Tensor], batch_index: int) -> torch.Tensor:
        inputs, targets = batch
        spoilt = 60 <= self.global_step < 65
        return super().training_step([inputs, 10.0 - targets if spoilt else targets], batch_index)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


@pytest.mark.parametrize("snapshots", ["device", "host"])
@pytest.mark.parametrize("epoch", [0, 3])
def test_fit_with_probe_and_rollback_goes_on_exactly(tmp_path: Path, epoch: int, snapshots: Any) -> None:
    probe = Probe(share=0.2, lowest=0.5, highest=2000.0)
    preset = replace(PRESET, schedule=replace(PRESET.schedule, probe=probe, rollback=Rollback(guard=0.05, limit=99)))
    kinds: list[str] = []

    def listen(scheduler: GreedyLR) -> None:
        scheduler.on_change = lambda decision: kinds.append(decision.kind)

    whole, first = Normalised(), GreedyLRCallback(preset, snapshots=snapshots, on_scheduler=listen)
    before = copy.deepcopy(whole.state_dict())
    restored: list[bool] = []

    class Watching(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            if kinds == ["probe"] and not restored:
                restored.append(all(torch.equal(value, before[name]) for name, value in whole.state_dict().items()))

    saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, every_n_epochs=1)
    # 120 steps, up to 24 of them a sweep: it goes on at the first checkpoint.
    fitted(whole, first, saving, Watching(), max_epochs=24)
    assert restored == [True]
    assert kinds.count("probe") == 1
    assert "rollback" in kinds
    rest, again = Normalised(), GreedyLRCallback(preset, snapshots=snapshots)
    fitted(rest, again, resume=tmp_path / f"epoch={epoch}.ckpt", max_epochs=24)
    done = 5 * (epoch + 1)
    assert rest.losses == whole.losses[done:]
    assert rest.rates == whole.rates[done:]
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in rest.state_dict().items())


def test_second_fit_with_one_callback_starts_anew() -> None:
    callback, modules = GreedyLRCallback(PRESET), [Regression(), Regression()]
    for module in modules:
        fitted(module, callback)
    assert modules[0].rates == modules[1].rates


def test_recommended_rate_is_taken_where_it_is_asked_for() -> None:
    module = Regression()
    preset = replace(PRESET, schedule=Schedule(rule=PRESET.schedule.rule))
    fitted(module, GreedyLRCallback(preset, use_learning_rate=True))
    assert module.rates[0] == 0.02


def test_scheduler_is_shown_to_who_wants_to_listen() -> None:
    shown: list[GreedyLR] = []
    callback = GreedyLRCallback(PRESET, on_scheduler=shown.append)
    fitted(Regression(), callback)
    assert shown == [callback.scheduler]
    assert shown[0].preset is not None
    assert shown[0].preset.content_hash == PRESET.content_hash


def test_callback_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"steps on the training loss, and the signal .* is validation_loss"):
        GreedyLRCallback(replace(PRESET, signal="validation_loss"))
    with pytest.raises(ValueError, match=r"one optimizer and no scheduler .*, got 1 and 1; leave the others out"):
        fitted(Regression(schedulers=[0]), GreedyLRCallback(PRESET))
    with pytest.raises(ValueError, match=r"total_steps must be given where Lightning cannot tell"):
        fitted(Regression(), GreedyLRCallback(PRESET), max_epochs=-1)
    with pytest.raises(ValueError, match=r"a state of GreedyLRCallback has scheduler and losses, got \['typo'\]"):
        GreedyLRCallback(PRESET).load_state_dict({"typo": 1})
