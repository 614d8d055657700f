from datetime import UTC, datetime

import polars as pl
import pytest

from pipeline.selection import Selection, in_scope, newest
from pipeline.since import since_ms
from pipeline.sources.source import Scope

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
HOUR = 3_600_000
NOW_MS = 1_769_947_200_000


def runs(*rows):
    columns = ("run_uuid", "experiment_id", "experiment_name", "start_time")
    return pl.DataFrame(rows, schema=columns, orient="row")


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("12h", NOW_MS - 12 * HOUR),
        ("180d", NOW_MS - 180 * 24 * HOUR),
        ("4w", NOW_MS - 28 * 24 * HOUR),
        ("2026-01-31", NOW_MS - 36 * HOUR),
        ("2026-01-31T06:00", NOW_MS - 30 * HOUR),
        ("2026-01-31T06:00+02:00", NOW_MS - 32 * HOUR),
    ],
)
def test_since_is_an_age_or_a_date_in_utc(since, expected):
    assert since_ms(since, NOW) == expected


@pytest.mark.parametrize("since", ["", "lately", "12", "d", "-3d", "2026-13-01", "3 days"])
def test_what_is_neither_an_age_nor_a_date_is_refused(since):
    with pytest.raises(ValueError, match=f"since must be an age such as 12h.* got '{since}'"):
        Selection(since=since)


def test_the_scope_is_what_a_source_can_choose_by_itself():
    selection = Selection(experiments=("mnist-*",), since="12h", where="status = 'FAILED'", max_runs_per_group=3)
    assert selection.scope(NOW) == Scope(experiments=("mnist-*",), since=NOW_MS - 12 * HOUR)
    assert Selection().scope(NOW) == Scope()


def test_an_experiment_must_match_one_of_the_globs_and_capitals_count():
    found = runs(("a", "1", "mnist-1", 5), ("b", "2", "Mnist-2", 5), ("c", "3", "digits/x", 5), ("d", "4", "other", 5))
    assert in_scope(found, Scope(experiments=("mnist-*", "digits*"))).to_list() == [True, False, True, False]
    assert in_scope(found, Scope()).to_list() == [True] * 4
    assert in_scope(found.clear(), Scope(experiments=("a",), since=3)).to_list() == []


def test_a_run_without_a_start_is_as_new_as_any():
    found = runs(("a", "1", "x", 4), ("b", "1", "x", 5), ("c", "1", "x", -1), ("d", "1", "x", None))
    assert in_scope(found, Scope(since=5)).to_list() == [False, True, True, True]


def test_the_newest_runs_of_each_experiment_are_taken():
    found = runs(("a", "1", "x", 4), ("b", "1", "x", 6), ("c", "1", "x", 5), ("d", "2", "y", 1), ("e", "2", "y", 1))
    assert newest(found, 2)["run_uuid"].sort().to_list() == ["b", "c", "d", "e"]
    assert newest(found, 1)["run_uuid"].sort().to_list() == ["b", "d"]
    assert newest(found, None).equals(found)


def test_who_decides_about_series():
    def named_loss(keys):
        return [key for key in keys if "loss" in key]

    keys = ["loss", "val/loss", "accuracy", "lr"]
    assert Selection().series(named_loss)(keys) == ["loss", "val/loss"]
    assert Selection().series(None) is None
    assert Selection(all_series=True).series(named_loss) is None
    assert Selection(metrics=("acc*", "l?")).series(named_loss)(keys) == {"accuracy", "lr"}


def test_metrics_and_all_series_exclude_each_other():
    with pytest.raises(ValueError, match=r"must not be given both, got loss\*, lr"):
        Selection(metrics=("loss*", "lr"), all_series=True)


def test_a_group_of_no_runs_is_refused():
    with pytest.raises(ValueError, match="max_runs_per_group must be a whole number >= 1, got 0"):
        Selection(max_runs_per_group=0)
