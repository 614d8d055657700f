import pyarrow as pa
import pytest

from pipeline.selection import Selection
from pipeline.where_expression import check_where, matching


def table(columns, *rows):
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])


RUNS = table(
    (
        "run_uuid",
        "run_name",
        "experiment_name",
        "status",
        "lifecycle_stage",
        "start_time",
        "end_time",
    ),
    ("a", "first", "mnist", "FINISHED", "active", 1_700_000_000_000, 1_700_000_060_000),
    ("b", "second", "mnist", "RUNNING", "active", 1_700_000_000_000, -1),
    ("c", "", "digits", "FINISHED", "deleted", -1, -1),
)
PARAMS = table(("run_uuid", "key", "value"), ("a", "optimizer", "adamw"), ("a", "lr", "0.1"), ("b", "optimizer", "sgd"))
TAGS = table(("run_uuid", "key", "value"), ("c", "team", "vision"))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("params['optimizer'] = 'adamw' and status = 'FINISHED'", "a"),
        ("params['lr']::double < 1", "a"),
        ("try_cast(params['optimizer'] as double) is null", "abc"),
        ("tags['team'] = 'vision'", "c"),
        ("cardinality(params) = 0", "c"),
        ("start_time >= '2023-11-14 22:13:20' and end_time is null", "b"),
        ("end_time - start_time = interval 1 minute", "a"),
        ("experiment_name like 'm%' or lifecycle_stage = 'deleted'", "abc"),
        ("run_uuid = 'b' or run_name = 'first'", "ab"),
        ("null::boolean", ""),
    ],
)
def test_a_condition_chooses_runs(expression, expected):
    check_where(expression)
    assert matching(expression, RUNS, PARAMS, TAGS) == frozenset(expected)


def test_a_param_logged_twice_is_one_param():
    twice = pa.concat_tables([PARAMS, PARAMS.slice(0, 1)])
    assert matching("params['optimizer'] = 'adamw'", RUNS, twice, TAGS) == {"a"}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("stauts = 'FINISHED'", r'Binder Error: Referenced column "stauts" not found.* Candidate bindings: "status"'),
        ("status = ", "Parser Error: syntax error"),
        ("", "Parser Error"),
        ("status", "its type is VARCHAR"),
        ("true, false", "only a single expression"),
        ("count(*) > 1", "cannot contain aggregates"),
        ("true) or (true", "Parser Error"),
        ("true; drop table given_runs", "more than one statement"),
        ("status in (select content from read_text('/etc/hostname'))", "Permission Error.*disabled by configuration"),
        ("exists(from 'https://example.org/a.parquet')", "Error"),
        ("exists(from read_csv('http://example.org/a.csv'))", "Error"),
        ("exists(from glob('/etc/*'))", "Permission Error"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_words_of_duckdb(expression, said):
    with pytest.raises(ValueError, match=rf"(?s)^where must be a boolean expression of DuckDB, got '.*': .*{said}"):
        Selection(where=expression)


def test_a_condition_that_fails_on_a_run_says_so():
    with pytest.raises(ValueError, match=r"where must be .*Could not convert string 'adamw' to DOUBLE"):
        matching("params['optimizer']::double > 1", RUNS, PARAMS, TAGS)
