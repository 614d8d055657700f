"""What a command must keep, judged by one run and its repetition."""

import math
from dataclasses import replace

import pytest

from pipeline.command_check import repetition_remark, require_contract
from pipeline.command_runs import CommandRun
from pipeline.errors import CommandFailedError
from pipeline.logged_losses import LoggedPoint, logged_loss
from pipeline.training_command import Mode, TrainingCommand

COMMAND = TrainingCommand(
    template="python train.py {seed} {schedule}", metric="val_loss", report_metric="test_loss", mode="min"
)
HIGHER = replace(COMMAND, mode="max")


def run(selection: list[float], reporting: list[float], mode: Mode = "min") -> CommandRun:
    first, second = (
        logged_loss([LoggedPoint(step, step, value) for step, value in enumerate(values)], mode)
        for values in (selection, reporting)
    )
    return CommandRun(run_id="1", seconds=1.0, selection=first, reporting=second)


def test_a_command_that_learns_keeps_its_contract() -> None:
    require_contract(COMMAND, run([2.0, 1.0], [2.0, 3.0, 1.9]))
    require_contract(HIGHER, run([0.1, 0.9], [0.1, 0.8], "max"))
    # The first value may be anything: what counts is the last.
    require_contract(COMMAND, run([math.nan, 1.0], [2.0, 1.0]))


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        (
            COMMAND,
            CommandRun(run_id="1", seconds=1.0, failure="ended with exit status 1"),
            "train.py ended with exit sta",
        ),
        (
            COMMAND,
            run([2.0, math.nan], [2.0, 1.0]),
            "train.py must survive at its usual rate, but diverged at step 1; give",
        ),
        (
            COMMAND,
            run([2.0, 1.0], [1.0]),
            "train.py must log test_loss at least twice, got one value; the first, best be",
        ),
        (
            COMMAND,
            run([2.0, 1.0], [2.0, 2.0]),
            r"must end with test_loss below its first value \(mode = 'min'\), got 2 and at last 2; name another",
        ),
        (
            HIGHER,
            run([0.9, 0.1], [0.1, 0.8], "max"),
            r"must end with val_loss above its first value \(mode = 'max'\), got 0.9 and at last 0.1; name",
        ),
    ],
)
def test_a_command_that_breaks_its_contract_is_told_how(
    command: TrainingCommand, given: CommandRun, message: str
) -> None:
    with pytest.raises(CommandFailedError, match=message):
        require_contract(command, given)


def test_a_repetition_within_a_millionth_is_the_same() -> None:
    first = run([2.0, 1.0], [2.0, 1.0])
    assert repetition_remark(COMMAND, first, run([2.0, 1.0], [2.0, 1.0 + 0.9e-6])) == ""
    assert repetition_remark(COMMAND, first, run([2.0, 1.0], [2.0, 1.0 + 1.1e-6])) != ""


def test_a_repetition_that_differs_is_told_in_values_as_they_were_logged() -> None:
    told = repetition_remark(HIGHER, run([0.1, 0.9], [0.1, 0.5], "max"), run([0.1, 0.9], [0.1, 0.25], "max"))
    assert told.startswith("python train.py gave test_loss 0.5 and then 0.25 with one seed and one schedule: its pairs")
    diverged = repetition_remark(COMMAND, run([2.0, 1.0], [2.0, 1.0]), run([2.0, 1.0], [2.0, math.nan]))
    assert "gave test_loss 1 and then nothing finite" in diverged


def test_a_repetition_that_fails_breaks_the_contract() -> None:
    failed = CommandRun(run_id="2", seconds=1.0, failure="was killed by signal 9")
    with pytest.raises(CommandFailedError, match=r"python train\.py was killed by signal 9"):
        repetition_remark(COMMAND, run([2.0, 1.0], [2.0, 1.0]), failed)
