import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

import greedylr
from greedylr import Interval, RelativeRule, Verdict, load_preset
from greedylr.lookup import PresetNotFoundError, RegistryUnavailableError, bundled_presets, locate_preset
from greedylr.preset_cache import CachedPreset, copy_path, write_copy
from greedylr.registry import anchored, registered_presets, registry_key, without_password

ROOT = Path(greedylr.__file__).parent.parent
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


def test_copies_are_filed_under_one_spelling_of_a_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert registry_key("http://me:secret@host:5000/") == "http://me:***@host:5000"
    assert registry_key("sqlite:///registry.db") == f"sqlite:///{tmp_path}/registry.db"
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert registry_key() == "http://tracking:5000"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://registry:5000")
    assert registry_key() == registry_key("") == "http://registry:5000"


def test_passwords_are_left_out_of_messages() -> None:
    text = "no answer from postgresql+psycopg2://me:pa:ss@host/db or http://host:5000/a@b"
    assert without_password(text) == "no answer from postgresql+psycopg2://me:***@host/db or http://host:5000/a@b"


def test_without_mlflow_a_registered_preset_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(PresetNotFoundError, match="the registry needs mlflow, which is not installed: pip install"):
        load_preset("models:/greedylr-mnist@champion", registry_uri="http://host:5000")
    assert load_preset("robust").name == "robust"


CHAMPION = "models:/greedylr-mnist@champion"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of presets."""
    monkeypatch.setenv("GREEDYLR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def champion(mlflow_store: Path, publish: Publish, cache: Path) -> str:
    """A registry whose champion is the bundled preset core; its address."""
    publish(load_preset("core").to_json(), alias="champion")
    return f"sqlite:///{mlflow_store}"


def test_an_alias_is_resolved_to_name_version_and_hash(champion: str) -> None:
    found = locate_preset(CHAMPION, registry_uri=champion)
    assert (found.name, found.version, found.address) == ("greedylr-mnist", "1", CHAMPION)
    assert (found.preset, found.content_hash) == (load_preset("core"), load_preset("core").content_hash)
    assert found.cached_at is None
    bundled = locate_preset("core")
    assert (bundled.name, bundled.version, bundled.content_hash) == ("", "", found.content_hash)


def test_a_registry_that_is_gone_is_replaced_by_the_copy_with_its_age(champion: str, mlflow_store: Path) -> None:
    load_preset(CHAMPION, registry_uri=champion)
    mlflow_store.unlink()
    with pytest.warns(
        UserWarning,
        match=f"{CHAMPION}: there is no registry at .*; taking the copy of [0-9]+ seconds? ago, version 1, content "
        f"{load_preset('core').content_hash}",
    ):
        found = locate_preset(CHAMPION, registry_uri=champion)
    assert (found.preset, found.version) == (load_preset("core"), "1")
    assert found.cached_at is not None


def test_a_registry_that_cannot_be_read_is_replaced_by_the_copy(champion: str, mlflow_store: Path) -> None:
    load_preset(CHAMPION, registry_uri=champion)
    with sqlite3.connect(mlflow_store, isolation_level=None) as blocker:
        blocker.execute("pragma locking_mode = exclusive")
        blocker.execute("begin exclusive")
        with pytest.warns(UserWarning, match=r"cannot be read: database is locked; taking the copy of"):
            assert load_preset(CHAMPION, registry_uri=champion).name == "core"


def test_a_server_that_does_not_answer_is_replaced_by_its_own_copy_only(
    champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    load_preset(CHAMPION, registry_uri=champion)
    server = "http://user:secret@127.0.0.1:9/"
    with pytest.raises(RegistryUnavailableError, match="is not to be had"):
        load_preset(CHAMPION, registry_uri=server)
    path = copy_path(CHAMPION, "http://user:***@127.0.0.1:9")
    write_copy(
        CachedPreset(
            address=CHAMPION,
            registry="http://user:***@127.0.0.1:9",
            name="greedylr-mnist",
            version="7",
            run_id="0f3a",
            fetched_at="2020-01-01T00:00:00+00:00",
            preset_json=load_preset("robust").to_json(),
        )
    )
    with pytest.warns(UserWarning, match=r"taking the copy of \d{4} days ago, version 7") as caught:
        assert load_preset(CHAMPION, registry_uri=server).name == "robust"
    assert Path(caught[0].filename) == Path(__file__)
    assert "secret" not in str(caught[0].message) + path.read_text()


def test_never_neither_reads_nor_writes_a_copy(champion: str, mlflow_store: Path, cache: Path) -> None:
    load_preset(CHAMPION, registry_uri=champion, cache="never")
    assert not cache.exists()
    load_preset(CHAMPION, registry_uri=champion)
    mlflow_store.unlink()
    with pytest.raises(PresetNotFoundError, match="there is no registry at"):
        load_preset(CHAMPION, registry_uri=champion, cache="never")


def test_only_asks_nothing_but_the_copy(
    champion: str, mlflow_store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        PresetNotFoundError, match=r'there is no copy of models:/greedylr-mnist@champion .*load it once with cache="f'
    ):
        load_preset(CHAMPION, registry_uri=champion, cache="only")
    load_preset(CHAMPION, registry_uri=champion)
    mlflow_store.unlink()
    # As on a machine without MLflow.
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert load_preset(CHAMPION, registry_uri=champion, cache="only").name == "core"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", champion)
    assert load_preset(CHAMPION, cache="only").name == "core"
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="a registry must be named where MLflow is not installed, got none"):
        load_preset(CHAMPION, cache="only")


def test_without_mlflow_the_error_names_the_copy_that_is_there(champion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load_preset(CHAMPION, registry_uri=champion)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(PresetNotFoundError, match=r'needs mlflow, .*copy on this machine: cache="only" takes it'):
        load_preset(CHAMPION, registry_uri=champion)


def test_a_damaged_copy_is_said_and_never_used(champion: str, mlflow_store: Path, cache: Path) -> None:
    load_preset(CHAMPION, registry_uri=champion)
    (path,) = cache.iterdir()
    path.write_text(path.read_text().replace("0.7", "0.6"))
    mlflow_store.rename(mlflow_store.with_suffix(".away"))
    with pytest.raises(PresetNotFoundError, match=r"there is no registry .*the cached copy .* is damaged and not used"):
        load_preset(CHAMPION, registry_uri=champion)
    with pytest.raises(ValueError, match="is damaged and not used: its digest does not fit its content"):
        load_preset(CHAMPION, registry_uri=champion, cache="only")
    mlflow_store.with_suffix(".away").rename(mlflow_store)
    load_preset(CHAMPION, registry_uri=champion)
    assert load_preset(CHAMPION, registry_uri=champion, cache="only").name == "core"


def test_a_moved_alias_is_followed_and_never_answered_from_an_older_copy(
    champion: str, publish: Publish, tmp_path: Path
) -> None:
    load_preset(CHAMPION, registry_uri=champion)
    shutil.rmtree(tmp_path / "registry_artifacts")
    with pytest.warns(UserWarning, match=r"cannot be fetched .*; taking the copy of the same version of \d+ seconds?"):
        assert load_preset(CHAMPION, registry_uri=champion).name == "core"
    publish(load_preset("robust").to_json(), alias="champion")
    shutil.rmtree(tmp_path / "registry_artifacts")
    with pytest.raises(PresetNotFoundError, match=r"is registered, but its file preset/preset\.json cannot be fetched"):
        load_preset(CHAMPION, registry_uri=champion)


def test_an_alias_that_is_gone_is_not_answered_from_a_copy(champion: str) -> None:
    from mlflow.tracking import MlflowClient

    load_preset(CHAMPION, registry_uri=champion)
    MlflowClient(champion, champion).delete_registered_model_alias("greedylr-mnist", "champion")
    with pytest.raises(PresetNotFoundError, match="alias champion not found"):
        load_preset(CHAMPION, registry_uri=champion)


def test_a_cache_that_cannot_be_written_does_not_keep_a_preset_from_its_job(
    champion: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GREEDYLR_CACHE", str(tmp_path / "file" / "below"))
    assert load_preset(CHAMPION, registry_uri=champion).name == "core"
    assert f"no copy of {CHAMPION} is kept on this machine" in caplog.text


def test_a_file_changed_since_its_registration_is_refused(champion: str) -> None:
    from mlflow.tracking import MlflowClient

    MlflowClient(champion, champion).set_model_version_tag("greedylr-mnist", "1", "greedylr.content_hash", "0" * 16)
    with pytest.raises(ValueError, match=r"must hold the preset that was registered as version 1 with content 0000"):
        load_preset(CHAMPION, registry_uri=champion)


def test_a_preset_is_fetched_without_a_progress_bar_and_the_environment_stays(
    champion: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", raising=False)
    before = dict(os.environ)
    load_preset(CHAMPION, registry_uri=champion)
    assert dict(os.environ) == before
    assert "Downloading artifacts" not in capfd.readouterr().err
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "true")
    load_preset(CHAMPION, registry_uri=champion)
    assert "Downloading artifacts" in capfd.readouterr().err


@pytest.mark.parametrize("package", ["sqlalchemy", "alembic"])
def test_a_database_says_what_else_it_needs(champion: str, package: str) -> None:
    # In a process of its own: this one has them loaded.
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from greedylr import load_preset\n"
        "from greedylr.lookup import PresetNotFoundError\n"
        f"try: load_preset({CHAMPION!r}, registry_uri={champion!r})\n"
        "except PresetNotFoundError as error: sys.stdout.write(str(error))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.startswith(f"the registry needs {package}, which is not installed: pip install mlflow-skinny")
    assert "for a database also sqlalchemy alembic" in ended.stdout


def test_artifacts_in_a_bucket_say_which_client_they_need(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{mlflow_store}"
    client = MlflowClient(uri, uri)
    run_id = client.create_run(client.create_experiment("presets", "s3://bucket/presets")).info.run_id
    client.create_registered_model("greedylr-mnist")
    client.create_model_version("greedylr-mnist", f"runs:/{run_id}/preset", run_id=run_id)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(
        PresetNotFoundError,
        match=r"models:/greedylr-mnist/1 is registered, but its file cannot be fetched: the registry needs boto(3|core)"
        r", which is not installed: .*on S3 also boto3.*unless the server proxies them",
    ):
        load_preset("models:/greedylr-mnist/1", registry_uri=uri)


def test_a_way_to_use_the_cache_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="cache must be one of 'fallback', 'never', 'only', got 'always'"):
        load_preset("robust", cache="always")  # type: ignore[arg-type]
