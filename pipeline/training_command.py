"""A user's training command: its template, and the arguments of one run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Literal

Mode = Literal["min", "max"]

PLACEHOLDERS = ("seed", "learning_rate", "schedule", "steps")
# Without a seed no two runs are a pair, without the schedule's file all of them train alike.
REQUIRED = ("seed", "schedule")


@dataclass(frozen=True, kw_only=True)
class TrainingCommand:
    """How a user's training is started, and which of its logged series tell how it went.

    Parameters
    ----------
    template
        As a shell would take it, but no shell ever sees it: "python train.py --seed {seed} --schedule {schedule}".
    metric
        The series that chooses rates and candidates.
    report_metric
        The series that is reported, of other data; None where there is none, and the result is read from `metric`.
    mode
        Whether the lower or the higher value is better; it holds for both series.
    steps
        Optimizer steps of a run, for `{steps}`; None where the command knows its own length.

    Raises
    ------
    ValueError
        As `split_command`.
    """

    template: str
    metric: str
    report_metric: str | None = None
    mode: Mode = "min"
    steps: int | None = None

    def __post_init__(self) -> None:
        split_command(self.template)

    @property
    def reported(self) -> str:
        """Name of the series that results are read from."""
        return self.report_metric or self.metric

    def arguments(self, *, seed: int, learning_rate: float, schedule: Path) -> list[str]:
        """Return program and arguments of one run."""
        values = {
            "seed": str(seed),
            "learning_rate": repr(learning_rate),
            "schedule": str(schedule),
            "steps": "" if self.steps is None else str(self.steps),
        }
        return [
            "".join(literal + (values[name] if name else "") for literal, name in _parts(argument))
            for argument in split_command(self.template)
        ]

    def shown(self) -> str:
        """Return program and script, for people: the template up to its first option or placeholder."""
        words: list[str] = []
        for argument in split_command(self.template):
            if "{" in argument or (words and argument.startswith("-") and argument != "-m"):
                break
            words.append(argument)
        # Of a program's whole path the name: it goes into verdicts, which travel.
        return " ".join([Path(word).name if Path(word).is_absolute() else word for word in words]) or self.template


def split_command(template: str) -> tuple[str, ...]:
    """Return the arguments of a template, placeholders unfilled.

    It is split before anything is filled in, so that a name or a path with blanks, quotes or semicolons stays one
    argument.

    Raises
    ------
    ValueError
        For quotes that do not close, a placeholder that is not known, or one that is missing.
    """
    arguments = tuple(shlex.split(template))
    found = {name for argument in arguments for _, name in _parts(argument) if name}
    if missing := [name for name in REQUIRED if name not in found]:
        raise ValueError(f"a command needs {' and '.join(f'{{{name}}}' for name in missing)}, got {template!r}")
    return arguments


def names_steps(template: str) -> bool:
    """Say whether a template asks for the number of steps."""
    return any(name == "steps" for argument in split_command(template) for _, name in _parts(argument))


def _parts(argument: str) -> Iterator[tuple[str, str]]:
    """Yield literal text and the placeholder behind it, "" behind the last; doubled braces are single ones."""
    for literal, name, form, conversion in Formatter().parse(argument):
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise ValueError(f"a placeholder must be one of {known}, got {argument!r}; write other braces twice")
        yield literal, name or ""
