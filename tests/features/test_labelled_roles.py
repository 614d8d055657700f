"""How often the roles are those that a person would give.

`series_role_labels.csv` names every metric of the public stores, `library_role_labels.csv` what popular libraries log;
both were labelled before the rules were written. `held_out_role_labels.csv` holds the names in the training scripts of
two dozen public repositories, gathered and labelled when the rules stood; none was changed for it. A choice is `best`,
the series a person would take; `alternate`, as good but for a detail; `part`, to be summed with the others.
"""

import csv
import sys
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from features.series_names import Role
from features.series_roles import SERIES_COLUMNS, possible_names, series_roles
from tests.features.public_series import public_series

HERE = Path(__file__).parent
LOSSES = ("training_loss", "validation_loss")


def labels(name):
    """(where, metric) -> (role, choice, points)."""
    with (HERE / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    where = next(iter(rows[0]))
    return {(row[where], row["metric"]): (row["role"], row["choice"], int(row.get("points") or 0)) for row in rows}


def logged_series(named):
    """Series as they would have been logged: a hundred falling losses, a rate below 1, epochs one by one."""
    shapes = {"learning_rate": (0.001, 0.1, False), "epoch": (0.0, 9.0, True)}
    rows = [
        (where, metric, points, 0, *shapes.get(role, (0.1, 2.0, False)))
        for (where, metric), (role, _, points) in named.items()
    ]
    return pl.DataFrame(rows, schema=SERIES_COLUMNS, orient="row")


def agreement(series, named, where):
    """Of each run with a loss series of two points or more: whether its roles are the labelled ones, and the best."""
    found = series_roles(series)
    by_run = found.group_by("run_id").agg(pl.struct("key", "role"))
    roles = {run: {(row["key"], row["role"]) for row in rows} for run, rows in by_run.rows()}
    keys = series.filter(pl.col("points") + pl.col("non_finite_points") >= 2).group_by("run_id").agg("key")
    single = series.filter(pl.col("points") + pl.col("non_finite_points") < 2).group_by("run_id").agg("key")
    once = dict(single.rows())
    agree, best = {}, {}
    for run, curves in keys.rows():
        labelled = {key: named[where(run), key][:2] for key in curves}
        if any(role in LOSSES for role, _ in labelled.values()):
            # A rate logged once is one; nothing else is.
            labelled |= {
                k: named[where(run), k][:2] for k in once.get(run, []) if named[where(run), k][0] == "learning_rate"
            }
            verdicts = [of_role(role, labelled, roles.get(run, set())) for role in get_args(Role)]
            agree[run] = all(accepted for accepted, _ in verdicts)
            best[run] = all(first for _, first in verdicts)
    return agree, best


def of_role(role, labelled, found):
    """Whether the series found for a role are acceptable, and whether they are the best."""
    chosen = {key for key, what in found if what == role}
    by_choice = {
        choice: {key for key, label in labelled.items() if label == (role, choice)}
        for choice in ("best", "alternate", "part")
    }
    if not by_choice["best"] and by_choice["part"]:
        return (chosen == by_choice["part"],) * 2
    acceptable = by_choice["best"] | by_choice["alternate"]
    if not acceptable:
        return (not chosen,) * 2
    is_one = len(chosen) == 1 and chosen <= acceptable
    return is_one, is_one and (chosen <= by_choice["best"] or not by_choice["best"])


def share(verdicts):
    return sum(verdicts.values()) / len(verdicts)


def report(what, agree, best):
    """One line for the reader of the test's output, the wrong runs with it."""
    wrong = sorted(run for run, right in agree.items() if not right)
    counts = f"{sum(agree.values())} of {len(agree)} runs agree, {sum(best.values())} with the best"
    sys.stdout.write(f"{what}: {counts}; not: {wrong}\n")


@pytest.fixture(scope="module")
def public(public_histories):
    return public_series(public_histories)


@pytest.mark.public_histories
def test_every_metric_of_the_public_stores_is_labelled(public):
    store = pl.col("run_id").str.split("/").list.first()
    assert set(public.select(store, "key").unique().rows()) == set(labels("series_role_labels.csv"))


@pytest.mark.public_histories
def test_roles_in_public_stores_are_those_that_a_person_gives(public):
    agree, best = agreement(public, labels("series_role_labels.csv"), lambda run: run.split("/")[0])
    report("public stores", agree, best)
    assert len(agree) >= 200
    assert share(agree) >= 0.95


@pytest.mark.public_histories
def test_no_metric_of_the_public_stores_is_wrongly_taken_for_the_rate(public):
    named = labels("series_role_labels.csv")
    rates = series_roles(public).filter(pl.col("role") == "learning_rate").select("run_id", "key").rows()
    assert len(rates) >= 20
    assert [(run, key) for run, key in rates if named[run.split("/")[0], key][0] != "learning_rate"] == []


@pytest.mark.parametrize(("name", "least"), [("library_role_labels.csv", 0.95), ("held_out_role_labels.csv", 0.9)])
def test_roles_of_what_libraries_and_people_log(name, least):
    named = labels(name)
    agree, best = agreement(logged_series(named), named, str)
    report(name, agree, best)
    assert share(agree) >= least
    rates = series_roles(logged_series(named)).filter(pl.col("role") == "learning_rate").select("run_id", "key").rows()
    assert {named[row][0] for row in rates} == {"learning_rate"}


@pytest.mark.parametrize("name", ["series_role_labels.csv", "library_role_labels.csv", "held_out_role_labels.csv"])
def test_whatever_has_a_role_is_possible_by_its_name(name):
    named = labels(name)
    with_role = {metric for (_, metric), (role, _, _) in named.items() if role != "none"}
    assert with_role <= set(possible_names({metric for _, metric in named}))
