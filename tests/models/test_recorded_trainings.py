"""A preset against itself from recorded runs, through the whole procedures."""

import numpy as np
import pytest

from greedylr.schedules import CONTROLS
from models.budget_plan import Budget
from models.budgeted_proof import prove_within_budget
from models.contenders import contenders
from models.proving import prove_preset
from models.recorded_trainings import RecordedTrainings
from models.results import Results
from models.retraining.job import Configuration
from tests.models.loss_table import HALF, NAIVE, made, plan

RATES = [0.1 * HALF**place for place in range(-4, 5)]
TRIALS = 60
# Of 60 trials 5 % are 3; more than 9 come by chance 1 time in 1,000.
ALLOWED = 9


def recorded(spread: float = 0.03) -> Results:
    """Forty runs at each of nine rates, best at 0.1."""
    rows = [(rate, seed) for rate in RATES for seed in range(40)]
    generator = np.random.default_rng(3)
    losses = np.array([0.5 + 0.3 * np.log10(rate / 0.1) ** 2 for rate, _ in rows])
    return Results(
        schedule=np.array(["robust"] * len(rows)),
        starting_rate=np.array([rate for rate, _ in rows]),
        seed=np.array([seed for _, seed in rows]),
        selection_loss=losses + generator.normal(0.0, spread, len(rows)),
        reporting_loss=losses + generator.normal(0.0, spread, len(rows)),
        diverged=np.zeros(len(rows), bool),
    )


def configuration(name: str, rate: float) -> Configuration:
    return Configuration(name=name, schedule=CONTROLS["cosine"], learning_rate=rate)


def losses(purpose: str, name: str, rate: float, *, trial: int = 1) -> list[float]:
    train = RecordedTrainings(recorded(), NAIVE, trial)
    return train(purpose, [configuration(name, rate)], range(5)).results.reporting_loss.tolist()


def test_on_test_seeds_each_side_draws_runs_of_its_own_at_the_nearest_recorded_rate() -> None:
    table = recorded()
    near = set(table.reporting_loss[table.rows("robust", RATES[4])].tolist())
    preset, cosine = losses("test", "preset", 0.11), losses("test", "cosine", 0.09)
    assert set(preset) | set(cosine) <= near
    assert preset != cosine
    assert losses("test", "preset", 0.11) == preset
    assert losses("test", "preset", 0.11, trial=2) != preset


def test_on_search_seeds_a_schedule_and_itself_are_the_same_run() -> None:
    assert losses("tuning", "preset", 0.1) == losses("tuning", "cosine", 0.1)


@pytest.mark.parametrize("trainings", [10, 80])
def test_a_preset_against_itself_on_a_budget_is_rarely_better_or_worse(trainings: int) -> None:
    table, chosen = recorded(), contenders(["cosine"])
    verdicts = [
        prove_within_budget(
            made()[0],
            RecordedTrainings(table, NAIVE, trial),
            plan(contenders=chosen),
            Budget(trainings=trainings),
            seconds_each=1.0,
        ).verdict.verdict
        for trial in range(TRIALS)
    ]
    assert sum(verdict in ("better", "worse") for verdict in verdicts) <= ALLOWED


def test_a_preset_against_itself_through_the_full_procedure_is_rarely_better_or_worse() -> None:
    table, chosen = recorded(), contenders(["cosine"])
    proofs = [
        prove_preset(made()[0], RecordedTrainings(table, NAIVE, trial), plan(contenders=chosen))
        for trial in range(TRIALS)
    ]
    assert all(proof.winner.learning_rate == proof.base_rate for proof in proofs)
    assert sum(proof.verdict.verdict in ("better", "worse") for proof in proofs) <= ALLOWED
