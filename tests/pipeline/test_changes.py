import polars as pl
import pytest

from pipeline.changes import KNOWN_COLUMNS, missed, with_changes
from pipeline.sources.source import Scope

FOUND = {
    "run_uuid": "1",
    "status": "FINISHED",
    "lifecycle_stage": "active",
    "experiment_name": "mnist",
    "run_name": "",
    "start_time": 5,
    "end_time": 9,
    "watermark": "20",
    "content": "c",
}
KNOWN = {**FOUND, "run_id": "s/1", "has_vanished": False, "lacks_series": False}


def found(*rows):
    schema = {name: KNOWN_COLUMNS[name] for name in FOUND}
    return pl.DataFrame([FOUND | row for row in rows], schema=schema)


def known(*rows):
    return pl.DataFrame([KNOWN | row for row in rows], schema=KNOWN_COLUMNS)


def the_change(run, before, *, exact_watermark=True, full=False):
    return with_changes(run, before, exact_watermark=exact_watermark, full=full)["change"].item()


def test_a_run_that_is_not_known_is_new():
    assert the_change(found({}), known()) == "new"
    assert the_change(found({}), known({"run_uuid": "2"})) == "new"


def test_a_run_that_is_as_it_was_is_unchanged():
    assert the_change(found({}), known({})) == "unchanged"
    assert the_change(found({"content": None}), known({"content": None})) == "unchanged"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "FAILED"),
        ("lifecycle_stage", "deleted"),
        ("experiment_name", "mnist-2"),
        ("run_name", "best"),
        ("end_time", -1),
        ("watermark", "21"),
        ("content", "d"),
        ("content", None),
    ],
)
def test_a_run_of_which_something_differs_is_read_again(name, value):
    assert the_change(found({name: value}), known({})) == "updated"


@pytest.mark.parametrize("before", [{"has_vanished": True}, {"lacks_series": True}, {"watermark": None}])
def test_a_run_that_came_back_or_lacks_something_is_read_again(before):
    assert the_change(found({}), known(before)) == "updated"


def test_only_a_running_run_of_a_source_that_cannot_tell_exactly_is_read_again():
    running = {"status": "RUNNING"}
    assert the_change(found(running), known(running), exact_watermark=False) == "updated"
    assert the_change(found(running), known(running), exact_watermark=True) == "unchanged"
    assert the_change(found({}), known({}), exact_watermark=False) == "unchanged"


def test_all_are_read_again_where_this_is_asked_for():
    assert the_change(found({}), known({}), full=True) == "updated"
    assert the_change(found({}), known(), full=True) == "new"


def test_a_known_run_that_the_source_did_not_tell_of_is_missed():
    before = known({"run_uuid": "1"}, {"run_uuid": "2"}, {"run_uuid": "3", "has_vanished": True})
    assert missed(before, {"1", "4"}, Scope()) == ["2"]
    assert missed(before, {"1", "2"}, Scope()) == []


def test_a_run_that_was_not_asked_for_is_not_missed():
    before = known({"run_uuid": "1", "experiment_name": "other"}, {"run_uuid": "2", "start_time": 3}, {"run_uuid": "3"})
    assert missed(before, set(), Scope(experiments=("mnist",), since=4)) == ["3"]
