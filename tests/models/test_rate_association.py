import math
from collections.abc import Sequence

import numpy as np
import pytest

from models.group_history import GroupHistory
from models.rate_association import RateAssociation, associations, stability, usable_rates

Run = tuple[float, str, float]


def history(runs: Sequence[Run], logged: Sequence[Sequence[float]] | None = None) -> GroupHistory:
    """Runs of (starting rate, schedule, final loss), each with an initial loss of 1 and perhaps a logged rate."""
    rate, schedule, final = zip(*runs, strict=True)
    curves = logged or [[math.nan]] * len(runs)
    return GroupHistory(
        run_id=np.array([f"run{place}" for place in range(len(runs))]),
        starting_rate=np.array(rate),
        schedule=np.array(schedule),
        rate_source=np.full(len(runs), "logged" if logged else "unknown"),
        final_loss=np.array(final),
        diverged=np.zeros(len(runs), dtype=bool),
        planned_steps=np.full(len(runs), math.nan),
        run_index=np.repeat(np.arange(len(runs)), [len(curve) for curve in curves]),
        position=np.concatenate([np.linspace(0, 1, len(curve)) for curve in curves]),
        training_loss=np.ones(sum(len(curve) for curve in curves)),
        learning_rate=np.concatenate([np.asarray(curve, dtype=float) for curve in curves]),
    )


def rates_with(regrets: Sequence[float], diverged: Sequence[int] | None = None) -> tuple[RateAssociation, ...]:
    """Four runs at each of 0.01, 0.03162, 0.1 ..."""
    lost = diverged or [0] * len(regrets)
    return tuple(
        RateAssociation(rate=0.01 * math.sqrt(10) ** place, runs=4, diverged=lost[place], regret=regret)
        for place, regret in enumerate(regrets)
    )


def test_regret_is_averaged_over_the_runs_near_a_rate() -> None:
    rates, schedules = associations(
        history([(0.1, "a", 0.0), (0.11, "a", 0.2), (1.0, "a", 0.6), (1.0, "a", math.nan), (math.nan, "a", 0.9)])
    )
    assert [(round(each.rate, 4), each.runs, each.diverged) for each in rates] == [(0.1049, 2, 0), (1.0, 2, 1)]
    assert [each.regret for each in rates] == pytest.approx([0.1, 0.8])
    assert [(each.schedule, each.runs, each.diverged) for each in schedules] == [("a", 4, 1)]


def test_a_rate_is_not_blamed_for_the_schedule_it_was_used_with() -> None:
    """The bad schedule costs 0.4 and was mostly run at 0.1, at which the good schedule is the better one."""
    runs: list[Run] = (
        [(0.1, "bad", 0.4)] * 9 + [(0.1, "good", 0.0)] * 3 + [(1.0, "good", 0.2)] * 9 + [(1.0, "bad", 0.6)] * 3
    )
    rates, schedules = associations(history(runs))
    raw = [0.3, 0.3]
    adjusted = [each.regret for each in rates]
    assert raw[0] == raw[1]
    assert adjusted[1] - adjusted[0] == pytest.approx(0.2, abs=0.03)
    assert {each.schedule: round(each.regret, 1) for each in schedules} == {"bad": 0.5, "good": 0.1}


def test_a_schedule_tried_at_one_rate_only_is_not_credited_with_the_rate() -> None:
    rates, _ = associations(history([(0.1, "a", 0.0)] * 4 + [(1.0, "b", 0.5)] * 4))
    assert [each.regret for each in rates] == pytest.approx([0.0, 0.5], abs=0.05)


def test_without_known_rates_or_different_losses_there_is_no_association() -> None:
    assert associations(history([(math.nan, "a", 0.1), (math.nan, "a", 0.2)])) == ((), ())
    assert associations(history([(0.1, "a", math.nan), (1.0, "a", math.nan)])) == ((), ())


def test_the_vertex_of_the_parabola_is_recommended() -> None:
    symmetric, _ = usable_rates(rates_with([0.5, 0.2, 0.1, 0.2, 0.5]))
    leaning, _ = usable_rates(rates_with([0.5, 0.2, 0.1, 0.4, 1.0]))
    assert symmetric is not None
    assert leaning is not None
    assert symmetric.recommended == pytest.approx(0.1)
    # Slopes 0.1 and 0.3 a half decade: vertex at -0.25 half decades.
    assert leaning.recommended == pytest.approx(0.1 * 10 ** (-0.125))


def test_no_rate_is_recommended_beyond_those_tried() -> None:
    rising, _ = usable_rates(rates_with([0.1, 0.2, 0.4]))
    falling, _ = usable_rates(rates_with([0.4, 0.2, 0.1]))
    assert rising is not None
    assert falling is not None
    assert (rising.recommended, falling.recommended) == pytest.approx((0.01, 0.1))


def test_the_usable_range_ends_where_regret_rises_or_runs_diverge() -> None:
    usable, _ = usable_rates(rates_with([0.14, 0.3, 0.12, 0.1, 0.14, 0.13], diverged=[0, 0, 0, 0, 0, 3]))
    assert usable is not None
    assert (usable.lowest, usable.highest) == pytest.approx((0.1, 1.0))


def test_a_rate_at_which_most_diverge_is_never_the_best() -> None:
    usable, _ = usable_rates(rates_with([0.5, 0.4, 0.3], diverged=[0, 0, 3]))
    assert usable is not None
    assert usable.recommended == pytest.approx(0.03162, rel=1e-3)


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ((), "no run has both a known starting rate and a final regret"),
        (rates_with([0.1]), r"all runs started near one rate (0.01)"),
        (rates_with([0.9, 1.0], diverged=[3, 4]), "1 runs with a known starting rate survived"),
    ],
)
def test_unknown_rates_are_said_to_be_unknown(rates: tuple[RateAssociation, ...], said: str) -> None:
    usable, reason = usable_rates(rates)
    assert usable is None
    assert said in reason


def test_the_cap_is_the_highest_survivor_below_the_lowest_rate_that_mostly_diverges() -> None:
    limits = stability(
        history(
            [
                (0.1, "a", 0.1),
                (0.3, "a", 0.1),
                (1.0, "a", math.nan),
                (1.0, "a", math.nan),
                (1.0, "a", 0.9),
                (3.0, "a", 0.8),
            ]
        )
    )
    assert (limits.highest_surviving, limits.lowest_diverging, limits.cap) == (3.0, 1.0, 0.3)


def test_a_logged_peak_counts_as_the_rate_that_survived() -> None:
    limits = stability(
        history(
            [(0.1, "a", 0.1), (math.nan, "a", 0.1), (2.0, "a", math.nan)],
            logged=[[0.1, 0.4, 0.0], [0.2, math.nan], [math.nan]],
        )
    )
    assert (limits.highest_surviving, limits.lowest_diverging, limits.cap) == (0.4, 2.0, 0.4)


def test_without_divergence_there_is_no_cap() -> None:
    limits = stability(history([(0.1, "a", 0.1), (1.0, "a", 0.1)]))
    assert (limits.highest_surviving, limits.lowest_diverging, limits.cap) == (1.0, None, None)


def test_without_survivors_there_is_no_cap() -> None:
    limits = stability(history([(0.1, "a", math.nan)]))
    assert (limits.highest_surviving, limits.lowest_diverging, limits.cap) == (None, 0.1, None)
