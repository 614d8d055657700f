from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from greedylr.registry import _row, registered_presets
from greedylr.suggestion import Suggestion, ranked_presets, suggest_preset

Publish = Callable[..., None]


@pytest.fixture(autouse=True)
def no_registry_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def publish(mlflow_store: Path) -> Publish:
    """Register a version with tags and an alias; what it holds is not asked here."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{mlflow_store}", f"sqlite:///{mlflow_store}")

    def put(group: str, alias: str | None = "champion", **tags: object) -> None:
        name = f"greedylr-{group}"
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        all_tags = {f"greedylr.{key}": str(value) for key, value in {"group": group, **tags}.items()}
        version = client.create_model_version(name, "runs:/0/preset", tags=all_tags)
        if alias:
            client.set_registered_model_alias(name, alias, version.version)

    return put


@pytest.fixture
def uri(mlflow_store: Path) -> str:
    return f"sqlite:///{mlflow_store}"


def shown(suggestion: Suggestion) -> tuple[str, float, str]:
    return suggestion.address, round(suggestion.distance, 3), suggestion.confidence


def test_without_a_registry_the_bundled_presets_are_all_there_is_and_nothing_is_sure() -> None:
    found = ranked_presets(optimizer="adamw", batch_size=64)
    assert [shown(suggestion) for suggestion in found] == [
        ("robust", 0.5, "low"),
        ("anneal", 0.5, "low"),
        ("core", 0.5, "low"),
    ]
    assert found[0].reason == "bundled, for no training in particular; nothing is proved of it"


def test_the_nearest_comes_first_with_what_was_compared(publish: Publish, uri: str) -> None:
    proof = {"verdict": "better", "own_workload": "true"}
    publish("mnist-mlp-sgd", batch_size=64, parameters=100_000, **proof)
    publish("language-model-adamw", batch_size=512, parameters=124_000_000, **proof)
    near, bundled, *_, far = ranked_presets(
        optimizer="AdamW", task="language model", parameters=124_000_000, batch_size=512, registry_uri=uri
    )
    assert shown(near) == ("models:/greedylr-language-model-adamw@champion", 0.0, "high")
    assert near.reason == (
        "optimizer adamw as asked; task language-model as asked; parameters 124 M as asked; batch size 512 as asked; "
        "better on its own workload"
    )
    assert bundled.address == "robust"
    # 0.4 x 1 (another kind of optimizer) + 0.3 x 1 (no word in common) + 0.2 x 1 (1240 times) + 0.1 x 0.45 (8 times)
    assert shown(far) == ("models:/greedylr-mnist-mlp-sgd@champion", 0.945, "low")
    assert far.reason == (
        "optimizer sgd far from AdamW; task mnist-mlp far from language model; parameters 100 k far from 124 M; "
        "batch size 64 near 512; better on its own workload"
    )


def test_only_what_was_asked_for_counts(publish: Publish, uri: str) -> None:
    publish("mnist-sgd", batch_size=64, verdict="better", own_workload="true")
    suggestion = suggest_preset(batch_size=64, registry_uri=uri)
    assert (suggestion.address, suggestion.distance) == ("models:/greedylr-mnist-sgd@champion", 0.0)
    assert suggestion.reason == "batch size 64 as asked; better on its own workload"


@pytest.mark.parametrize(
    ("tags", "asked", "confidence"),
    [
        # One descriptor compared is never enough, however near.
        ({"verdict": "better", "own_workload": "true"}, {"optimizer": "sgd"}, "low"),
        ({"verdict": "better", "own_workload": "true"}, {"optimizer": "sgd", "parameters": 10}, "low"),
        ({"verdict": "better", "own_workload": "true"}, {"optimizer": "sgd", "task": "mnist"}, "medium"),
        ({"verdict": "better", "own_workload": "true", "batch_size": 8}, {"batch_size": 8}, "low"),
        (
            {"verdict": "better", "own_workload": "true", "batch_size": 8},
            {"optimizer": "sgd", "task": "mnist", "batch_size": 8},
            "high",
        ),
        (
            {"verdict": "better", "own_workload": "false", "batch_size": 8},
            {"optimizer": "sgd", "task": "mnist", "batch_size": 8},
            "medium",
        ),
        (
            {"verdict": "undecided", "own_workload": "true", "batch_size": 8},
            {"optimizer": "sgd", "task": "mnist", "batch_size": 8},
            "low",
        ),
        ({"batch_size": 8}, {"optimizer": "sgd", "task": "mnist", "batch_size": 8}, "low"),
        # A task with one word of three in common is not near enough.
        ({"verdict": "better", "own_workload": "true"}, {"optimizer": "adam", "task": "mnist large images"}, "low"),
    ],
)
def test_it_is_as_sure_as_what_it_knows(
    publish: Publish, uri: str, tags: dict[str, object], asked: dict[str, object], confidence: str
) -> None:
    publish("mnist-sgd", **tags)
    found = ranked_presets(**asked, registry_uri=uri)  # type: ignore[arg-type]
    assert {s.address: s.confidence for s in found}["models:/greedylr-mnist-sgd@champion"] == confidence


def test_what_proved_worse_or_has_no_alias_is_not_suggested(publish: Publish, uri: str) -> None:
    publish("mnist-sgd", verdict="worse", own_workload="true", alias="candidate")
    publish("digits-sgd", verdict="better", own_workload="true", alias=None)
    publish("words-sgd", verdict="better", own_workload="true", alias="previous")
    assert len(registered_presets(uri)) == 3
    assert [s.address for s in ranked_presets(optimizer="sgd", registry_uri=uri)] == ["robust", "anneal", "core"]


def test_equally_near_presets_are_ordered_by_their_proof(publish: Publish, uri: str) -> None:
    for group, verdict in (("a-sgd", "undecided"), ("b-sgd", ""), ("c-sgd", "non-inferior"), ("d-sgd", "better")):
        publish(group, verdict=verdict, own_workload="true")
    found = ranked_presets(optimizer="sgd", registry_uri=uri)
    assert [suggestion.row.name[-5:] for suggestion in found[:4]] == ["d-sgd", "c-sgd", "b-sgd", "a-sgd"]


@pytest.mark.parametrize(
    ("wanted", "group", "distance"),
    [
        ("sgd", "x-sgd", 0.0),
        ("SGD with momentum", "x-sgd", 0.0),
        ("torch.optim.AdamW", "x-adamw", 0.0),
        ("Adam-W", "x-adamw", 0.0),
        ("adam", "x-adamw", 0.4),
        ("sgd", "x-adamw", 1.0),
        ("my own", "x-adamw", 1.0),
        ("sgd", "no optimizer in it", 0.5),
    ],
)
def test_optimizers_are_near_by_what_they_do(
    publish: Publish, uri: str, wanted: str, group: str, distance: float
) -> None:
    publish(group.replace(" ", "-"), verdict="better")
    found = ranked_presets(optimizer=wanted, registry_uri=uri)
    assert next(s.distance for s in found if s.row.version) == pytest.approx(distance)


def test_the_registry_of_the_environment_is_taken(publish: Publish, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("mnist-sgd", verdict="better", own_workload="true")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    assert suggest_preset(optimizer="sgd").address == "models:/greedylr-mnist-sgd@champion"


@pytest.mark.parametrize("text", ["-5", "1.5", "many", "٣", "", "0", "9" * 30])
def test_a_tag_that_is_no_count_is_no_descriptor(text: str) -> None:
    version = SimpleNamespace(
        name="greedylr-a", version=1, tags={"greedylr.parameters": text}, creation_timestamp=1_700_000_000_000
    )
    assert _row(version, []).parameters is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "a suggestion needs at least one of optimizer, task, parameters, batch_size, got none"),
        ({"optimizer": ""}, "optimizer must have a word in it, got ''; leave it out where it is unknown"),
        ({"task": " - "}, "task must have a word in it, got ' - '"),
        ({"optimizer": 3}, "optimizer must have a word in it, got 3"),
        ({"parameters": 0}, "parameters must be an integer >= 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be an integer >= 1, got 1.5"),
        ({"batch_size": True}, "batch_size must be an integer >= 1, got True"),
    ],
)
def test_what_is_no_descriptor_is_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suggest_preset(**asked)  # type: ignore[arg-type]
