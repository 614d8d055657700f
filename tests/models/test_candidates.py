import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr.preset import Candidate
from greedylr.schedules import Envelope, RelativeRule, Schedule
from models.candidates import BEST_KNOWN, candidates
from models.log_statistics import GroupStatistics

UNKNOWN = GroupStatistics(
    runs=1,
    diverged_runs=0,
    runs_with_rate=0,
    rate_sources={"logged": 0, "rebuilt": 0, "assumed constant": 0, "unknown": 1},
    usual_steps=None,
    noise=None,
    autocorrelation=None,
    window=None,
    recommended_rate=None,
    lowest_usable_rate=None,
    highest_usable_rate=None,
    usual_rate=None,
    highest_surviving_rate=None,
    lowest_diverging_rate=None,
    stability_cap=None,
    authority_up=None,
    authority_down=None,
    incumbent=None,
    rates=(),
    schedules=(),
    enough=False,
    reasons=(),
)
KNOWN = replace(
    UNKNOWN,
    window=0.1,
    recommended_rate=0.2,
    usual_rate=0.05,
    stability_cap=1.0,
    lowest_diverging_rate=2.0,
    authority_up=3.0,
    authority_down=5.0,
    enough=True,
)
BUNDLED = [
    Candidate(
        name=f"bundled-{place}",
        schedule=Schedule(rule=RelativeRule(factor=0.6 + 0.05 * place)),
        learning_rate=9.0,
        origin="portfolio",
    )
    for place in range(5)
]


def rule_of(candidate: Candidate) -> RelativeRule:
    assert isinstance(candidate.schedule.rule, RelativeRule)
    return candidate.schedule.rule


def test_there_are_eight_with_names_and_schedules_that_differ() -> None:
    made = candidates(KNOWN, [], fallback_rate=0.1)
    assert [each.name for each in made] == [
        "ramp-wsd20-rise0.85-fall0.70",
        "core",
        "ramp-wsd20-early-rise",
        "ramp-anneal20-strong-fall",
        "anneal20-patient-cooldown",
        "ramp-wsd20-weak",
        "core-abs-continue",
        "ramp-anneal20-early-rise",
    ]
    assert len({each.schedule for each in made}) == 8


def test_the_best_known_configuration_is_always_among_them_as_measured() -> None:
    for statistics in (KNOWN, UNKNOWN):
        first = candidates(statistics, BUNDLED, fallback_rate=0.1)[0]
        assert first.schedule == BEST_KNOWN
    resolved = BEST_KNOWN.resolve(1000)
    assert BEST_KNOWN.envelope == Envelope(shape="wsd", ramp=0.05, decay_share=0.2)
    assert resolved.parameters is not None
    assert (resolved.interval, resolved.parameters.patience, resolved.parameters.window_size) == (25, 1, 80)
    assert (resolved.parameters.raise_factor, resolved.parameters.factor, resolved.increase_until) == (0.85, 0.7, 400)


def test_the_plain_core_has_no_extras() -> None:
    core = candidates(KNOWN, BUNDLED, fallback_rate=0.1)[1]
    assert core.name == "core"
    assert core.schedule.envelope == Envelope()
    assert rule_of(core).increase_until == 1.0
    assert rule_of(core).guard is None


def test_the_factors_travel_the_authority_that_the_logs_advise() -> None:
    core = rule_of(candidates(KNOWN, [], fallback_rate=0.1)[1])
    # A patience of one interval of 40 allows 20 moves: exp(-5 / 20) and exp(-3 / 20).
    assert (core.factor, core.increase_factor) == (0.779, 0.861)
    weak = rule_of(candidates(KNOWN, [], fallback_rate=0.1)[5])
    # Half of it, at least 2 nats: 40 / 3 moves down, of which 40 % up.
    assert (weak.factor, weak.increase_factor) == (0.829, 0.687)


def test_the_window_comes_from_the_noise() -> None:
    assert {rule_of(each).window for each in candidates(KNOWN, [], fallback_rate=0.1)[1:]} == {0.1}
    assert {rule_of(each).window for each in candidates(UNKNOWN, [], fallback_rate=0.1)} == {0.08}


def test_the_upper_bound_is_cut_by_the_stability_cap() -> None:
    assert {rule_of(each).max_lr for each in candidates(KNOWN, [], fallback_rate=0.1)[1:]} == {5.0}
    assert {rule_of(each).max_lr for each in candidates(UNKNOWN, [], fallback_rate=0.1)} == {10.0, 30.0}
    tight = replace(KNOWN, stability_cap=0.2)
    assert {rule_of(each).max_lr for each in candidates(tight, [], fallback_rate=0.1)[1:]} == {2.0}


def test_no_candidate_raises_its_rate_above_what_the_workload_is_stable_at() -> None:
    for statistics in (KNOWN, UNKNOWN):
        for largest in (0.3, 0.7, 2.5):
            made = candidates(statistics, BUNDLED, fallback_rate=0.1, largest_stable_rate=largest)
            assert len(made) == 8
            for each in made:
                assert each.learning_rate * rule_of(each).max_lr <= largest
    made = candidates(KNOWN, BUNDLED, fallback_rate=0.1, largest_stable_rate=0.7)
    assert made[0].origin.endswith("not raised above 0.7, where the workload is no longer stable")


def test_a_start_above_what_the_workload_is_stable_at_is_never_raised() -> None:
    made = candidates(KNOWN, BUNDLED, fallback_rate=0.1, largest_stable_rate=0.05)
    assert {(each.learning_rate, rule_of(each).max_lr) for each in made} == {(0.2, 1.0)}


def test_a_workload_that_is_stable_far_above_changes_nothing() -> None:
    assert candidates(KNOWN, BUNDLED, 0.1, largest_stable_rate=100.0) == candidates(KNOWN, BUNDLED, 0.1)


@pytest.mark.parametrize(
    ("statistics", "rate", "source"),
    [
        (KNOWN, 0.2, "recommended by the logs"),
        (replace(KNOWN, recommended_rate=None), 0.05, "usual in the logs"),
        (UNKNOWN, 0.1, "usual for the workload"),
    ],
)
def test_all_start_from_the_best_rate_there_is_and_say_where_it_comes_from(
    statistics: GroupStatistics, rate: float, source: str
) -> None:
    made = candidates(statistics, BUNDLED, fallback_rate=0.1)
    assert {each.learning_rate for each in made} == {rate}
    assert all(each.origin.endswith(f"raced from the rate {source}") for each in made)


def test_the_portfolio_has_three_places_and_more_where_the_support_is_weak() -> None:
    strong = [each.name for each in candidates(KNOWN, BUNDLED, fallback_rate=0.1)]
    assert strong[:6] == [
        "ramp-wsd20-rise0.85-fall0.70",
        "core",
        "bundled-0",
        "bundled-1",
        "bundled-2",
        "ramp-wsd20-early-rise",
    ]
    weak = [each.name for each in candidates(replace(KNOWN, enough=False), BUNDLED, fallback_rate=0.1)]
    assert weak[2:7] == [f"bundled-{place}" for place in range(5)]
    assert len(strong) == len(weak) == 8


def test_a_bundled_twin_takes_no_place_and_a_namesake_gets_a_number() -> None:
    twin = Candidate(name="published", schedule=BEST_KNOWN, learning_rate=0.1, origin="portfolio")
    namesake = replace(BUNDLED[0], name="core")
    names = [each.name for each in candidates(KNOWN, [twin, namesake], fallback_rate=0.1)]
    assert len(names) == 8
    assert "published" not in names
    assert names[1:3] == ["core", "core-2"]


def test_the_same_statistics_give_the_same_candidates() -> None:
    assert candidates(KNOWN, BUNDLED, fallback_rate=0.1) == candidates(KNOWN, BUNDLED, fallback_rate=0.1)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_fallback_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="fallback_rate must be finite and > 0"):
        candidates(UNKNOWN, [], fallback_rate=rate)


def test_fewer_than_two_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2, .* got 1"):
        candidates(KNOWN, [], fallback_rate=0.1, count=1)


@given(
    up=st.none() | st.floats(2.0, 10.0),
    down=st.none() | st.floats(2.0, 10.0),
    window=st.none() | st.floats(0.06, 0.12),
    cap=st.none() | st.floats(1e-4, 10.0),
    rate=st.none() | st.floats(1e-4, 10.0),
)
@settings(max_examples=60, deadline=None, database=None)
def test_every_candidate_can_be_trained_and_stays_in_the_box(
    up: float | None, down: float | None, window: float | None, cap: float | None, rate: float | None
) -> None:
    statistics = replace(
        UNKNOWN, authority_up=up, authority_down=down, window=window, stability_cap=cap, recommended_rate=rate
    )
    made = candidates(statistics, [], fallback_rate=0.1)
    assert len(made) == len({each.schedule for each in made}) == 8
    for candidate in made:
        rule = rule_of(candidate)
        assert 0.5 <= rule.factor < 1
        assert rule.increase_factor is not None
        assert 0.5 <= rule.increase_factor < 1
        assert 2.0 <= rule.max_lr <= 30.0
        for total_steps in (200, 5000):
            assert candidate.schedule.resolve(total_steps).parameters is not None
