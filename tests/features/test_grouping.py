import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declared_settings import PARAM_COLUMNS
from features.grouping import RUN_COLUMNS, USABLE_COLUMNS, groups, slug


def grouped(*runs, by=("experiment", "optimizer"), params=(), tags=None):
    """Group runs of (run, experiment, optimizer) or (run, experiment, optimizer, usable, start, source)."""
    full = [(*run, *(True, 0, "store")[len(run) - 3 :]) for run in runs]
    found = groups(
        pl.DataFrame([(r, source, e, start) for r, e, _, _, start, source in full], schema=RUN_COLUMNS, orient="row"),
        pl.DataFrame(list(params), schema=PARAM_COLUMNS, orient="row"),
        pl.DataFrame([(r, usable, o) for r, _, o, usable, _, _ in full], schema=USABLE_COLUMNS, orient="row"),
        by,
        tags=None if tags is None else pl.DataFrame(list(tags), schema=PARAM_COLUMNS, orient="row"),
    )
    return {run: name for name, run in found.rows()}


def test_runs_of_one_experiment_and_optimizer_are_alike():
    runs = [("1", "MNIST mlp", "sgd"), ("2", "MNIST mlp", "sgd"), ("3", "MNIST mlp", "adam"), ("4", "nmf", "sgd")]
    assert grouped(*runs) == {
        "1": "mnist-mlp-sgd", "2": "mnist-mlp-sgd", "3": "mnist-mlp-adam", "4": "nmf-sgd",
    }  # fmt: skip


def test_an_unknown_optimizer_is_left_out_of_the_name_and_is_a_group_of_its_own():
    assert grouped(("1", "mnist", None), ("2", "mnist", None), ("3", "mnist", "sgd")) == {
        "1": "mnist", "2": "mnist", "3": "mnist-sgd",
    }  # fmt: skip


def test_runs_that_cannot_be_used_are_in_no_group():
    assert grouped(("1", "mnist", "sgd"), ("2", "mnist", "sgd", False)) == {"1": "mnist-sgd"}


def test_the_oldest_of_two_groups_of_one_name_keeps_it():
    runs = [("1", "a b", "sgd", True, 20), ("2", "a/b", "sgd", True, 10), ("3", "a_b", "sgd", True, 30)]
    found = grouped(*runs)
    assert found["2"] == "a-b-sgd"
    assert found["1"].startswith("a-b-sgd-")
    assert found["3"].startswith("a-b-sgd-")
    assert len(set(found.values())) == 3
    assert grouped(runs[0], runs[1]) == {"1": found["1"], "2": found["2"]}


def test_an_experiment_of_one_name_in_two_stores_is_one_experiment():
    assert grouped(("1", "mnist", "sgd", True, 0, "x"), ("2", "mnist", "sgd", True, 0, "y")) == {
        "1": "mnist-sgd", "2": "mnist-sgd",
    }  # fmt: skip


def test_runs_of_no_experiment_in_two_stores_are_not_alike():
    found = grouped(("1", "Default", None, True, 5, "x"), ("2", "Default", None, True, 6, "y"))
    assert found["1"] == "default"
    assert found["2"].startswith("default-")


def test_params_and_tags_can_group():
    runs = [("1", "mnist", "sgd"), ("2", "mnist", "sgd"), ("3", "nmf", "sgd")]
    params = [("1", "model", "MLP 2x64"), ("2", "model", "CNN"), ("3", "model", "CNN"), ("1", "lr", "0.1")]
    assert grouped(*runs, by=["param:model"], params=params) == {"1": "mlp-2x64", "2": "cnn", "3": "cnn"}
    assert grouped(*runs, by=["experiment", "param:model"], params=params[:1]) == {
        "1": "mnist-mlp-2x64", "2": "mnist", "3": "nmf",
    }  # fmt: skip
    assert grouped(*runs, by=["tag:team"], tags=[("1", "team", "vision")]) == {"1": "vision", "2": "runs", "3": "runs"}


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (["learning_rate"], "by experiment, optimizer, param:NAME or tag:NAME, got 'learning_rate'"),
        (["param:"], "got 'param:'"),
        ([], "at least one thing"),
        ("experiment", "a list of at least one thing, got 'experiment'"),
        (["tag:team"], "grouping by 'tag:team' needs the table of tags"),
    ],
)
def test_what_cannot_group_is_refused(by, message):
    with pytest.raises(ValueError, match=message):
        grouped(("1", "mnist", "sgd"), by=by)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Café №1", "cafe-no1"), ("D:\\My Work\\x", "d-my-work-x"), ("--a__b--", "a-b"), ("实验", "")],
)
def test_slugs(text, expected):
    assert slug(text) == expected


def test_a_name_without_letters_and_a_very_long_one_are_still_names():
    found = grouped(("1", "实验", None, True, 1), ("2", "图像", None, True, 2), ("3", "x" * 300, "sgd"))
    assert found["1"] == "runs"
    assert found["2"].startswith("runs-")
    assert len(found["3"]) == 67


def test_no_usable_runs_make_no_groups():
    assert grouped(("1", "mnist", "sgd", False)) == {}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.uuids().map(str),
            st.text(alphabet="aB-_ /é实1", max_size=6),
            st.sampled_from(["sgd", "adam", None]),
            st.booleans(),
            st.integers(0, 5),
            st.sampled_from("xy"),
        ),
        max_size=12,
    ),
    st.randoms(),
)
def test_names_are_slugs_and_do_not_depend_on_the_order_of_rows(runs, random):
    found = grouped(*runs)
    shuffled = list(runs)
    random.shuffle(shuffled)
    assert grouped(*shuffled) == found
    assert set(found) == {run[0] for run in runs if run[3]}
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and name for name in found.values())
    alike = {(run[1], run[2], run[5] if run[1] == "Default" else "") for run in runs if run[3]}
    assert len(set(found.values())) == len(alike)
