import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greedylr import Interval, Preset, Verdict, load_preset, suggest_preset
from greedylr.registry import registered_presets
from greedylr.verdict import CellVerdict
from pipeline.errors import RegistryUnreachableError
from pipeline.preset_registry import RegisteredPreset, promote, register, registered_name, rollback

GROUP = "mnist-mlp-sgd"
NAME = "greedylr-mnist-mlp-sgd"
TOLD = ("group", "attempt", "primary_control", "selection", "interval", "reason")
INTERVALS: dict[CellVerdict, tuple[float, float]] = {
    "better": (-0.08, -0.02),
    "undecided": (-0.05, 0.05),
    "worse": (0.02, 0.08),
}


def proved(
    learning_rate: float = 0.1, *, verdict: CellVerdict = "better", own_workload: bool = True, attempt: int = 1
) -> Preset:
    low, high = INTERVALS[verdict]
    proof = Verdict(
        verdict=verdict,
        difference=(low + high) / 2,
        interval=Interval(lower=low, upper=high, level=0.95),
        primary_control="cosine",
        workload="training.py:workload" if own_workload else "reference:mnist-mlp",
        own_workload=own_workload,
        seeds=10,
        attempt=attempt,
    )
    return replace(load_preset("robust"), name="mnist", learning_rate=learning_rate, verdict=proof)


@pytest.fixture
def uri(mlflow_store: Path) -> str:
    return f"sqlite:///{mlflow_store}"


@pytest.fixture
def publish(uri: str, tmp_path: Path) -> Callable[..., RegisteredPreset]:
    def put(preset: Preset, alias: Any = "champion", **more: Any) -> RegisteredPreset:
        return register(uri, preset, GROUP, alias, artifact_folder=tmp_path / "files", reason="a test", **more)

    return put


def aliases(uri: str) -> dict[str, str]:
    return {alias: row.version for row in registered_presets(uri) for alias in row.aliases}


def tags(uri: str, version: str) -> dict[str, str]:
    from mlflow.tracking import MlflowClient

    return dict(MlflowClient(uri, uri).get_model_version(NAME, version).tags)


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("mnist-mlp-sgd", "greedylr-mnist-mlp-sgd"),
        ("Mnist MLP/sgd", "greedylr-mnist-mlp-sgd-0c1157d5"),
        ("mnist:mlp:sgd", "greedylr-mnist-mlp-sgd-8302d919"),
        ("数字", "greedylr-c16ec927"),
    ],
)
def test_a_group_has_a_name_that_mlflow_takes(group: str, name: str) -> None:
    assert registered_name(group) == name


def test_groups_that_differ_have_names_that_differ() -> None:
    groups = ["a-b", "a b", "a/b", "a:b", "A-B", "a--b", "a-b-", "x" * 300, "x" * 301]
    assert len({registered_name(group) for group in groups}) == len(groups)
    assert max(len(registered_name(group)) for group in groups) < 130


def test_a_champion_is_registered_with_its_verdict(uri: str, publish: Callable[..., RegisteredPreset]) -> None:
    preset = proved()
    registered = publish(preset)
    assert registered == RegisteredPreset(name=NAME, version="1", address=f"models:/{NAME}@champion")
    assert load_preset(registered.address, registry_uri=uri) == preset
    (row,) = registered_presets(uri)
    assert (row.name, row.version, row.aliases) == (NAME, "1", ("champion",))
    assert (row.verdict, row.own_workload, row.learning_rate) == ("better", True, 0.1)
    assert (row.content_hash, row.address) == (preset.content_hash, f"models:/{NAME}/1")
    found = tags(uri, "1")
    assert {key: found[f"greedylr.{key}"] for key in TOLD} == {
        "group": GROUP,
        "attempt": "1",
        "primary_control": "cosine",
        "selection": "apart",
        "interval": "[-0.08, -0.02]",
        "reason": "a test",
    }


def test_a_version_tells_of_its_training_what_is_known(uri: str, publish: Callable[..., RegisteredPreset]) -> None:
    preset = proved()
    described = replace(preset.provenance, optimizer="adamw", task="language model", parameters=1_000_000)
    publish(replace(preset, provenance=described))
    [row] = registered_presets(uri)
    assert (row.optimizer, row.task, row.parameters, row.batch_size) == ("adamw", "language model", 1_000_000, None)
    assert "greedylr.batch_size" not in tags(uri, "1")
    suggested = suggest_preset(optimizer="AdamW", task="language model", parameters=2_000_000, registry_uri=uri)
    assert (suggested.address, suggested.confidence) == (f"models:/{NAME}@champion", "high")


def test_the_files_of_a_version_lie_in_a_run_of_ours(
    uri: str, publish: Callable[..., RegisteredPreset], tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    picture = tmp_path / "group.png"
    picture.write_bytes(b"picture")
    publish(proved(), pictures=[picture], evidence={"cells.json": "{}"})
    client = MlflowClient(uri, uri)
    version = client.get_model_version(NAME, "1")
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert version.source == f"runs:/{version.run_id}/preset"
    assert run.data.tags["greedylr.role"] == "registration"
    assert run.info.status == "FINISHED"
    files = tmp_path / "files" / version.run_id / "artifacts"
    assert sorted(str(path.relative_to(files)) for path in files.rglob("*.*")) == [
        "evidence/cells.json",
        "pictures/group.png",
        "preset/preset.json",
    ]
    assert client.get_experiment(run.info.experiment_id).artifact_location == (tmp_path / "files").as_uri()


def test_the_same_content_and_attempt_again_is_the_version_that_is_there(
    uri: str, publish: Callable[..., RegisteredPreset]
) -> None:
    assert publish(proved()) == publish(proved())
    assert publish(proved(attempt=2)).version == "2"
    assert publish(proved(0.2)).version == "3"
    assert len(registered_presets(uri)) == 3


def test_the_old_champion_becomes_previous(uri: str, publish: Callable[..., RegisteredPreset]) -> None:
    publish(proved(0.1))
    publish(proved(0.2))
    assert aliases(uri) == {"champion": "2", "previous": "1"}
    assert load_preset(f"models:/{NAME}@previous", registry_uri=uri).learning_rate == 0.1


def test_a_repeated_registration_leaves_what_a_person_has_moved(
    uri: str, publish: Callable[..., RegisteredPreset]
) -> None:
    publish(proved(0.1))
    publish(proved(0.2))
    rollback(uri, GROUP, reason="it diverged", who="Ada")
    publish(proved(0.2))
    assert aliases(uri) == {"champion": "1"}


def test_a_registration_cut_short_before_its_alias_goes_on(uri: str, publish: Callable[..., RegisteredPreset]) -> None:
    from mlflow.tracking import MlflowClient

    publish(proved())
    client = MlflowClient(uri, uri)
    client.delete_registered_model_alias(NAME, "champion")
    client.delete_model_version_tag(NAME, "1", "greedylr.registered_as")
    publish(proved())
    assert aliases(uri) == {"champion": "1"}


@pytest.mark.parametrize(
    ("preset", "got"),
    [
        (proved(own_workload=False), "better on the reference reference:mnist-mlp"),
        (proved(verdict="worse"), "worse on its own workload"),
        (proved(verdict="undecided"), "undecided on its own workload"),
    ],
)
def test_what_is_not_proved_becomes_candidate_and_never_champion_by_itself(
    uri: str, publish: Callable[..., RegisteredPreset], preset: Preset, got: str
) -> None:
    with pytest.raises(ValueError, match=f"a champion must be better or non-inferior on .*, got {got}; register it as"):
        publish(preset, "champion")
    assert registered_presets(uri) == []
    assert publish(preset, "candidate").address == f"models:/{NAME}@candidate"
    assert aliases(uri) == {"candidate": "1"}


def test_a_preset_without_verdict_is_not_registered(publish: Callable[..., RegisteredPreset]) -> None:
    with pytest.raises(ValueError, match="a registered preset must have a verdict, 'robust' has none"):
        publish(load_preset("robust"), "candidate")


def test_a_picture_that_is_missing_is_refused_before_anything_is_written(
    uri: str, publish: Callable[..., RegisteredPreset], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"pictures must be files, got .*none\.png"):
        publish(proved(), pictures=[tmp_path / "none.png"])
    assert registered_presets(uri) == []


def test_a_person_may_promote_what_was_proved_on_a_reference(
    uri: str, publish: Callable[..., RegisteredPreset]
) -> None:
    publish(proved(0.1))
    publish(proved(0.2, own_workload=False), "candidate")
    promoted = promote(uri, GROUP, 2, reason="it did well in our own runs", who="Ada")
    assert promoted == RegisteredPreset(name=NAME, version="2", address=f"models:/{NAME}@champion")
    assert aliases(uri) == {"champion": "2", "previous": "1"}
    found = tags(uri, "2")
    assert found["greedylr.promoted_by"] == "Ada"
    assert found["greedylr.promoted_reason"] == "it did well in our own runs"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["greedylr.promoted_at"])


def test_a_rollback_goes_back_and_says_who_and_why(uri: str, publish: Callable[..., RegisteredPreset]) -> None:
    publish(proved(0.1))
    publish(proved(0.2))
    publish(proved(0.3))
    assert rollback(uri, GROUP, reason="it diverged", who="Ada").version == "2"
    assert aliases(uri) == {"champion": "2", "previous": "1"}
    assert tags(uri, "3")["greedylr.rolled_back_by"] == "Ada"
    assert tags(uri, "3")["greedylr.rolled_back_reason"] == "it diverged"
    assert tags(uri, "2")["greedylr.promoted_reason"] == "rollback of version 3: it diverged"
    rollback(uri, GROUP, reason="so did this one", who="Ada")
    assert aliases(uri) == {"champion": "1"}
    with pytest.raises(ValueError, match=f"{NAME} must have had a champion before this one to go back to, got none"):
        rollback(uri, GROUP, reason="and this one", who="Ada")


def test_what_cannot_be_promoted_is_refused_with_what_there_is(
    uri: str, publish: Callable[..., RegisteredPreset]
) -> None:
    publish(proved())
    with pytest.raises(ValueError, match=f"hold a preset of the group, got 'other'; it holds {NAME}"):
        promote(uri, "other", 1, reason="why not", who="Ada")
    with pytest.raises(ValueError, match=f"{NAME} must have the version to promote, got 7; it has 1"):
        promote(uri, GROUP, 7, reason="why not", who="Ada")
    with pytest.raises(ValueError, match=f"version 1 of {NAME} is the champion already"):
        promote(uri, NAME, 1, reason="why not", who="Ada")
    with pytest.raises(ValueError, match="reason must be said in 1 to 2000 characters, got 0"):
        promote(uri, GROUP, 1, reason="  ", who="Ada")
    assert "greedylr.rolled_back_by" not in tags(uri, "1")


def test_a_group_that_is_no_slug_is_registered_too(uri: str, tmp_path: Path) -> None:
    register(uri, proved(), "Mine: a/b", "champion", artifact_folder=tmp_path, reason="a test")
    (row,) = registered_presets(uri)
    assert row.name == registered_name("Mine: a/b")
    assert load_preset(f"models:/{row.name}@champion", registry_uri=uri) == proved()


def test_a_registry_that_does_not_answer_may_be_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnreachableError, match="Connection refused") as raised:
        register("http://127.0.0.1:9", proved(), GROUP, "champion", artifact_folder=tmp_path / "files", reason="a test")
    assert raised.value.retryable


@pytest.fixture
def server(mlflow_store: Path, tmp_path: Path) -> Iterator[str]:
    """A real `mlflow server` in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{mlflow_store}", "--artifacts-destination", str(tmp_path / "served")]
    log = tmp_path / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"no answer from {address}: {log.read_text()}")


TRAINING_JOB = """
import json, torch
from greedylr import load_preset

preset = load_preset("models:/greedylr-mnist-mlp-sgd@champion")
weight = torch.nn.Parameter(torch.tensor([1.0]))
optimizer = torch.optim.SGD([weight], lr=preset.learning_rate)
scheduler = preset.scheduler(optimizer, total_steps=200)
rates = []
for step in range(200):
    rates.append(scheduler.get_last_lr()[0])
    loss = (weight ** 2).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step(loss)
print(json.dumps({"hash": preset.content_hash, "rates": rates, "loss": float(loss)}))
"""


@pytest.mark.integration
def test_a_training_job_elsewhere_loads_the_champion_from_a_server_and_steps(server: str, tmp_path: Path) -> None:
    preset = proved(0.01)
    picture = tmp_path / "group.png"
    picture.write_bytes(b"picture")
    registered = register(
        server,
        preset,
        GROUP,
        "champion",
        artifact_folder=tmp_path / "never_used",
        pictures=[picture],
        evidence={"cells.json": "{}"},
        reason="a test",
    )
    assert registered.address == f"models:/{NAME}@champion"
    assert not (tmp_path / "never_used").exists()
    assert len(list((tmp_path / "served").rglob("preset.json"))) == 1
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server, "PYTHONPATH": str(Path(__file__).parents[2])}
    job = subprocess.run(
        [sys.executable, "-c", TRAINING_JOB], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert job.returncode == 0, job.stderr
    result = json.loads(job.stdout)
    assert result["hash"] == preset.content_hash
    # A ramp over 5 % of the run, then a rise while the loss falls, then the decay of the last fifth.
    assert result["rates"][0] == pytest.approx(0.001)
    assert result["rates"][9] == pytest.approx(0.01)
    assert max(result["rates"]) > 0.02
    assert result["rates"][-1] < 0.005
    assert result["loss"] < 0.01
    register(server, proved(0.02), GROUP, "champion", artifact_folder=tmp_path, reason="a test")
    rollback(server, GROUP, reason="a test", who="Ada")
    assert load_preset(f"models:/{NAME}@champion", registry_uri=server) == preset
