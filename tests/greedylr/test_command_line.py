import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import greedylr
from greedylr import Interval, Verdict, load_preset
from greedylr.command_line import PIPELINE_COMMANDS, main

PACKAGE = Path(greedylr.__file__).parent
Run = Callable[..., tuple[int, str, str]]
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process, in a folder of its own: exit status, standard output, standard error."""
    folder = tmp_path / "working_folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def registry(mlflow_store: Path, tmp_path: Path) -> str:
    """A registry with one candidate, version 1 of greedylr-mnist-sgd."""
    from pipeline.preset_registry import register

    proof = Verdict(
        verdict="non-inferior",
        difference=0.005,
        interval=Interval(lower=-0.005, upper=0.015, level=0.95),
        primary_control="cosine",
        workload="reference:mnist-mlp",
        own_workload=False,
        seeds=10,
        attempt=1,
    )
    preset = replace(load_preset("robust"), name="mnist", learning_rate=0.03, verdict=proof)
    uri = f"sqlite:///{mlflow_store}"
    register(uri, preset, "mnist-sgd", "candidate", artifact_folder=tmp_path / "files", reason="a test")
    return uri


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"greedylr {greedylr.__version__}\n", "")


def test_the_bundled_presets_are_listed_without_a_registry(run: Run) -> None:
    status, out, err = run("presets", "list", "--json")
    assert (status, err) == (0, "")
    rows = json.loads(out)
    assert [(row["name"], row["version"], row["aliases"], row["verdict"]) for row in rows] == [
        ("anneal", None, [], ""),
        ("core", None, [], ""),
        ("robust", None, [], ""),
    ]


def test_registered_presets_are_listed_with_them(run: Run, registry: str) -> None:
    status, out, err = run("presets", "list", "--registry", registry, "--json")
    assert (status, err) == (0, "")
    row = json.loads(out)[-1]
    assert (row["name"], row["version"], row["aliases"]) == ("greedylr-mnist-sgd", "1", ["candidate"])
    assert (row["verdict"], row["own_workload"], row["learning_rate"]) == ("non-inferior", False, 0.03)
    assert row["address"] == "models:/greedylr-mnist-sgd/1"
    status, out, err = run("presets", "list", "--registry", registry)
    line = next(line for line in out.splitlines() if "greedylr-mnist-sgd" in line)
    assert line.split()[:5] == [
        "models:/greedylr-mnist-sgd/1",
        "candidate",
        "non-inferior",
        "(reference)",
        "0.03",
    ]


def test_the_registry_is_named_by_environment_or_settings(
    run: Run, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> list[str]:
        return [row["name"] for row in json.loads(run("presets", "list", "--json")[1])]

    bundled = ["anneal", "core", "robust"]
    Path("greedylr.toml").write_text("# the default, which is not there yet")
    assert names() == bundled
    Path("greedylr.toml").write_text(f'registry_uri = "{registry}"')
    assert names() == [*bundled, "greedylr-mnist-sgd"]
    Path("greedylr.toml").unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    assert names() == [*bundled, "greedylr-mnist-sgd"]
    Path("greedylr.toml").write_text("registry_uri = 3")
    assert run("presets", "list") == (
        2,
        "",
        "Error: registry_uri in greedylr.toml must be an address in quotes, got 3\n",
    )


def test_a_preset_is_shown_in_words(run: Run, registry: str) -> None:
    status, out, err = run("presets", "show", "models:/greedylr-mnist-sgd/1", "--registry", registry)
    assert (status, err) == (0, "")
    shown = {line[:19].strip(): line[19:].strip() for line in out.splitlines()[1:]}
    assert shown["starting rate"] == "0.03"
    assert shown["factor"] == "fall 0.7, rise 0.85"
    assert shown["patience"] == "2.5 % of the run"
    assert shown["window"] == "8 %"
    assert shown["bounds"] == "0.01 to 10 x start"
    assert shown["extras"] == "ramp 5 %, WSD 20 %, rises in the first 40 %"
    assert shown["verdict"] == "non-inferior against cosine"
    assert shown["regret difference"] == ("+0.0050 [-0.0050, +0.0150], 95 % interval, 10 paired seeds, margin 0.02")
    assert shown["proved on"] == "reference:mnist-mlp (a reference workload, standing in)"


def test_a_candidate_is_shown_with_one_warning(run: Run, registry: str) -> None:
    status, out, err = run("presets", "show", "models:/greedylr-mnist-sgd@candidate", "--registry", registry)
    assert status == 0 and out.startswith("mnist")
    assert err == (
        "Warning: models:/greedylr-mnist-sgd@candidate is a candidate: non-inferior against cosine on "
        "reference:mnist-mlp, which is not your own workload\n"
    )


def test_show_as_json_holds_the_preset_itself(run: Run) -> None:
    status, out, err = run("presets", "show", "robust", "--json")
    shown = json.loads(out)
    assert (status, err, shown["address"]) == (0, "", "robust")
    assert shown["preset"] == json.loads(load_preset("robust").to_json())
    assert shown["content_hash"] == load_preset("robust").content_hash


def test_export_writes_what_load_preset_reads(run: Run, registry: str) -> None:
    status, out, err = run(
        "presets", "export", "models:/greedylr-mnist-sgd/1", "--output", "mine.json", "--registry", registry
    )
    assert (status, out, err) == (0, "", "wrote mine.json\n")
    assert load_preset("mine.json").learning_rate == 0.03


def test_export_to_standard_output(run: Run) -> None:
    assert run("presets", "export", "core", "--output", "-") == (0, load_preset("core").to_json(), "")


def test_export_does_not_overwrite_unless_forced(run: Run) -> None:
    Path("mine.json").write_text("mine")
    assert run("presets", "export", "core", "--output", "mine.json") == (
        2,
        "",
        "Error: --output must not exist yet, got 'mine.json'; --force overwrites it\n",
    )
    assert Path("mine.json").read_text() == "mine"
    assert run("presets", "export", "core", "--output", "mine.json", "--force")[0] == 0
    assert load_preset("mine.json") == load_preset("core")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["presets", "show", "nope"], 2, "no preset at 'nope': it is no file and none of the bundled names"),
        (["presets", "show", "models:/x"], 2, "a registry address is models:/NAME@ALIAS or models:/NAME/VERSION"),
        (["presets", "list", "--registry", "sqlite:///none.db"], 2, "there is no registry at sqlite:///none.db"),
        (
            ["presets", "list", "--registry", "http://127.0.0.1:9"],
            1,
            "the registry http://127.0.0.1:9 is not to be had",
        ),
        (["presets", "export", "core", "--output", "none/x.json"], 2, "--output must lie in a folder that exists"),
        (["presets", "export", "core", "--output", "."], 2, "--output must be a file, got the folder '.'"),
    ],
)
def test_a_failure_is_one_message_and_an_exit_status(run: Run, arguments: list[str], status: int, message: str) -> None:
    ended, out, err = run(*arguments)
    assert (ended, out) == (status, "")
    assert err.startswith(f"Error: {message}")
    assert len(err.splitlines()) == 1
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("arguments", [["presets", "nope"], ["nope"], ["presets", "show"], ["presets", "list", "--no"]])
def test_a_wrong_command_is_the_users_mistake(run: Run, arguments: list[str]) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "Error" in err and "Traceback" not in err


def test_the_nearest_presets_are_suggested_first(run: Run, registry: str) -> None:
    asked = (
        "presets",
        "suggest",
        "--optimizer",
        "sgd",
        "--task",
        "mnist",
        "--batch-size",
        "32",
        "--registry",
        registry,
    )
    status, out, err = run(*asked, "--json")
    assert (status, err) == (0, "")
    assert [(row["address"], row["distance"], row["confidence"]) for row in json.loads(out)] == [
        ("models:/greedylr-mnist-sgd@candidate", pytest.approx(0.0625), "medium"),
        ("robust", 0.5, "low"),
        ("anneal", 0.5, "low"),
        ("core", 0.5, "low"),
    ]
    line = run(*asked)[1].splitlines()[1]
    assert line.split()[:4] == ["models:/greedylr-mnist-sgd@candidate", "0.06", "medium", "0.03"]
    assert line.endswith(
        "optimizer sgd as asked; task mnist as asked; batch size unknown; non-inferior on a reference workload"
    )


@pytest.mark.parametrize("command", [["list"], ["suggest", "--optimizer", "sgd", "--batch-size", "32"]])
def test_an_address_is_whole_in_a_hundred_columns(
    run: Run, registry: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greedylr.command_line.WIDTH_OF_A_FILE", 100)
    lines = run("presets", *command, "--registry", registry)[1].splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.split(" ")[0].startswith("models:/greedylr-mnist-sgd") for line in lines) == 1


def test_a_suggestion_needs_to_know_something(run: Run) -> None:
    assert run("presets", "suggest") == (
        2,
        "",
        "Error: a suggestion needs at least one of optimizer, task, parameters, batch_size, got none\n",
    )


@pytest.mark.parametrize("command", [[], ["list"], ["show"], ["export"], ["suggest"]])
def test_help_has_an_example(run: Run, command: list[str]) -> None:
    status, out, _ = run("presets", *command, "--help")
    assert status == 0
    assert f"Example: greedylr presets {' '.join(command)}" in out


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Run the command in a process of its own, with the package from `place`, in a folder with a `flows` of the user's.

    The user's `flows` stands first on the path, and betrays itself if it is ever imported.
    """
    working = tmp_path / "users_repository"
    (working / "flows").mkdir(parents=True)
    for name in ("__init__.py", "cli.py"):
        (working / "flows" / name).write_text("raise SystemExit('the flows of the user was run')")

    def call(place: Path, *arguments: str, path: tuple[Path, ...] = ()) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (working, place, *path)))}
        command = [sys.executable, "-m", "greedylr.command_line", *arguments]
        return subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the package alone, and another package called `flows` beside it, as in site-packages."""
    place = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, place / "greedylr", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tmp_path / "users_repository" / "flows", place / "flows")
    return place


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose pipeline has one command."""
    place = tmp_path / "checkout"
    shutil.copytree(PACKAGE, place / "greedylr", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "pyproject.toml").write_text('[project]\nname = "greedylr"\n')
    (place / "flows").mkdir()
    (place / "flows" / "__init__.py").touch()
    (place / "flows" / "cli.py").write_text(
        "import typer\n"
        "class Locked(Exception):\n"
        "    retryable = True\n"
        "errors = {'mistake': ValueError('the rule'), 'failure': Locked('held by 7'), 'fault': KeyError('ours')}\n"
        "def demo(kind: str = '') -> None:\n"
        "    '''Ours.'''\n"
        "    if kind:\n"
        "        raise errors[kind]\n"
        "    typer.echo('our demo')\n"
        "def register(app: typer.Typer) -> None:\n"
        "    app.command('demo')(demo)\n"
    )
    return place


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """What `pip install --editable` leaves: the entry point."""
    place = tmp_path / "metadata"
    (place / "greedylr-0.1.0.dist-info").mkdir(parents=True)
    (place / "greedylr-0.1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: greedylr\nVersion: 0.1.0\n"
    )
    (place / "greedylr-0.1.0.dist-info" / "entry_points.txt").write_text(
        "[greedylr.commands]\npipeline = flows.cli:register\n"
    )
    return place


@pytest.mark.parametrize("name", PIPELINE_COMMANDS)
def test_the_installed_package_says_how_to_get_the_pipeline(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greedylr.command_line.checkout_root", lambda: None)
    assert run(name, "anything", "--reason", "text") == (
        2,
        "",
        f"Error: `greedylr {name}` is part of the pipeline, which is not in the installed package: get a checkout of "
        "greedylr and run `make install` there\n",
    )
    status, out, _ = run(name, "--help")
    assert status == 0 and f"Example, in a checkout: greedylr {name}" in out


def test_the_installed_package_never_runs_a_package_called_flows(shell: Shell, installed: Path, metadata: Path) -> None:
    ended = shell(installed, "demo", path=(metadata,))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(
        "Error: `greedylr demo` is part of the pipeline, which is not in the installed package"
    )


def test_a_checkout_runs_its_own_flows_and_not_the_users(shell: Shell, checkout: Path, metadata: Path) -> None:
    ended = shell(checkout, "demo", path=(metadata,))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "our demo\n", "")


def test_a_checkout_that_is_not_installed_says_so(run: Run, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greedylr.command_line.checkout_root", lambda: checkout)
    monkeypatch.setattr("greedylr.command_line.entry_points", lambda group: ())
    assert run("demo") == (
        2,
        "",
        f"Error: `greedylr demo` is part of the pipeline, which is not ready in {checkout}: the checkout is not "
        "installed; run `make install` there\n",
    )


def test_a_checkout_without_the_pipelines_packages_says_which(shell: Shell, checkout: Path, metadata: Path) -> None:
    (checkout / "flows" / "cli.py").write_text("import a_package_that_is_missing")
    ended = shell(checkout, "run", path=(metadata,))
    assert ended.returncode == 2
    assert f"not ready in {checkout}: a_package_that_is_missing is not installed; run `make install`" in ended.stderr


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [("mistake", 2, "Error: the rule\n"), ("failure", 1, "Error: held by 7\n")],
)
def test_the_pipelines_errors_become_messages_too(
    shell: Shell, checkout: Path, metadata: Path, kind: str, status: int, message: str
) -> None:
    ended = shell(checkout, "demo", "--kind", kind, path=(metadata,))
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", message)


def test_a_fault_of_ours_is_shown_whole(shell: Shell, checkout: Path, metadata: Path) -> None:
    ended = shell(checkout, "demo", "--kind", "fault", path=(metadata,))
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr and "KeyError: 'ours'" in ended.stderr
