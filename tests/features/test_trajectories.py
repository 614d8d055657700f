import itertools
import math

import hypothesis
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.trajectories import POINT_COLUMNS, ROLE_COLUMNS, TRAJECTORY_COLUMNS, trajectories, with_progress
from features.trials import MINIMUM_TRIALS

ROLES = {"loss": "training_loss", "val_loss": "validation_loss", "lr": "learning_rate"}


def points(**series):
    """Series of run "a" by key: lists of (step, timestamp, value)."""
    rows = [("a", key, *point) for key, listed in series.items() for point in listed]
    return pl.DataFrame(rows, schema=POINT_COLUMNS, orient="row")


def roles(frame):
    pairs = frame.select("run_id", "key").unique()
    return pairs.with_columns(role=pl.col("key").replace_strict(ROLES, return_dtype=pl.String))


def curve(**series):
    """(step, training loss, validation loss, learning rate) of each row of the one run."""
    frame = points(**series)
    found = trajectories(frame, roles(frame))
    assert found["position"].to_list() == list(range(found.height))
    return found.select("step", "training_loss", "validation_loss", "learning_rate").rows()


def losses(*logged):
    """(step, training loss) of a run with one series."""
    return [row[:2] for row in curve(loss=list(logged))]


def test_three_series_of_a_run_meet_at_their_steps():
    assert curve(
        loss=[(0, 10, 2.0), (1, 20, 1.5), (2, 30, 1.2)],
        val_loss=[(0, 11, 2.1), (2, 31, 1.4)],
        lr=[(0, 9, 0.1), (1, 19, 0.1), (2, 29, 0.01)],
    ) == [(0, 2.0, 2.1, 0.1), (1, 1.5, None, 0.1), (2, 1.2, 1.4, 0.01)]


def test_rows_come_by_step_whatever_the_order_of_logging():
    assert losses((2, 30, 1.0), (0, 10, 3.0), (1, 20, 2.0)) == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_exact_duplicates_count_once():
    assert losses((0, 10, 3.0), (0, 10, 3.0), (1, 20, 2.0)) == [(0, 3.0), (1, 2.0)]


def test_at_a_step_the_earliest_point_stands():
    # Killed after step 2, resumed from step 1.
    logged = [(0, 10, 3.0), (1, 20, 2.0), (2, 30, 1.0), (1, 40, 2.5), (2, 50, 1.5), (3, 60, 1.2)]
    assert losses(*logged) == [(0, 3.0), (1, 2.0), (2, 1.0), (3, 1.2)]


def test_a_summary_at_step_zero_is_dropped():
    assert losses((1, 10, 3.0), (2, 20, 2.0), (0, 30, 2.4)) == [(1, 3.0), (2, 2.0)]
    assert losses((0, 5, 4.0), (1, 10, 3.0), (2, 20, 2.0), (0, 30, 2.4)) == [(0, 4.0), (1, 3.0), (2, 2.0)]


def test_points_that_were_all_logged_at_one_step_are_numbered_in_the_order_of_time():
    assert losses((0, 30, 1.0), (0, 10, 3.0), (0, 20, 2.0), (0, 40, 1.0)) == [(0, 3.0), (1, 2.0), (2, 1.0), (3, 1.0)]


def test_many_points_a_step_are_numbered_in_the_order_of_time():
    # The step is the epoch, the loss is logged every batch.
    logged = [(0, 10, 3.0), (0, 20, 2.5), (1, 30, 2.0), (1, 40, 1.8), (2, 50, 1.7), (2, 60, 1.6)]
    assert losses(*logged) == [(0, 3.0), (1, 2.5), (2, 2.0), (3, 1.8), (4, 1.7), (5, 1.6)]


def test_a_value_logged_twice_at_its_step_is_one_point():
    assert losses((0, 10, 3.0), (0, 11, 3.0), (1, 20, 2.0), (1, 21, 2.0)) == [(0, 3.0), (1, 2.0)]


def test_values_of_one_step_and_time_are_averaged():
    assert losses((0, 10, 3.0), (0, 10, 1.0), (1, 20, 1.0)) == [(0, 2.0), (1, 1.0)]


def test_points_without_any_order_make_no_curve():
    assert losses((0, 10, 3.0), (0, 10, 2.0), (0, 10, 1.0)) == [(0, 2.0)]


def test_what_is_not_finite_stays():
    found = losses((0, 10, 3.0), (1, 20, math.inf), (2, 30, math.nan))
    assert found[:2] == [(0, 3.0), (1, math.inf)]
    assert math.isnan(found[2][1])


def test_epochs_are_moved_to_the_batches_of_their_time():
    batches = [(100 * n, 1000 * n, 3.0 - n / 100) for n in range(50)]
    epochs = [(0, 12_500, 2.0), (1, 25_000, 1.8), (2, 49_500, 1.7)]
    found = {
        step: validation for step, _, validation, _ in curve(loss=batches, val_loss=epochs) if validation is not None
    }
    assert found == {1200: 2.0, 2500: 1.8, 4900: 1.7}


def test_a_rate_logged_every_batch_is_moved_to_the_epochs_of_the_loss():
    epochs = [(n, 10_000 * (n + 1), 2.0 - n / 10) for n in range(10)]
    rates = [(n, 100 * n, 0.1 - n / 20_000) for n in range(1001)]
    found = [(step, rate) for step, _, _, rate in curve(loss=epochs, lr=rates)]
    assert found[0] == (0, pytest.approx(0.1 - 199 / 20_000))
    assert found[9] == (9, pytest.approx(0.1 - 1000 / 20_000))
    assert len(found) == 10


def test_one_late_evaluation_is_placed_by_its_time():
    batches = [(100 * n, 1000 * n, 3.0 - n / 10) for n in range(10)]
    assert [row for row in curve(loss=batches, val_loss=[(0, 6_500, 2.0)]) if row[2]] == [(600, 2.4, 2.0, None)]


def test_a_sparser_series_of_the_same_unit_keeps_its_steps():
    training = [(10 * n, 1000 * n, 3.0 - n / 10) for n in range(1, 20)]
    evaluation = [(100, 10_050, 2.5), (195, 19_600, 1.9)]
    found = curve(loss=training, val_loss=evaluation)
    assert [(step, validation) for step, _, validation, _ in found if validation] == [(100, 2.5), (195, 1.9)]


def test_a_run_resumed_in_a_new_one_keeps_its_offset():
    # And a sibling that got no further than one point.
    logged = [(step, 1000 * step, 1.0 - step / 100) for step in range(46, 60)]
    frame = pl.concat([points(loss=logged), points(loss=[(0, 5, 2.0)]).with_columns(run_id=pl.lit("b"))])
    found = trajectories(frame, roles(frame))
    assert found.filter(pl.col("run_id") == "a").select("position", "step").rows() == list(enumerate(range(46, 60)))
    assert found.filter(pl.col("run_id") == "b").select("position", "step", "training_loss").rows() == [(0, 0, 2.0)]
    plan = pl.DataFrame({"run_id": ["a", "b"], "planned_steps": [92, 92]})
    assert with_progress(found, plan)["progress"].to_list() == [*(step / 92 for step in range(46, 60)), 0.0]


def test_the_parts_of_a_loss_are_summed_where_all_are_there():
    parts = {
        "box": [(0, 10, 1.0), (1, 20, 0.5), (2, 30, 0.25), (3, 40, 0.125)],
        "cls": [(0, 11, 2.0), (1, 21, 1.0), (3, 41, 0.5)],
        "dfl": [(0, 12, 4.0), (1, 22, math.nan), (2, 32, 1.0), (3, 42, 0.5)],
    }
    frame = points(**parts, val_loss=[(2, 33, 9.0)])
    parts_and_loss = (
        frame.select("run_id", "key")
        .unique()
        .with_columns(
            role=pl.when(pl.col("key") == "val_loss").then(pl.lit("validation_loss")).otherwise(pl.lit("training_loss"))
        )
    )
    found = trajectories(frame, parts_and_loss).select("step", "training_loss", "validation_loss").rows()
    assert (found[0], found[2:]) == ((0, 7.0, None), [(2, None, 9.0), (3, 1.125, None)])
    assert found[1][0] == 1
    assert math.isnan(found[1][1])


@pytest.mark.parametrize("name", ["train/box loss", " loss\n", "Ünïcode ∇ϵ", "None", "Loss"])
def test_a_series_is_known_by_its_exact_name(name):
    frame = pl.concat([
        points(loss=[(0, 1, 5.0)]).with_columns(key=pl.lit(name)),
        points(loss=[(0, 1, 7.0)]).with_columns(key=pl.lit(name.strip().lower() + "_")),
    ])  # fmt: skip
    role = pl.DataFrame([("a", name, "training_loss")], schema=ROLE_COLUMNS, orient="row")
    assert trajectories(frame, role)["training_loss"].to_list() == [5.0]


def test_a_rate_that_stays_the_same_within_an_epoch_goes_with_the_losses_of_its_time():
    # The step is the epoch; everything is logged every batch.
    losses = [(n // 5, 100 * n, 3.0 - n / 50) for n in range(50)]
    rates = [(n // 5, 100 * n + 1, 0.1 / 2 ** (n // 5)) for n in range(50)]
    found = curve(loss=losses, lr=rates)
    assert [row[0] for row in found] == list(range(50))
    assert [row[3] for row in found if row[3] is not None] == [0.1 / 2**epoch for epoch in range(10)]


def test_series_without_a_role_are_left_out():
    frame = points(loss=[(0, 1, 1.0)], val_loss=[(0, 1, 2.0)])
    only = roles(frame).filter(pl.col("key") == "loss")
    assert trajectories(frame, only)["validation_loss"].to_list() == [None]


def test_runs_do_not_mix():
    first = points(loss=[(0, 1, 3.0), (1, 2, 2.0)])
    both = pl.concat([first, first.with_columns(run_id=pl.lit("b"), value=pl.col("value") * 10)])
    found = trajectories(both, roles(both))
    assert found.select("run_id", "position", "training_loss").rows() == [
        ("a", 0, 3.0), ("a", 1, 2.0), ("b", 0, 30.0), ("b", 1, 20.0),
    ]  # fmt: skip


def test_no_points_give_an_empty_table_of_the_same_columns():
    frame = points()
    found = trajectories(frame, pl.DataFrame(schema={"run_id": pl.String, "key": pl.String, "role": pl.String}))
    assert dict(found.schema) == TRAJECTORY_COLUMNS
    assert found.is_empty()


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"points must have the columns .*missing: timestamp"):
        trajectories(points().drop("timestamp"), roles(points()))


def test_progress_needs_a_plan():
    frame = points(loss=[(0, 10, 3.0), (5, 20, 2.0)])
    found = trajectories(frame, roles(frame))
    assert found["progress"].to_list() == [None, None]
    plan = pl.DataFrame({"run_id": ["a"], "planned_steps": [20]})
    assert with_progress(found, plan)["progress"].to_list() == [0.0, 0.25]
    unknown = pl.DataFrame({"run_id": ["a"], "planned_steps": pl.Series([None], dtype=pl.Int64)})
    assert with_progress(found, unknown)["progress"].to_list() == [None, None]
    assert dict(with_progress(found, plan).schema) == TRAJECTORY_COLUMNS


LOGGED = st.lists(
    st.tuples(
        st.sampled_from(sorted(ROLES)),
        st.integers(0, 12),
        st.integers(0, 40),
        st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.0, math.nan, math.inf]),
    ),
    max_size=40,
)


def logged_frame(rows):
    return pl.DataFrame([("a", *row) for row in rows], schema=POINT_COLUMNS, orient="row")


@settings(max_examples=40, deadline=None)
@given(LOGGED, st.randoms(), st.data())
def test_order_of_rows_and_exact_duplicates_change_nothing(rows, random, data):
    frame = logged_frame(rows)
    expected = trajectories(frame, roles(frame))
    repeated = list(rows) + (data.draw(st.lists(st.sampled_from(rows), max_size=10)) if rows else [])
    random.shuffle(repeated)
    assert trajectories(logged_frame(repeated), roles(frame)).equals(expected, null_equal=True)


@settings(max_examples=40, deadline=None)
@given(LOGGED)
def test_every_run_has_each_step_once_in_order(rows):
    frame = logged_frame(rows)
    found = trajectories(frame, roles(frame))
    assert found["step"].to_list() == sorted(set(found["step"].to_list()))
    assert found["position"].to_list() == list(range(found.height))


def slowly(rows):
    """The rules for one series whose steps do not begin again and again, in plain Python: (step, value) by step."""
    ordered = sorted(set(rows), key=lambda row: (row[1], row[0], math.isnan(row[2]), row[2]))
    at = {}
    for step, timestamp, value in ordered:
        at.setdefault((timestamp, step), []).append(value)
    single = [(step, timestamp, sum(values) / len(values)) for (timestamp, step), values in at.items()]
    if len({step for step, _, _ in single}) > 1:
        seen = set()
        single = [p for p in single if not ((p[0], repr(p[2])) in seen or seen.add((p[0], repr(p[2]))))]
    steps = [step for step, _, _ in single]
    if len(steps) > len(set(steps)) == 1 or (len(steps) >= 2 * len(set(steps)) and steps == sorted(steps)):
        return [(number, value) for number, (_, _, value) in enumerate(single)]
    first = {}
    for step, timestamp, value in single:
        first.setdefault(step, (timestamp, value))
    if 0 in first and first[0][0] > first[max(first)][0]:
        del first[0]
    return [(step, first[step][1]) for step in sorted(first)]


def beginnings(rows):
    steps = [step for _, step in sorted((timestamp, step) for step, timestamp, _ in rows)]
    return 1 + sum(step == min(steps) < before for before, step in itertools.pairwise(steps))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 60), st.sampled_from([0.25, 0.5, 1.0, 2.0, math.inf])),
        min_size=1,
        max_size=40,
    ).filter(lambda rows: beginnings(rows) < MINIMUM_TRIALS)
)
def test_one_series_comes_out_as_the_rules_say_in_plain_python(rows):
    assert losses(*rows) == slowly(rows)


GROWING = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 5000), st.floats(0.1, 10), st.booleans(), st.booleans()),
    min_size=2,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(GROWING, st.data())
def test_later_points_change_nothing_of_earlier_rows_where_steps_and_time_go_on_together(rows, data):
    logged, step, time = [], 0, 0
    for ahead, later, value, validated, has_rate in rows:
        step, time = step + ahead, time + later
        logged.append(("loss", step, time, value))
        logged += [("val_loss", step, time, value + 1)] * validated + [("lr", step, time, 0.1)] * has_rate
    # No unit can be told from one point: what counts is how series go on that have begun.
    frame = logged_frame(logged)
    seen = data.draw(st.integers(0, len(rows)))
    until = sum(row[1] for row in rows[:seen])
    early = frame.filter(pl.col("timestamp") <= until)
    hypothesis.assume(early.group_by("key").len().filter(pl.col("len") == 1).is_empty())
    before = trajectories(early, roles(early))
    assert trajectories(frame, roles(frame)).head(before.height).equals(before, null_equal=True)
