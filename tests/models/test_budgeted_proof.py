"""A proof on a budget, on an arithmetic table in place of a training."""

import pytest

from greedylr.schedules import CONTROLS
from models.budget_plan import Budget
from models.budgeted_proof import prove_within_budget
from models.comparison import INCUMBENT
from models.contenders import contenders
from models.fresh_comparison import PRESET, Rival
from models.proving import Proof
from tests.models.loss_table import HALF, Curve, Table, made, plan

BETTER = Table(of_schedule=lambda _: Curve(floor=0.4, best_rate=0.1), spread=0.02)


def proved(table: Table, budget: Budget, *, keep_rate: bool = False, **changes: object) -> Proof:
    return prove_within_budget(made()[0], table, plan(**changes), budget, seconds_each=0.01, keep_rate=keep_rate)


def taken(proof: Proof) -> list[str]:
    assert proof.spending is not None
    return [each.step.kind for each in proof.spending.taken]


def remark(proof: Proof) -> str:
    assert proof.spending is not None
    return proof.spending.remark


def test_ten_runs_are_the_primary_cell_at_the_usual_rate() -> None:
    table = Table(of_schedule=BETTER.of_schedule, spread=0.02)
    proof = proved(table, Budget(trainings=10))
    assert [(purpose, [each.name for each in asked], len(seeds)) for purpose, asked, seeds in table.asked] == [
        ("test", [PRESET, "cosine"], 5)
    ]
    assert {each.learning_rate for each in table.configurations("test")} == {0.1}
    assert (proof.verdict.verdict, proof.verdict.seeds, proof.trainings) == ("better", 5, 10)
    assert proof.verdict.device_seconds == pytest.approx(0.1)


def test_an_untuned_control_is_told_of() -> None:
    proof = proved(Table(of_schedule=BETTER.of_schedule, spread=0.02), Budget(trainings=10))
    assert not proof.verdict.control_tuned
    assert remark(proof) == "cosine ran at the usual rate 0.1, which was not tuned"


def test_an_incumbent_at_its_usual_rate_decides_and_needs_no_tuning() -> None:
    rivals = {INCUMBENT: Rival(schedule=CONTROLS["step"], learning_rate=0.03)}
    table = Table(of_schedule=BETTER.of_schedule, curves={INCUMBENT: Curve(floor=0.9, best_rate=0.03)}, spread=0.02)
    proof = proved(table, Budget(trainings=10), rivals=rivals)
    assert (proof.verdict.primary_control, proof.verdict.verdict) == (INCUMBENT, "better")
    assert {each.learning_rate for each in table.configurations("test") if each.name == INCUMBENT} == {0.03}
    assert proof.verdict.control_tuned
    assert remark(proof) == ""


def test_tuning_uses_search_seeds_and_the_verdict_is_the_one_at_tuned_rates() -> None:
    table = Table(of_schedule=BETTER.of_schedule, curves={"cosine": Curve(best_rate=0.1 / HALF)}, spread=0.02)
    proof = proved(table, Budget(trainings=50), contenders=contenders(["cosine"]))
    assert taken(proof) == ["primary cell", "tuning"]
    assert not table.seeds("tuning") & table.seeds("test")
    assert len(table.seeds("test")) == 5
    own = [(cell.control, cell.starting_rate, cell.control_rate) for cell in proof.cells]
    # The cell at usual rates is superseded; the preset was best at its usual rate and is not trained again.
    assert own == [("cosine", pytest.approx(0.1), pytest.approx(0.1 / HALF))]
    assert proof.verdict.control_tuned
    assert proof.trainings == 10 + 30 + 5
    assert proof.base_rate == pytest.approx(0.1 / HALF)


def test_a_rate_that_is_kept_is_not_tuned() -> None:
    table = Table(of_schedule=BETTER.of_schedule, spread=0.02)
    proof = prove_within_budget(
        made(rate=0.05)[0], table, plan(), Budget(trainings=40), seconds_each=0.01, keep_rate=True
    )
    assert {each.name for each in table.configurations("tuning")} == {"cosine"}
    assert proof.winner.learning_rate == 0.05
    assert {cell.starting_rate for cell in proof.cells if cell.region == "own rate"} == {0.05}


def test_an_undecided_primary_cell_gets_the_seeds_before_anything_else() -> None:
    table = Table(test_spread=0.3)
    proof = proved(table, Budget(trainings=20))
    assert taken(proof) == ["primary cell", "more seeds"]
    assert (proof.verdict.verdict, proof.verdict.seeds) == ("undecided", 10)


def test_an_undecided_verdict_says_how_many_more_runs_would_decide_it() -> None:
    proof = proved(Table(test_spread=0.05), Budget(trainings=10))
    assert proof.verdict.verdict == "undecided"
    assert "after 5 pairs the difference lies in [" in remark(proof)
    assert "pairs would decide it" in remark(proof)


def test_other_controls_come_in_the_order_in_which_the_past_used_them() -> None:
    table = Table(of_schedule=BETTER.of_schedule, spread=0.02)
    prove_within_budget(made()[0], table, plan(), Budget(trainings=25), seconds_each=0.01, used=("wsd", "one_cycle"))
    named = [each.name for each in table.configurations("test")]
    assert named == [PRESET, "cosine", "wsd", "one_cycle", "linear"]


@pytest.mark.parametrize("trainings", [10, 13, 27, 55, 90, 200])
@pytest.mark.parametrize("spread", [0.01, 0.3])
def test_no_budget_is_overrun(trainings: int, spread: float) -> None:
    table = Table(curves={"cosine": Curve(best_rate=10.0)}, test_spread=spread)
    proof = proved(table, Budget(trainings=trainings))
    assert proof.trainings <= trainings
    by_seconds = proved(Table(test_spread=spread), Budget(device_seconds=0.01 * trainings + 1e-6))
    assert by_seconds.device_seconds <= 0.01 * trainings + 1e-6
    assert proof.spending is not None
    assert sum(each.trainings for each in proof.spending.taken) == proof.trainings
    assert sum(each.device_seconds for each in proof.spending.taken) == pytest.approx(proof.device_seconds)


def test_a_budget_that_reaches_no_first_look_is_refused_before_anything_is_trained() -> None:
    table = Table()
    with pytest.raises(ValueError) as raised:
        prove_within_budget(made()[0], table, plan(), Budget(device_seconds=60.0), seconds_each=30.0)
    assert str(raised.value) == (
        "a verdict takes at least 10 runs, about 300 device-seconds here, got a budget of 60; allow that much"
    )
    assert table.asked == []


def test_each_attempt_has_test_seeds_of_its_own() -> None:
    tables = [Table(), Table()]
    for attempt, table in enumerate(tables, start=1):
        proved(table, Budget(trainings=10), attempt=attempt)
    assert not tables[0].seeds("test") & tables[1].seeds("test")


def test_the_same_budget_again_is_the_same_proof() -> None:
    first, second = (proved(Table(test_spread=0.1), Budget(trainings=90)) for _ in range(2))
    assert (first.verdict, first.cells, first.spending) == (second.verdict, second.cells, second.spending)


def test_where_everything_diverges_the_rate_is_to_blame() -> None:
    table = Table(of_schedule=lambda _: Curve(limit=0.0), curves={"cosine": Curve(limit=0.0)})
    with pytest.raises(ValueError, match="a proof needs trainings that survive"):
        proved(table, Budget(trainings=10))
