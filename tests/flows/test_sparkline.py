import math

import pytest

from flows.sparkline import sparkline


def test_a_rising_line_climbs_the_blocks():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 6, 5, 4, 3, 2, 1, 0], 8, plain=True) == "#*+=:-._"


def test_each_column_is_the_median_of_its_share():
    assert sparkline([1, 1, 100, 1, 9, 9, 9, 9], 2) == "▁█"


def test_a_wide_range_is_drawn_by_its_logarithm():
    assert sparkline([1.0, 10.0, 100.0, 1000.0], 4) == "▁▃▆█"
    assert sparkline([0.0, 10.0, 100.0, 1000.0], 4) == "▁▁▁█"


def test_gaps_and_what_is_not_finite_are_seen():
    assert sparkline([1.0, None, 2.0, math.nan, math.inf], 5) == "▁ █××"
    assert sparkline([1.0, -math.inf], 5, plain=True) == "_x"


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([3.0], "▁"), ([2.0, 2.0], "▁▁"), ([None], " "), ([math.nan], "×")]
)
def test_short_and_constant_curves_are_lines_too(values, line):
    assert sparkline(values, 60) == line
