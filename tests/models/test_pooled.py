"""Figures over workloads, against numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest

from greedylr import Interval
from models.cells import Cell
from models.pooled import WorkloadCells, contrasts, holm, least_p_value, pooled_difference, pooled_shares

CONTROL = "plateau"


def cell(difference: float, **changes: Any) -> Cell:
    verdict = "better" if difference < 0 else "worse"
    values: dict[str, Any] = {
        "control": CONTROL,
        "region": "near",
        "starting_rate": 0.1,
        "control_rate": 0.1,
        "difference": difference,
        "interval": Interval(lower=difference - 1e-6, upper=difference + 1e-6, level=0.98),
        "seeds": 5,
        "verdict": verdict,
        "lenient": difference < 0,
        "only_preset_diverged": 0,
        "only_control_diverged": 0,
        "both_diverged": 0,
        "failed": 0,
    }
    return Cell(**{**values, **changes})


def workload(name: str, family: str, *differences: float, pooled: bool = True) -> WorkloadCells:
    cells = tuple(
        cell(difference, starting_rate=0.1 * number, control_rate=0.1 * number)
        for number, difference in enumerate(differences, start=1)
    )
    return WorkloadCells(workload=name, family=family, pooled=pooled, cells=cells)


def families(*means: float) -> list[WorkloadCells]:
    return [workload(f"w{number}", f"family-{number}", mean) for number, mean in enumerate(means)]


def test_a_family_of_many_workloads_weighs_as_much_as_one_of_a_single_workload() -> None:
    workloads = [
        workload("mlp", "digits", -0.1, -0.3),  # -0.2
        workload("cnn", "digits", 0.0),
        workload("nmf", "reuters", 0.3),
    ]
    # digits: (-0.2 + 0) / 2 = -0.1; (-0.1 + 0.3) / 2 = 0.1.
    figure = pooled_difference(workloads, CONTROL, "starting rates")
    assert (figure.mean, figure.families, figure.workloads) == (pytest.approx(0.1), 2, 3)
    # Of two families the bootstrap draws each twice with probability 1/4: the interval is their span.
    assert (figure.interval.lower, figure.interval.upper) == (pytest.approx(-0.1), pytest.approx(0.3))


def test_own_rates_and_starting_rates_are_figures_of_their_own() -> None:
    workloads = [
        WorkloadCells(workload=name, family=name, cells=(cell(near), cell(own, region="own rate")))
        for name, near, own in (("a", -0.2, 0.02), ("b", -0.4, 0.04))
    ]
    assert pooled_difference(workloads, CONTROL, "starting rates").mean == pytest.approx(-0.3)
    assert pooled_difference(workloads, CONTROL, "own rate").mean == pytest.approx(0.03)


def test_families_that_agree_leave_no_doubt() -> None:
    figure = pooled_difference(families(-0.1, -0.1, -0.1), CONTROL, "starting rates")
    assert (figure.interval.lower, figure.interval.upper) == (pytest.approx(-0.1), pytest.approx(-0.1))


def test_the_interval_is_that_of_means_of_families_drawn_with_replacement() -> None:
    means = np.array([-0.3, -0.1, 0.0, 0.05, 0.2, -0.15, -0.25, 0.1])
    figure = pooled_difference(families(*means), CONTROL, "starting rates")
    drawn = np.random.default_rng(1).choice(means, size=(100_000, len(means))).mean(axis=1)
    assert figure.interval.lower == pytest.approx(np.quantile(drawn, 0.025), abs=0.005)
    assert figure.interval.upper == pytest.approx(np.quantile(drawn, 0.975), abs=0.005)
    assert pooled_difference(families(*means), CONTROL, "starting rates") == figure


def test_shares_count_undecided_cells_as_failed_in_each_group_of_starting_rates() -> None:
    low = cell(-0.1, region="too low", starting_rate=0.02)
    undecided = cell(0.0, region="too low", verdict="undecided", starting_rate=0.01)
    workloads = [
        WorkloadCells(workload="a", family="a", cells=(cell(-0.1), low, undecided)),
        WorkloadCells(workload="b", family="b", cells=(cell(0.1), low)),
    ]
    shares = pooled_shares(workloads)
    assert list(shares) == ["too low", "near", "all"]
    means = [share.mean for share in shares.values()]
    assert means == pytest.approx([(1 / 2 + 1) / 2, (1 + 0) / 2, (2 / 3 + 1 / 2) / 2])


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.02, 0.03], [0.04, 0.04]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.04], [0.04]),
    ],
)
def test_holm_multiplies_the_smallest_most_and_keeps_the_order(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


def test_a_contrast_flips_the_signs_of_whole_families() -> None:
    # All six of one sign: of the 64 signs two are as extreme.
    (contrast,) = contrasts(families(-0.1, -0.2, -0.3, -0.1, -0.2, -0.3), [CONTROL])
    assert contrast.p_value == pytest.approx(2 / 64)
    # 0.1 - 0.2 - 0.4: sums of +-: 0.7, 0.5, 0.3, 0.1 each twice; |-0.5| or more has 4 of 8.
    (contrast,) = contrasts(families(0.1, -0.2, -0.4), [CONTROL])
    assert contrast.p_value == pytest.approx(4 / 8)


def test_contrasts_made_together_are_adjusted_together() -> None:
    workloads = [
        WorkloadCells(workload=name, family=name, cells=(cell(-0.1), cell(0.1 * sign, control="linear")))
        for name, sign in zip("abcdefg", (1, -1, 1, -1, 1, -1, 1), strict=True)
    ]
    first, second = contrasts(workloads, [CONTROL, "linear"])
    assert (first.p_value, first.adjusted) == (pytest.approx(2 / 128), pytest.approx(4 / 128))
    assert second.adjusted == second.p_value == pytest.approx(1.0)
    assert first.figure == pooled_difference(workloads, CONTROL, "starting rates")


@pytest.mark.parametrize(("together", "few", "enough"), [(1, 5, 6), (2, 6, 7), (3, 6, 7)])
def test_contrasts_made_together_take_more_families_to_show_one(together: int, few: int, enough: int) -> None:
    def smallest(number: int) -> float:
        controls = ["a", "b", "c"][:together]
        agreeing = [
            WorkloadCells(workload=f"w{each}", family=f"w{each}", cells=tuple(cell(-0.1, control=c) for c in controls))
            for each in range(number)
        ]
        return max(contrast.adjusted for contrast in contrasts(agreeing, controls))

    assert smallest(few) == pytest.approx(least_p_value(few, together))
    assert smallest(enough) == pytest.approx(least_p_value(enough, together))
    assert least_p_value(enough, together) < 0.05 < least_p_value(few, together)


def test_more_than_three_contrasts_are_no_confirmation() -> None:
    with pytest.raises(ValueError, match="at most three, got 4"):
        contrasts(families(0.1, 0.2), ["a", "b", "c", "d"])


def test_a_model_of_training_is_in_no_pooled_figure() -> None:
    workloads = [*families(0.1, 0.2), workload("noisy-quadratic", "noisy-quadratic", 0.3, pooled=False)]
    with pytest.raises(ValueError) as raised:
        pooled_shares(workloads)
    assert str(raised.value) == (
        "noisy-quadratic is in no pooled figure, since it is a model of training and no data set; "
        "read its own table, and pool the others"
    )


def test_one_family_is_no_pool() -> None:
    with pytest.raises(ValueError, match="at least two families of data, got 1"):
        pooled_difference([workload("mlp", "digits", 0.1), workload("cnn", "digits", 0.1)], CONTROL, "starting rates")


def test_a_workload_that_lacks_the_control_is_not_left_out_in_silence() -> None:
    with pytest.raises(ValueError, match="but w0 has no cell against 'linear' from starting rates"):
        pooled_difference(families(0.1, 0.2), "linear", "starting rates")


def test_a_workload_stands_once() -> None:
    with pytest.raises(ValueError, match="each once"):
        pooled_shares([workload("mlp", "a", 0.1), workload("mlp", "b", 0.1)])
