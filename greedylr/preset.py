"""Presets: a schedule with its recommended starting rate, where it comes from, and the verdict it was given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from greedylr.rule import require_choice, require_count, require_number
from greedylr.schedules import Schedule
from greedylr.strict_json import decode, encode, parse, shorten
from greedylr.verdict import Verdict

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from greedylr.scheduler import GreedyLR

SCHEMA_VERSION = 1
Signal = Literal["training_loss", "validation_loss"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A preset that has not been put to the proof: a schedule, the rate it should start from, and who proposed it."""

    name: str
    schedule: Schedule
    learning_rate: float
    origin: str

    def __post_init__(self) -> None:
        require_learning_rate(self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a preset comes from.

    Parameters
    ----------
    group
        The group of runs it was made for; empty for a bundled one.
    origin
        What proposed it.
    history_fingerprint
        Hash of the histories that it was learned from; empty for a bundled one.
    runs
        Number of runs it was learned from.
    created_at
        ISO 8601 time, UTC; empty for a bundled one.
    greedylr_version
        Version of this library.
    """

    group: str = ""
    origin: str
    history_fingerprint: str = ""
    runs: int = 0
    created_at: str = ""
    greedylr_version: str

    def __post_init__(self) -> None:
        require_count("runs", self.runs, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a training job loads.

    Parameters
    ----------
    name
        Its name, for people; the content hash names it for machines.
    schedule
        Envelope and rule, in shares of the run and multiples of the starting rate.
    learning_rate
        > 0, the recommended starting rate; None where nothing is known of the workload.
    signal
        The loss to hand to `scheduler.step`.
    provenance, verdict
        Where it comes from, and what its retraining showed; no verdict, no proof.
    """

    name: str
    schedule: Schedule
    learning_rate: float | None = None
    signal: Signal = "training_loss"
    provenance: Provenance
    verdict: Verdict | None = None
    schema_version: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        require_choice("signal", self.signal, ("training_loss", "validation_loss"))
        if not self.name:
            raise ValueError("name must not be empty")
        if self.schedule.rule is None:
            raise ValueError("a preset needs a rule, got none; a schedule without one is a control")
        if self.learning_rate is not None:
            require_learning_rate(self.learning_rate)
        _require_schema_version(self.schema_version)

    @property
    def content_hash(self) -> str:
        """Name of the preset for machines: `content_hash` of its schedule, rate and signal."""
        return content_hash(self.schedule, self.learning_rate, self.signal)

    def scheduler(
        self, optimizer: Optimizer, total_steps: int, *, steps_per_evaluation: int = 1, use_learning_rate: bool = False
    ) -> GreedyLR:
        """Return the scheduler of a training of `total_steps` optimizer steps.

        Parameters
        ----------
        optimizer
            Its groups' `lr` are the starting rates.
        total_steps
            Planned length of the run in optimizer steps.
        steps_per_evaluation
            Optimizer steps between two calls of `scheduler.step(loss)`.
        use_learning_rate
            Start from the preset's recommended rate instead of the optimizer's; groups keep their ratios to the first.

        Raises
        ------
        ValueError
            If the run is too short for the rate ever to move, or a rate is asked for that the preset does not have; the
            optimizer is as it was then.
        """
        from greedylr.scheduler import GreedyLR

        schedule = self.schedule.resolve(total_steps, steps_per_evaluation=steps_per_evaluation)
        for group in optimizer.param_groups:
            require_learning_rate(float(group["lr"]))
        if use_learning_rate:
            if self.learning_rate is None:
                raise ValueError(f"preset {self.name!r} recommends no starting rate; set the optimizer's lr yourself")
            first = float(optimizer.param_groups[0]["lr"])
            for group in optimizer.param_groups:
                # Not in place (groups may share one tensor), and in this order, so that the first is the rate exactly.
                group["lr"] = group["lr"] / first * self.learning_rate
        return GreedyLR(optimizer, schedule)

    def with_verdict(self, verdict: Verdict) -> Preset:
        """Return the preset with a verdict."""
        return replace(self, verdict=verdict)

    def to_json(self) -> str:
        """Return the preset as JSON, all fields written out."""
        return json.dumps(encode(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Preset:
        """Return the preset of a JSON text.

        Raises
        ------
        ValueError
            For anything that is not a preset of this schema, with the path of the field at fault.
        """
        return cls.from_dict(parse(text))

    @classmethod
    def from_dict(cls, value: Any) -> Preset:
        """Return the preset of plain builtins; errors as `from_json`."""
        if isinstance(value, Mapping):
            if "schema_version" not in value:
                raise ValueError("$.schema_version is missing; this is no GreedyLR preset")
            # Before the fields: those of a newer schema are not known here.
            _require_schema_version(value["schema_version"])
        return decode(cls, value)

    @classmethod
    def from_file(cls, path: Path) -> Preset:
        """Return the preset of a JSON file; errors as `from_json`, with the file's name."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise ValueError(f"{path} cannot be read as a preset: {error}") from error


def _require_schema_version(version: object) -> None:
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version must be {SCHEMA_VERSION}, got {shorten(version)}; a preset of a newer schema "
            "needs a newer greedylr: pip install --upgrade greedylr"
        )


def _with_one_spelling(value: Any) -> Any:
    """Return plain builtins in which equal numbers are spelt alike: a whole float becomes an integer."""
    if isinstance(value, dict):
        return {key: _with_one_spelling(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_one_spelling(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def content_hash(schedule: Schedule, learning_rate: float | None, signal: Signal = "training_loss") -> str:
    """Return 16 hexadecimal digits of the SHA-256 of what a preset does; its name and its evidence do not count."""
    content = _with_one_spelling(encode({"schedule": schedule, "learning_rate": learning_rate, "signal": signal}))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def require_learning_rate(learning_rate: float) -> None:
    """Raise ValueError unless the rate is a finite number above 0."""
    require_number("learning_rate", learning_rate, minimum=0.0)
    if learning_rate == 0:
        raise ValueError("learning_rate must be > 0, got 0; with a rate of 0 nothing is ever learned")
