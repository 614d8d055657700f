"""When a group is proved again, and when a job is trained again: for another content, not for another place."""

import shutil
import sqlite3
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import flows.proof
import flows.retraining
from flows.group_workload import group_workload, reference_workload
from flows.proof import proof_key
from flows.registration import register_key
from flows.retraining import Retrainer
from flows.road import Road, describe, ingest, learn
from greedylr import load_preset
from greedylr.schedules import CONTROLS
from models.retraining.job import Configuration
from pipeline.settings import load_settings

GROUP = "digits-sgd"
SETTINGS = f"""
[groups."{GROUP}"]
workload = "training.py:workload"
"""
HISTORY = [("cosine", 0.003)] * 4 + [("constant", 0.03)] * 4


@pytest.fixture
def root(tmp_path: Path, new_repository: Callable[..., Path], log_history: Callable[..., None]) -> Path:
    made = new_repository(tmp_path / "repository", SETTINGS)
    log_history(made / "mlflow.db", "digits", HISTORY)
    return made


def changed(root: Path, before: str, after: str) -> None:
    file = root / "greedylr.toml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


def keys(root: Path) -> tuple[str, str]:
    """The keys of proof and registration, with the runs read anew."""
    road = Road(settings=load_settings(root / "greedylr.toml"), root=root)
    ingest(road)
    assert describe(road) == [GROUP]
    learned = learn(road, GROUP)
    proof = proof_key(road, learned, group_workload(road, GROUP, learned))
    return proof, register_key(road, proof)


def test_a_store_that_was_moved_is_the_same_history(root: Path) -> None:
    before = keys(root)
    (root / "mlflow.db").rename(root / "moved.db")
    changed(root, '["mlflow.db"]', '["moved.db"]')
    assert keys(root) == before
    assert keys(root) == before


def test_a_warehouse_that_is_made_anew_holds_the_same_history(root: Path) -> None:
    before = keys(root)
    (root / "data" / "greedylr.duckdb").unlink()
    assert keys(root) == before


def test_a_repository_that_was_moved_is_the_same_workload(root: Path) -> None:
    (before, _), (after, _) = keys(root), keys(Path(shutil.move(root, root.with_name("moved"))))
    assert after == before


@pytest.mark.parametrize(
    ("statement", "same"),
    [
        ("update params set value = '0.031' where key = 'learning_rate' and value = '0.03'", False),
        ("insert into tags select 'data', 'second', run_uuid from runs", False),
        ("update runs set status = 'KILLED'", False),
        ("insert into tags select 'mlflow.note.content', 'promising', run_uuid from runs", True),
    ],
)
def test_runs_that_say_something_else_are_another_history(root: Path, statement: str, same: bool) -> None:
    before = keys(root)
    with sqlite3.connect(root / "mlflow.db") as connection:
        connection.execute(statement)
    (root / "data" / "greedylr.duckdb").unlink()
    assert (keys(root) == before) is same


def test_another_promotion_is_no_reason_to_do_anything_again(root: Path) -> None:
    before = keys(root)
    changed(root, SETTINGS, f'{SETTINGS}\n[promotion]\nmode = "auto"\n')
    assert keys(root) == before


def test_another_registry_is_a_reason_to_register_again_and_not_to_prove_again(root: Path) -> None:
    before = keys(root)
    changed(root, "sqlite:///data/registry.db", "http://127.0.0.1:9")
    after = keys(root)
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_another_training_of_ours_another_torch_and_another_portfolio_call_for_a_new_proof(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [keys(root)[0]]
    for target, name, value in (
        (flows.proof, "TRAINING_VERSION", 1_000_000),
        (metadata, "version", lambda _: "99.0"),
        (flows.proof, "load_preset", lambda _: load_preset("robust")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, value)
            seen.append(keys(root)[0])
    assert len(set(seen)) == 4
    assert keys(root)[0] == seen[0]


def test_a_job_is_trained_again_by_another_training_of_ours_and_by_another_torch(
    root: Path, monkeypatch: pytest.MonkeyPatch, contents: Callable[[Path], dict[str, Any]]
) -> None:
    changed(root, 'workload = "training.py:workload"', "steps = 40")
    road = Road(settings=load_settings(root / "greedylr.toml"), root=root)
    train = Retrainer(road, GROUP, reference_workload("digits-nmf", own=True))
    configurations = [Configuration(name="cosine", schedule=CONTROLS["cosine"], learning_rate=0.1)]

    def jobs() -> int:
        train.train("search", configurations, [1])
        return len([name for name in contents(road.data / "jobs") if name.endswith("result.json")])

    assert [jobs(), jobs()] == [1, 1]
    monkeypatch.setattr(flows.retraining, "TRAINING_VERSION", 1_000_000)
    assert jobs() == 2
    monkeypatch.setattr(metadata, "version", lambda _: "99.0")
    assert jobs() == 3


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("trainng.py", "the workload's file must exist, got '{root}/trainng.py' for group digits-sgd"),
        ("trainng", "the workload's module must exist in {root} or be installed, got 'trainng' for group digits-sgd"),
        (
            "models.missing",
            "the workload's module must exist in {root} or be installed, got 'models.missing' for group digits-sgd",
        ),
        (
            "research.missing",
            "the workload's module must exist in {root} or be installed, got 'research.missing' for group digits-sgd",
        ),
    ],
)
def test_a_dry_run_refuses_a_workload_that_is_not_there(
    root: Path, greedylr: Callable[..., Any], place: str, expected: str
) -> None:
    (root / "research").mkdir()
    changed(root, "training.py:workload", f"{place}:workload")
    ended = greedylr(root, "run", "--dry-run")
    assert ended.status == 1
    assert expected.format(root=root) in " ".join(ended.out.split())


@pytest.mark.parametrize("place", ["training", "research.trial", "models", "models.network", "torch.nn"])
def test_a_module_in_the_repository_or_installed_is_taken(root: Path, place: str) -> None:
    (root / "research").mkdir()
    (root / "research" / "trial.py").write_text("raise SystemExit('executed')\n")
    changed(root, "training.py:workload", f"{place}:workload")
    keys(root)
