import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.regret import RegretScale, has_diverged, regret

SCALE = RegretScale(reference=0.2, naive=1.2)
FINITE = st.floats(-1e6, 1e6)


def test_regret_is_0_at_the_reference_1_at_the_naive_loss_and_linear_between() -> None:
    assert regret([0.2, 0.7, 1.2], SCALE) == pytest.approx([0.0, 0.5, 1.0])


def test_regret_is_clipped_from_above_only() -> None:
    assert regret([5.0, 0.1], SCALE) == pytest.approx([1.0, -0.1])


def test_a_diverged_run_has_the_regret_1() -> None:
    assert regret([math.nan, math.inf, -math.inf], SCALE).tolist() == [1.0, 1.0, 1.0]


def test_a_run_flagged_as_diverged_has_the_regret_1_whatever_its_loss() -> None:
    assert regret([0.2, 0.2], SCALE, diverged=[True, False]).tolist() == [1.0, 0.0]
    assert has_diverged([0.2, math.nan, 0.2], [True, False, False]).tolist() == [True, True, False]


def test_regret_does_not_change_its_argument() -> None:
    losses = np.array([math.nan, 0.7])
    regret(losses, SCALE)
    assert math.isnan(losses[0])
    assert losses[1] == 0.7


def test_regret_takes_zero_and_negative_losses() -> None:
    assert regret([-3.0, -1.0, 1.0], RegretScale(reference=-3.0, naive=1.0)).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(("reference", "naive"), [(1.0, 1.0), (2.0, 1.0)])
def test_a_naive_loss_not_above_the_reference_is_refused(reference: float, naive: float) -> None:
    with pytest.raises(
        ValueError, match=f"must lie above the reference loss, got naive {naive} and reference {reference}"
    ):
        RegretScale(reference=reference, naive=naive)


def test_a_scale_that_is_not_finite_is_refused() -> None:
    with pytest.raises(
        ValueError, match="reference loss of a regret must be finite, got nan; take it from runs that did"
    ):
        RegretScale(reference=math.nan, naive=1.0)


@given(losses=st.lists(FINITE, min_size=1, max_size=20), shift=st.floats(-100, 100), factor=st.floats(0.01, 100))
@settings(max_examples=50, deadline=None, database=None)
def test_regret_does_not_depend_on_the_unit_of_the_loss(losses: list[float], shift: float, factor: float) -> None:
    other = RegretScale(reference=0.2 * factor + shift, naive=1.2 * factor + shift)
    transformed = [loss * factor + shift for loss in losses]
    assert regret(transformed, other) == pytest.approx(regret(losses, SCALE), rel=1e-6, abs=1e-6)


@given(losses=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None, database=None)
def test_regret_is_never_nan_and_never_above_1(losses: list[float]) -> None:
    assert np.all(regret(losses, SCALE) <= 1.0)
