"""Templates of commands: split once, filled per argument."""

from pathlib import Path

import pytest

from pipeline.training_command import TrainingCommand, names_steps, split_command


def command(template: str, steps: int | None = None) -> TrainingCommand:
    return TrainingCommand(template=template, metric="loss", steps=steps)


def test_an_argument_stays_one_whatever_is_filled_in() -> None:
    given = command("python 'my train.py' --seed={seed} --lr {learning_rate} {schedule} --steps {steps}", 200)
    path = Path("/data/a b; rm -rf $HOME/'it'/schedule.json")
    assert given.arguments(seed=7, learning_rate=1e-05, schedule=path) == [
        "python",
        "my train.py",
        "--seed=7",
        "--lr",
        "1e-05",
        "/data/a b; rm -rf $HOME/'it'/schedule.json",
        "--steps",
        "200",
    ]


def test_a_rate_is_handed_over_exactly() -> None:
    rate = 0.1 / 3
    (_, told, _, _) = command("t {learning_rate} {seed} {schedule}").arguments(
        seed=1, learning_rate=rate, schedule=Path("s")
    )
    assert float(told) == rate


def test_doubled_braces_are_single_ones() -> None:
    given = command("""train '{{"seed": {seed}}}' {schedule}""")
    assert given.arguments(seed=3, learning_rate=0.1, schedule=Path("s.json"))[1] == '{"seed": 3}'


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("train {seed}", r"a command needs \{schedule\}, got 'train \{seed\}'"),
        ("train", r"a command needs \{seed\} and \{schedule\}"),
        ("", r"a command needs \{seed\} and \{schedule\}"),
        ("train {seed} {schedule} {rate}", r"a placeholder must be one of \{seed\}, .*, got '\{rate\}'"),
        ("train {seed} {schedule.parent}", "a placeholder must be one of"),
        ("train {seed!r} {schedule}", "a placeholder must be one of"),
        ("train {seed:03} {schedule}", "a placeholder must be one of"),
        ("train {seed} {schedule} {", "Single '{'"),
        ("train {seed} {schedule} 'half", "No closing quotation"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_command(template)


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("python train.py --seed {seed} {schedule}", "python train.py"),
        ("python -m team.train --seed {seed} {schedule}", "python -m team.train"),
        ("./train {seed} {schedule}", "./train"),
        ("/opt/team/.venv/bin/python code/train.py {seed} {schedule}", "python code/train.py"),
    ],
)
def test_a_command_is_shown_by_its_program_and_script(template: str, shown: str) -> None:
    assert command(template).shown() == shown


def test_a_template_says_whether_it_takes_steps() -> None:
    assert names_steps("t {seed} {schedule} --max-steps={steps}")
    assert not names_steps("t {seed} {schedule} --note {{steps}}")


def test_results_are_read_from_the_metric_where_nothing_else_is_named() -> None:
    assert command("t {seed} {schedule}").reported == "loss"
    apart = TrainingCommand(template="t {seed} {schedule}", metric="val_loss", report_metric="test_loss")
    assert apart.reported == "test_loss"
