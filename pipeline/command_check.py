"""Whether a command keeps the little that its comparison rests on, seen from one run and its repetition."""

from __future__ import annotations

from pipeline.command_runs import CommandRun
from pipeline.errors import CommandFailedError
from pipeline.logged_losses import LoggedLoss
from pipeline.training_command import TrainingCommand

# Sums in another order differ by this; a training that does not follow its seed differs by far more.
SAME_LOSS = 1e-6


def require_contract(command: TrainingCommand, run: CommandRun) -> None:
    """Raise unless a run at a usual rate ended well, logged finite losses, at least two each, and learned.

    Raises
    ------
    CommandFailedError
        Naming what is broken.
    """
    shown = command.shown()
    if run.failure:
        raise CommandFailedError(f"{shown} {run.failure}")
    if run.diverged_step is not None:
        raise CommandFailedError(
            f"{shown} must survive at its usual rate, but diverged at step {run.diverged_step}; "
            "give the group a lower learning_rate"
        )
    for name, loss in ((command.metric, run.selection), (command.reported, run.reporting)):
        assert loss is not None  # a run that did not fail has both
        _require_learned(shown, name, loss, command)


def repetition_remark(command: TrainingCommand, run: CommandRun, again: CommandRun) -> str:
    """Return what there is to say of a run and the same run once more; "" where the seed decides everything.

    Raises
    ------
    CommandFailedError
        If the repetition failed.
    """
    if again.failure:
        raise CommandFailedError(f"{command.shown()} {again.failure}")
    assert run.reporting is not None and again.reporting is not None
    first, second = run.reporting.last, again.reporting.last
    if first is not None and second is not None and abs(first - second) <= SAME_LOSS * max(abs(first), abs(second)):
        return ""
    return (
        f"{command.shown()} gave {command.reported} {_told(first, command)} and then {_told(second, command)} with one "
        "seed and one schedule: its pairs are not exact, and more seeds are needed; let {seed} fix initial weights and "
        "order of the data"
    )


def _require_learned(shown: str, name: str, loss: LoggedLoss, command: TrainingCommand) -> None:
    if loss.count < 2:
        raise CommandFailedError(
            f"{shown} must log {name} at least twice, got one value; the first, best before any step, tells what it is "
            "to have learned nothing"
        )
    assert loss.last is not None
    if loss.first is not None and not loss.last < loss.first:
        better = "below" if command.mode == "min" else "above"
        raise CommandFailedError(
            f"{shown} must end with {name} {better} its first value (mode = {command.mode!r}), got "
            f"{_told(loss.first, command)} and at last {_told(loss.last, command)}; name another metric, mode or "
            "learning_rate, or train longer"
        )


def _told(loss: float | None, command: TrainingCommand) -> str:
    """Return a loss as it was logged."""
    if loss is None:
        return "nothing finite"
    return f"{loss if command.mode == 'min' else -loss:.9g}"
