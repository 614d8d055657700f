import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from models.cells import Cell
from models.comparison import MULTIPLES, compare, headline, mean_regret, preset_verdict, primary_cell
from models.regret import RegretScale
from models.results import Results

SCALE = RegretScale(reference=0.0, naive=1.0)
WOBBLE = (-0.002, -0.001, 0.0, 0.001, 0.002)


def trained(
    losses: Mapping[tuple[str, float], Sequence[float]],
    seeds: Sequence[int] | None = None,
    failed: Sequence[tuple[str, int]] = (),
) -> Results:
    """One row for each loss; the losses of a schedule and rate are those of seeds 0, 1, 2 ..."""
    rows = [
        (schedule, rate, seed, loss)
        for (schedule, rate), values in losses.items()
        for seed, loss in zip(seeds or range(len(values)), values, strict=True)
    ]
    schedule, rate, seed, loss = zip(*rows, strict=True)
    return Results(
        schedule=np.array(schedule),
        starting_rate=np.array(rate),
        seed=np.array(seed),
        selection_loss=np.full(len(rows), math.nan),
        reporting_loss=np.array(loss),
        diverged=np.zeros(len(rows), dtype=bool),
        failed=np.array([(name, number) in failed for name, _, number, _ in rows]),
    )


def near(loss: float, wobble: Sequence[float] = WOBBLE) -> list[float]:
    return [loss + each for each in wobble]


def cell_at_own_rates(preset: Sequence[float], cosine: Sequence[float], failed: Sequence[tuple[str, int]] = ()) -> Cell:
    results = trained({("preset", 0.3): preset, ("cosine", 0.1): cosine}, failed=failed)
    (cell,) = compare(
        results,
        preset="preset",
        preset_rate=0.3,
        control_rates={"cosine": 0.1},
        base_rate=0.1,
        scale=SCALE,
        multiples=(),
    )
    return cell


def test_each_control_is_met_at_every_starting_rate_and_at_its_own() -> None:
    losses = {(name, 0.1 * multiple): near(0.5) for name in ("preset", "cosine", "linear") for multiple in MULTIPLES}
    losses |= {("preset", 0.2): near(0.3), ("linear", 0.05): near(0.5)}
    cells = compare(
        trained(losses),
        preset="preset",
        preset_rate=0.2,
        control_rates={"cosine": 0.1, "linear": 0.05},
        base_rate=0.1,
        scale=SCALE,
    )
    assert [(cell.control, cell.region) for cell in cells] == [
        (control, region)
        for control in ("cosine", "linear")
        for region in ("too low", "too low", "too low", "near", "too high", "too high", "own rate")
    ]
    assert [round(cell.starting_rate, 6) for cell in cells[:7]] == [0.003704, 0.011111, 0.033333, 0.1, 0.3, 0.9, 0.2]
    assert [cell.control_rate for cell in cells if cell.region == "own rate"] == [0.1, 0.05]
    assert [cell.verdict for cell in cells[:7]] == ["non-inferior"] * 6 + ["better"]


def test_the_difference_is_that_of_regrets_of_the_reporting_loss_pair_by_pair() -> None:
    cell = cell_at_own_rates(preset=[0.1, 0.2, 0.3, 0.4, 0.5], cosine=[0.4, 0.5, 0.6, 0.7, 0.8])
    assert cell.difference == pytest.approx(-0.3)
    assert (cell.interval.lower, cell.interval.upper) == pytest.approx((-0.3, -0.3))
    assert (cell.verdict, cell.seeds) == ("better", 5)


def test_two_diverged_tie_and_are_counted_apart() -> None:
    cell = cell_at_own_rates(
        preset=[math.nan, math.inf, 0.5, 0.5, 0.5],
        cosine=[math.nan, 0.5, 0.5, 0.5, math.nan],
    )
    assert (cell.both_diverged, cell.only_preset_diverged, cell.only_control_diverged) == (1, 1, 1)
    assert cell.difference == pytest.approx((0.0 + 0.5 + 0.0 + 0.0 - 0.5) / 5)


def test_a_cell_in_which_everything_diverged_is_a_tie() -> None:
    cell = cell_at_own_rates(preset=[math.nan] * 5, cosine=[math.inf] * 5)
    assert (cell.verdict, cell.both_diverged) == ("non-inferior", 5)
    assert (cell.interval.lower, cell.interval.upper) == (0.0, 0.0)


def test_a_missing_pair_is_refused_with_its_seeds() -> None:
    results = trained({("preset", 0.3): near(0.5), ("cosine", 0.1): near(0.5)[:3]})
    with pytest.raises(
        ValueError, match=r"a pair shares its seed: 'cosine' at rate 0\.1 lacks seeds \[3, 4\]; train them"
    ):
        compare(
            results,
            preset="preset",
            preset_rate=0.3,
            control_rates={"cosine": 0.1},
            base_rate=0.1,
            scale=SCALE,
            multiples=(),
        )


def test_different_seeds_are_refused_on_both_sides() -> None:
    preset = trained({("preset", 0.1): near(0.5)}, seeds=[1, 2, 3, 4, 5])
    control = trained({("cosine", 0.1): near(0.5)}, seeds=[2, 3, 4, 5, 6])
    columns = {
        name: np.concatenate([getattr(preset, name), getattr(control, name)]) for name in Results.__annotations__
    }
    with pytest.raises(
        ValueError, match=r"'preset' at rate 0\.1 lacks seeds \[6\]; 'cosine' at rate 0\.1 lacks seeds \[1\]"
    ):
        compare(
            Results(**columns),
            preset="preset",
            preset_rate=0.1,
            control_rates={"cosine": 0.1},
            base_rate=0.1,
            scale=SCALE,
            multiples=(),
        )


def test_a_control_that_stopped_at_a_look_is_compared_there() -> None:
    results = trained({("preset", 0.1): near(0.3, WOBBLE * 2), ("cosine", 0.1): near(0.5)})
    (cell,) = compare(
        results,
        preset="preset",
        preset_rate=0.1,
        control_rates={"cosine": 0.1},
        base_rate=0.1,
        scale=SCALE,
        multiples=(),
    )
    assert (cell.verdict, cell.seeds) == ("better", 5)


def test_a_control_is_never_compared_with_itself() -> None:
    results = trained({("linear", 0.1): near(0.5), ("cosine", 0.1): near(0.5)})
    arguments = {"base_rate": 0.1, "scale": SCALE, "multiples": ()}
    cells = compare(
        results,
        preset="linear",
        preset_rate=0.1,
        control_rates={"linear": 0.1, "cosine": 0.1},
        base_rate=0.1,
        scale=SCALE,
        multiples=(),
    )
    assert [cell.control for cell in cells] == ["cosine"]
    with pytest.raises(ValueError, match="needs a control other than the preset 'linear' itself"):
        compare(results, preset="linear", preset_rate=0.1, control_rates={"linear": 0.1}, **arguments)  # type: ignore[arg-type]


def cells_with_verdicts() -> list[Cell]:
    """Near: better and undecided; too low: better; own rates: worse against cosine."""
    undecided = [0.1, 0.9, 0.5, 0.2, 0.8]
    losses: dict[tuple[str, float], Sequence[float]] = {
        ("preset", 0.1): near(0.3),
        ("cosine", 0.1): near(0.5),
        ("linear", 0.1): undecided,
        ("preset", 0.1 / 3): near(0.4),
        ("cosine", 0.1 / 3): near(0.6),
        ("linear", 0.1 / 3): near(0.6),
        ("preset", 0.2): near(0.55, (0.002, -0.001, 0.001, 0.0, -0.002)),
    }
    return compare(
        trained(losses),
        preset="preset",
        preset_rate=0.2,
        control_rates={"cosine": 0.1, "linear": 0.1 / 3},
        base_rate=0.1,
        scale=SCALE,
        multiples=(1 / 3, 1.0),
    )


def test_the_headline_keeps_undecided_cells_in_the_denominator() -> None:
    rows = {(row.rule, row.region): row for row in headline(cells_with_verdicts())}
    assert [key for key in rows if key[0] == "margin"] == [
        ("margin", "too low"),
        ("margin", "near"),
        ("margin", "own rate"),
        ("margin", "all"),
    ]
    near_rate = rows["margin", "near"]
    assert (near_rate.cells, near_rate.passed, near_rate.better, near_rate.undecided, near_rate.share) == (
        2,
        1,
        1,
        1,
        0.5,
    )
    everything = rows["margin", "all"]
    assert (everything.cells, everything.passed, everything.undecided) == (6, 4, 1)


def test_the_lenient_rule_is_a_row_of_its_own() -> None:
    rows = {(row.rule, row.region): row for row in headline(cells_with_verdicts())}
    assert rows["lenient", "near"].passed == 2
    assert rows["lenient", "own rate"].passed == 1
    assert rows["lenient", "all"].cells == 6


def test_a_headline_without_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one cell, got none"):
        headline([])


def test_the_preset_verdict_is_that_against_cosine_at_own_rates() -> None:
    verdict = preset_verdict(
        cells_with_verdicts(), workload="mnist_mlp", own_workload=False, attempt=2, device_seconds=12.5
    )
    assert (verdict.verdict, verdict.primary_control, verdict.seeds) == ("worse", "cosine", 5)
    assert verdict.difference == pytest.approx(0.05)
    assert verdict.cells == {"better": 4, "worse": 1, "undecided": 1}
    assert (verdict.workload, verdict.own_workload, verdict.attempt, verdict.device_seconds) == (
        "mnist_mlp",
        False,
        2,
        12.5,
    )


def test_the_incumbent_decides_where_there_is_one() -> None:
    results = trained({("preset", 0.1): near(0.3), ("cosine", 0.1): near(0.5), ("incumbent", 0.01): near(0.1)})
    cells = compare(
        results,
        preset="preset",
        preset_rate=0.1,
        control_rates={"cosine": 0.1, "incumbent": 0.01},
        base_rate=0.1,
        scale=SCALE,
        multiples=(),
    )
    assert primary_cell(cells).control == "incumbent"
    assert preset_verdict(cells, workload="w", own_workload=True, attempt=1).verdict == "worse"


def test_mean_regret_weighs_every_starting_rate_alike() -> None:
    results = trained({("cosine", 0.1): [0.1, 0.3], ("cosine", 0.1 * 3): [0.6, math.nan, 0.2], ("linear", 0.1): [0.9]})
    found = mean_regret(results, "cosine", base_rate=0.1, scale=SCALE, multiples=(1.0, 3.0))
    assert found == pytest.approx((0.2 + 0.6) / 2)


def test_without_a_primary_control_there_is_no_verdict() -> None:
    cells = [cell for cell in cells_with_verdicts() if cell.control == "linear"]
    with pytest.raises(ValueError, match=r"against 'incumbent' or 'cosine', got own-rate cells against \['linear'\]"):
        primary_cell(cells)


def test_pairs_that_could_not_be_trained_are_missing_and_decide_nothing() -> None:
    better, worse = near(0.2), near(0.5)
    assert cell_at_own_rates(better, worse).verdict == "better"
    cell = cell_at_own_rates(better, worse, failed=[("preset", 1), ("cosine", 1), ("cosine", 4)])
    assert (cell.failed, cell.seeds, cell.verdict, cell.lenient) == (2, 3, "undecided", False)
    assert cell.difference == pytest.approx(-0.3)


def test_cell_of_which_nothing_was_trained_knows_nothing() -> None:
    cell = cell_at_own_rates(near(0.2), near(0.5), failed=[("preset", seed) for seed in range(5)])
    assert (cell.failed, cell.seeds, cell.verdict) == (5, 0, "undecided")
    assert (cell.interval.lower, cell.interval.upper) == (-1.0, 1.0)


def test_pairs_that_the_preset_alone_lost_do_not_flatter_it() -> None:
    better, worse = near(0.2, WOBBLE * 2), near(0.5, WOBBLE[::-1] * 2)
    lost = [("preset", seed) for seed in range(5)]
    cell = cell_at_own_rates(better, worse, failed=lost)
    # Five survivors are better by 0.3, and five that are lost count as diverged: regret 1 against about 0.5.
    assert (cell.failed, cell.seeds, cell.only_preset_diverged, cell.verdict) == (5, 5, 5, "worse")
    assert cell.difference == pytest.approx(0.5)
    # Lost by the control, or by both, they are missing.
    for sides in (["cosine"], ["cosine", "preset"]):
        cell = cell_at_own_rates(better, worse, failed=[(side, seed) for side in sides for seed in range(5)])
        assert (cell.failed, cell.seeds, cell.only_preset_diverged, cell.verdict) == (5, 5, 0, "better")


def test_look_is_taken_at_as_many_pairs_as_were_trained() -> None:
    preset, cosine = near(0.5, WOBBLE * 2), near(0.5, WOBBLE[::-1] * 2)
    cell = cell_at_own_rates(preset, cosine, failed=[("preset", 7)])
    assert (cell.failed, cell.seeds) == (1, 5)


def test_mean_regret_leaves_out_a_seed_that_failed_for_all() -> None:
    losses = {("preset", 0.1): [0.2, math.nan], ("cosine", 0.1): [0.4, math.nan]}
    results = trained(losses, failed=[("preset", 1), ("cosine", 1)])
    assert mean_regret(results, "cosine", base_rate=0.1, scale=SCALE, multiples=(1.0,)) == pytest.approx(0.4)
