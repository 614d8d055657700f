"""Presets: a schedule with its recommended starting rate, where it comes from, and the verdict it was given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from greedylr.preset_migrations import SCHEMA_VERSION, require_schema_version, to_present_schema
from greedylr.resolved_preset import ResolvedPreset, resolved_preset
from greedylr.rule import require_choice, require_count, require_kind, require_number
from greedylr.schedules import Schedule
from greedylr.snapshots import SnapshotPlace
from greedylr.strict_json import decode, encode, parse
from greedylr.verdict import Verdict

if TYPE_CHECKING:
    from torch.nn import Module

    from greedylr.parameter_groups import HasParameterGroups
    from greedylr.scheduler import GreedyLR, Listener

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
    learning_rate_source
        Where the recommended starting rate comes from; empty where there is none.
    history_fingerprint
        Hash of the histories that it was learned from; empty for a bundled one.
    runs
        Number of runs it was learned from.
    created_at
        ISO 8601 time, UTC; empty for a bundled one.
    greedylr_version
        Version of this library.
    optimizer, task, parameters, batch_size
        Of the training that it is for: such as "sgd", a few words, weights of the model, examples a step. Empty, or
        None, where they are not known. `greedylr.suggest_preset` compares them.
    """

    group: str = ""
    origin: str
    learning_rate_source: str = ""
    history_fingerprint: str = ""
    runs: int = 0
    created_at: str = ""
    greedylr_version: str
    optimizer: str = ""
    task: str = ""
    parameters: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        require_count("runs", self.runs, minimum=0)
        texts = ("group", "origin", "learning_rate_source", "history_fingerprint", "created_at", "greedylr_version")
        for name in (*texts, "optimizer", "task"):
            require_kind(name, getattr(self, name), str, "leave it empty where it is not known")
        for name in ("parameters", "batch_size"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name), minimum=1)


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
        require_kind("name", self.name, str, "name it in words")
        require_kind("schedule", self.schedule, Schedule, "read a preset's JSON with Preset.from_json")
        require_kind("provenance", self.provenance, Provenance, "Provenance(origin=..., greedylr_version=...)")
        require_kind("verdict", self.verdict, (Verdict, type(None)), "leave it out where there is none")
        if not self.name:
            raise ValueError("name must not be empty")
        if self.schedule.rule is None:
            raise ValueError("a preset needs a rule, got none; a schedule without one is a control")
        if self.learning_rate is not None:
            require_learning_rate(self.learning_rate)
        require_schema_version(self.schema_version)
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version of a preset in memory must be {SCHEMA_VERSION}, got {self.schema_version!r}; read an "
                "older document with Preset.from_json"
            )

    @property
    def content_hash(self) -> str:
        """Name of the preset for machines: `content_hash` of its schedule, rate and signal."""
        return content_hash(self.schedule, self.learning_rate, self.signal)

    def resolve(self, learning_rate: float, total_steps: int, *, steps_per_evaluation: int = 1) -> ResolvedPreset:
        """Return what the preset does in one run: its bounds as rates, its lengths in evaluations.

        Parameters
        ----------
        learning_rate
            > 0, the starting rate.
        total_steps
            Planned length of the run in optimizer steps.
        steps_per_evaluation
            Optimizer steps between two losses that are handed over.

        Raises
        ------
        ValueError
            If this cannot work: fewer evaluations than patience needs, a factor under 0.5 (or one that would have to
            be, since losses come rarer than the preset decides), a starting rate outside bounds that are rates.
        """
        require_learning_rate(learning_rate)
        return resolved_preset(self, learning_rate, total_steps, steps_per_evaluation=steps_per_evaluation)

    def scheduler(
        self,
        optimizer: HasParameterGroups,
        total_steps: int,
        *,
        steps_per_evaluation: int = 1,
        use_learning_rate: bool = False,
        explore: int | None = None,
        on_change: Listener | None = None,
        model: Module | None = None,
        snapshots: SnapshotPlace = "device",
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
        explore, on_change, model, snapshots
            As in `GreedyLR`: a preset with a probe or a rollback needs the model.

        Raises
        ------
        ValueError
            As `resolve`, or if a rate is asked for that the preset does not have; the optimizer is as it was then.
        """
        from greedylr.parameter_groups import parameter_groups, read_rate
        from greedylr.scheduler import GreedyLR, PresetIdentity

        groups = parameter_groups(optimizer)
        for group in groups:
            require_learning_rate(read_rate(group))
        if use_learning_rate and self.learning_rate is None:
            raise ValueError(f"preset {self.name!r} recommends no starting rate; set the optimizer's lr yourself")
        first = read_rate(groups[0])
        start = self.learning_rate if use_learning_rate and self.learning_rate is not None else first
        resolved = self.resolve(start, total_steps, steps_per_evaluation=steps_per_evaluation)
        if use_learning_rate:
            for group in groups:
                # Not in place (groups may share one tensor), and in this order, so that the first is the rate exactly.
                group["lr"] = group["lr"] / first * start
        identity = PresetIdentity(name=self.name, content_hash=self.content_hash)
        return GreedyLR(
            optimizer,
            resolved.schedule,
            explore=explore,
            on_change=on_change,
            preset=identity,
            model=model,
            snapshots=snapshots,
        )

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
        require_kind(
            "a preset's JSON", text, str, "of plain builtins take Preset.from_dict, of a file Preset.from_file"
        )
        return cls.from_dict(parse(text))

    @classmethod
    def from_dict(cls, value: Any) -> Preset:
        """Return the preset of plain builtins; errors as `from_json`."""
        if isinstance(value, Mapping):
            # Before the fields: those of a newer schema are not known here.
            value = to_present_schema(dict(value))
        return decode(cls, value)

    @classmethod
    def from_file(cls, path: Path) -> Preset:
        """Return the preset of a JSON file; errors as `from_json`, with the file's name."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise ValueError(f"{path} cannot be read as a preset: {error}") from error


def _with_one_spelling(value: Any) -> Any:
    """Return plain builtins in which equal numbers are spelt alike: a whole float becomes an integer."""
    if isinstance(value, dict):
        return {key: _with_one_spelling(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_one_spelling(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def content_hash(schedule: Schedule, learning_rate: float | None, signal: Signal = "training_loss") -> str:
    """Return 16 hexadecimal digits of the SHA-256 of what a preset does; its name and its evidence do not count."""
    encoded = encode(schedule)
    # Left out where there is none, so that presets from before there were any keep their names.
    encoded = {name: item for name, item in encoded.items() if item is not None or name not in ("probe", "rollback")}
    content = _with_one_spelling({"schedule": encoded, "learning_rate": encode(learning_rate), "signal": signal})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def require_learning_rate(learning_rate: float) -> None:
    """Raise ValueError unless the rate is a finite number above 0."""
    require_number("learning_rate", learning_rate, minimum=0.0)
    if learning_rate == 0:
        raise ValueError("learning_rate must be > 0, got 0; with a rate of 0 nothing is ever learned")
