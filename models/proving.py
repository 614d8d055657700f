"""The proof of a preset on one workload: rates tuned, candidates raced, the winner compared on fresh seeds.

What is trained how often, and what may be looked at when: docs/method.md, section 6. The training itself is handed in,
so that the procedure is the same for batched replicas, a user's own workload and an arithmetic table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from greedylr.preset import Candidate, content_hash
from greedylr.schedules import CONTROLS, PRIMARY_CONTROL, Schedule
from greedylr.verdict import Verdict
from models.candidates import COUNT
from models.cells import Cell, needs_more_seeds
from models.common_grid import at_rates, tuned_on_grid, tuned_rates
from models.comparison import MULTIPLES, compare, mean_regret, preset_verdict
from models.contenders import CONTROL_CONTENDERS, Contender
from models.looks import LOOKS
from models.racing import RACE_MULTIPLES, Race, plan_rounds, race
from models.racing import Train as TrainCandidates
from models.regret import RegretScale
from models.results import Results, concatenate
from models.retraining.job import Configuration
from models.seeds import derive_seeds
from models.training_account import Account, Train
from models.tuning import rate_grid
from models.upper_bound import bounded

PRESET = "preset"
TEST = "test"
CHAMPION = "champion"

SEARCH_SEEDS = 7
TUNING_SEEDS = 3
REFERENCE_SEEDS = 3
BROAD_POINTS = 9
BROAD_SEEDS = 2
TUNING_POINTS = 5


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A control with a rate of its own that is not tuned: the incumbent, or the reigning champion."""

    schedule: Schedule
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a proof may use.

    Parameters
    ----------
    group
        Its name; search and reference seeds are derived from it.
    workload, own_workload
        What is retrained, and whether it is the group's own or a stand-in. On a stand-in the group's rates mean
        nothing: candidates start from the stand-in's tuned rate, and rivals are left out.
    attempt
        How often a preset of the group has been put to the proof, this time included.
    usual_rate
        > 0, a rate near which the workload trains.
    largest_stable_rate
        > 0: the winner's rule does not raise its rate above it (`models.upper_bound`); None where it is not known.
    rivals
        By name: `models.comparison.INCUMBENT`, `CHAMPION`. One that is what the winner is (the champion again) is left
        out: nothing is compared with itself.
    contenders
        By name, what the preset is compared with at rates tuned for each; `PRIMARY_CONTROL` is one of them.
    max_seeds
        The last look, one of 5, 10, 20.
    max_trainings
        At least `expected_trainings` up to the first look. No grid is extended, and no further look begun, that would
        lead beyond it.
    """

    group: str
    workload: str
    own_workload: bool
    attempt: int
    usual_rate: float
    largest_stable_rate: float | None = None
    rivals: Mapping[str, Rival]
    contenders: Mapping[str, Contender] = field(default_factory=lambda: CONTROL_CONTENDERS)
    max_seeds: int = LOOKS[-1]
    max_trainings: int

    def __post_init__(self) -> None:
        if PRIMARY_CONTROL not in self.contenders:
            raise ValueError(
                f"contenders must hold {PRIMARY_CONTROL!r}, around whose tuned rate all starting rates lie, got "
                f"{', '.join(map(repr, self.contenders)) or 'none'}; add it, from models.contenders.CONTENDERS"
            )


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A proved candidate.

    Parameters
    ----------
    winner
        With the starting rate that was tuned for it.
    base_rate, control_rates
        Cosine's tuned rate, and that of each control.
    cells, verdict
        Of the comparison on test seeds.
    mean_regrets
        Of the preset (`PRESET`) and of each control over the starting rates of the comparison, the same for all.
    race
        With its account.
    results
        All trainings by purpose: "broad tuning", "tuning", "reference", "race", "test".
    device_seconds, trainings
        What all of it cost.
    """

    winner: Candidate
    base_rate: float
    control_rates: Mapping[str, float]
    scale: RegretScale
    cells: tuple[Cell, ...]
    verdict: Verdict
    mean_regrets: Mapping[str, float]
    race: Race[Candidate]
    results: Mapping[str, Results]
    device_seconds: float
    trainings: int


def prove(candidates: Sequence[Candidate], train: Train, plan: Plan) -> Proof:
    """Tune the controls, race the candidates, tune the winner as the controls were, and compare it on fresh seeds.

    Raises
    ------
    ValueError
        If cosine survives at no rate, or training does not beat the untrained workload.
    """
    first_look, _ = expected_trainings(
        rivals=len(plan.rivals), max_seeds=plan.max_seeds, contenders=len(plan.contenders)
    )
    account = Account(train, plan.max_trainings - first_look)
    search = derive_seeds("search", plan.group, count=SEARCH_SEEDS)
    primary = {PRIMARY_CONTROL: plan.contenders[PRIMARY_CONTROL]}
    broad, _ = tuned_on_grid(
        account, "broad tuning", primary, rate_grid(plan.usual_rate, BROAD_POINTS), search[:BROAD_SEEDS]
    )
    grid = rate_grid(broad[PRIMARY_CONTROL], TUNING_POINTS)
    control_rates, grid = tuned_on_grid(account, "tuning", plan.contenders, grid, search[:TUNING_SEEDS])
    centre = control_rates[PRIMARY_CONTROL]
    scale = _scale(
        account, plan.contenders, control_rates, derive_seeds("reference", plan.group, count=REFERENCE_SEEDS)
    )
    if not plan.own_workload:
        candidates = [_from_rate_of_stand_in(candidate, centre) for candidate in candidates]
    # The race reads the selection loss on the scale of the reporting loss: both splits are drawn from the same data.
    outcome = race(candidates, _racing(account), search, scale=scale)
    winner = _with_tuned_rate(account, outcome.survivors[0], grid, search[:TUNING_SEEDS], plan.largest_stable_rate)
    plan = replace(plan, rivals=_true_rivals(plan, winner))
    cells = _compared(account, winner, control_rates, centre, scale, plan)
    verdict = preset_verdict(
        cells,
        workload=plan.workload,
        own_workload=plan.own_workload,
        attempt=plan.attempt,
        device_seconds=account.device_seconds,
    )
    results = {purpose: concatenate(parts) for purpose, parts in account.parts.items()}
    return Proof(
        winner=winner,
        base_rate=centre,
        control_rates=control_rates,
        scale=scale,
        cells=tuple(cells),
        verdict=verdict,
        mean_regrets={
            name: mean_regret(results[TEST], name, base_rate=centre, scale=scale) for name in (PRESET, *control_rates)
        },
        race=outcome,
        results=results,
        device_seconds=account.device_seconds,
        trainings=account.trainings,
    )


def expected_trainings(*, rivals: int, max_seeds: int, contenders: int = len(CONTROLS)) -> tuple[int, int]:
    """Return how many trainings a proof takes up to its first look, and up to its last if nothing is decided sooner.

    A schedule whose tuned rate is one of the comparison's starting rates takes fewer. Grids that have to be extended
    come on top: an extension takes three trainings for each schedule and rate.
    """
    search = range(SEARCH_SEEDS)
    raced = sum(each.entrants * len(each.seeds) for each in plan_rounds(COUNT, search)) * len(RACE_MULTIPLES)
    tuning = BROAD_POINTS * BROAD_SEEDS + (contenders + 1) * TUNING_POINTS * TUNING_SEEDS
    # Each at every starting rate and at its own; cosine's own is one of them by definition.
    compared = (contenders + 1) * (len(MULTIPLES) + 1) - 1 + rivals
    before = tuning + contenders * REFERENCE_SEEDS + raced
    return before + compared * LOOKS[0], before + compared * max_seeds


def _scale(
    train: Account, contenders: Mapping[str, Contender], control_rates: Mapping[str, float], seeds: Sequence[int]
) -> RegretScale:
    configurations = [contenders[name].configuration(name, rate) for name, rate in control_rates.items()]
    made = train("reference", configurations, seeds)
    losses = [
        float(np.mean(loss))
        for name, rate in control_rates.items()
        if np.isfinite(loss := made.results.reporting_loss[made.results.rows(name, rate)]).all()
    ]
    if not losses:
        raise ValueError(
            "a reference needs a control that survives at its tuned rate with every reference seed, got none of "
            f"{len(control_rates)}; the workload is unstable near its best rates"
        )
    return RegretScale(reference=min(losses), naive=made.naive_loss)


def _from_rate_of_stand_in(candidate: Candidate, rate: float) -> Candidate:
    source = candidate.origin.partition(";")[0]
    return replace(candidate, learning_rate=rate, origin=f"{source}; raced from the tuned rate of the stand-in")


def _racing(train: Account) -> TrainCandidates[Candidate]:
    def trained(
        candidates: Sequence[Candidate], starting_rate_multiples: Sequence[float], seeds: Sequence[int]
    ) -> Results:
        configurations = [
            Configuration(name=each.name, schedule=each.schedule, learning_rate=each.learning_rate * multiple)
            for each in candidates
            for multiple in starting_rate_multiples
        ]
        return train("race", configurations, seeds).results

    return trained


def _with_tuned_rate(
    train: Account,
    winner: Candidate,
    grid: Sequence[float],
    seeds: Sequence[int],
    largest_stable_rate: float | None,
) -> Candidate:
    """Give the winner as many trials for its rate as each control had, at the same rates.

    The grid is not extended for its sake: where its best rate lies on the edge, that is to its disadvantage.
    """
    # From a higher rate fewer multiples of it are stable, and each trial is one of what would be the preset.
    schedules = {rate: bounded(winner.schedule, rate, largest_stable_rate) for rate in grid}
    configurations = [
        Configuration(name=winner.name, schedule=schedule, learning_rate=rate) for rate, schedule in schedules.items()
    ]
    rate = tuned_rates(train("tuning", configurations, seeds).results)[winner.name]
    return replace(winner, learning_rate=rate, schedule=bounded(winner.schedule, rate, largest_stable_rate))


def _true_rivals(plan: Plan, winner: Candidate) -> dict[str, Rival]:
    if not plan.own_workload:
        return {}
    hashed = content_hash(winner.schedule, winner.learning_rate)
    return {
        name: rival
        for name, rival in plan.rivals.items()
        if content_hash(rival.schedule, rival.learning_rate) != hashed
    }


def _compared(
    train: Account,
    winner: Candidate,
    control_rates: Mapping[str, float],
    base_rate: float,
    scale: RegretScale,
    plan: Plan,
) -> list[Cell]:
    preset = Configuration(name=PRESET, schedule=winner.schedule, learning_rate=winner.learning_rate)
    hashed = content_hash(winner.schedule, winner.learning_rate)
    seeds = derive_seeds("test", hashed, str(plan.attempt), count=plan.max_seeds)
    wanted = _all_configurations(preset, control_rates, base_rate, plan)
    looks = [look for look in LOOKS if look <= plan.max_seeds]
    parts: list[Results] = []
    for start, look in zip([0, *looks], looks, strict=False):
        if parts and train.trainings + len(wanted) * (look - start) > plan.max_trainings:
            break
        parts.append(train(TEST, wanted, seeds[start:look]).results)
        cells = _cells(concatenate(parts), preset, control_rates, base_rate, scale, plan)
        wanted = _still_open(wanted, cells)
        if not wanted:
            break
    return cells


def _all_configurations(
    preset: Configuration, control_rates: Mapping[str, float], base_rate: float, plan: Plan
) -> list[Configuration]:
    rates = [base_rate * multiple for multiple in MULTIPLES]
    everything = [
        preset,
        *(plan.contenders[name].configuration(name, rate) for name, rate in control_rates.items()),
        *(
            Configuration(name=name, schedule=rival.schedule, learning_rate=rival.learning_rate)
            for name, rival in plan.rivals.items()
        ),
        *(replace(preset, learning_rate=rate) for rate in rates),
        *at_rates(plan.contenders, rates),
    ]
    # A tuned rate is often one of the multiples; trained once, it serves both cells.
    return list({(each.name, f"{each.learning_rate:.9e}"): each for each in everything}.values())


def _cells(
    results: Results,
    preset: Configuration,
    control_rates: Mapping[str, float],
    base_rate: float,
    scale: RegretScale,
    plan: Plan,
) -> list[Cell]:
    cells = compare(
        results,
        preset=preset.name,
        preset_rate=preset.learning_rate,
        control_rates=control_rates,
        base_rate=base_rate,
        scale=scale,
    )
    if plan.rivals:
        cells += compare(
            results,
            preset=preset.name,
            preset_rate=preset.learning_rate,
            control_rates={name: rival.learning_rate for name, rival in plan.rivals.items()},
            base_rate=base_rate,
            scale=scale,
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
