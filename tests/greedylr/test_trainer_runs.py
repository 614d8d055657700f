"""A real Trainer on a small language model: with exported arguments, and with a preset on its training loss."""

import json
import math
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from greedylr import Envelope, GreedyLR, Preset, Probe, Provenance, RateController, RelativeRule, Rollback, Schedule
from greedylr.exports import exported
from greedylr.huggingface import GreedyLRTrainer
from greedylr.lookup import load_preset
from greedylr.transformers_export import nearest_expressible

pytestmark = pytest.mark.integration

STEPS = 24
LIVELY = Preset(
    name="lively",
    schedule=Schedule(
        envelope=Envelope(shape="wsd", ramp=0.1),
        rule=RelativeRule(factor=0.7, increase_factor=0.8, interval=0.0, window=0.1, guard=0.5),
    ),
    learning_rate=0.02,
    provenance=Provenance(origin="test", greedylr_version="0.1.0"),
)


def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=32, n_positions=8, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config)


def tokens(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    drawn = torch.randint(0, 32, (count, 8), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": row} for row in drawn]


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "seed": 1,
        **changes,
    }
    return TrainingArguments(**settings)


class Rates(TrainerCallback):  # type: ignore[misc]
    """The rate that each optimizer step used."""

    def __init__(self) -> None:
        self.used: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        self.used.append(float(optimizer.param_groups[0]["lr"]))


class Recording(GreedyLRTrainer):
    """Keeps the loss of each micro-batch as Trainer returns it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.micro_losses: list[float] = []
        super().__init__(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self.micro_losses.append(loss.item())
        return loss


def test_exported_arguments_make_trainer_do_what_the_preset_does(tmp_path: Path) -> None:
    run: dict[str, Any] = {"learning_rate": 0.02, "total_steps": STEPS}
    preset = replace(load_preset("core"), schedule=LIVELY.schedule)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        keywords = json.loads(exported(preset, "transformers", **run, nearest=True))
    near = nearest_expressible(preset, **run)
    rates = Rates()
    trainer = Trainer(
        model=model(),
        args=arguments(tmp_path, **keywords),
        train_dataset=tokens(64, 1),
        eval_dataset=tokens(8, 2),
        callbacks=[rates],
    )
    trainer.train()

    resolved = near.preset.resolve(**run, steps_per_evaluation=near.steps_per_evaluation)
    controller = RateController(resolved.schedule, [0.02])
    expected = []
    for entry in trainer.state.log_history:
        if "eval_loss" in entry:
            expected.append(controller.learning_rates[0])
            controller.observe(entry["eval_loss"])
    assert len(expected) == STEPS
    assert rates.used == expected
    assert len(set(expected)) > 5


def trained(folder: Path, rates: Rates, *, resume: str | None = None, **changes: Any) -> Recording:
    trainer = Recording(
        model=model(),
        args=arguments(folder, max_steps=STEPS, learning_rate=0.01, **changes),
        train_dataset=tokens(72, 1),
        callbacks=[rates],
        preset=LIVELY,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("accumulation", [1, 4])
def test_trainer_steps_on_the_training_loss_of_each_optimizer_step(tmp_path: Path, accumulation: int) -> None:
    # 18 micro-batches an epoch: with 4 a step the last step of an epoch has 2.
    rates = Rates()
    trainer = trained(tmp_path, rates, gradient_accumulation_steps=accumulation)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == STEPS == len(rates.used)

    controller = RateController(LIVELY.schedule.resolve(STEPS), [0.01])
    expected = []
    micro = iter(trainer.micro_losses)
    for step in range(STEPS):
        last_of_epoch = accumulation == 4 and step % 5 == 4
        loss = torch.zeros(())
        for _ in range(2 if last_of_epoch else accumulation):
            loss = loss + next(micro)
        assert loss.item() == pytest.approx(losses[step], rel=1e-3)
        expected.append(controller.learning_rates[0])
        controller.observe(loss.item())
    assert next(micro, None) is None
    assert rates.used == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 8


def test_trainer_resumes_exactly(tmp_path: Path) -> None:
    whole, rest = Rates(), Rates()
    saving = {"save_strategy": "steps", "save_steps": 9, "gradient_accumulation_steps": 2}
    first = trained(tmp_path / "whole", whole, **saving)
    again = trained(tmp_path / "again", rest, resume=str(tmp_path / "whole" / "checkpoint-9"), **saving)
    assert rest.used == whole.used[9:]
    assert again.lr_scheduler.state_dict() == first.lr_scheduler.state_dict()
    assert again.micro_losses == first.micro_losses[18:]


RESTORING = replace(
    LIVELY,
    schedule=replace(
        LIVELY.schedule,
        probe=Probe(share=0.2, lowest=0.1, highest=1000.0, turn=0.1),
        rollback=Rollback(guard=0.02, limit=99),
    ),
)


class Spoiled(Recording):
    """Its loss is NaN once."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        if self.state.global_step == 60:
            self.lr_scheduler.add(loss * math.nan, completes_step=True)
        return loss


def restoring_run(
    folder: Path, rates: Rates, kinds: list[str], resume: str | None = None, snapshots: Any = "device"
) -> Recording:
    def listen(scheduler: GreedyLR) -> None:
        scheduler.on_change = lambda decision: kinds.append(decision.kind)

    trainer = Spoiled(
        model=model(),
        args=arguments(folder, max_steps=100, learning_rate=0.001, save_strategy="steps", save_steps=8),
        train_dataset=tokens(72, 1),
        callbacks=[rates],
        preset=RESTORING,
        on_scheduler=listen,
        snapshots=snapshots,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("snapshots", ["device", "host"])
def test_trainer_with_probe_and_rollback_resumes_exactly(tmp_path: Path, snapshots: Any) -> None:
    rates, kinds = Rates(), list[str]()
    whole = restoring_run(tmp_path / "whole", rates, kinds, snapshots=snapshots)
    assert kinds.count("probe") == 1
    assert "rollback" in kinds
    swept = whole.lr_scheduler.scheduler.controller.swept_steps
    # In the sweep, and after bests.
    assert 8 < swept < 48
    for stop in (8, 48):
        rest = Rates()
        checkpoint = str(tmp_path / "whole" / f"checkpoint-{stop}")
        again = restoring_run(tmp_path / f"again-{stop}", rest, [], resume=checkpoint, snapshots=snapshots)
        assert rest.used == rates.used[stop:]
        assert again.micro_losses == whole.micro_losses[stop:]
        for name, weight in again.model.state_dict().items():
            assert torch.equal(weight, whole.model.state_dict()[name])


def test_recommended_rate_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    rates = Rates()
    GreedyLRTrainer(
        model=model(),
        args=arguments(tmp_path, max_steps=STEPS, learning_rate=0.5),
        train_dataset=tokens(64, 1),
        callbacks=[rates],
        preset=replace(LIVELY, schedule=Schedule(rule=LIVELY.schedule.rule)),
        use_learning_rate=True,
    ).train()
    assert rates.used[0] == 0.02


def test_trainer_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"steps on the training loss, and the signal .* is validation_loss"):
        GreedyLRTrainer(model=model(), args=arguments(tmp_path), preset=replace(LIVELY, signal="validation_loss"))
    optimizer = torch.optim.SGD(model().parameters(), lr=0.1)
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer)
    with pytest.raises(ValueError, match=r"optimizers must hold no scheduler"):
        GreedyLRTrainer(model=model(), args=arguments(tmp_path), preset=LIVELY, optimizers=(optimizer, constant))


DISTRIBUTED = """
import json, sys
import torch
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments
from greedylr.huggingface import GreedyLRTrainer
from greedylr.preset import Preset

folder = sys.argv[1]
preset = Preset.from_json(open(folder + "/preset.json").read())
torch.manual_seed(0)
config = GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=32, n_positions=8, bos_token_id=0, eos_token_id=0)
rows = torch.randint(0, 32, (64, 8), generator=torch.Generator().manual_seed(1))
arguments = TrainingArguments(
    folder, per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=20, learning_rate=0.01,
    use_cpu=True, ddp_backend="gloo", report_to="none", disable_tqdm=True, save_strategy="no",
)
rates, losses = [], []

class Recording(GreedyLRTrainer):
    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        losses.append(loss.item())
        return loss

def listen(scheduler):
    scheduler.on_decision = lambda decision: rates.append(decision.new_rates[0])

trainer = Recording(
    model=GPT2LMHeadModel(config), args=arguments, train_dataset=[{"input_ids": row, "labels": row} for row in rows],
    preset=preset, on_scheduler=listen,
)
trainer.train()
with open(f"{folder}/trainer-{arguments.process_index}.json", "w") as file:
    json.dump({"rates": rates, "losses": losses, "steps": trainer.lr_scheduler.scheduler.controller.step_count}, file)
"""


ACCELERATE = """
import json, sys
import torch
from accelerate import Accelerator
from greedylr.huggingface import OncePerStep
from greedylr.preset import Preset

folder, wrapped = sys.argv[1], sys.argv[2] == "wrapped"
preset = Preset.from_json(open(folder + "/preset.json").read())
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
once = OncePerStep(preset.scheduler(optimizer, 20), optimizer)
model, optimizer = accelerator.prepare(model, optimizer)
scheduler = accelerator.prepare_scheduler(once) if wrapped else once
generator = torch.Generator().manual_seed(accelerator.process_index)  # each rank sees another loss
rates = []
for _ in range(40):
    inputs = torch.randn(8, 4, generator=generator)
    with accelerator.accumulate(model):
        loss = ((model(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
        accelerator.backward(loss)
        optimizer.step()
        scheduler.step(loss)
        optimizer.zero_grad()
    rates.append(once.get_last_lr()[0])
with open(f"{folder}/{sys.argv[2]}-{accelerator.process_index}.json", "w") as file:
    json.dump({"rates": rates, "steps": once.scheduler.controller.step_count, "of": accelerator.num_processes}, file)
"""


def launched(program: str, folder: Path, kind: str) -> list[dict[str, Any]]:
    """What two processes of the program wrote."""
    (folder / "preset.json").write_text(LIVELY.to_json())
    script = folder / "train.py"
    script.write_text(program)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    root = Path(__file__).parents[2]
    subprocess.run(
        [*launch, str(script), str(folder), kind],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=240,
    )
    return [json.loads((folder / f"{kind}-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("kind", ["wrapped", "bare"])
def test_accelerate_with_two_processes_counts_each_optimizer_step_once(tmp_path: Path, kind: str) -> None:
    first, second = launched(ACCELERATE, tmp_path, kind)
    assert (first["steps"], first["of"]) == (20, 2)
    assert first == second
    # Changed by optimizer steps, which are every second micro-batch, alone.
    assert first["rates"][0] == LIVELY.schedule.resolve(20).envelope_multiplier(0) * 0.01
    assert all(before == after for before, after in zip(first["rates"][1::2], first["rates"][2::2], strict=False))
    assert len(set(first["rates"])) > 8


def test_trainer_with_two_processes_keeps_one_rate(tmp_path: Path) -> None:
    first, second = launched(DISTRIBUTED, tmp_path, "trainer")
    assert first["steps"] == second["steps"] == 20
    assert first["losses"] != second["losses"]
    assert first["rates"] == second["rates"]
    assert len(set(first["rates"])) > 5
