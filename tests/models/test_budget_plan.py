"""The plan of a proof on a budget: what comes first, what it costs, where the budget ends."""

import pytest

from models.budget_plan import Budget, Looked, Pair, Standing, Step, expected_steps, steps_worth_taking

PRIMARY = Pair("cosine", 0.1, 0.1, "own rate")


def standing(**changes: object) -> Standing:
    settings: dict[str, object] = {
        "primary": PRIMARY,
        "base_rate": 0.1,
        "schedules_to_tune": 2,
        "further_controls": ("linear", "plateau"),
    }
    return Standing(**{**settings, **changes})  # type: ignore[arg-type]


def told(steps: list[Step]) -> list[tuple[str, str, int, int]]:
    return [(step.kind, step.pair.control if step.pair else "", step.seeds, step.trainings) for step in steps]


def test_nothing_comes_before_the_primary_cell() -> None:
    assert told(steps_worth_taking(standing())) == [("primary cell", "cosine", 5, 10)]


def test_then_come_tuning_more_seeds_of_the_primary_cell_other_controls_and_other_rates() -> None:
    looked = {PRIMARY: Looked(5, decided=False)}
    # A control shares the preset's side of the primary cell; both sides are new at another rate.
    assert told(steps_worth_taking(standing(looked=looked))) == [
        ("tuning", "", 0, 40),
        ("more seeds", "cosine", 10, 10),
        ("control", "linear", 5, 5),
        ("control", "plateau", 5, 5),
        *[("starting rate", "cosine", 5, 10)] * 5,
    ]


def test_a_rival_with_a_rate_of_its_own_comes_before_controls() -> None:
    looked = {PRIMARY: Looked(20, decided=True)}
    _, step, *_ = steps_worth_taking(standing(looked=looked, rivals={"champion": 0.03}))
    assert step.pair == Pair("champion", 0.1, 0.03, "own rate")


def test_starting_rates_go_from_near_to_far() -> None:
    looked = {PRIMARY: Looked(20, decided=True)}
    steps = steps_worth_taking(standing(looked=looked, tuned=True, further_controls=()))
    rates = [(round(step.pair.preset_rate, 6), step.pair.region) for step in steps if step.pair]
    assert rates == [
        (0.033333, "too low"),
        (0.3, "too high"),
        (0.011111, "too low"),
        (0.9, "too high"),
        (0.003704, "too low"),
    ]


def test_a_decided_cell_gets_no_more_seeds_and_an_open_one_goes_to_the_next_look() -> None:
    linear = Pair("linear", 0.1, 0.1, "own rate")
    looked = {PRIMARY: Looked(20, decided=False), linear: Looked(10, decided=False)}
    open_ones = steps_worth_taking(standing(looked=looked, tuned=True, further_controls=("linear",)))
    # The preset has 20 seeds already.
    assert ("more seeds", "linear", 20, 10) in told(open_ones)
    assert not [step for step in open_ones if step.pair == PRIMARY]
    decided = {PRIMARY: Looked(5, decided=True), linear: Looked(5, decided=True)}
    assert "more seeds" not in {step.kind for step in steps_worth_taking(standing(looked=decided))}


def test_no_look_goes_beyond_the_last_one_allowed() -> None:
    looked = {PRIMARY: Looked(5, decided=False)}
    steps = steps_worth_taking(standing(looked=looked, max_seeds=5))
    assert "more seeds" not in {step.kind for step in steps}


@pytest.mark.parametrize(
    ("trainings", "expected"),
    [
        (10, ["primary cell"]),
        (15, ["primary cell", "control"]),
        (20, ["primary cell", "more seeds"]),
        (50, ["primary cell", "tuning"]),
        (60, ["primary cell", "tuning", "more seeds"]),
        (95, ["primary cell", "tuning", "more seeds", "more seeds", "control", "control", "control"]),
    ],
)
def test_what_does_not_fit_is_left_out_and_something_smaller_takes_its_place(
    trainings: int, expected: list[str]
) -> None:
    controls = ("linear", "plateau", "step")
    planned = expected_steps(standing(further_controls=controls), Budget(trainings=trainings), 1.0)
    assert [each.step.kind for each in planned if each.within] == expected
    assert sum(each.step.trainings for each in planned if each.within) <= trainings
    assert not all(each.within for each in planned)


def test_tuning_that_was_left_out_is_not_made_up_for_later() -> None:
    planned = expected_steps(standing(), Budget(trainings=25), 1.0)
    assert [each.step.kind for each in planned].count("tuning") == 1


def test_seconds_limit_as_runs_do() -> None:
    by_seconds = expected_steps(standing(), Budget(device_seconds=120.0), 6.0)
    by_runs = expected_steps(standing(), Budget(trainings=20), 6.0)
    assert by_seconds == by_runs
    assert [each.seconds for each in by_runs][:2] == [60.0, 240.0]
    both = expected_steps(standing(), Budget(trainings=20, device_seconds=60.0), 6.0)
    assert [each.step.kind for each in both if each.within] == ["primary cell"]


def test_a_budget_of_fewer_than_ten_runs_is_refused_with_the_least() -> None:
    with pytest.raises(ValueError) as raised:
        Budget(trainings=9)
    assert str(raised.value) == (
        "a verdict takes at least 10 runs (5 paired seeds of two schedules), got a budget of 9; allow 10"
    )


def test_a_budget_limits_something() -> None:
    with pytest.raises(ValueError, match="a budget limits trainings or device-seconds, got neither"):
        Budget()
    with pytest.raises(ValueError, match=r"must be > 0, got 0\.0"):
        Budget(device_seconds=0.0)
