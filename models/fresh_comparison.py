"""The comparison of a preset with frozen controls on fresh test seeds, look by look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from greedylr.preset import content_hash
from greedylr.schedules import Schedule
from models.cells import Cell, needs_more_seeds
from models.common_grid import at_rates
from models.comparison import MULTIPLES, compare
from models.looks import LOOKS
from models.results import Results, concatenate
from models.retraining.job import Configuration
from models.seeds import derive_seeds
from models.training_account import Account
from models.tuned_controls import TunedControls

PRESET = "preset"
TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A control with a rate of its own that is not tuned: the incumbent, or the reigning champion."""

    schedule: Schedule
    learning_rate: float


def fresh_seeds(preset: Configuration, attempt: int, count: int) -> list[int]:
    """Return fresh seeds: others for each preset and each attempt at proving it."""
    hashed = content_hash(preset.schedule, preset.learning_rate)
    return derive_seeds("test", hashed, str(attempt), count=count)


def compared(
    train: Account,
    preset: Configuration,
    controls: TunedControls,
    rivals: Mapping[str, Rival],
    *,
    attempt: int,
    max_seeds: int,
    max_trainings: int,
) -> list[Cell]:
    """Compare at each starting rate and at own rates, with more seeds where a look left a cell open.

    Parameters
    ----------
    train
        Does the training.
    preset
        Called `PRESET`, at its own rate.
    controls, rivals
        What it is compared with.
    attempt, max_seeds, max_trainings
        As in `models.proving.Plan`.
    """
    seeds = fresh_seeds(preset, attempt, max_seeds)
    wanted = _all_configurations(preset, controls, rivals)
    looks = [look for look in LOOKS if look <= max_seeds]
    parts: list[Results] = []
    for start, look in zip([0, *looks], looks, strict=False):
        if parts and train.trainings + len(wanted) * (look - start) > max_trainings:
            break
        parts.append(train(TEST, wanted, seeds[start:look]).results)
        cells = _cells(concatenate(parts), preset, controls, rivals)
        wanted = _still_open(wanted, cells)
        if not wanted:
            break
    return cells


def expected_test(controls: int, *, rivals: int, seeds: int) -> int:
    """Return how many trainings a comparison takes with so many seeds, where nothing is decided sooner.

    A schedule whose tuned rate is one of the comparison's starting rates takes fewer.
    """
    # Each at every starting rate and at its own; cosine's own is one of them by definition.
    return ((controls + 1) * (len(MULTIPLES) + 1) - 1 + rivals) * seeds


def _all_configurations(
    preset: Configuration, controls: TunedControls, rivals: Mapping[str, Rival]
) -> list[Configuration]:
    rates = [controls.base_rate * multiple for multiple in MULTIPLES]
    everything = [
        preset,
        *(controls.contenders[name].configuration(name, rate) for name, rate in controls.rates.items()),
        *(
            Configuration(name=name, schedule=rival.schedule, learning_rate=rival.learning_rate)
            for name, rival in rivals.items()
        ),
        *(replace(preset, learning_rate=rate) for rate in rates),
        *at_rates(controls.contenders, rates),
    ]
    # A tuned rate is often one of the multiples; trained once, it serves both cells.
    return list({(each.name, f"{each.learning_rate:.9e}"): each for each in everything}.values())


def _cells(results: Results, preset: Configuration, controls: TunedControls, rivals: Mapping[str, Rival]) -> list[Cell]:
    cells = compare(
        results,
        preset=preset.name,
        preset_rate=preset.learning_rate,
        control_rates=controls.rates,
        base_rate=controls.base_rate,
        scale=controls.scale,
    )
    if rivals:
        cells += compare(
            results,
            preset=preset.name,
            preset_rate=preset.learning_rate,
            control_rates={name: rival.learning_rate for name, rival in rivals.items()},
            base_rate=controls.base_rate,
            scale=controls.scale,
            multiples=(),
        )
    return cells


def _still_open(configurations: Sequence[Configuration], cells: Sequence[Cell]) -> list[Configuration]:
    """Return the configurations of cells that another look may decide."""
    needed: set[tuple[str, str]] = set()
    for cell in cells:
        if needs_more_seeds(cell) is not None:
            needed |= {(PRESET, f"{cell.starting_rate:.9e}"), (cell.control, f"{cell.control_rate:.9e}")}
    return [each for each in configurations if (each.name, f"{each.learning_rate:.9e}") in needed]
