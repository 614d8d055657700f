"""What a proof on a budget trains, in the order of what decides most; nothing is trained here.

The verdict rests on the primary cell: the incumbent, else cosine, against the preset. It comes first, at rates that are
usual. Then the rate of the control is tuned, since a control at a poor rate is easily beaten; then the primary cell
gets more seeds while it is undecided. What is left goes to other controls, to other starting rates, and to more seeds
for those. What does not fit into the rest of a budget is left out, and something smaller may take its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from models.cells import Region, region_of
from models.fresh_comparison import PRESET
from models.looks import LOOKS, next_look
from models.tuned_controls import TUNING_POINTS, TUNING_SEEDS

LEAST_TRAININGS = 2 * LOOKS[0]

# Nearest to the usual rate first, and too low before too high, as people err.
OTHER_MULTIPLES = (1 / 3, 3.0, 1 / 9, 9.0, 1 / 27)

StepKind = Literal["primary cell", "tuning", "more seeds", "control", "starting rate"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a proof may spend; it never begins what it cannot finish.

    Parameters
    ----------
    trainings, device_seconds
        At least one of them; both hold where both are given.

    Raises
    ------
    ValueError
        For a budget that leaves no verdict.
    """

    trainings: int | None = None
    device_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trainings is None and self.device_seconds is None:
            raise ValueError("a budget limits trainings or device-seconds, got neither; give one")
        if self.trainings is not None and self.trainings < LEAST_TRAININGS:
            raise ValueError(
                f"a verdict takes at least {LEAST_TRAININGS} runs ({LOOKS[0]} paired seeds of two schedules), got a "
                f"budget of {self.trainings}; allow {LEAST_TRAININGS}"
            )
        if self.device_seconds is not None and not self.device_seconds > 0:
            raise ValueError(f"a budget of device-seconds must be > 0, got {self.device_seconds!r}")

    def affords(self, trainings: int, seconds: float) -> bool:
        """Say whether so many trainings, taking so many device-seconds, lie within it; all that was spent counts."""
        return (self.trainings is None or trainings <= self.trainings) and (
            self.device_seconds is None or seconds <= self.device_seconds
        )


@dataclass(frozen=True)
class Pair:
    """A preset and a control to be compared, each at its rate."""

    control: str
    preset_rate: float
    control_rate: float
    region: Region

    @property
    def sides(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Names and rates of both, as keys."""
        return (PRESET, f"{self.preset_rate:.9e}"), (self.control, f"{self.control_rate:.9e}")


@dataclass(frozen=True)
class Looked:
    """How far a pair was compared."""

    seeds: int
    decided: bool


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to train.

    Parameters
    ----------
    kind
        Why.
    pair, seeds
        What is compared, with how many paired seeds in all; None and 0 for tuning.
    trainings
        How many it takes, at most.
    """

    kind: StepKind
    pair: Pair | None = None
    seeds: int = 0
    trainings: int

    @property
    def label(self) -> str:
        """The step in words."""
        if self.pair is None:
            return "starting rates tuned on search seeds, and the primary cell at them"
        rates = f"at {self.pair.preset_rate:.3g}"
        if self.pair.control_rate != self.pair.preset_rate:
            rates = f"at {self.pair.preset_rate:.3g} against {self.pair.control_rate:.3g}"
        return f"preset against {self.pair.control} {rates}, {self.seeds} paired seeds"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a proof on a budget stands.

    Parameters
    ----------
    primary
        The pair that decides.
    base_rate
        Rate of controls that have none of their own.
    schedules_to_tune
        How many schedules share the tuning: the primary control, and the preset where it has no rate of its own.
    tuned
        Whether that was done; None where it was left out, and stays so.
    rivals
        Rates of those that have one of their own, by name, but for the primary pair's: they come before controls.
    further_controls
        In the order in which they are compared.
    max_seeds
        The last look.
    looked
        What was compared.
    """

    primary: Pair
    base_rate: float
    schedules_to_tune: int
    tuned: bool | None = False
    rivals: Mapping[str, float] = field(default_factory=dict)
    further_controls: Sequence[str] = ()
    max_seeds: int = LOOKS[-1]
    looked: Mapping[Pair, Looked] = field(default_factory=dict)

    def trainings_of(self, pair: Pair, seeds: int) -> int:
        """Return how many trainings bring a pair to so many seeds; what other pairs share with it is there already."""
        trained: dict[tuple[str, str], int] = {}
        for other, looked in self.looked.items():
            for side in other.sides:
                trained[side] = max(trained.get(side, 0), looked.seeds)
        return sum(max(0, seeds - trained.get(side, 0)) for side in pair.sides)


def steps_worth_taking(standing: Standing) -> list[Step]:
    """Return what may still be trained, what decides most first."""
    return list(_steps(standing))


def _steps(standing: Standing) -> Iterator[Step]:
    primary = standing.primary
    if primary not in standing.looked:
        yield _look(standing, "primary cell", primary, LOOKS[0])
        return
    if standing.tuned is False:
        trials = standing.schedules_to_tune * TUNING_POINTS * TUNING_SEEDS
        yield Step(kind="tuning", trainings=trials + LEAST_TRAININGS)
    yield from _more_seeds(standing, [primary])
    others = list(_others(standing))
    for kind, pair in others:
        if pair not in standing.looked:
            yield _look(standing, kind, pair, LOOKS[0])
    yield from _more_seeds(standing, [pair for _, pair in others])


def _others(standing: Standing) -> Iterator[tuple[StepKind, Pair]]:
    own_rate = standing.primary.preset_rate
    for name, rate in standing.rivals.items():
        yield "control", Pair(name, own_rate, rate, "own rate")
    for name in standing.further_controls:
        yield "control", Pair(name, own_rate, standing.base_rate, "own rate")
    for multiple in OTHER_MULTIPLES:
        yield "starting rate", _from(standing.base_rate * multiple, standing.primary.control, multiple)


def _from(rate: float, control: str, multiple: float) -> Pair:
    return Pair(control, rate, rate, region_of(multiple))


def _more_seeds(standing: Standing, pairs: Sequence[Pair]) -> Iterator[Step]:
    for pair in pairs:
        looked = standing.looked.get(pair)
        if looked is not None and not looked.decided:
            seeds = next_look(looked.seeds)
            if seeds is not None and seeds <= standing.max_seeds:
                yield _look(standing, "more seeds", pair, seeds)


def _look(standing: Standing, kind: StepKind, pair: Pair, seeds: int) -> Step:
    return Step(kind=kind, pair=pair, seeds=seeds, trainings=standing.trainings_of(pair, seeds))


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step with its expected cost, and whether the budget reaches it."""

    step: Step
    seconds: float
    within: bool


def expected_steps(standing: Standing, budget: Budget, seconds_each: float) -> list[PlannedStep]:
    """Return the steps that a proof takes if no look decides anything, and those that do not fit.

    Parameters
    ----------
    standing
        Before anything was trained.
    budget
        What may be spent.
    seconds_each
        Expected device-seconds of a training.
    """
    planned: list[PlannedStep] = []
    left_out: set[Step] = set()
    spent = 0
    while worth := [step for step in steps_worth_taking(standing) if step not in left_out]:
        step = worth[0]
        within = budget.affords(spent + step.trainings, (spent + step.trainings) * seconds_each)
        planned.append(PlannedStep(step=step, seconds=step.trainings * seconds_each, within=within))
        if within:
            spent += step.trainings
            standing = _after(standing, step)
        else:
            left_out.add(step)
            if step.kind == "tuning":
                standing = replace(standing, tuned=None)
    return planned


def _after(standing: Standing, step: Step) -> Standing:
    if step.pair is None:
        return replace(standing, tuned=True)
    return replace(standing, looked={**standing.looked, step.pair: Looked(step.seeds, decided=False)})


@dataclass(frozen=True, kw_only=True)
class StepTaken:
    """A step of a proof on a budget, and what it cost."""

    step: Step
    trainings: int
    device_seconds: float


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What became of a budget.

    Parameters
    ----------
    budget
        As it was given.
    taken, left_out
        Steps that were trained, and steps that did not fit into what was left.
    preset_tuned
        Whether the preset's rate was tuned as the control's.
    remark
        What the verdict lacks: a control that was not tuned, runs that would decide it. Empty where it lacks nothing.
    """

    budget: Budget
    taken: tuple[StepTaken, ...]
    left_out: tuple[Step, ...]
    preset_tuned: bool
    remark: str
