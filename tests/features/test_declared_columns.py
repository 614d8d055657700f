"""A feature declares the columns it needs; the SQL files own those that are stored. They must agree."""

import polars as pl
import pytest

from features import (
    declared_settings,
    grouping,
    learning_rates,
    run_descriptors,
    series_roles,
    told_schedules,
    trajectories,
)
from pipeline.warehouse import Warehouse

KINDS = {"VARCHAR": pl.String, "BIGINT": pl.Int64, "DOUBLE": pl.Float64, "BOOLEAN": pl.Boolean}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    warehouse = Warehouse(tmp_path_factory.mktemp("columns") / "warehouse.duckdb")
    with warehouse.writing():
        pass
    return warehouse


@pytest.mark.parametrize(
    ("table", "declared"),
    [
        ("series", series_roles.SERIES_COLUMNS),
        ("metrics", trajectories.POINT_COLUMNS),
        ("role_points", trajectories.POINT_COLUMNS),
        ("series_roles", trajectories.ROLE_COLUMNS),
        ("params", declared_settings.PARAM_COLUMNS),
        ("runs", run_descriptors.RUN_COLUMNS),
        ("runs", learning_rates.EXPERIMENT_COLUMNS),
        ("metrics", told_schedules.CLOCK_COLUMNS),
        ("usable_runs", learning_rates.RATE_COLUMNS),
        ("runs", grouping.RUN_COLUMNS),
        ("tags", grouping.TAG_COLUMNS),
        ("usable_runs", grouping.USABLE_COLUMNS),
        ("usable_runs", trajectories.PLAN_COLUMNS),
    ],
)
def test_a_feature_finds_its_columns_in_the_stored_table(warehouse, table, declared):
    rows = warehouse.frame(f"describe {table}").rows(named=True)
    stored = {row["column_name"]: KINDS.get(row["column_type"]) for row in rows}
    assert {name: stored.get(name) for name in declared} == dict(declared)


@pytest.mark.parametrize(
    ("table", "declared"),
    [("trajectories", trajectories.TRAJECTORY_COLUMNS), ("usable_runs", run_descriptors.DESCRIPTOR_COLUMNS)],
)
def test_a_table_made_by_a_feature_is_stored_column_by_column(warehouse, table, declared):
    rows = warehouse.frame(f"describe {table}").rows(named=True)
    assert {row["column_name"]: KINDS[row["column_type"]] for row in rows} == dict(declared)


def test_what_is_read_has_the_types_that_a_feature_declares(warehouse):
    schema = warehouse.frame("from trajectories").schema
    assert dict(schema) == trajectories.TRAJECTORY_COLUMNS
    assert dict(warehouse.frame("from series").schema) == series_roles.SERIES_COLUMNS
