"""The procedure of a proof on an arithmetic table in place of a training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from greedylr.schedules import CONTROLS, RelativeRule
from models.comparison import INCUMBENT
from models.contenders import contenders
from models.fresh_comparison import PRESET, Rival
from models.proving import CHAMPION, Proof, expected_trainings, prove, prove_preset
from models.retraining.job import Configuration
from models.training_account import Trainings
from tests.models.loss_table import HALF, Curve, Table, made, plan


def rates_tried(table: Table, name: str) -> list[float]:
    return sorted(round(each.learning_rate, 9) for each in table.configurations("tuning") if each.name == name)


def own_cell(proof: Proof, control: str) -> str:
    return next(cell.verdict for cell in proof.cells if cell.control == control and cell.region == "own rate")


def test_every_control_and_the_winner_try_the_same_rates_with_the_same_seeds() -> None:
    table = Table()
    proof = prove(made(), table, plan())
    for name in (*CONTROLS, proof.winner.name):
        assert rates_tried(table, name) == [0.01, 0.031622777, 0.1, 0.316227766, 1.0]
    seeds = {asked for purpose, _, asked in table.asked if purpose == "tuning"}
    assert len(seeds) == 1
    assert proof.base_rate == proof.control_rates["cosine"] == pytest.approx(0.1)
    assert proof.control_rates["linear"] == proof.winner.learning_rate == pytest.approx(0.1 * HALF)


def test_the_grid_is_extended_for_all_alike_while_one_optimum_lies_on_its_edge() -> None:
    table = Table(curves={"inverse_sqrt": Curve(best_rate=10.0)})
    proof = prove(made(), table, plan())
    extended = [0.01, 0.031622777, 0.1, 0.316227766, 1.0, 3.16227766, 10.0, 31.6227766]
    for name in (*CONTROLS, proof.winner.name):
        assert rates_tried(table, name) == pytest.approx(extended)
    assert proof.control_rates["inverse_sqrt"] == pytest.approx(10.0)


def test_the_grid_is_laid_around_cosines_rate_wherever_the_usual_rate_was() -> None:
    curves = {name: Curve(best_rate=0.0316) for name in CONTROLS}
    proof = prove(made(), Table(curves=curves), plan(usual_rate=1.0))
    assert proof.base_rate == pytest.approx(1.0 / HALF**3)


def test_test_seeds_serve_nothing_else() -> None:
    table = Table()
    prove(made(), table, plan())
    search, reference, test = (
        table.seeds("broad tuning", "tuning", "race"),
        table.seeds("reference"),
        table.seeds("test"),
    )
    assert (len(search), len(reference)) == (7, 3)
    assert len(test) >= 5
    assert not search & reference and not search & test and not reference & test


def test_each_attempt_and_each_preset_has_test_seeds_of_its_own() -> None:
    tables = [Table(), Table(), Table()]
    prove(made(), tables[0], plan())
    prove(made(), tables[1], plan(attempt=2))
    prove(made(), tables[2], plan(usual_rate=0.11))  # another grid, another rate, another preset
    test = [table.seeds("test") for table in tables]
    assert not test[0] & test[1] and not test[0] & test[2] and not test[1] & test[2]
    assert len({frozenset(table.seeds("tuning", "race")) for table in tables}) == 1


def test_the_same_proof_again_is_the_same() -> None:
    first, second = (prove(made(), Table(), plan()) for _ in range(2))
    assert first.verdict == second.verdict
    assert first.cells == second.cells
    assert first.winner == second.winner


@pytest.mark.parametrize("rivals", [0, 1, 2])
@pytest.mark.parametrize("max_seeds", [5, 20])
def test_expected_trainings_are_those_spent_where_no_grid_is_extended(rivals: int, max_seeds: int) -> None:
    # Tuned rates are clear, but nothing is decided at the end, so that every look is taken.
    wide = Table(test_spread=3.0)
    known = {
        name: Rival(schedule=CONTROLS["step"], learning_rate=rate)
        for name, rate in ((INCUMBENT, 0.02), (CHAMPION, 0.03))
    }
    proof = prove(made(), wide, plan(rivals=dict(list(known.items())[:rivals]), max_seeds=max_seeds))
    assert all(cell.verdict == "undecided" and cell.seeds == max_seeds for cell in proof.cells)
    expected = {0: (901, 2461), 1: (906, 2481), 2: (911, 2501)}[rivals]
    assert expected_trainings(rivals=rivals, max_seeds=20) == expected
    assert proof.trainings == expected_trainings(rivals=rivals, max_seeds=max_seeds)[max_seeds == 20]
    assert proof.device_seconds == pytest.approx(0.01 * proof.trainings)
    assert {purpose: len(results) for purpose, results in proof.results.items()} == {
        "broad tuning": 18,
        "tuning": 225,
        "reference": 42,
        "race": 96,
        "test": (104 + rivals) * max_seeds,
    }


def test_cells_that_are_decided_are_not_trained_further() -> None:
    table = Table(curves={"constant": Curve(floor=0.9, best_rate=0.1 * HALF)}, spread=0.05)
    proof = prove(made(), table, plan())
    assert table.looks() == [5, 5, 10]
    tests = [configurations for purpose, configurations, _ in table.asked if purpose == "test"]
    assert len(tests[0]) > len(tests[1]) >= len(tests[2])
    constant = [cell for cell in proof.cells if cell.control == "constant"]
    assert {(cell.verdict, cell.seeds) for cell in constant} == {("better", 5)}
    assert "constant" not in {each.name for each in (*tests[1], *tests[2])}
    for cell in proof.cells:
        assert cell.seeds == 20 or cell.verdict != "undecided"


def test_a_further_look_is_taken_only_within_the_allowance() -> None:
    spent = []
    for allowed in (901, 2000, 10_000):
        table = Table(spread=0.5)
        proof = prove(made(), table, plan(max_trainings=allowed))
        spent.append(table.looks())
        assert proof.trainings <= allowed
    assert spent == [[5], [5, 5], [5, 5, 10]]


def test_a_preset_that_is_better_by_more_than_the_margin_is_found_better() -> None:
    table = Table(of_schedule=lambda _: Curve(floor=0.4, best_rate=0.1 * HALF), spread=0.02)
    proof = prove(made(), table, plan())
    assert proof.verdict.verdict == "better"
    assert proof.verdict.primary_control == "cosine"
    # 0.1 of the 1.5 that training gains.
    assert proof.verdict.difference == pytest.approx(-0.1 / 1.5, abs=0.02)
    assert {own_cell(proof, control) for control in CONTROLS} == {"better"}


def test_a_preset_that_is_worse_is_found_worse() -> None:
    table = Table(of_schedule=lambda _: Curve(floor=0.6, best_rate=0.1 * HALF), spread=0.02)
    assert prove(made(), table, plan()).verdict.verdict == "worse"


def test_a_preset_that_equals_cosine_is_called_neither_better_nor_worse() -> None:
    verdicts = Counter(
        prove(made(), Table(spread=0.03), plan(attempt=attempt, max_seeds=5)).verdict.verdict
        for attempt in range(1, 41)
    )
    assert verdicts["better"] + verdicts["worse"] <= 4
    assert verdicts["non-inferior"] + verdicts["undecided"] >= 36


def test_the_candidate_that_searched_best_wins_and_is_compared_under_a_name_of_its_own() -> None:
    best = made()[5].schedule
    table = Table(of_schedule=lambda schedule: Curve(floor=0.3 if schedule == best else 0.5, best_rate=0.1 * HALF))
    proof = prove(made(), table, plan())
    assert proof.winner.name == "candidate-5"
    assert proof.race.standings[0].name == "candidate-5"
    tested = {each.name for each in table.configurations("test")}
    assert tested == {PRESET, *CONTROLS}
    assert {each.schedule for each in table.configurations("test") if each.name == PRESET} == {best}


def test_incumbent_and_champion_are_met_at_their_own_rates_and_the_incumbent_decides() -> None:
    rivals = {
        INCUMBENT: Rival(schedule=CONTROLS["cosine"], learning_rate=0.001),
        CHAMPION: Rival(schedule=made()[3].schedule, learning_rate=0.05),
    }
    table = Table(curves={INCUMBENT: Curve(floor=0.9, best_rate=0.001), CHAMPION: Curve(floor=0.4, best_rate=0.05)})
    proof = prove(made(), table, plan(rivals=rivals))
    met = [(cell.control, cell.region, cell.control_rate) for cell in proof.cells if cell.control in rivals]
    assert met == [(INCUMBENT, "own rate", 0.001), (CHAMPION, "own rate", 0.05)]
    assert (proof.verdict.primary_control, proof.verdict.verdict) == (INCUMBENT, "better")
    assert own_cell(proof, CHAMPION) == "worse"
    # Nobody tunes them: they are what they are.
    assert not {INCUMBENT, CHAMPION} & {each.name for each in table.configurations("tuning")}


def test_a_champion_that_wins_again_is_not_compared_with_itself() -> None:
    first = prove(made(), Table(), plan()).winner
    rivals = {CHAMPION: Rival(schedule=first.schedule, learning_rate=first.learning_rate)}
    table = Table()
    proof = prove(made(), table, plan(attempt=2, rivals=rivals))
    assert proof.winner == first
    assert CHAMPION not in {cell.control for cell in proof.cells}
    assert CHAMPION not in {each.name for each in table.configurations("test")}


def test_on_a_stand_in_rivals_are_left_out_and_candidates_start_from_its_own_rate() -> None:
    rivals = {INCUMBENT: Rival(schedule=CONTROLS["cosine"], learning_rate=5e-5)}
    table = Table()
    proof = prove(made(rate=5e-5), table, plan(own_workload=False, rivals=rivals))
    assert INCUMBENT not in {cell.control for cell in proof.cells}
    assert (proof.verdict.primary_control, proof.verdict.own_workload) == ("cosine", False)
    raced = {round(each.learning_rate, 6) for each in table.configurations("race")}
    assert raced == {0.011111, 0.033333, 0.1, 0.3}


def test_on_the_own_workload_candidates_start_from_the_rate_that_the_logs_gave() -> None:
    table = Table()
    prove(made(rate=0.09), table, plan())
    assert {round(each.learning_rate, 6) for each in table.configurations("race")} == {0.01, 0.03, 0.09, 0.27}


def test_a_control_that_survives_at_no_rate_loses_and_stops_nobody() -> None:
    table = Table(curves={"greedy_transformers": Curve(limit=0.0)})
    proof = prove(made(), table, plan(max_seeds=5))
    # Three extensions looked for a rate below.
    assert proof.control_rates["greedy_transformers"] == pytest.approx(0.01 / HALF**3)
    lost = [cell for cell in proof.cells if cell.control == "greedy_transformers"]
    assert {(cell.verdict, cell.only_control_diverged) for cell in lost} == {("better", 5)}
    assert proof.verdict.primary_control == "cosine"


def test_a_preset_that_survives_at_no_rate_is_worse() -> None:
    table = Table(of_schedule=lambda _: Curve(limit=0.0))
    proof = prove(made(), table, plan(max_seeds=5))
    assert proof.verdict.verdict == "worse"
    assert {cell.only_preset_diverged for cell in proof.cells} == {5}


def test_a_workload_on_which_cosine_survives_nowhere_cannot_be_proved_on() -> None:
    table = Table(curves={name: Curve(limit=0.0) for name in CONTROLS})
    with pytest.raises(ValueError) as raised:
        prove(made(), table, plan())
    assert str(raised.value) == (
        "training must survive at some rate, but cosine diverged at every one tried, 3.16e-05 to 10; lower the "
        "usual_learning_rate of the workload, or the learning_rate in the group's settings"
    )


def test_a_workload_that_training_does_not_improve_cannot_be_proved_on() -> None:
    table = Table(curves={name: Curve(floor=2.5) for name in CONTROLS})
    with pytest.raises(ValueError, match="if training does not beat the constant predictor"):
        prove(made(), table, plan())


def test_no_grid_is_extended_beyond_the_allowance() -> None:
    table = Table(curves={"inverse_sqrt": Curve(best_rate=100.0)})
    # An extension is one rate for 14 controls and the winner with three seeds: 45 trainings.
    for spare, rates in ((44, 5), (45, 6), (89, 6), (90, 7), (1000, 8)):
        table.asked.clear()
        prove(made(), table, plan(max_trainings=901 + spare, max_seeds=5))
        assert len(rates_tried(table, "cosine")) == rates, spare


def test_one_preset_is_proved_without_a_race_and_tuned_as_the_controls_are() -> None:
    table = Table()
    proof = prove_preset(made()[3], table, plan(max_seeds=5))
    assert proof.race is None
    assert rates_tried(table, "candidate-3") == rates_tried(table, "cosine")
    assert proof.winner.learning_rate == pytest.approx(0.1 * HALF)
    assert {each.schedule for each in table.configurations("test") if each.name == PRESET} == {made()[3].schedule}
    assert proof.trainings == expected_trainings(rivals=0, max_seeds=5, raced=False)[0]


def test_a_preset_is_compared_at_the_rate_it_recommends_where_that_is_kept() -> None:
    table = Table()
    proof = prove_preset(made(rate=0.07)[3], table, plan(max_seeds=5), keep_rate=True)
    assert proof.winner.learning_rate == 0.07
    assert rates_tried(table, "candidate-3") == []
    assert {cell.starting_rate for cell in proof.cells if cell.region == "own rate"} == {0.07}
    assert proof.trainings == expected_trainings(rivals=0, max_seeds=5, raced=False, tuned=False)[0]


def test_preset_is_compared_with_the_contenders_that_were_asked_for_and_with_no_other() -> None:
    table = Table()
    asked = contenders(["exponential", "cosine"])
    proof = prove(made(), table, plan(contenders=asked, max_seeds=5))
    assert list(proof.control_rates) == ["exponential", "cosine"]
    assert {each.name for each in table.configurations("test")} == {PRESET, "exponential", "cosine"}
    assert {each.schedule for each in table.configurations("tuning") if each.name == "exponential"} == {
        asked["exponential"].schedule
    }
    assert proof.trainings == expected_trainings(rivals=0, max_seeds=5, contenders=2)[1]


def test_contenders_without_the_primary_control_are_refused() -> None:
    with pytest.raises(ValueError, match=r"contenders must hold 'cosine', .*, got 'linear'; add it"):
        plan(contenders=contenders(["linear"]))


def test_the_winner_is_tuned_and_compared_within_what_the_workload_is_stable_at() -> None:
    table = Table()
    proof = prove(made(), table, plan(largest_stable_rate=0.5))
    assert proof.winner.learning_rate == pytest.approx(0.1 * HALF)
    tried = [each for each in table.configurations("tuning") if each.name == proof.winner.name]
    final = Configuration(name="winner", schedule=proof.winner.schedule, learning_rate=proof.winner.learning_rate)
    for each in (*tried, final):
        assert isinstance(each.schedule.rule, RelativeRule)
        assert each.learning_rate * each.schedule.rule.max_lr == pytest.approx(
            max(each.learning_rate, min(0.5, 10 * each.learning_rate))
        )


@dataclass
class TableThatLosesASeed(Table):
    """Every training with the first reference seed fails, as where the data cannot be read for a while."""

    def __call__(self, purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> Trainings:
        trained = super().__call__(purpose, configurations, seeds)
        if purpose != "reference":
            return trained
        results = trained.results
        lost = results.seed == seeds[0]
        losses = {name: np.where(lost, np.nan, getattr(results, name)) for name in ("selection_loss", "reporting_loss")}
        return replace(trained, results=replace(results, failed=lost, **losses))


def test_a_reference_seed_with_which_everything_failed_is_left_out_of_the_scale() -> None:
    scale = prove(made(), TableThatLosesASeed(), plan()).scale
    assert scale.reference == pytest.approx(prove(made(), Table(), plan()).scale.reference, abs=0.05)
