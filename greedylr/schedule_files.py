"""A schedule by file: a preset or a named control, so that one training command can run under either.

A preset is its own file (`Preset.to_json`). A control is `{"schema_version": 1, "control": "cosine"}`, with
`"learning_rate": 0.1` where it has a tuned rate to start from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from greedylr.parameter_groups import HasParameterGroups, parameter_groups, read_rate
from greedylr.preset import Preset, require_learning_rate
from greedylr.rule import require_choice, require_kind
from greedylr.scheduler import GreedyLR
from greedylr.schedules import NAMED_CONTROLS
from greedylr.snapshots import SnapshotPlace
from greedylr.strict_json import decode, encode, parse, shorten

if TYPE_CHECKING:
    from torch.nn import Module

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class NamedControl:
    """One of the fixed or simple schedules that presets are compared with.

    Parameters
    ----------
    control
        A name in `greedylr.schedules.NAMED_CONTROLS`.
    learning_rate
        > 0, the rate to start from; None takes the optimizer's.
    """

    schema_version: int = SCHEMA_VERSION
    control: str
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version must be {SCHEMA_VERSION}, got {shorten(self.schema_version)}; a file of a newer "
                "schema needs a newer greedylr: pip install --upgrade greedylr"
            )
        require_choice("control", self.control, tuple(NAMED_CONTROLS))
        if self.learning_rate is not None:
            require_learning_rate(self.learning_rate)


class LoadedSchedule(Protocol):
    """What `load_schedule` gives, a preset or a control."""

    @property
    def name(self) -> str:
        """The preset's name, or the control's."""

    @property
    def learning_rate(self) -> float | None:
        """The rate to start from, if the file says one."""

    def attach(
        self,
        optimizer: HasParameterGroups,
        total_steps: int,
        *,
        steps_per_evaluation: int = 1,
        use_learning_rate: bool = False,
        model: Module | None = None,
        snapshots: SnapshotPlace = "device",
    ) -> GreedyLR:
        """Return the scheduler of a training of `total_steps` optimizer steps.

        Call `scheduler.step(loss)` as for any preset; a control that does not look at the loss ignores it. With
        `use_learning_rate` the training starts from the file's rate; groups keep their ratios to the first. `model` and
        `snapshots` are for presets that restore weights, as in `GreedyLR`.

        Raises
        ------
        ValueError
            As `Preset.scheduler`.
        """


@dataclass(frozen=True)
class LoadedPreset:
    """A `LoadedSchedule` that is a preset."""

    preset: Preset

    @property
    def name(self) -> str:
        """The preset's name."""
        return self.preset.name

    @property
    def learning_rate(self) -> float | None:
        """The recommended starting rate."""
        return self.preset.learning_rate

    def attach(
        self,
        optimizer: HasParameterGroups,
        total_steps: int,
        *,
        steps_per_evaluation: int = 1,
        use_learning_rate: bool = False,
        model: Module | None = None,
        snapshots: SnapshotPlace = "device",
    ) -> GreedyLR:
        """As `LoadedSchedule.attach`."""
        return self.preset.scheduler(
            optimizer,
            total_steps,
            steps_per_evaluation=steps_per_evaluation,
            use_learning_rate=use_learning_rate,
            model=model,
            snapshots=snapshots,
        )


@dataclass(frozen=True)
class LoadedControl:
    """A `LoadedSchedule` that is a named control."""

    control: NamedControl

    @property
    def name(self) -> str:
        """The control's name."""
        return self.control.control

    @property
    def learning_rate(self) -> float | None:
        """The rate that the file says."""
        return self.control.learning_rate

    def attach(
        self,
        optimizer: HasParameterGroups,
        total_steps: int,
        *,
        steps_per_evaluation: int = 1,
        use_learning_rate: bool = False,
        model: Module | None = None,
        snapshots: SnapshotPlace = "device",
    ) -> GreedyLR:
        """As `LoadedSchedule.attach`."""
        schedule = NAMED_CONTROLS[self.name].resolve(total_steps, steps_per_evaluation=steps_per_evaluation)
        groups = parameter_groups(optimizer)
        for group in groups:
            require_learning_rate(read_rate(group))
        if use_learning_rate:
            if self.learning_rate is None:
                raise ValueError(f"control {self.name!r} comes with no starting rate; set the optimizer's lr yourself")
            first = read_rate(groups[0])
            for group in groups:
                # Not in place (groups may share one tensor), and in this order, so that the first is the rate exactly.
                group["lr"] = group["lr"] / first * self.learning_rate
        return GreedyLR(optimizer, schedule)


def as_loaded(schedule: Preset | LoadedSchedule) -> LoadedSchedule:
    """Return a preset as its file would give it, and what a file gave as it is."""
    return LoadedPreset(schedule) if isinstance(schedule, Preset) else schedule


def load_schedule(path: str | Path) -> LoadedSchedule:
    """Return the schedule of a JSON file, to be attached to an optimizer.

    Raises
    ------
    ValueError
        For a file that cannot be read, or that is neither a preset nor a control, with its path and the field's.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "schedule.json"
    >>> write_schedule(path, NamedControl(control="cosine"))
    >>> load_schedule(path).name
    'cosine'
    """
    require_kind("path", path, (str, Path), "name the JSON file of a preset or a control")
    path = Path(path)
    try:
        value = parse(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and "control" in value:
            if "schema_version" not in value:
                raise ValueError("$.schema_version is missing")
            return LoadedControl(decode(NamedControl, value))
        return LoadedPreset(Preset.from_dict(value))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a preset or a control: {error}") from error


def write_schedule(path: str | Path, schedule: Preset | NamedControl) -> None:
    """Write a file that `load_schedule` reads."""
    if not isinstance(schedule, Preset | NamedControl):
        raise ValueError(f"schedule must be a Preset or a NamedControl, got {shorten(schedule)}; name a control by one")
    text = schedule.to_json() if isinstance(schedule, Preset) else json.dumps(encode(schedule), indent=2) + "\n"
    Path(path).write_text(text, encoding="utf-8")
