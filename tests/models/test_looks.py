import math

import pytest

from models.looks import ALPHA, LOOKS, level_at, next_look


def test_the_levels_are_the_increments_of_the_spending_function() -> None:
    # alpha(t) = 0.05 ln(1 + (e - 1) t) at t = 1/4, 1/2, 1: 0.01787, 0.03101, 0.05.
    assert [level_at(n) for n in (5, 10, 20)] == pytest.approx([0.982131, 0.986863, 0.981006], abs=1e-6)


def test_all_looks_together_spend_exactly_the_error() -> None:
    assert sum(1.0 - level_at(n) for n in LOOKS) == pytest.approx(ALPHA, abs=1e-15)


def test_a_single_look_spends_everything_at_once() -> None:
    assert level_at(8, looks=(8,)) == pytest.approx(0.95)


def test_the_next_look_is_the_first_one_beyond() -> None:
    assert [next_look(n) for n in (0, 4, 5, 9, 10, 19, 20, 40)] == [5, 5, 10, 10, 20, 20, None, None]


def test_a_number_of_seeds_between_looks_is_refused_with_the_next_one() -> None:
    with pytest.raises(ValueError, match=r"after 5, 10, 20 paired seeds, got 7; train up to the next look \(10\)"):
        level_at(7)


@pytest.mark.parametrize("looks", [(), (1, 5), (5, 5), (10, 5)])
def test_looks_that_do_not_increase_from_two_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="looks must be increasing numbers of seeds from 2 on"):
        level_at(5, looks)


def test_the_spending_function_is_that_of_lan_and_demets() -> None:
    assert 1.0 - level_at(5) == pytest.approx(0.05 * math.log(1 + (math.e - 1) / 4))
