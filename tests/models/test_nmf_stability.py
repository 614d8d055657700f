"""The largest stable rates of matrix factorisation, from both sides, on thirty instances of 12 x 8, rank 3."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.nmf import alternating, expected_descent, simultaneous, stochastic
from models.nmf.factorisation import gradients, half_squared_error
from models.nmf.stochastic import SecondMoment

Floats = NDArray[np.float64]
Instance = tuple[Floats, Floats, Floats]

ROWS, COLUMNS, RANK = 12, 8, 3
ROUNDING = 1e-12


def instance(seed: int, scale: float = 1.0) -> Instance:
    """Values near a product of rank 3, and random factors in [0, scale]."""
    generator = np.random.default_rng(seed)
    values = generator.random((ROWS, RANK)) @ generator.random((RANK, COLUMNS)) + 0.1 * generator.random(
        (ROWS, COLUMNS)
    )
    return values, scale * generator.random((ROWS, RANK)), scale * generator.random((RANK, COLUMNS))


INSTANCES = [instance(seed) for seed in range(30)]
# From factors that are nearly nothing to ones that overshoot by far.
SCALED_INSTANCES = [instance(seed, scale) for seed in range(30) for scale in (0.01, 0.1, 1.0, 10.0)]


def alternating_losses(values: Floats, loadings: Floats, parts: Floats, factor: float, sweeps: int) -> Floats:
    """Losses of projected half-steps, each at `factor` times the bound of the moment."""
    losses = [half_squared_error(values, loadings, parts)]
    for _ in range(sweeps):
        rate = factor * alternating.largest_stable_learning_rate(parts)
        loadings = np.maximum(loadings - rate * gradients(values, loadings, parts)[0], 0)
        losses.append(half_squared_error(values, loadings, parts))
        rate = factor * alternating.largest_stable_learning_rate(loadings)
        parts = np.maximum(parts - rate * gradients(values, loadings, parts)[1], 0)
        losses.append(half_squared_error(values, loadings, parts))
    return np.array(losses)


@pytest.mark.parametrize(("factor", "instances_that_rise"), [(1.0, 0), (1.05, 30)])
def test_alternating_steps_raise_the_loss_only_above_the_bound(factor: float, instances_that_rise: int) -> None:
    paths = [alternating_losses(*each, factor, sweeps=60) for each in INSTANCES]
    rises = [bool((np.diff(path) > ROUNDING * path[:-1]).any()) for path in paths]
    assert sum(rises) == instances_that_rise


@pytest.mark.parametrize(("factor", "rises"), [(0.999, False), (1.001, True)])
def test_an_alternating_step_along_the_top_eigenvector_turns_at_the_bound(factor: float, rises: bool) -> None:
    for _, loadings, parts in INSTANCES:
        # Loadings that miss their optimum along the top eigenvector of H Hᵀ alone, not projected.
        top = np.linalg.eigh(parts @ parts.T)[1][:, -1]
        values, missed = loadings @ parts, loadings + np.outer(np.ones(ROWS), top)
        rate = factor * alternating.largest_stable_learning_rate(parts)
        after = missed - rate * gradients(values, missed, parts)[0]
        assert (half_squared_error(values, after, parts) > half_squared_error(values, missed, parts)) is rises


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("factor", "grows"), [(0.98, False), (1.02, True)])
def test_torch_sgd_with_momentum_is_stable_up_to_the_bound(momentum: float, factor: float, grows: bool) -> None:
    parts = INSTANCES[0][2]
    rate = factor * alternating.largest_stable_learning_rate(parts, momentum=momentum)
    loadings = torch.ones(1, RANK, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([loadings], lr=rate, momentum=momentum)
    for _ in range(2000):
        optimizer.zero_grad()
        (0.5 * (loadings @ torch.from_numpy(parts)).square().sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    product = float((loadings.detach() @ torch.from_numpy(parts)).norm())
    assert (product > 1e3) if grows else (product < 1e-3)


def test_simultaneous_steps_at_the_safe_bound_never_raise_the_loss_projected_or_not() -> None:
    for values, loadings, parts in SCALED_INSTANCES:
        for project in (lambda factor: factor, lambda factor: np.maximum(factor, 0)):
            mine, theirs = loadings, parts
            for _ in range(10):
                before = half_squared_error(values, mine, theirs)
                first, second = gradients(values, mine, theirs)
                rate = simultaneous.largest_stable_learning_rate(values, mine, theirs)
                mine, theirs = project(mine - rate * first), project(theirs - rate * second)
                assert half_squared_error(values, mine, theirs) <= before * (1 + ROUNDING)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_below_the_first_rise_a_simultaneous_step_lowers_the_loss(share: float) -> None:
    assert not any(_rises_at(each, share) for each in SCALED_INSTANCES)


def test_just_above_the_first_rise_a_simultaneous_step_raises_the_loss() -> None:
    assert all(_rises_at(each, 1.001) for each in SCALED_INSTANCES)


def _rises_at(each: Instance, share_of_first_rise: float) -> bool:
    values, loadings, parts = each
    rate = share_of_first_rise * simultaneous.first_rise(values, loadings, parts)
    first, second = gradients(values, loadings, parts)
    after = half_squared_error(values, loadings - rate * first, parts - rate * second)
    return after > half_squared_error(values, loadings, parts)


def test_without_the_residual_the_simultaneous_bound_would_fail_at_half() -> None:
    values, loadings, parts = instance(0, 0.1)
    without = 2 / (np.linalg.norm(loadings, 2) ** 2 + np.linalg.norm(parts, 2) ** 2)
    assert simultaneous.first_rise(values, loadings, parts) < 0.5 * without
    assert simultaneous.largest_stable_learning_rate(values, loadings, parts) < without


def test_the_first_rise_of_a_product_of_numbers_is_the_root_that_can_be_worked_out() -> None:
    # w = h = 1, v = 2: the residual is 1 and both gradients are -1. The step to 1 + rate leaves 2 - (1 + rate)²,
    # which is -1 again, and so as bad as 1, where (1 + rate)² = 3.
    one, two = np.array([[1.0]]), np.array([[2.0]])
    assert simultaneous.first_rise(two, one, one) == pytest.approx(math.sqrt(3) - 1, rel=1e-12)
    assert simultaneous.largest_stable_learning_rate(two, one, one) == pytest.approx(2 / 3)


def test_nothing_rises_where_nothing_moves() -> None:
    loadings, parts = INSTANCES[0][1:]
    assert simultaneous.first_rise(loadings @ parts, loadings, parts) == math.inf


def second_moment_map(rows: Floats, batch_size: int, rate: float, momentum: float) -> Floats:
    """E[M_B (x) M_B] over every batch, for M_B the step of distance and momentum that a batch makes."""
    identity = np.eye(rows.shape[1])
    steps = []
    for batch in itertools.combinations(range(len(rows)), batch_size):
        hessian = len(rows) / batch_size * rows[list(batch)].T @ rows[list(batch)]
        steps.append(
            np.block([[identity - rate * hessian, -rate * momentum * identity], [hessian, momentum * identity]])
        )
    stacked = np.array(steps)
    size = stacked.shape[1]
    product = np.einsum("bij,bkl->ikjl", stacked, stacked).reshape(size**2, size**2)
    return np.asarray(product / len(stacked))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batch_size", [1, 2, 12])
def test_second_moments_shrink_below_the_stochastic_bound_and_grow_above(batch_size: int, momentum: float) -> None:
    moment = SecondMoment.of_drawn_terms(batch_size, ROWS)
    for _, loadings, _ in INSTANCES[:: 1 if momentum == 0 else 6]:
        bound = stochastic.largest_stable_learning_rate(loadings, moment, momentum=momentum)
        radii = [
            np.abs(np.linalg.eigvals(second_moment_map(loadings, batch_size, factor * bound, momentum))).max()
            for factor in (0.95, 1.05)
        ]
        assert radii[0] < 1 < radii[1]


def test_the_stochastic_bound_is_where_bisection_finds_the_spectral_radius_at_one() -> None:
    loadings = INSTANCES[3][1]
    low, high = 0.0, 2 / float(np.linalg.norm(loadings, 2)) ** 2
    for _ in range(40):
        middle = (low + high) / 2
        radius = np.abs(np.linalg.eigvals(second_moment_map(loadings, 3, middle, 0.0))).max()
        low, high = (middle, high) if radius < 1 else (low, middle)
    bound = stochastic.largest_stable_learning_rate(loadings, SecondMoment.of_drawn_terms(3, ROWS))
    assert bound == pytest.approx(low, rel=1e-9)


def test_with_every_row_in_the_batch_the_stochastic_bound_is_that_of_full_gradients() -> None:
    for _, loadings, parts in INSTANCES:
        for momentum in (0.0, 0.9):
            full = alternating.largest_stable_learning_rate(loadings, momentum=momentum)
            whole = SecondMoment.of_drawn_terms(ROWS, ROWS)
            assert stochastic.largest_stable_learning_rate(loadings, whole, momentum=momentum) == pytest.approx(full)
        # A row of W in half of the batches, its gradient doubled there: half the rate.
        half = stochastic.largest_stable_learning_rate(parts.T, SecondMoment.of_whole_or_nothing(0.5))
        assert half == pytest.approx(0.5 * alternating.largest_stable_learning_rate(parts))


def test_the_stochastic_bound_grows_with_the_batch() -> None:
    loadings = INSTANCES[0][1]
    bounds = [
        stochastic.largest_stable_learning_rate(loadings, SecondMoment.of_drawn_terms(size, ROWS))
        for size in range(1, 13)
    ]
    assert bounds == sorted(bounds)


def test_a_part_that_no_row_has_does_not_count() -> None:
    loadings = INSTANCES[0][1]
    moment = SecondMoment.of_drawn_terms(2, ROWS)
    widened = np.hstack([loadings, np.zeros((ROWS, 1))])
    assert stochastic.largest_stable_learning_rate(widened, moment) == pytest.approx(
        stochastic.largest_stable_learning_rate(loadings, moment)
    )


def expected_loss(each: Instance, batch_size: int, rate: float) -> float:
    """The mean of f over every batch after one step for the parts."""
    values, loadings, parts = each
    losses = []
    for batch in itertools.combinations(range(ROWS), batch_size):
        rows = list(batch)
        _, gradient = gradients(values[rows], loadings[rows], parts)
        losses.append(half_squared_error(values, loadings, parts - rate * ROWS / batch_size * gradient))
    return float(np.mean(losses))


@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_the_loss_falls_in_expectation_up_to_the_bound(batch_size: int) -> None:
    for each in INSTANCES:
        bound = expected_descent.largest_stable_learning_rate(*each, batch_size=batch_size)
        assert expected_loss(each, batch_size, bound) <= half_squared_error(*each)


@pytest.mark.parametrize(("factor", "rises"), [(0.99, False), (1.01, True)])
def test_the_bound_of_descent_in_expectation_is_sharp_for_one_column(factor: float, rises: bool) -> None:
    for values, loadings, parts in INSTANCES:
        each = (values, loadings[:, :1], parts[:1])
        bound = expected_descent.largest_stable_learning_rate(*each, batch_size=3)
        assert (expected_loss(each, 3, factor * bound) > half_squared_error(*each)) is rises


def test_no_rate_lowers_the_expected_loss_at_the_optimum_of_a_factor() -> None:
    values, loadings, _ = INSTANCES[0]
    best = np.asarray(np.linalg.lstsq(loadings, values, rcond=None)[0], dtype=np.float64)
    gradient, noise = expected_descent.gradient_and_noise(values, loadings, best, batch_size=3)
    assert gradient == pytest.approx(0, abs=1e-20)
    assert noise > 0.01
    assert expected_loss((values, loadings, best), 3, 1e-3) > half_squared_error(values, loadings, best)


@pytest.mark.parametrize("factor", [np.zeros((3, 4)), np.full((3, 4), np.nan), np.ones(3)])
def test_a_factor_that_is_none_is_refused(factor: Floats) -> None:
    with pytest.raises(ValueError, match="finite"):
        alternating.largest_stable_learning_rate(factor)
    with pytest.raises(ValueError, match="finite"):
        stochastic.largest_stable_learning_rate(factor, SecondMoment.of_drawn_terms(1, 3))


def test_momentum_and_batches_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), got 1.0"):
        alternating.largest_stable_learning_rate(np.ones((2, 2)), momentum=1.0)
    with pytest.raises(ValueError, match=r"batch_size must lie in 1 .. total = 12, got 13"):
        SecondMoment.of_drawn_terms(13, 12)
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 0"):
        SecondMoment.of_whole_or_nothing(0)
    with pytest.raises(ValueError, match=r"batch_size must lie in 1 .. 12 rows, got 0"):
        expected_descent.largest_stable_learning_rate(*INSTANCES[0], batch_size=0)
