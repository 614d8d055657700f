import hashlib
import shutil
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from greedylr import Interval, RelativeRule, Verdict, load_preset
from greedylr.lookup import PresetNotFoundError, RegistryUnavailableError, bundled_presets
from greedylr.registry import anchored, registered_presets, without_password

Publish = Callable[..., str]


@pytest.fixture
def publish(mlflow_store: Path, tmp_path: Path) -> Publish:
    """Put a text into a registry as someone else's code would, and return the address of the version."""
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{mlflow_store}"

    def put(text: str, *, alias: str | None = None, with_run: bool = True) -> str:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = client.get_experiment_by_name("presets")
        location = (tmp_path / "registry_artifacts").as_uri()
        experiment_id = experiment.experiment_id if experiment else client.create_experiment("presets", location)
        run_id = client.create_run(experiment_id).info.run_id
        client.log_text(run_id, text, "preset/preset.json")
        if not client.search_registered_models("name = 'greedylr-mnist'"):
            client.create_registered_model("greedylr-mnist")
        version = client.create_model_version(
            "greedylr-mnist", f"runs:/{run_id}/preset", run_id=run_id if with_run else None
        )
        if alias:
            client.set_registered_model_alias("greedylr-mnist", alias, version.version)
        return f"models:/greedylr-mnist/{version.version}"

    return put


def verdict(*, own_workload: bool = True) -> Verdict:
    return Verdict(
        verdict="better",
        difference=-0.05,
        interval=Interval(lower=-0.08, upper=-0.02, level=0.95),
        primary_control="cosine",
        workload="reference:mnist-mlp",
        own_workload=own_workload,
        seeds=10,
        attempt=1,
    )


def test_three_presets_are_bundled() -> None:
    assert bundled_presets() == ("anneal", "core", "robust")


@pytest.mark.parametrize("name", ["anneal", "core", "robust"])
def test_a_bundled_preset_is_written_as_the_library_writes_it_and_claims_no_proof(name: str) -> None:
    text = (resources.files("greedylr") / "presets" / f"{name}.json").read_text("utf-8")
    preset = load_preset(name)
    assert preset.to_json() == text
    assert (preset.name, preset.verdict, preset.learning_rate) == (name, None, None)
    assert preset.provenance.origin == "bundled"


def test_the_bundled_presets_share_the_core_rule_and_differ_in_their_extras() -> None:
    core, anneal, robust = (load_preset(name).schedule for name in ("core", "anneal", "robust"))
    assert (core.envelope.shape, core.envelope.ramp) == ("constant", 0.0)
    assert (anneal.envelope.shape, anneal.envelope.decay_share, anneal.envelope.ramp) == ("final_anneal", 0.2, 0.0)
    assert (robust.envelope.shape, robust.envelope.decay_share, robust.envelope.ramp) == ("wsd", 0.2, 0.05)
    assert anneal.rule == core.rule
    assert isinstance(core.rule, RelativeRule) and robust.rule == replace(core.rule, increase_until=0.4)
    assert (core.rule.factor, core.rule.increase_factor, core.rule.min_lr, core.rule.max_lr) == (0.7, 0.85, 0.01, 10.0)


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "preset.json"
    path.write_text(load_preset("robust").to_json())
    assert load_preset(str(path)) == load_preset(path) == load_preset("robust")


def test_a_bundled_name_is_taken_before_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "robust").write_text(load_preset("core").to_json())
    monkeypatch.chdir(tmp_path)
    assert load_preset("robust").name == "robust"
    assert load_preset("./robust").name == "core"


@pytest.mark.parametrize("address", ["nope", "", "a\0b", "x" * 5000, "~nobody/preset.json"])
def test_an_address_where_nothing_stands_is_refused_with_the_names_there_are(address: str) -> None:
    with pytest.raises(PresetNotFoundError, match=r"anneal, core, robust.*models:/NAME@ALIAS or models:/NAME/VERSION"):
        load_preset(address)


def test_a_file_that_is_no_preset_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json cannot be read as a preset: .*schema_version is missing"):
        load_preset(path)


@pytest.mark.parametrize(
    "address", ["models:/", "models:/name", "models:/name/latest", "models:/name@", "models:/a/b@c", "models:name/1"]
)
def test_a_malformed_registry_address_is_refused_before_anything_is_opened(address: str) -> None:
    with pytest.raises(ValueError, match="a registry address is models:/NAME@ALIAS or models:/NAME/VERSION, got"):
        load_preset(address, registry_uri="sqlite:////nowhere.db")


def test_a_registered_preset_is_loaded_by_alias_and_by_version(mlflow_store: Path, publish: Publish) -> None:
    preset = replace(load_preset("robust"), learning_rate=0.1, verdict=verdict())
    address = publish(preset.to_json(), alias="champion")
    uri = f"sqlite:///{mlflow_store}"
    assert load_preset(address, registry_uri=uri) == preset
    assert load_preset("models:/greedylr-mnist@champion", registry_uri=uri) == preset


def test_the_registry_is_found_as_mlflow_finds_it(
    mlflow_store: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = publish(load_preset("core").to_json())
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{mlflow_store}")
    # The job's own runs go elsewhere; the preset's run stands beside the registry.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/never_opened.db")
    assert load_preset(address).name == "core"
    assert not (tmp_path / "never_opened.db").exists()


@pytest.mark.parametrize(
    ("proof", "message"),
    [
        (None, "it has not been retrained, nothing is proved of it"),
        (
            verdict(own_workload=False),
            "better against cosine on reference:mnist-mlp, which is not your own workload",
        ),
        (verdict(), "better against cosine on your own workload"),
    ],
)
def test_a_candidate_warns_of_what_is_not_proved(
    mlflow_store: Path, publish: Publish, proof: Verdict | None, message: str
) -> None:
    publish(replace(load_preset("core"), verdict=proof).to_json(), alias="candidate")
    with pytest.warns(UserWarning, match=f"models:/greedylr-mnist@candidate is a candidate: {message}"):
        load_preset("models:/greedylr-mnist@candidate", registry_uri=f"sqlite:///{mlflow_store}")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("models:/greedylr-other@champion", "Registered Model with name=greedylr-other not found"),
        ("models:/greedylr-mnist@champion", "alias champion not found"),
        ("models:/greedylr-mnist/9", "version=9. not found"),
    ],
)
def test_what_the_registry_does_not_hold_is_said(
    mlflow_store: Path, publish: Publish, address: str, message: str
) -> None:
    publish(load_preset("core").to_json())
    with pytest.raises(PresetNotFoundError, match=f"no preset at {address}: .*{message}; `greedylr presets list"):
        load_preset(address, registry_uri=f"sqlite:///{mlflow_store}")


def test_a_version_whose_file_is_gone_says_so(mlflow_store: Path, publish: Publish, tmp_path: Path) -> None:
    address = publish(load_preset("core").to_json())
    shutil.rmtree(tmp_path / "registry_artifacts")
    with pytest.raises(PresetNotFoundError, match=r"is registered, but its file preset/preset\.json cannot be fetched"):
        load_preset(address, registry_uri=f"sqlite:///{mlflow_store}")


def test_a_version_of_someone_else_says_so(mlflow_store: Path, publish: Publish) -> None:
    uri = f"sqlite:///{mlflow_store}"
    with pytest.raises(ValueError, match="names no run that holds a preset; greedylr did not register"):
        load_preset(publish("{}", with_run=False), registry_uri=uri)
    with pytest.raises(ValueError, match=r"models:/greedylr-mnist/2 cannot be read as a preset: .*schema_version"):
        load_preset(publish("{}"), registry_uri=uri)


def test_a_missing_registry_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(PresetNotFoundError, match=r"there is no registry at sqlite:///.*/none\.db; the first"):
        load_preset("models:/greedylr-mnist@champion", registry_uri=f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_database_of_another_schema_is_refused_and_not_migrated(mlflow_store: Path) -> None:
    with sqlite3.connect(mlflow_store) as database:
        database.execute("update alembic_version set version_num = 'older'")
    before = digest(mlflow_store)
    with pytest.raises(
        ValueError, match=r"must have the installed MLflow's schema .*, got older in .*mlflow db upgrade"
    ):
        registered_presets(f"sqlite:///{mlflow_store}")
    assert digest(mlflow_store) == before


def test_a_database_that_is_not_mlflows_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("create table mine (a)")
    before = digest(path)
    with pytest.raises(ValueError, match=r"must be an MLflow database, got .*which holds none of MLflow's registry"):
        registered_presets(f"sqlite:///{path}")
    assert digest(path) == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database, but long enough to be mistaken for one " * 40)
    with pytest.raises(ValueError, match=r"must be an MLflow database, got .*notes\.txt: file is not a database"):
        registered_presets(f"sqlite:///{path}")


def test_a_registry_that_does_not_answer_says_so_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnavailableError) as raised:
        registered_presets("http://user:secret@127.0.0.1:9")
    message = str(raised.value)
    assert message.startswith("the registry http://user:***@127.0.0.1:9 is not to be had: ")
    assert "Connection refused" in message and "\n" not in message and "secret" not in message
    assert len(message) < 400


def test_an_empty_registry_lists_nothing(mlflow_store: Path) -> None:
    assert registered_presets(f"sqlite:///{mlflow_store}") == []


def test_relative_sqlite_addresses_are_anchored_and_others_left_alone() -> None:
    assert anchored("sqlite:///data/registry.db", Path("/home/me")) == "sqlite:////home/me/data/registry.db"
    assert anchored("sqlite:////data/registry.db", Path("/home/me")) == "sqlite:////data/registry.db"
    assert anchored("http://host:5000", Path("/home/me")) == "http://host:5000"


def test_passwords_are_left_out_of_messages() -> None:
    text = "no answer from postgresql+psycopg2://me:pa:ss@host/db or http://host:5000/a@b"
    assert without_password(text) == "no answer from postgresql+psycopg2://me:***@host/db or http://host:5000/a@b"


def test_without_mlflow_a_registered_preset_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(PresetNotFoundError, match="the registry needs mlflow, which is not installed: pip install"):
        load_preset("models:/greedylr-mnist@champion", registry_uri="http://host:5000")
    assert load_preset("robust").name == "robust"
