"""`greedylr inspect`: a run and a group as we see them."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Greedylr = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path, new_repository: Callable[..., Path], log_run: Callable[..., str]) -> Path:
    """A repository with a detector's run, two runs of a classifier and one that says little."""
    root = new_repository(tmp_path / "repository")
    parts = {
        f"{split}/{part}_loss": [highest / (epoch + 1) for epoch in range(20)]
        for split, highest in (("train", 2.0), ("val", 3.0))
        for part in ("box", "cls")
    }
    rates = {f"lr/pg{group}": [0.01 * (20 - epoch) / 20 for epoch in range(20)] for group in range(3)}
    log_run(
        "detector", run_name="yolo-3", metrics={**parts, **rates, "mAP50": [0.1, 0.2]}, store=root / "mlflow.db",
        params={"optimizer": "SGD", "lr0": 0.01, "epochs": 20},
    )  # fmt: skip
    for number in range(2):
        log_run(
            "digits", run_name=f"mlp-{number}", params={"optimizer": "Adam", "learning_rate": 0.001}, status="FAILED",
            metrics={"loss": [3.0 - 0.1 * step for step in range(12)], "train_loss": [2.5]}, store=root / "mlflow.db",
        )  # fmt: skip
    stuck = [(0, 2.0 - 0.1 * point) for point in range(11)] + [(0, math.nan)]
    log_run("digits", run_name="odd", metrics={"train_loss": stuck, "val_loss": [1.0] * 3}, store=root / "mlflow.db")
    log_run("notes", run_name="empty", metrics={"score": [1.0]}, store=root / "mlflow.db")
    greedylr_ingest(root)
    return root


def greedylr_ingest(root: Path) -> None:
    from flows.road import Road, ingest
    from pipeline.settings import load_settings

    ingest(Road(settings=load_settings(root / "greedylr.toml")))


def lines(ended: Any) -> list[list[str]]:
    assert (ended.status, ended.err) == (0, "")
    return [re.split(r" {2,}", line.strip()) for line in ended.out.splitlines()]


def test_a_run_is_shown_with_its_roles_and_their_reasons(root: Path, greedylr: Greedylr) -> None:
    shown = lines(greedylr(root, "inspect", "yolo-3"))
    assert shown[0] == ["yolo-3", "detector"]
    assert ["usable"] in shown
    assert ["groups", "detector-sgd"] in shown
    assert ["declared optimizer", "sgd"] in shown
    summed = "part of a loss, summed with train/cls_loss"
    assert ["train/box_loss", "training loss", "0.80", summed, "20", "0.1", "2"] in shown
    assert any(row[:3] == ["lr/pg0", "learning rate", "0.90"] for row in shown)
    assert ["lr/pg1", "none", "'lr/pg0' was taken as learning rate", "20", "0.0005", "0.01"] in shown
    assert ["1 not copied, for no role is possible by their names: mAP50"] in shown
    assert ["Trajectory of 20 points"] in shown


def test_the_curves_are_drawn_and_a_dozen_rows_are_shown(root: Path, greedylr: Greedylr) -> None:
    shown = lines(greedylr(root, "inspect", "mlp-0"))
    start = shown.index(["Trajectory of 12 points"])
    assert shown[start + 1] == ["training loss", "██▇▆▆▅▄▃▃▂▁▁", "3 to 1.9, 12 points"]
    table = shown.index(next(row for row in shown if row[:2] == ["position", "step"]))
    assert [row[0] for row in shown[table + 1 : table + 13]] == [str(position) for position in range(12)]


def test_the_features_are_shown_at_half_a_dozen_moments(root: Path, greedylr: Greedylr) -> None:
    shown = lines(greedylr(root, "inspect", "yolo-3"))
    start = shown.index(["Features at 20 decisions of the plan; docs/features.md defines them"])
    assert shown[start + 1] == ["at the end of", "5%", "25%", "45%", "60%", "80%", "100%"]
    # The loss is 3 / (epoch + 1) in all.
    assert ["relative loss", "0", "-1.609", "-2.197", "-2.485", "-2.773", "-2.996"] in shown
    assert ["plateau length", *["0"] * 6] in shown


def test_what_was_not_copied_is_named(root: Path, greedylr: Greedylr, log_run: Callable[..., str]) -> None:
    loss = [2.0 - 0.1 * step for step in range(12)]
    log_run("more", run_name="wide", metrics={"loss": loss, "accuracy": loss, "f1": loss}, store=root / "mlflow.db")
    greedylr_ingest(root)
    assert ["2 not copied, for no role is possible by their names: accuracy, f1"] in lines(
        greedylr(root, "inspect", "wide")
    )


def test_what_is_wrong_with_a_run_is_said(root: Path, greedylr: Greedylr) -> None:
    shown = lines(greedylr(root, "inspect", "odd"))
    remarks = [row[0] for row in shown]
    assert "train_loss: 1 of its values are not finite" in remarks
    assert "train_loss: all 12 points are at step 0; taken in the order of time" in remarks
    assert "diverged: it ends higher than it began, or not as a number" in remarks
    assert "no rate is logged nor declared" in remarks
    assert ["status FAILED, not FINISHED"] in lines(greedylr(root, "inspect", "mlp-1"))
    unusable = lines(greedylr(root, "inspect", "empty"))
    assert ["not usable: no loss series"] in unusable
    assert ["rate source", "unknown"] in unusable


def test_points_that_did_not_count_are_told(root: Path, greedylr: Greedylr, log_run: Callable[..., str]) -> None:
    checked_first = [(0, 5.0), *((step, 3.0 - 0.1 * step) for step in range(12))]
    log_run(
        "sane", run_name="sanity", metrics={"loss": [1.0] * 12, "val_loss": checked_first}, store=root / "mlflow.db"
    )
    greedylr_ingest(root)
    shown = lines(greedylr(root, "inspect", "sanity"))
    assert ["val_loss: once a step was logged again; its earliest point stands"] in shown
    assert any(row[0].startswith("validation loss ") and row[-1] == "5 to 1.9, 12 points" for row in shown)


def test_a_validation_loss_that_is_the_training_loss_is_noticed(
    root: Path, greedylr: Greedylr, log_run: Callable[..., str]
) -> None:
    loss = [2.0 - 0.1 * step for step in range(12)]
    log_run("twins", run_name="twin", metrics={"train_loss": loss, "val_loss": loss}, store=root / "mlflow.db")
    greedylr_ingest(root)
    remark = "training and validation loss are equal at every step: one of them was logged as both"
    assert [remark] in lines(greedylr(root, "inspect", "twin"))


def test_a_run_is_given_to_programs_whole(root: Path, greedylr: Greedylr) -> None:
    ended = greedylr(root, "inspect", "mlp-0", "--json")
    found = json.loads(ended.out)
    assert list(found) == [
        *("run", "groups", "series", "not_copied", "awaited", "declared", "described", "trials", "trajectory"),
        *("features", "remarks"),
    ]
    assert found["run"]["run_name"] == "mlp-0"
    assert [(row["key"], row["role"], row["confidence"], row["reason"]) for row in found["series"]] == [
        ("loss", "training_loss", 0.9, "named a loss"),
        ("train_loss", None, None, "logged once: a mean or a summary, no curve"),
    ]
    assert (found["described"]["starting_rate"], found["declared"]["optimizer"]) == (0.001, "adam")
    assert len(found["trajectory"]) == 12
    # What is not finite has no place in JSON.
    ended = greedylr(root, "inspect", "odd", "--json")
    assert None in [row["training_loss"] for row in json.loads(ended.out)["trajectory"]]
    assert "NaN" not in ended.out


def test_a_group_is_shown_with_its_series_and_its_runs(root: Path, greedylr: Greedylr) -> None:
    shown = lines(greedylr(root, "inspect", "digits-adam"))
    assert shown[0] == ["digits-adam: 2 runs"]
    assert ["training loss", "loss", "2", "0.90", "named a loss"] in shown
    runs = {row[1]: row for row in shown if len(row) > 6}
    assert set(runs) == {"name", "mlp-0", "mlp-1"}
    assert runs["mlp-0"][3:7] == ["FAILED", "adam", "0.001", "12"]
    found = json.loads(greedylr(root, "inspect", "digits-adam", "--json").out)
    assert found["group"] == "digits-adam"
    assert [run["training_points"] for run in found["runs"]] == [12, 12]


def test_the_beginning_of_an_id_or_a_name_is_enough_where_it_is_one_runs(root: Path, greedylr: Greedylr) -> None:
    run = json.loads(greedylr(root, "inspect", "yolo", "--json").out)["run"]["run_uuid"]
    assert json.loads(greedylr(root, "inspect", run[:10].upper(), "--json").out)["run"]["run_name"] == "yolo-3"
    ended = greedylr(root, "inspect", "mlp")
    assert ended.status == 2
    assert re.search(r"'mlp' must stand for one run, got 2: [0-9a-f]{12} \(mlp-0, digits\), .*give more", ended.err)


def test_an_unknown_name_is_refused_with_the_nearest(root: Path, greedylr: Greedylr) -> None:
    ended = greedylr(root, "inspect", "digits-adm")
    assert (ended.status, ended.out) == (2, "")
    assert "must be given, got 'digits-adm'; did you mean digits-adam or digits?" in ended.err
    assert "`greedylr runs` lists the groups" in greedylr(root, "inspect", "zzz").err


def test_a_role_said_in_the_settings_takes_effect_once_its_series_is_read(root: Path, greedylr: Greedylr) -> None:
    assert ["not usable: no loss series"] in lines(greedylr(root, "inspect", "empty"))
    with (root / "greedylr.toml").open("a") as file:
        file.write('[roles]\nscore = "training_loss"\n"*_loss" = "ignored"\n')
    assert ["the next `greedylr ingest` will copy score"] in lines(greedylr(root, "inspect", "empty"))
    greedylr_ingest(root)
    shown = lines(greedylr(root, "inspect", "empty"))
    assert ["not usable: fewer than 10 points"] in shown
    assert ["score", "training loss", "1.00", "override", "1", "1", "1"] in shown
    assert ["not usable: no loss series"] in lines(greedylr(root, "inspect", "yolo-3"))


def test_trials_that_were_logged_into_one_run_are_listed_and_each_can_be_inspected(
    root: Path, greedylr: Greedylr, log_run: Callable[..., str]
) -> None:
    points = [
        (step, 1_700_000_000_000 + 1000 * (15 * trial + step), (2.0 + 0.1 * trial) * 0.8**step)
        for trial in range(4)
        for step in range(15)
    ]
    log_run("search", run_name="study", metrics={"val_loss": points}, store=root / "mlflow.db")
    greedylr_ingest(root)
    shown = lines(greedylr(root, "inspect", "study"))
    assert ["not usable: several trials, each counted as a run"] in shown
    assert ["val_loss: its step goes back 3 times; resumed, trials, or logged again at the end"] in shown
    assert ["4 trials"] in shown
    assert [row[:2] for row in shown if row[0].startswith("#")] == [[f"#{number}", "15"] for number in (1, 2, 3, 4)]
    trial = lines(greedylr(root, "inspect", "study#3"))
    assert ["trial", "3"] in trial
    assert ["groups", "search"] in trial
    assert ["Trajectory of 15 points"] in trial
    group = lines(greedylr(root, "inspect", "search"))
    assert [row[0][12:] for row in group if "study" in row] == ["#1", "#2", "#3", "#4"]
    ended = greedylr(root, "inspect", "study#5")
    assert (ended.status, "'#5' must be one of the trials of run" in ended.err) == (2, True)
    assert "it has none" in greedylr(root, "inspect", "yolo-3#1").err
