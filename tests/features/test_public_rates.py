"""Rates rebuilt from params alone, against what strangers' runs really logged.

The archive is input for tests only; where it is absent these tests are skipped. What is tested is the rebuilding.
"""

from pathlib import Path

import polars as pl
import pytest

from features.declared_settings import PARAM_COLUMNS
from features.learning_rates import EXPERIMENT_COLUMNS, learning_rates, with_siblings
from features.series_roles import series_roles
from features.trajectories import POINT_COLUMNS, trajectories
from tests.features.curves import rate_series, series_of
from tests.plain_reader import public_stores_read

pytestmark = pytest.mark.public_histories

# Relative to the highest logged rate. Exact where rebuilt: the Trainer logs what it ran with.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def read(public_histories: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Runs, params and points of every public store."""
    rows: tuple[list[tuple[object, ...]], ...] = ([], [], [])
    for path, store in public_stores_read(public_histories):
        rows[0].extend((run, path, experiment, status) for run, (experiment, _, _, status, *_) in store.runs.items())
        rows[1].extend(store.params)
        rows[2].extend((*point[:4], float(point[4])) for point in store.points)
    runs, params, points = (
        pl.DataFrame(table, schema=schema, orient="row")
        for table, schema in zip(rows, ([*EXPERIMENT_COLUMNS, "status"], PARAM_COLUMNS, POINT_COLUMNS), strict=True)
    )
    return runs, params, points


@pytest.fixture(scope="module")
def logged(read: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]) -> pl.DataFrame:
    """The trajectories of all runs."""
    return trajectories(read[2], series_roles(series_of(read[2])))


@pytest.fixture(scope="module")
def held_out(read: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], logged: pl.DataFrame) -> pl.DataFrame:
    """What is made of each run that logs its rate when that rate is hidden: store, mark, largest error, runs."""
    runs, params, points = read
    epochs = points.filter(pl.col("key") == "epoch").select("run_id", "step", "value")
    hidden = logged.with_columns(learning_rate=pl.lit(None, dtype=pl.Float64))
    built, marks = learning_rates(with_siblings(runs, rate_series(hidden)), params, hidden, epochs)
    both = logged.drop_nulls("learning_rate").join(
        built.select("run_id", "position", built="learning_rate"), on=["run_id", "position"]
    )
    error = (pl.col("built") - pl.col("learning_rate")).abs().max() / pl.col("learning_rate").max()
    return (
        both.group_by("run_id")
        .agg(points=pl.len(), error=error)
        .filter(pl.col("points") >= 2)
        .join(marks, on="run_id")
        .join(runs.select("run_id", store=pl.col("source_id").str.extract(r"__([\w-]+)")), on="run_id")
    )


def test_a_rate_that_is_rebuilt_from_the_params_alone_is_the_one_that_was_logged(held_out: pl.DataFrame) -> None:
    rebuilt = held_out.filter(pl.col("rate_source") == "rebuilt")
    assert rebuilt.group_by("store", "rate_reason").len().rows() == [
        ("Toy_sft", "lr_scheduler_type=cosine over 1875 steps", 3)
    ]
    assert rebuilt["error"].max() < TOLERANCE


def test_what_cannot_be_rebuilt_stays_unknown(held_out: pl.DataFrame) -> None:
    unknown = held_out.filter(pl.col("rate_source") == "unknown")
    assert unknown["error"].null_count() == len(unknown)
    counts = unknown.group_by("store", "rate_reason").len().sort("store", "rate_reason")
    own = "optimizer=auto chooses the rate itself, whatever else is declared"
    assert counts.rows() == [
        ("ConvNeXt-V2-UNet", "no rate is declared", 1),
        ("Deberta-cls", "no rate is declared", 1),
        ("Match-Video-Detection", own, 2),
        ("Toy_sft", "params of a Trainer of transformers without its lr_scheduler_type", 1),
        # The params say eta_min = 1e-05 and a warm-up; the run went down to 0 without one.
        (
            "Transformers_II",
            "warmup, warmup_enabled, warmup_steps: how the warm-up goes with cosineannealing is not declared",
            1,
        ),
        ("ai4os-yolov8-torch", own, 2),
        ("bilevel-rl", "gamma: signs of a schedule that the params do not tell whole", 1),
        ("pid-diagram", own, 4),
    ]


def test_an_assumption_is_no_knowledge(held_out: pl.DataFrame) -> None:
    """The one public run that can test it declares `lr` alone and decayed to 0: assumed is not rebuilt."""
    assumed = held_out.filter(pl.col("rate_source") == "assumed constant")
    assert assumed.select("store", "schedule").rows() == [("CMPE258-DL-Final-Project", None)]
    assert assumed["error"].max() > 0.9


def test_no_run_whose_program_chose_the_rate_is_given_one(
    read: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], logged: pl.DataFrame
) -> None:
    runs, params, _ = read
    _, marks = learning_rates(with_siblings(runs, rate_series(logged)), params, logged)
    chosen = params.filter(pl.col("key") == "optimizer", pl.col("value").str.strip_chars() == "auto")
    sources = marks.join(chosen, on="run_id")["rate_source"].unique().sort().to_list()
    assert (len(chosen), sources) == (15, ["logged", "unknown"])
