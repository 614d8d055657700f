import polars as pl
import pytest

from pipeline.source_identity import origin, source_id_at
from pipeline.sources.source import Scope, source_id_of


def known(*rows):
    columns = {"source_id": pl.String, "run_uuid": pl.String, "experiment_name": pl.String, "start_time": pl.Int64}
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_a_known_address_has_the_id_under_which_it_is_known():
    assert source_id_at("sqlite:////b.db", {"sqlite:////b.db": "id-of-a", "sqlite:////c.db": "c"}) == "id-of-a"


def test_a_new_address_gives_its_own_id():
    assert source_id_at("sqlite:////a.db", {"sqlite:////b.db": "b"}) == source_id_of("sqlite:////a.db")


def test_an_address_whose_id_has_moved_on_with_its_store_gives_another():
    moved = {"sqlite:////b.db": source_id_of("sqlite:////a.db")}
    assert source_id_at("sqlite:////a.db", moved) == source_id_of("sqlite:////a.db#2")
    twice = moved | {"sqlite:////c.db": source_id_of("sqlite:////a.db#2")}
    assert source_id_at("sqlite:////a.db", twice) == source_id_of("sqlite:////a.db#3")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"1", "2", "3"}, "a"),
        ({"1", "2", "8", "9"}, "a"),
        ({"1"}, None),
        (set(), None),
        ({"4", "5"}, "b"),
        ({"1", "2", "3", "4", "5"}, "a"),
    ],
)
def test_a_store_comes_from_where_most_of_the_runs_are_known(seen, expected):
    runs = known(*(("a", run, "x", 5) for run in "123"), *(("b", run, "x", 5) for run in "45"))
    assert origin(seen, runs, Scope()) == expected


def test_only_the_runs_that_were_asked_for_count():
    runs = known(("a", "1", "x", 5), ("a", "2", "x", 1), ("a", "3", "y", 5))
    assert origin({"1"}, runs, Scope()) is None
    assert origin({"1"}, runs, Scope(experiments=("x",), since=4)) == "a"
