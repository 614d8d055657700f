import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr.strict_json import decode, encode
from models.group_history import GroupHistory
from models.log_statistics import GroupStatistics, group_statistics

POINTS = 200
POSITION = np.linspace(0.0, 1.0, POINTS)
Run = tuple[float, str]


def final_of(rate: float) -> float:
    """Best at 0.1; the regret rises by 0.1 a half decade squared below; diverges from 1 on."""
    if rate > 0.9:
        return math.nan
    return 0.2 + 0.1 * (2 * math.log10(rate / 0.1)) ** 2


def history(runs: Sequence[Run], *, unknown_rates: bool = False, log_rates: bool = True) -> GroupHistory:
    """Noisy runs from a loss of 2.3 down to `final_of` their rate."""
    curves, rates, finals = [], [], []
    for seed, (rate, schedule) in enumerate(runs):
        noise = np.exp(0.05 * np.random.default_rng(seed).normal(size=POINTS))
        final = final_of(rate)
        floor = 2.0 if math.isnan(final) else final
        curve = (floor + (2.3 - floor) * np.exp(-6 * POSITION)) * noise
        if math.isnan(final):
            curve[50:] = math.inf
        envelope = (1 + np.cos(np.pi * POSITION)) / 2 if schedule == "cosine" else np.ones(POINTS)
        curves.append(curve)
        rates.append(rate * envelope if log_rates else np.full(POINTS, math.nan))
        finals.append(final)
    return GroupHistory(
        run_id=np.array([f"run{place}" for place in range(len(runs))]),
        starting_rate=np.array([math.nan if unknown_rates else rate for rate, _ in runs]),
        schedule=np.array([schedule for _, schedule in runs]),
        rate_source=np.full(len(runs), "logged" if log_rates else "unknown"),
        final_loss=np.array(finals),
        diverged=np.isnan(finals),
        planned_steps=np.full(len(runs), 1000.0),
        run_index=np.repeat(np.arange(len(runs)), POINTS),
        position=np.tile(POSITION, len(runs)),
        training_loss=np.concatenate(curves),
        learning_rate=np.concatenate(rates),
    )


GRID = [10 ** (power / 2) for power in range(-6, 2)]
FULL = [(rate, schedule) for rate in GRID for schedule in ("cosine", "cosine", "constant")]


def test_a_full_history_yields_every_statistic() -> None:
    statistics = group_statistics(history(FULL))
    assert (statistics.runs, statistics.diverged_runs, statistics.runs_with_rate) == (24, 6, 24)
    assert statistics.usual_steps == 1000
    assert statistics.noise == pytest.approx(0.05, rel=0.15)
    assert statistics.window == 0.06
    assert statistics.recommended_rate == pytest.approx(0.1, rel=0.3)
    assert statistics.lowest_usable_rate == pytest.approx(0.1)
    assert statistics.highest_usable_rate == pytest.approx(0.1)
    assert statistics.highest_surviving_rate == pytest.approx(0.31623, rel=1e-4)
    assert statistics.stability_cap == pytest.approx(0.31623, rel=1e-4)
    assert statistics.lowest_diverging_rate == pytest.approx(1.0)
    assert statistics.enough
    assert statistics.reasons == ()


def test_authority_is_how_far_rates_had_to_travel() -> None:
    statistics = group_statistics(history(FULL))
    assert statistics.recommended_rate is not None
    # Up from the lowest tenth of the starts; down in the better half, cosine's last tenth (120 times below its peak).
    low = math.exp(np.quantile(np.log([rate for rate, _ in FULL]), 0.1))
    assert statistics.authority_up == pytest.approx(math.log(statistics.recommended_rate / low))
    assert statistics.authority_down == pytest.approx(4.8, abs=0.2)


def test_authority_stays_within_what_is_advised() -> None:
    statistics = group_statistics(history([(0.1, "constant")] * 4 + [(0.3, "constant")] * 4))
    assert (statistics.authority_up, statistics.authority_down) == (2.0, 2.0)


def test_the_incumbent_is_the_prevailing_schedule() -> None:
    statistics = group_statistics(history([*FULL, (0.1, "cosine")]))
    assert statistics.incumbent is not None
    assert (statistics.incumbent.control, statistics.incumbent.learning_rate, statistics.incumbent.runs) == (
        "cosine",
        0.1,
        17,
    )
    assert statistics.usual_rate == 0.1


def test_statistics_survive_json() -> None:
    for runs in (FULL, FULL[:1]):
        statistics = group_statistics(history(runs))
        text = json.dumps(dataclasses.asdict(statistics), allow_nan=False)
        assert decode(GroupStatistics, json.loads(text)) == statistics
        assert json.loads(text) == json.loads(json.dumps(encode(statistics)))


def test_three_runs_say_what_they_can_and_that_they_are_few() -> None:
    statistics = group_statistics(history([(0.01, "cosine"), (0.1, "cosine"), (0.3, "cosine")]))
    assert statistics.recommended_rate == pytest.approx(0.1, rel=0.8)
    assert not statistics.enough
    assert "3 of 3 runs have a known starting rate, fewer than 6: weak support" in statistics.reasons


def test_unknown_rates_leave_the_rates_unknown() -> None:
    statistics = group_statistics(history(FULL, unknown_rates=True, log_rates=False))
    assert statistics.runs_with_rate == 0
    unknown = (
        statistics.recommended_rate,
        statistics.usual_rate,
        statistics.stability_cap,
        statistics.highest_surviving_rate,
        statistics.authority_up,
        statistics.incumbent,
    )
    assert unknown == (None,) * 6
    assert not statistics.enough
    assert statistics.noise is not None
    assert "no run has both a known starting rate and a final regret: no rate is recommended" in statistics.reasons
    assert "no run with a known learning rate survived: no stability cap" in statistics.reasons


def test_one_rate_cannot_be_compared_and_stays_the_usual_one() -> None:
    statistics = group_statistics(history([(0.1, "cosine")] * 7 + [(0.11, "cosine")]))
    assert (statistics.recommended_rate, statistics.usual_rate) == (None, 0.1)
    assert not statistics.enough
    assert "all runs started near one rate (0.101): rates cannot be compared, none is recommended" in statistics.reasons


def test_a_group_in_which_everything_diverged_recommends_nothing() -> None:
    statistics = group_statistics(history([(1.0, "cosine"), (3.0, "cosine")] * 4))
    assert statistics.diverged_runs == 8
    assert (statistics.recommended_rate, statistics.usual_rate, statistics.stability_cap) == (None, None, None)
    assert statistics.lowest_diverging_rate == pytest.approx(1.0)
    assert (statistics.noise, statistics.enough) == (None, False)
    assert "0 of them survived, fewer than 3: weak support" in statistics.reasons


def test_constant_losses_tell_no_rate_from_another() -> None:
    flat = history([(0.1, "cosine"), (0.3, "cosine")] * 4)
    columns = {field.name: getattr(flat, field.name) for field in dataclasses.fields(GroupHistory)}
    columns |= {"final_loss": np.full(8, 0.7), "training_loss": np.full(8 * POINTS, 0.7)}
    statistics = group_statistics(GroupHistory(**columns))
    assert (statistics.recommended_rate, statistics.noise, statistics.enough) == (None, None, False)
    assert "all final losses are equal: no rate and no schedule can be told from another" in statistics.reasons


def test_a_rate_that_is_assumed_constant_counts_for_its_start_alone() -> None:
    decaying = history([(0.1, "cosine"), (0.3, "cosine")] * 4)
    columns = {field.name: getattr(decaying, field.name) for field in dataclasses.fields(GroupHistory)}
    flat = {"learning_rate": np.repeat(decaying.starting_rate, POINTS), "schedule": np.full(8, "")}
    known = group_statistics(GroupHistory(**columns))
    assumed = group_statistics(GroupHistory(**columns | flat | {"rate_source": np.full(8, "assumed constant")}))
    half = np.array(["logged"] * 4 + ["assumed constant"] * 4)
    half_flat = np.where(np.repeat(half == "logged", POINTS), decaying.learning_rate, flat["learning_rate"])
    mixed = group_statistics(GroupHistory(**columns | {"learning_rate": half_flat, "rate_source": half}))
    assert (assumed.runs_with_rate, assumed.recommended_rate) == (8, pytest.approx(known.recommended_rate))
    assert assumed.incumbent is None
    assert assumed.authority_down is not None
    assert known.authority_down is not None
    assert assumed.authority_down < known.authority_down
    assert mixed.authority_down == pytest.approx(known.authority_down)
    assert assumed.rate_sources == {"logged": 0, "rebuilt": 0, "assumed constant": 8, "unknown": 0}
    assert any(reason.startswith("8 of 8 runs declare a rate and no schedule") for reason in assumed.reasons)


def test_an_empty_history_is_refused() -> None:
    nothing = {field.name: np.array([]) for field in dataclasses.fields(GroupHistory)}
    with pytest.raises(ValueError, match="at least one run, got none; a group without runs uses the bundled portfolio"):
        group_statistics(GroupHistory(**nothing))


@given(
    runs=st.lists(
        st.tuples(st.sampled_from([*GRID, math.nan]), st.sampled_from(["cosine", "constant", ""])),
        min_size=1,
        max_size=12,
    ),
    unknown_rates=st.booleans(),
    log_rates=st.booleans(),
)
@settings(max_examples=40, deadline=None, database=None)
def test_whatever_is_unknown_has_a_reason(runs: list[Run], unknown_rates: bool, log_rates: bool) -> None:
    statistics = group_statistics(history(runs, unknown_rates=unknown_rates, log_rates=log_rates))
    json.dumps(dataclasses.asdict(statistics), allow_nan=False)
    wanted = [statistics.noise, statistics.recommended_rate, statistics.stability_cap, statistics.incumbent]
    assert len(statistics.reasons) >= sum(value is None for value in wanted)
    if statistics.recommended_rate is not None:
        tried = [rate for rate, _ in runs if not math.isnan(rate)]
        assert min(tried) * 0.999 <= statistics.recommended_rate <= max(tried) * 1.001
    if statistics.window is not None:
        assert 0.06 <= statistics.window <= 0.12
