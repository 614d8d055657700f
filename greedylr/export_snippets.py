"""Presets as Python that runs: a plain loop, and Lightning. The preset stands in it as a literal, no file is needed."""

from __future__ import annotations

import pprint
from string import Template

from greedylr.preset import Preset
from greedylr.preset_facts import extras
from greedylr.resolved_preset import ResolvedPreset
from greedylr.strict_json import encode

HEADER = Template("""\
# Preset $name, content $hash, for $total_steps steps from a rate of $learning_rate.
# The rate moves between $min_lr and $max_lr, times the envelope. Evaluations between decisions: $interval; evaluations
# in the window that the loss is averaged over: $window. Extras: $extras.
$probed""")
PROBED = "# The probe sweeps beyond these bounds first; then they are as far from the start that it finds.\n"

PLAIN = Template('''\
import torch

from greedylr import Preset

PRESET = Preset.from_dict(
$preset
)
LEARNING_RATE = $learning_rate
TOTAL_STEPS = $total_steps
STEPS_PER_EVALUATION = $steps_per_evaluation


def scheduler_for(optimizer$parameter):
    """Return the scheduler: call its step(loss) after every STEPS_PER_EVALUATION optimizer steps."""
    return PRESET.scheduler(optimizer, TOTAL_STEPS, steps_per_evaluation=STEPS_PER_EVALUATION$keyword)


if __name__ == "__main__":
    # From here on a stand-in that runs: put in your model, data and loss.
    torch.manual_seed(0)
    inputs, weights = torch.randn(256, 8), torch.randn(8, 1)
    targets = inputs @ weights
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    scheduler = scheduler_for(optimizer$parameter)
    losses = []
    for step in range(1, TOTAL_STEPS + 1):
        batch = torch.randint(0, 192, (32,))
        loss = torch.nn.functional.mse_loss(model(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step % STEPS_PER_EVALUATION == 0:
$step
            losses.clear()
    print(f"loss {loss.item():.4g}, rate {scheduler.get_last_lr()[0]:.4g}")
''')
STEP_ON = {
    "training_loss": """\
            scheduler.step(torch.stack(losses).mean())  # the training loss since the last evaluation""",
    "validation_loss": """\
            with torch.no_grad():
                scheduler.step(torch.nn.functional.mse_loss(model(inputs[192:]), targets[192:]))  # validation loss""",
}

LIGHTNING = Template('''\
import torch
from lightning.pytorch import LightningModule, Trainer

from greedylr import Preset
from greedylr.lightning import GreedyLRCallback

PRESET = Preset.from_dict(
$preset
)
LEARNING_RATE = $learning_rate
TOTAL_STEPS = $total_steps
STEPS_PER_EVALUATION = $steps_per_evaluation


def callback():
    """Return the callback for your Trainer; configure_optimizers returns the optimizer alone, with LEARNING_RATE."""
    return GreedyLRCallback(PRESET, total_steps=TOTAL_STEPS, steps_per_evaluation=STEPS_PER_EVALUATION)


class StandIn(LightningModule):
    """A stand-in that runs: put in your module."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 1)

    def training_step(self, batch, batch_index):
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.linear(inputs), targets)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE)


if __name__ == "__main__":
    torch.manual_seed(0)
    inputs = torch.randn(256, 8)
    data = torch.utils.data.TensorDataset(inputs, inputs @ torch.randn(8, 1))
    trainer = Trainer(
        max_steps=TOTAL_STEPS,
        max_epochs=-1,
        callbacks=[callback()],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(StandIn(), torch.utils.data.DataLoader(data, batch_size=32, shuffle=True))
    print(f"rate {trainer.optimizers[0].param_groups[0]['lr']:.4g} after {trainer.global_step} steps")
''')


def python_snippet(preset: Preset, resolved: ResolvedPreset) -> str:
    """Return a program that trains a stand-in with the preset in a plain loop."""
    # The model is what probe and rollback restore; nothing else asks for it.
    parameter, keyword = (", model", ", model=model") if resolved.schedule.restores else ("", "")
    return _filled(PLAIN, preset, resolved, step=STEP_ON[preset.signal], parameter=parameter, keyword=keyword)


def lightning_snippet(preset: Preset, resolved: ResolvedPreset) -> str:
    """Return a program that trains a stand-in with the preset in Lightning.

    Raises
    ------
    ValueError
        If the preset steps on the validation loss.
    """
    require_training_loss(preset, "greedylr.lightning.GreedyLRCallback")
    return _filled(LIGHTNING, preset, resolved)


def require_training_loss(preset: Preset, integration: str) -> None:
    """Raise ValueError unless the preset steps on the training loss, as the integration does."""
    if preset.signal != "training_loss":
        raise ValueError(
            f"{integration} steps on the training loss, and the signal of preset {preset.name!r} is {preset.signal}; "
            "call preset.scheduler(...).step(loss) with that loss yourself, or take another preset"
        )


def _filled(template: Template, preset: Preset, resolved: ResolvedPreset, **more: str) -> str:
    literal = pprint.pformat(encode(preset), width=100, sort_dicts=False)
    # ascii() and repr() keep whatever stands in the preset inside one comment or literal.
    values = {
        "name": ascii(preset.name),
        "hash": resolved.content_hash,
        "min_lr": f"{resolved.min_lr:g}",
        "max_lr": f"{resolved.max_lr:g}",
        "window": str(resolved.window),
        "interval": f"{resolved.schedule.interval}",
        "extras": extras(preset),
        "probed": PROBED if preset.schedule.probe is not None else "",
        "preset": "\n".join(f"    {line}" for line in literal.splitlines()),
        "learning_rate": repr(resolved.learning_rate),
        "total_steps": str(resolved.schedule.total_steps),
        "steps_per_evaluation": str(resolved.schedule.steps_per_evaluation),
        **more,
    }
    return HEADER.substitute(values) + template.substitute(values)
