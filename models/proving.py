"""The proof of a preset on one workload: rates tuned, candidates raced, the winner compared on fresh seeds.

What is trained how often, and what may be looked at when: docs/method.md, section 6. The training itself is handed in,
so that the procedure is the same for batched replicas, a user's own workload and an arithmetic table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from greedylr.preset import Candidate, content_hash
from greedylr.schedules import CONTROLS, PRIMARY_CONTROL, Schedule
from greedylr.verdict import Verdict
from models.budget_plan import Spending
from models.candidates import COUNT
from models.cells import Cell
from models.comparison import mean_regret, preset_verdict
from models.contenders import CONTROL_CONTENDERS, Contender
from models.fresh_comparison import PRESET, TEST, Rival, compared, expected_test
from models.looks import LOOKS
from models.racing import RACE_MULTIPLES, Race, plan_rounds, race
from models.racing import Train as TrainCandidates
from models.regret import RegretScale
from models.results import Results, concatenate
from models.retraining.job import Configuration
from models.training_account import Account, Train
from models.tuned_controls import (
    SEARCH_SEEDS,
    TunedControls,
    expected_tuning,
    search_seeds,
    tuned_controls,
    tuned_like_controls,
)
from models.upper_bound import bounded

CHAMPION = "champion"


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
    """A proved preset.

    Parameters
    ----------
    winner
        What was compared, with the starting rate at which it was.
    base_rate, control_rates
        Cosine's tuned rate, and that of each control.
    scale
        Of regret.
    cells, verdict
        Of the comparison on test seeds.
    mean_regrets
        Of the preset (`PRESET`) and of each control over the starting rates of the comparison, the same for all; none
        in a proof on a budget, which does not train them all.
    race
        With its account; None where there was one preset to prove.
    results
        All trainings by purpose: "broad tuning", "tuning", "reference", "race", "test".
    device_seconds, trainings
        What all of it cost.
    spending
        What became of the budget, where it was a proof on one.
    """

    winner: Candidate
    base_rate: float
    control_rates: Mapping[str, float]
    scale: RegretScale
    cells: tuple[Cell, ...]
    verdict: Verdict
    mean_regrets: Mapping[str, float]
    race: Race[Candidate] | None
    results: Mapping[str, Results]
    device_seconds: float
    trainings: int
    spending: Spending | None = None


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
    controls = tuned_controls(account, plan.contenders, plan.usual_rate, plan.group)
    if not plan.own_workload:
        candidates = [_from_rate_of_stand_in(candidate, controls.base_rate) for candidate in candidates]
    # The race reads the selection loss on the scale of the reporting loss: both splits are drawn from the same data.
    outcome = race(candidates, _racing(account), search_seeds(plan.group), scale=controls.scale)
    winner = _with_tuned_rate(account, outcome.survivors[0], controls, plan)
    return _proved(account, winner, controls, plan, outcome)


def prove_preset(preset: Candidate, train: Train, plan: Plan, *, keep_rate: bool = False) -> Proof:
    """Put one preset to the proof: as `prove`, without a race.

    Parameters
    ----------
    preset
        What is proved. On a stand-in its rate means nothing.
    train, plan
        As for `prove`.
    keep_rate
        Whether it is compared at the rate that it recommends, instead of one that is tuned as the controls' are.

    Raises
    ------
    ValueError
        As `prove`.
    """
    first_look, _ = expected_trainings(
        rivals=len(plan.rivals),
        max_seeds=plan.max_seeds,
        contenders=len(plan.contenders),
        raced=False,
        tuned=not keep_rate,
    )
    account = Account(train, plan.max_trainings - first_look)
    controls = tuned_controls(account, plan.contenders, plan.usual_rate, plan.group)
    if not keep_rate:
        preset = _with_tuned_rate(account, preset, controls, plan)
    return _proved(account, preset, controls, plan, None)


def expected_trainings(
    *, rivals: int, max_seeds: int, contenders: int = len(CONTROLS), raced: bool = True, tuned: bool = True
) -> tuple[int, int]:
    """Return how many trainings a proof takes up to its first look, and up to its last if nothing is decided sooner.

    A schedule whose tuned rate is one of the comparison's starting rates takes fewer. Grids that have to be extended
    come on top: an extension takes three trainings for each schedule and rate.

    Parameters
    ----------
    rivals, contenders
        Number of them.
    max_seeds
        The last look.
    raced, tuned
        Whether candidates are raced, and whether the rate of what is proved is tuned.
    """
    rounds = plan_rounds(COUNT, range(SEARCH_SEEDS)) if raced else []
    racing = sum(each.entrants * len(each.seeds) for each in rounds) * len(RACE_MULTIPLES)
    before = expected_tuning(contenders, presets=int(tuned)) + racing
    first, last = (expected_test(contenders, rivals=rivals, seeds=seeds) for seeds in (LOOKS[0], max_seeds))
    return before + first, before + last


def _proved(
    account: Account, winner: Candidate, controls: TunedControls, plan: Plan, outcome: Race[Candidate] | None
) -> Proof:
    cells = compared(
        account,
        Configuration(name=PRESET, schedule=winner.schedule, learning_rate=winner.learning_rate),
        controls,
        true_rivals(plan, winner),
        attempt=plan.attempt,
        max_seeds=plan.max_seeds,
        max_trainings=plan.max_trainings,
    )
    results = {purpose: concatenate(parts) for purpose, parts in account.parts.items()}
    return Proof(
        winner=winner,
        base_rate=controls.base_rate,
        control_rates=controls.rates,
        scale=controls.scale,
        cells=tuple(cells),
        verdict=preset_verdict(
            cells,
            workload=plan.workload,
            own_workload=plan.own_workload,
            attempt=plan.attempt,
            device_seconds=account.device_seconds,
        ),
        mean_regrets={
            name: mean_regret(results[TEST], name, base_rate=controls.base_rate, scale=controls.scale)
            for name in (PRESET, *controls.rates)
        },
        race=outcome,
        results=results,
        device_seconds=account.device_seconds,
        trainings=account.trainings,
    )


def true_rivals(plan: Plan, winner: Candidate) -> dict[str, Rival]:
    """Return the rivals that are not what is proved; none on a stand-in, where their rates mean nothing."""
    if not plan.own_workload:
        return {}
    hashed = content_hash(winner.schedule, winner.learning_rate)
    return {
        name: rival
        for name, rival in plan.rivals.items()
        if content_hash(rival.schedule, rival.learning_rate) != hashed
    }


def _with_tuned_rate(account: Account, preset: Candidate, controls: TunedControls, plan: Plan) -> Candidate:
    def schedule_at(rate: float) -> Schedule:
        # From a higher rate fewer multiples of it are stable, and each trial is one of what would be the preset.
        return bounded(preset.schedule, rate, plan.largest_stable_rate)

    rate = tuned_like_controls(account, preset.name, schedule_at, controls.grid, plan.group)
    return replace(preset, learning_rate=rate, schedule=schedule_at(rate))


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
