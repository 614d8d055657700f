import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from models.results import Results
from models.tuning import needs_extension, rate_grid, tune


def trained(losses: Mapping[tuple[str, float], Sequence[float]]) -> Results:
    rows = [(*key, seed, loss) for key, values in losses.items() for seed, loss in enumerate(values)]
    schedule, rate, seed, loss = zip(*rows, strict=True)
    return Results(
        schedule=np.array(schedule),
        starting_rate=np.array(rate),
        seed=np.array(seed),
        selection_loss=np.array(loss),
        reporting_loss=np.full(len(rows), math.nan),
        diverged=np.zeros(len(rows), dtype=bool),
    )


def test_the_grid_goes_in_half_decades_around_its_centre() -> None:
    assert rate_grid(0.1, 5) == pytest.approx([0.01, 0.0316228, 0.1, 0.316228, 1.0], rel=1e-5)
    assert rate_grid(0.3, 1) == [0.3]


@pytest.mark.parametrize("points", [0, 2, -1])
def test_a_grid_without_a_middle_is_refused(points: int) -> None:
    with pytest.raises(ValueError, match="odd number of points"):
        rate_grid(0.1, points)


def test_a_grid_around_no_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"finite and > 0, got 0\.0"):
        rate_grid(0.0, 3)


def test_the_least_mean_selection_loss_wins() -> None:
    results = trained(
        {
            ("cosine", 0.01): [0.5, 0.5],
            ("cosine", 0.1): [0.1, 0.7],
            ("cosine", 1.0): [0.9, 0.9],
            ("linear", 0.01): [0.2, 0.3],
            ("linear", 0.1): [0.4, 0.4],
        }
    )
    assert tune(results) == {"cosine": 0.1, "linear": 0.01}


def test_a_diverged_run_counts_as_worse_than_any_loss() -> None:
    results = trained({("cosine", 0.1): [0.9, 0.9], ("cosine", 1.0): [0.01, math.nan], ("cosine", 3.0): [math.inf] * 2})
    assert tune(results) == {"cosine": 0.1}


def test_the_lower_rate_wins_a_tie() -> None:
    assert tune(trained({("cosine", 1.0): [0.5], ("cosine", 0.1): [0.5]})) == {"cosine": 0.1}


def test_an_optimum_inside_the_grid_needs_no_extension() -> None:
    assert needs_extension(trained({("a", 0.1): [0.5], ("a", 0.3): [0.2], ("a", 1.0): [0.9]})) == {}


def test_an_optimum_on_the_edge_asks_for_half_a_decade_more() -> None:
    results = trained(
        {
            ("low", 0.1): [0.1],
            ("low", 0.3): [0.2],
            ("high", 0.1): [0.2],
            ("high", 0.3): [0.1],
            ("single", 0.1): [0.1],
            ("diverges", 0.1): [math.nan],
            ("diverges", 0.3): [math.nan],
        }
    )
    needed = needs_extension(results)
    assert needed["low"] == pytest.approx([0.0316228], rel=1e-5)
    assert needed["high"] == pytest.approx([0.948683], rel=1e-5)
    assert needed["single"] == pytest.approx([0.0316228, 0.316228], rel=1e-5)
    assert needed["diverges"] == pytest.approx([0.0316228], rel=1e-5)


def test_a_schedule_that_always_diverges_has_no_rate() -> None:
    with pytest.raises(ValueError, match=r"got none of 'a' at the rates 0\.1, 0\.3; lay the grid lower"):
        tune(trained({("a", 0.1): [math.nan], ("a", 0.3): [math.nan]}))


def test_rates_with_different_seeds_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"rates of 'a' must be trained with the same seeds: 0\.3 lacks \[1\]"):
        tune(trained({("a", 0.1): [0.5, 0.5], ("a", 0.3): [0.1]}))
