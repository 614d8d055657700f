"""The preset nearest to a training, by the little that is known of both.

Distance = weighted mean of the distances of the descriptors that were asked for, each in [0, 1]; a descriptor that a
preset does not tell counts 1/2, neither near nor far. The weights are our judgement and not learned: no experiment says
yet how far presets carry from one training to another. So a suggestion says how sure it is, and is rarely sure.

What a registered preset tells of itself stands in its version's tags `greedylr.optimizer`, `greedylr.task`,
`greedylr.parameters` and `greedylr.batch_size`: registration writes what its proof knew, and anyone may set them.
Without them the name of its group speaks for the first two. The bundled presets were made for no training in particular
and tell nothing.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from greedylr.lookup import bundled_presets, load_preset
from greedylr.registry import OPTIMIZERS, PLAIN_OPTIMIZERS, SCALING_OPTIMIZERS, PresetRow, registered_presets
from greedylr.rule import require_count

Confidence = Literal["low", "medium", "high"]

WEIGHTS = {"optimizer": 0.4, "task": 0.3, "parameters": 0.2, "batch_size": 0.1}
UNKNOWN = 0.5
SAME_KIND_OF_OPTIMIZER = 0.4
# Factors at which two sizes are as far apart as sizes can be.
FAR_PARAMETERS, FAR_BATCH_SIZE = 1000.0, 100.0

PROVED = ("better", "non-inferior")
# Between presets equally near: what is proved, then what is not, then what was put to the proof and failed to show it.
ORDER_OF_VERDICTS = ("better", "non-inferior", "", "undecided")
FIRST_OF_THE_BUNDLED = "robust"


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A preset and how near it is.

    Parameters
    ----------
    address
        What `load_preset` takes.
    distance
        In [0, 1]; 0 where everything asked for is the same.
    confidence
        "low" unless the preset is proved and at least two descriptors could be compared.
    reason
        What was compared, in words.
    row
        The preset as a listing shows it.
    """

    address: str
    distance: float
    confidence: Confidence
    reason: str
    row: PresetRow


def suggest_preset(
    *,
    optimizer: str | None = None,
    task: str | None = None,
    parameters: int | None = None,
    batch_size: int | None = None,
    registry_uri: str | None = None,
) -> Suggestion:
    """Return the preset nearest to a training; arguments and errors as `ranked_presets`."""
    return ranked_presets(
        optimizer=optimizer, task=task, parameters=parameters, batch_size=batch_size, registry_uri=registry_uri
    )[0]


def ranked_presets(
    *,
    optimizer: str | None = None,
    task: str | None = None,
    parameters: int | None = None,
    batch_size: int | None = None,
    registry_uri: str | None = None,
) -> list[Suggestion]:
    """Return the bundled and registered presets, the nearest first.

    Of the registered versions the champions and candidates count; one that proved worse than what it was to replace is
    left out.

    Parameters
    ----------
    optimizer
        Such as "sgd" or "AdamW".
    task
        A few words; those that it shares with a preset's bring them near.
    parameters, batch_size
        > 0: weights of the model, and examples a step.
    registry_uri
        The MLflow registry; by default what the environment names, and the bundled presets alone where it names none.

    Raises
    ------
    ValueError
        If nothing is told of the training, or a descriptor is out of its range.
    PresetNotFoundError, RegistryUnavailableError
        If the registry is not there, or does not answer.
    """
    wanted = {
        name: value for name, value in _wanted(optimizer, task, parameters, batch_size).items() if value is not None
    }
    if not wanted:
        raise ValueError(f"a suggestion needs at least one of {', '.join(WEIGHTS)}, got none")
    rows = [bundled_row(name) for name in bundled_presets()]
    if registry_uri or os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI"):
        rows += _suggestible(registered_presets(registry_uri))
    return sorted((_suggestion(row, wanted) for row in rows), key=_order)


def bundled_row(name: str) -> PresetRow:
    """Return a bundled preset as a listing shows it."""
    preset = load_preset(name)
    return PresetRow(
        name=name,
        version="",
        aliases=(),
        verdict="" if preset.verdict is None else preset.verdict.verdict,
        own_workload=None,
        learning_rate=preset.learning_rate,
        created="",
        content_hash=preset.content_hash,
        address=name,
    )


def _wanted(
    optimizer: str | None, task: str | None, parameters: int | None, batch_size: int | None
) -> dict[str, str | int | None]:
    for name, text in (("optimizer", optimizer), ("task", task)):
        if text is not None and (not isinstance(text, str) or not _words(text)):
            raise ValueError(f"{name} must have a word in it, got {text!r}; leave it out where it is unknown")
    for name, count in (("parameters", parameters), ("batch_size", batch_size)):
        if count is not None:
            require_count(name, count, minimum=1)
    return {"optimizer": optimizer, "task": task, "parameters": parameters, "batch_size": batch_size}


def _suggestible(rows: list[PresetRow]) -> list[PresetRow]:
    """Return one row for each champion and candidate, addressed by its alias; without those proved worse."""
    return [
        replace(row, address=f"models:/{row.name}@{alias}")
        for row in rows
        if row.verdict != "worse"
        for alias in ("champion", "candidate")
        if alias in row.aliases and not (alias == "candidate" and "champion" in row.aliases)
    ]


def _suggestion(row: PresetRow, wanted: Mapping[str, str | int]) -> Suggestion:
    known = {name: value for name in wanted if (value := getattr(row, name))}
    distances = {name: DISTANCES[name](wanted[name], value) for name, value in known.items()}
    weight = sum(WEIGHTS[name] for name in wanted)
    distance = sum(WEIGHTS[name] * distances.get(name, UNKNOWN) for name in wanted) / weight
    return Suggestion(
        address=row.address,
        distance=distance,
        confidence=_confidence(row, compared=len(known), distance=distance),
        reason=_reason(row, wanted, known, distances),
        row=row,
    )


def _confidence(row: PresetRow, *, compared: int, distance: float) -> Confidence:
    if row.verdict not in PROVED or compared < 2 or distance > 0.3:
        return "low"
    return "high" if row.own_workload and compared >= 3 and distance <= 0.1 else "medium"


def _reason(
    row: PresetRow, wanted: Mapping[str, str | int], known: Mapping[str, str | int], distances: Mapping[str, float]
) -> str:
    if row.version == "":
        return "bundled, for no training in particular; nothing is proved of it"
    parts = [f"{LABELS[name]} {_short(known[name])} {_nearness(distances[name], wanted[name])}" for name in known]
    if unknown := [LABELS[name] for name in wanted if name not in known]:
        parts.append(f"{' and '.join(unknown)} unknown")
    where = "its own workload" if row.own_workload else "a reference workload"
    return "; ".join([*parts, f"{row.verdict} on {where}" if row.verdict else "nothing is proved of it"])


def _nearness(distance: float, wanted: str | int) -> str:
    if distance == 0:
        return "as asked"
    return f"{'near' if distance <= UNKNOWN else 'far from'} {_short(wanted)}"


def _order(suggestion: Suggestion) -> tuple[float, int, bool, str]:
    verdict = suggestion.row.verdict
    place = ORDER_OF_VERDICTS.index(verdict) if verdict in ORDER_OF_VERDICTS else len(ORDER_OF_VERDICTS)
    return (round(suggestion.distance, 9), place, suggestion.address != FIRST_OF_THE_BUNDLED, suggestion.address)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]+", text.lower()))


def _optimizer_distance(wanted: str, found: str) -> float:
    names = {_optimizer_name(wanted), _optimizer_name(found)}
    if len(names) == 1:
        return 0.0
    return SAME_KIND_OF_OPTIMIZER if names <= PLAIN_OPTIMIZERS or names <= SCALING_OPTIMIZERS else 1.0


def _optimizer_name(text: str) -> str:
    """Return "adamw" for "AdamW", "Adam-W" and "torch.optim.AdamW"; of an unknown name its letters and digits."""
    squeezed = re.sub(r"[\W_]", "", text.lower())
    known = (word for word in re.findall(r"[^\W_]+", text.lower()) if word in OPTIMIZERS)
    return squeezed if squeezed in OPTIMIZERS else next(known, squeezed)


def _task_distance(wanted: str, found: str) -> float:
    one, other = _words(wanted), _words(found)
    return 1.0 - len(one & other) / len(one | other)


def _parameters_distance(wanted: int, found: int) -> float:
    return min(1.0, abs(math.log(wanted / found)) / math.log(FAR_PARAMETERS))


def _batch_size_distance(wanted: int, found: int) -> float:
    return min(1.0, abs(math.log(wanted / found)) / math.log(FAR_BATCH_SIZE))


def _short(value: str | int) -> str:
    if isinstance(value, str):
        return value
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= 10 * size or (value >= size and value % size == 0):
            return f"{value / size:.3g} {unit}"
    return str(value)


DISTANCES: Mapping[str, Callable[..., float]] = {
    "optimizer": _optimizer_distance,
    "task": _task_distance,
    "parameters": _parameters_distance,
    "batch_size": _batch_size_distance,
}
LABELS = {"optimizer": "optimizer", "task": "task", "parameters": "parameters", "batch_size": "batch size"}
