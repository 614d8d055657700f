import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.splits import UNIT_COLUMNS, Unit, folds, leave_one_out


def runs(count: int = 12) -> pl.DataFrame:
    """Two copies of each run in two stores, three groups, two families."""
    rows = [
        (f"{store}/{number}", str(number), f"group-{number % 3}", f"family-{number % 2}")
        for number in range(count)
        for store in ("one", "two")
    ]
    return pl.DataFrame(rows, schema=dict(UNIT_COLUMNS), orient="row")


@pytest.mark.parametrize(("unit", "column"), [("run", "run_uuid"), ("group", "group_name"), ("family", "family")])
def test_rows_of_a_unit_are_never_divided(unit: Unit, column: str) -> None:
    divided = runs().join(folds(runs(), unit, 2), on="run_id")
    assert divided.group_by(column).agg(pl.col("fold").n_unique())["fold"].to_list() == [1] * divided[column].n_unique()


@given(st.integers(2, 40), st.integers(2, 10), st.integers(0, 5))
def test_folds_are_about_equal(count: int, number: int, seed: int) -> None:
    number = min(number, count)
    sizes = folds(runs(count), "run", number, seed)["fold"].value_counts()["count"]
    assert len(sizes) == number
    assert sizes.max() - sizes.min() <= 2  # one run is two rows


def test_another_seed_divides_otherwise_and_the_same_alike() -> None:
    assert folds(runs(), "run", 3, seed=1).equals(folds(runs(), "run", 3, seed=1))
    assert not folds(runs(), "run", 3, seed=1).equals(folds(runs(), "run", 3, seed=2))


def test_order_of_the_runs_changes_nothing() -> None:
    shuffled = runs().sample(fraction=1.0, shuffle=True, seed=7)
    assert folds(shuffled, "run", 3).sort("run_id").equals(folds(runs(), "run", 3).sort("run_id"))


def test_leave_one_out_judges_each_unit_once_and_learns_from_the_others() -> None:
    found = list(leave_one_out(runs(), "family"))
    assert [name for name, _, _ in found] == ["family-0", "family-1"]
    for name, learned, judged in found:
        assert not set(learned) & set(judged)
        assert set(learned) | set(judged) == set(runs()["run_id"])
        assert set(runs().filter(pl.col("family") == name)["run_id"]) == set(judged)


@pytest.mark.parametrize("count", [1, 4])
def test_more_folds_than_units_are_refused(count: int) -> None:
    with pytest.raises(
        ValueError, match=f"a division by group needs 2 to 3 folds, one group in each at least, got {count}"
    ):
        folds(runs(), "group", count)


def test_division_by_row_is_refused() -> None:
    with pytest.raises(ValueError, match="runs are divided by run, group, family, got 'row'; never by row"):
        folds(runs(), "row", 2)  # type: ignore[arg-type]


def test_run_without_a_family_is_refused() -> None:
    unknown = runs().with_columns(family=pl.lit(None, pl.String))
    with pytest.raises(ValueError, match="every run must have a family to be divided by family, got 24 without"):
        folds(unknown, "family", 2)
