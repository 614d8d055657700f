"""`greedylr validate` as users call it: plans, budgets, verdicts, what lies on disk, several workloads, mistakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

GROUP = "digits-sgd"
SETTINGS = f"""
[groups."{GROUP}"]
workload = "reference:digits-nmf"
steps = 40

[groups."regression-sgd"]
workload = "training.py:workload"

[budget]
max_runs = 30
"""
# The team's habit is far too low.
HISTORY = [*[("cosine", 0.003)] * 8, ("linear", 0.1), ("linear", 0.3), ("step", 0.03)]
NMF = ("--workload", "digits-nmf", "--steps", "40")

Greedylr = Callable[..., Any]
Story = dict[str, Any]


def jobs(root: Path) -> dict[str, int]:
    """When the results of retraining jobs were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("data/jobs/*/*/result.json")}


def attempt(root: Path, name: str, number: int = 1) -> Path:
    (folder,) = (root / "data" / "validations").glob(f"{name}/attempt-{number}")
    return folder


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    new_repository: Callable[..., Path],
    log_history: Callable[..., None],
    greedylr: Greedylr,
) -> Story:
    """What was seen at each stage."""
    root = new_repository(tmp_path_factory.mktemp("users") / "repository", SETTINGS)
    log_history(root / "mlflow.db", "digits", HISTORY)
    log_history(root / "mlflow.db", "regression", HISTORY, first=50)
    seen: Story = {"root": root}
    validate = ("validate", "robust", *NMF)
    seen["dry run"] = greedylr(root, *validate, "--max-runs", "50", "--dry-run")
    seen["dry run: jobs"] = jobs(root)

    seen["budget"] = greedylr(root, *validate, "--max-runs", "12", "--json")
    seen["budget: jobs"] = jobs(root)
    verdict = attempt(root, "robust-*-on-digits-nmf-40-steps") / "verdict.json"
    seen["budget: verdict"] = json.loads(verdict.read_text())
    seen["budget: results"] = pl.read_csv(verdict.with_name("results.csv"))
    results = [json.loads(path.read_text()) for path in root.glob("data/jobs/*/*/result.json")]
    runs = sum(len(each["rows"]) for each in results)
    seen["budget: seconds a run"] = sum(each["device_seconds"] for each in results) / runs
    seen["finished: dry run"] = greedylr(root, *validate, "--max-runs", "50", "--dry-run")
    verdict.unlink()
    seen["budget, resumed"] = greedylr(root, *validate, "--max-runs", "12", "--json")
    seen["budget, resumed: jobs"] = jobs(root)
    seen["again"] = greedylr(root, *validate, "--max-runs", "10", "--again", "--json")
    seen["again: results"] = pl.read_csv(attempt(root, "robust-*-on-digits-nmf-40-steps", 2) / "results.csv")

    seen["full"] = greedylr(root, *validate, "--seeds", "5", "--against", "linear", "--budget-share", "--again")
    seen["pooled"] = greedylr(
        root, "validate", "anneal", "--workload", "digits-nmf", "--workload", "mnist-mlp", "--steps", "40",
        "--max-runs", "10", "--json",
    )  # fmt: skip
    greedylr(root, "ingest")
    seen["group"] = greedylr(root, "validate", "robust", "--group", GROUP, "--max-runs", "15", "--json")
    seen["plan of a refresh"] = greedylr(root, "run", "--dry-run")
    return seen


def the_validation(ended: Any) -> dict[str, Any]:
    assert ended.status == 0, ended.err
    (told,) = json.loads(ended.out)["validations"]
    return dict(told)


def test_a_dry_run_shows_the_steps_their_cost_and_where_the_budget_ends(story: Story) -> None:
    ended = story["dry run"]
    assert ended.status == 0, ended.err
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines[0].startswith("robust on digits-nmf: about 50 runs, ")
    assert lines[0].endswith("a run, known from a short look); attempt 1")
    assert any(line.startswith("primary cell 10 ") for line in lines)
    assert any(line.startswith("tuning 40 ") for line in lines)
    beyond = "Left out, since the budget does not reach so far: 1 x more seeds (10 runs), "
    assert any(line.startswith(beyond) for line in lines)


def test_a_dry_run_trains_no_more_than_a_look(story: Story) -> None:
    assert len(story["dry run: jobs"]) == 1
    assert len(story["budget: jobs"]) == 2


def test_a_budget_buys_a_verdict_that_says_what_it_lacks_and_what_it_cost(story: Story) -> None:
    told = the_validation(story["budget"])
    verdict = told["verdict"]
    assert (verdict["primary_control"], verdict["seeds"], verdict["attempt"]) == ("cosine", 5, 1)
    assert (verdict["control_tuned"], verdict["own_workload"]) == (False, False)
    assert told["remark"].startswith("cosine ran at the usual rate 15, which was not tuned")
    assert told["trainings"] == 10
    assert told["device_seconds"] == verdict["device_seconds"] > 0
    assert [step["step"]["kind"] for step in told["spending"]["taken"]] == ["primary cell"]
    assert told["preset"]["rate"] == "usual"


def test_verdict_cells_and_trainings_lie_in_the_folder_of_the_attempt(story: Story) -> None:
    assert story["budget: verdict"] == the_validation(story["budget"])
    results = story["budget: results"]
    assert results["schedule_name"].to_list() == ["preset"] * 5 + ["cosine"] * 5
    assert set(results["purpose"]) == {"test"}


def test_a_validation_that_was_cut_short_goes_on_with_the_jobs_that_were_finished(story: Story) -> None:
    assert the_validation(story["budget, resumed"]) == the_validation(story["budget"])
    assert story["budget, resumed: jobs"] == story["budget: jobs"]


def test_the_cost_after_an_attempt_is_the_one_that_its_jobs_had(story: Story) -> None:
    first_line = story["finished: dry run"].out.splitlines()[0]
    assert "a run, known from earlier jobs)" in first_line
    shown = float(first_line.partition("device (")[2].partition(" s a run")[0])
    assert shown == pytest.approx(story["budget: seconds a run"], rel=0.1)


def test_another_attempt_has_other_test_seeds_and_is_counted(story: Story) -> None:
    assert the_validation(story["again"])["verdict"]["attempt"] == 2
    assert not set(story["again: results"]["seed"]) & set(story["budget: results"]["seed"])


def test_the_full_procedure_prints_cells_headline_share_and_cost(story: Story) -> None:
    ended = story["full"]
    assert ended.status == 0, ended.err
    words = ended.out.split()
    assert "robust on digits-nmf: " in ended.out
    assert {"linear", "cosine"} <= set(words)
    assert "by the margin, undecided counts as failed" in ended.out
    assert "Smallest share of the budget that is as good as tuned cosine with all of it: " in ended.out
    assert "attempt 3; spent " in ended.out
    assert str(attempt(story["root"], "robust-*-on-digits-nmf-40-steps", 3)) in ended.out
    told = json.loads((attempt(story["root"], "robust-*-on-digits-nmf-40-steps", 3) / "verdict.json").read_text())
    assert told["verdict"]["control_tuned"] is True
    assert set(told["control_rates"]) == {"cosine", "linear"}
    assert {row["region"] for row in told["headline"]} == {"too low", "near", "too high", "own rate", "all"}
    assert told["budget_share"]["shares"][0]["share"] == 1.0
    # Tuning, references and test of three, without the rate that tuning and comparison share; then the share.
    least = 18 + 45 + 6 + 5 * 20 + 10
    assert f"robust on digits-nmf: about {least} to {least + 30} runs, " in ended.out
    # Broad and fine tuning, references, test; the preset from 6 rates and at its own, as each of two controls.
    assert told["trainings"] > 18 + 45 + 6 + 5 * 18


def test_workloads_of_one_family_are_validated_each_and_not_pooled(story: Story) -> None:
    assert story["pooled"].status == 0, story["pooled"].err
    told = json.loads(story["pooled"].out)
    assert [each["workload"] for each in told["validations"]] == ["digits-nmf", "mnist-mlp"]
    # Both are made from the digits.
    assert told["pooled"]["reason"].startswith("a pooled figure needs at least two families of data, got 1")


def test_a_groups_incumbent_decides_at_its_usual_rate(story: Story) -> None:
    told = the_validation(story["group"])
    assert told["verdict"]["primary_control"] == "incumbent"
    assert told["control_rates"]["incumbent"] == 0.003
    assert (told["verdict"]["own_workload"], told["verdict"]["control_tuned"]) == (True, True)
    # What the past used comes first: 8 runs with cosine, 2 with linear.
    assert [step["step"]["pair"]["control"] for step in told["spending"]["taken"]] == ["incumbent", "cosine"]


def test_the_budget_of_the_settings_is_for_workloads_of_the_users_own(story: Story) -> None:
    lines = {line.split()[0]: line.split() for line in story["plan of a refresh"].out.splitlines() if "sgd" in line}
    assert lines["regression-sgd"][2:] == ["training.py:workload", "about", "10", "to", "30", "a", "proof"]
    assert "30" not in lines[GROUP][4:]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "a validation takes either workloads or a group, got neither; give --workload NAME"),
        ((*NMF, "--group", GROUP), "a validation takes either workloads or a group, got both"),
        (("--workload", "digits"), "--workload must be one of mnist-mlp, "),
        (("--workload", "missing.py:factory"), "the workload's file must exist, got "),
        (("--group", "another"), "such groups are: digits-sgd, regression-sgd"),
        (
            (*NMF, "--max-runs", "9"),
            "a verdict takes at least 10 runs (5 paired seeds of two schedules), got a budget of 9",
        ),
        ((*NMF, "--budget", "soon"), "a duration must be a number with s, m, h or d"),
        ((*NMF, "--budget", "0.01s"), "a verdict takes at least 10 runs, about "),
        ((*NMF, "--max-runs", "10", "--budget-share"), "leave one of the two out"),
        ((*NMF, "--seeds", "7"), "--seeds must be one of the looks, 5, 10 or 20, got 7"),
        ((*NMF, "--against", "sine"), "got 'sine'; take one of these names"),
        ((*NMF, *NMF), "a preset is validated on each workload once"),
        ((*NMF, "--device", "abacus"), "device must be one that torch has here, got 'abacus'"),
    ],
)
def test_a_mistake_is_told_with_its_rule(
    story: Story, greedylr: Greedylr, arguments: tuple[str, ...], expected: str
) -> None:
    ended = greedylr(story["root"], "validate", "robust", *arguments)
    assert ended.status == 2
    assert expected in ended.err
    assert "Traceback" not in ended.err
